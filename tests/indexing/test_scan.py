"""Walking folders, and telling what changed."""

from __future__ import annotations

import errno
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from long_folders import DEPTH, deep_folder

from mmsearch.base import beneath, long_paths
from mmsearch.base.file_state import State
from mmsearch.base.records import ScanOptions
from mmsearch.indexing import scan

NAMES = st.text(alphabet="abAB.\n-é\udcff", min_size=1, max_size=3)


def write(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def walk(root: Path | str, options: ScanOptions | None = None, *, start: Path | None = None) -> list[scan.Folder]:
    """All folders of a walk that has nothing to report."""

    def fail(path: str, error: OSError) -> None:
        raise AssertionError(f"{path}: {error}")

    return list(scan.walk(str(start or root), str(root), options or ScanOptions(), fail))


def names(root: Path, options: ScanOptions | None = None, *, start: Path | None = None) -> list[str]:
    """The files of a walk, relative to its root, in the order in which they come."""
    folders = walk(root, options, start=start)
    paths = [os.path.join(folder.path, os.fsdecode(name)) for folder in folders for name in folder.files]
    return [os.path.relpath(path, root) for path in paths]


# --- compare ---


def test_files_are_new_changed_unchanged_or_gone() -> None:
    known = {b"same": (1, 1), b"failed": (1, 1), b"grown": (7, 1), b"touched": (1, 7), b"gone": (1, 1)}
    known = {name: (*state, 1, 1) for name, state in known.items()}
    files = dict.fromkeys((b"new", b"same", b"failed", b"grown", b"touched"), (1, 1, 1, 1))
    changes = scan.compare(files, known, failed={b"failed", b"touched"})
    assert changes.new == [b"new"]
    assert changes.changed == [b"grown", b"touched"]
    assert changes.unchanged == 1, "a file that failed before is not among the indexed ones"
    assert changes.gone == [b"gone"]


def test_everything_is_new_in_an_unknown_folder() -> None:
    assert scan.compare({b"a": (1, 1, 1, 1), b"b": (2, 2, 2, 2)}, {}) == scan.FolderChanges(new=[b"a", b"b"])


def test_files_that_cannot_be_examined_are_not_gone() -> None:
    changes = scan.compare({}, {b"locked": (1, 1, 1, 1), b"gone": (1, 1, 1, 1)}, unreadable=[b"locked"])
    assert changes.gone == [b"gone"]


SMALL = st.integers(0, 2)
STATES = st.dictionaries(
    NAMES.map(os.fsencode), st.tuples(SMALL, SMALL, st.none() | SMALL, st.none() | SMALL), max_size=6
)


@given(present=STATES, known=STATES, chosen=st.sets(NAMES.map(os.fsencode)))
@pytest.mark.parametrize("ignore_inode", [True, False])
@pytest.mark.parametrize("verify", [True, False])
def test_compare_sorts_every_file_into_exactly_one_kind(
    present: dict[bytes, State], known: dict[bytes, State], chosen: set[bytes], verify: bool, ignore_inode: bool
) -> None:
    failed, both = chosen & known.keys(), present.keys() & known.keys()
    changes = scan.compare(present, known, failed=failed, verify=verify, ignore_inode=ignore_inode)
    assert changes.new == [name for name in present if name not in known]
    assert set(changes.gone) == known.keys() - present.keys()
    changed = set(changes.changed)
    assert changed <= both and changes.unchanged == len(both - changed - failed)
    assert verify <= (changed == both)
    assert {name for name in both if present[name][:2] != known[name][:2]} <= changed
    assert set(changes.noted) == (
        set() if ignore_inode else {name for name in both - changed if present[name] != known[name]}
    )
    if not verify:
        assert not {name for name in changed if present[name] == known[name]}
        assert not ignore_inode or not {name for name in changed if present[name][:2] == known[name][:2]}


# Files of a folder as they are against one that was seen with size, mtime, ctime and inode 1: which may have changed.
CHANGES: dict[str, tuple[list[State], list[int]]] = {
    "all the same": ([(1, 1, 1, 1), (1, 1, 1, 2)], []),
    "another ctime": ([(1, 1, 9, 1), (1, 1, 1, 2)], [0]),
    "another inode": ([(1, 1, 1, 9), (1, 1, 1, 2)], [0]),
    "all inodes are others": ([(1, 1, 1, 8), (1, 1, 1, 9)], []),
    "all inodes are others and a ctime": ([(1, 1, 9, 8), (1, 1, 1, 9)], [0]),
    "all but one inode are others": ([(1, 1, 1, 8), (1, 1, 1, 9), (1, 1, 1, 3)], [0, 1]),
    "swapped": ([(1, 1, 1, 2), (1, 1, 1, 1), (1, 1, 1, 3)], [0, 1]),
    "the only file has another inode": ([(1, 1, 1, 9)], [0]),
    "all ctimes are others": ([(1, 1, 8, 1), (1, 1, 9, 2)], [0, 1]),
    "no inodes here": ([(1, 1, 1, None), (1, 1, 1, None)], []),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_what_may_have_changed_under_the_same_size_and_time(kind: str) -> None:
    states, changed = CHANGES[kind]
    files = {bytes([65 + number]): state for number, state in enumerate(states)}
    known: dict[bytes, State] = {name: (1, 1, 1, number) for number, name in enumerate(files, 1)}
    changes = scan.compare(files, known)
    assert changes.changed == [bytes([65 + number]) for number in changed]
    assert set(changes.noted) == {name for name in files if files[name] != known[name]} - set(changes.changed)
    assert scan.compare(files, known, ignore_inode=True) == scan.FolderChanges(unchanged=len(files))
    assert scan.compare(files, known, verify=True).changed == list(files)
    unknown: dict[bytes, State] = dict.fromkeys(files, (1, 1, None, None))
    assert scan.compare(files, unknown) == scan.FolderChanges(unchanged=len(files), noted=list(files))


# --- walk ---


def test_a_walk_yields_folders_parents_first_and_files_in_byte_order(tmp_path: Path) -> None:
    write(tmp_path, "b.jpg", "B.jpg", "a/z.jpg", "a/deep/er/1.jpg", "a-/x.jpg", "é.jpg", "z.jpg")
    folders = walk(tmp_path)
    relative = [os.path.relpath(folder.path, tmp_path) for folder in folders]
    assert relative == [".", "a", "a/deep", "a/deep/er", "a-"]
    assert names(tmp_path) == ["B.jpg", "b.jpg", "z.jpg", "é.jpg", "a/z.jpg", "a/deep/er/1.jpg", "a-/x.jpg"]


def test_records_hold_what_tells_whether_a_file_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"12345")
    os.utime(path, ns=(1, 1_600_000_000_123_456_789))
    status = path.stat()
    state = (5, 1_600_000_000_123_456_789, status.st_ctime_ns, status.st_ino)
    assert walk(tmp_path)[0].files == {b"a.jpg": state}


def test_an_empty_folder_is_yielded_so_that_its_known_files_are_seen_to_be_gone(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert [(folder.path, folder.files) for folder in walk(tmp_path)] == [
        (str(tmp_path), {}),
        (str(tmp_path / "empty"), {}),
    ]


def test_hidden_files_and_folders_are_left_out_unless_asked_for(tmp_path: Path) -> None:
    write(tmp_path, "a.jpg", ".b.jpg", ".cache/c.jpg", "d/.e/f.jpg")
    assert names(tmp_path) == ["a.jpg"]
    assert names(tmp_path, ScanOptions(hidden=True)) == [".b.jpg", "a.jpg", ".cache/c.jpg", "d/.e/f.jpg"]


def test_a_hidden_root_is_walked(tmp_path: Path) -> None:
    write(tmp_path, ".pictures/a.jpg")
    assert names(tmp_path / ".pictures") == ["a.jpg"]


@pytest.mark.skipif(os.name == "nt", reason="file systems of Windows do not take such names")
def test_names_of_any_bytes_are_kept(tmp_path: Path) -> None:
    raw = [b"-rf.jpg", b"a\nb.jpg", b"caf\xe9.jpg", b"caf\xc3\xa9.jpg", b"\xff", b" "]
    for name in raw:
        Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name))).write_bytes(b"x")
    found = list(walk(tmp_path)[0].files)
    assert found == sorted(raw)
    assert names(tmp_path, ScanOptions(exclude=("*.jpg",))) == [" ", "\udcff"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on Windows")
def test_only_regular_files_are_candidates(tmp_path: Path) -> None:
    write(tmp_path, "a.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    assert names(tmp_path, ScanOptions(follow_symlinks=True)) == ["a.jpg"]


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no such sockets on Windows")
def test_sockets_and_devices_are_no_candidates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "a.jpg")
    monkeypatch.chdir(tmp_path)  # the address of a socket has room for some 100 bytes
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.jpg")
        (tmp_path / "zeros.jpg").symlink_to("/dev/zero")
        assert names(tmp_path, ScanOptions(follow_symlinks=True)) == ["a.jpg"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs to become another user")
def test_a_folder_without_permission_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        write(root, "a.jpg", "locked/b.jpg", "listed/c.jpg", "open/d.jpg")
        root.chmod(0o755)
        (root / "locked").chmod(0o000)
        (root / "listed").chmod(0o744)  # its names can be read, the files' status cannot
        reported: dict[str, str | None] = {}
        os.seteuid(65534)
        try:
            folders = list(
                scan.walk(name, name, ScanOptions(), lambda path, error: reported.update({path: error.strerror}))
            )
        finally:
            os.seteuid(0)
    assert reported == {f"{name}/locked": "Permission denied", f"{name}/listed/c.jpg": "Permission denied"}
    found = [(os.path.relpath(folder.path, name), list(folder.files), folder.unreadable) for folder in folders]
    assert found == [(".", [b"a.jpg"], []), ("listed", [], [b"c.jpg"]), ("open", [b"d.jpg"], [])]


# --- long paths ---


@pytest.mark.skipif(os.scandir not in os.supports_fd, reason="long paths are opened in pieces")
@pytest.mark.parametrize("follow", [False, True])
def test_paths_longer_than_the_system_takes_are_walked(follow: bool, tmp_path: Path) -> None:
    raw = [b"b.jpg", b"caf\xe9.jpg", b"caf\xc3\xa9.jpg"]
    with deep_folder(tmp_path) as (path, descriptor):
        for name in raw:
            os.close(os.open(name, os.O_CREAT, dir_fd=descriptor))
        os.mkdir("below", dir_fd=descriptor)
        os.symlink(b"b.jpg", b"link.jpg", dir_fd=descriptor)
        os.mkfifo("pipe.jpg", dir_fd=descriptor)
        folders = walk(tmp_path, ScanOptions(follow_symlinks=follow))
        chosen = names(tmp_path, ScanOptions(include=("b.jpg",), follow_symlinks=follow))
    files = {folder.path: list(folder.files) for folder in folders}
    assert len(folders) == DEPTH + 2
    assert files[path] == sorted([*raw, b"link.jpg"] if follow else raw)
    assert files[f"{path}/below"] == []
    assert chosen == [os.path.relpath(f"{path}/b.jpg", tmp_path)]


def test_a_single_name_that_is_too_long_is_reported(tmp_path: Path) -> None:
    missing = str(tmp_path / ("a" * 300))
    reported: list[str | None] = []
    assert not list(scan.walk(missing, missing, ScanOptions(), lambda _, error: reported.append(error.strerror)))
    assert reported == [os.strerror(errno.ENAMETOOLONG)]


@given(st.lists(st.text("ab", min_size=1, max_size=255), min_size=1, max_size=40), st.booleans())
def test_pieces_make_up_the_path_and_are_short(parts: list[str], doubled: bool) -> None:
    path = ("//" if doubled else "/").join(["", *parts]).encode()
    pieces = long_paths._pieces(path)
    assert b"/".join(pieces) == "/".join(["", *parts]).encode()
    assert max(map(len, pieces)) <= 1000
    assert not any(piece.startswith(b"/") for piece in pieces[1:])


# --- symbolic links ---


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """A root with links to a file, to a folder outside, to nothing, and to itself."""
    root = tmp_path / "root"
    write(tmp_path, "outside/o.jpg", "root/a.jpg")
    (root / "file.jpg").symlink_to(root / "a.jpg")
    (root / "folder").symlink_to(tmp_path / "outside")
    (root / "lost.jpg").symlink_to(tmp_path / "nothing")
    (root / "loop").symlink_to(root)
    return root


def test_links_are_not_followed_by_default(linked: Path) -> None:
    assert names(linked) == ["a.jpg"]


def test_links_are_followed_on_request_and_a_loop_ends(linked: Path) -> None:
    assert names(linked, ScanOptions(follow_symlinks=True)) == ["a.jpg", "file.jpg", "folder/o.jpg"]


def test_what_is_neither_file_nor_folder_is_named(linked: Path) -> None:
    os.mkfifo(linked / "pipe.jpg")
    (linked / ".hidden").symlink_to(linked)
    links = dict.fromkeys((b"file.jpg", b"folder", b"lost.jpg", b"loop"), "symbolic_link")
    assert walk(linked)[0].passed_over == {**links, b"pipe.jpg": "special"}
    followed = walk(linked, ScanOptions(follow_symlinks=True))[0]
    assert followed.passed_over == {b"lost.jpg": "symbolic_link", b"pipe.jpg": "special"}
    (chosen,) = walk(linked, ScanOptions(exclude=("lo*",), include=("*.jpg",)))
    assert chosen.passed_over == {b"file.jpg": "symbolic_link", b"pipe.jpg": "special"}


def test_a_folder_that_two_links_reach_is_walked_once(tmp_path: Path) -> None:
    write(tmp_path, "outside/o.jpg", "root/a.jpg")
    (tmp_path / "root" / "one").symlink_to(tmp_path / "outside")
    (tmp_path / "root" / "two").symlink_to(tmp_path / "outside")
    assert names(tmp_path / "root", ScanOptions(follow_symlinks=True)) == ["a.jpg", "one/o.jpg"]


def test_a_root_that_is_a_link_is_walked_under_its_own_name(tmp_path: Path) -> None:
    write(tmp_path, "outside/o.jpg")
    root = tmp_path / "root"
    root.symlink_to(tmp_path / "outside")
    assert [(folder.path, list(folder.files)) for folder in walk(root)[:1]] == [(str(root), [b"o.jpg"])]


def test_a_folder_that_becomes_a_link_during_the_walk_is_not_followed(tmp_path: Path) -> None:
    write(tmp_path, "private/p.jpg", "private/deep/q.jpg", "root/a/b.jpg", "root/c/d.jpg")
    reported: list[tuple[str, str | None]] = []
    root = str(tmp_path / "root")
    found = []
    for folder in scan.walk(root, root, ScanOptions(), lambda path, error: reported.append((path, error.strerror))):
        found += [os.path.relpath(f"{folder.path}/{os.fsdecode(name)}", root) for name in folder.files]
        if folder.path == root:  # what it lists is known, and not yet entered
            (tmp_path / "root" / "a").rename(tmp_path / "moved")
            (tmp_path / "root" / "a").symlink_to(tmp_path / "private")
    assert found == ["c/d.jpg"]
    assert reported == [(f"{root}/a", beneath.A_LINK)]


def test_a_link_to_itself_is_reported_and_costs_nothing_else(tmp_path: Path) -> None:
    write(tmp_path, "a.jpg")
    (tmp_path / "self.jpg").symlink_to(tmp_path / "self.jpg")
    reported: list[str] = []
    options = ScanOptions(follow_symlinks=True)
    (folder,) = scan.walk(str(tmp_path), str(tmp_path), options, lambda path, _: reported.append(path))
    assert list(folder.files) == [b"a.jpg"]
    assert reported == [str(tmp_path / "self.jpg")]


# --- patterns ---


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    write(tmp_path, "a.jpg", "a.png", "raw/b.jpg", "raw/deep/c.png", "x/raw/d.jpg", "x/e.jpg")
    return tmp_path


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        (["*.png"], [], ["a.png", "raw/deep/c.png"]),
        (["/*.jpg"], [], ["a.jpg"]),
        (["raw/"], [], ["raw/b.jpg", "raw/deep/c.png", "x/raw/d.jpg"]),
        (["*", "!*.png"], [], ["a.jpg", "raw/b.jpg", "x/e.jpg", "x/raw/d.jpg"]),
        ([], ["raw"], ["a.jpg", "a.png", "x/e.jpg"]),
        ([], ["/raw/"], ["a.jpg", "a.png", "x/e.jpg", "x/raw/d.jpg"]),
        ([], ["x/**/*.jpg"], ["a.jpg", "a.png", "raw/b.jpg", "raw/deep/c.png"]),
        ([], ["*.jpg", "!/a.jpg"], ["a.jpg", "a.png", "raw/deep/c.png"]),
        (["*.jpg"], ["x/raw"], ["a.jpg", "raw/b.jpg", "x/e.jpg"]),
    ],
)
def test_patterns_have_gitignore_syntax_relative_to_the_root(
    tree: Path, include: list[str], exclude: list[str], expected: list[str]
) -> None:
    assert names(tree, ScanOptions(include=tuple(include), exclude=tuple(exclude))) == expected


def test_a_walk_of_a_part_reads_patterns_from_the_root(tree: Path) -> None:
    options = ScanOptions(exclude=("/x/raw", "/e.jpg"))
    assert names(tree, options, start=tree / "x") == ["x/e.jpg"]


def test_an_excluded_folder_is_not_even_read(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = beneath.listing

    def watched(path: bytes, folder: bytes | None) -> Any:
        read.append(os.path.relpath(os.fsdecode(path), tree))
        return real(path, folder)

    monkeypatch.setattr(beneath, "listing", watched)
    names(tree, ScanOptions(exclude=("raw",)))
    assert read == [".", "x"]


# --- what cannot be read ---


class StubbornEntry:
    """A directory entry whose status cannot be had, as below a folder without the right to enter it."""

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        return False

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        return True

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        raise PermissionError(13, "Permission denied")


def test_a_folder_that_cannot_be_read_is_reported_and_the_others_are_walked(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = beneath.listing

    def refusing(path: bytes, folder: bytes | None) -> Any:
        if path == os.fsencode(tree / "raw"):
            raise PermissionError(13, "Permission denied", path)
        return real(path, folder)

    monkeypatch.setattr(beneath, "listing", refusing)
    reported: list[tuple[str, str | None]] = []
    folders = list(
        scan.walk(str(tree), str(tree), ScanOptions(), lambda path, error: reported.append((path, error.strerror)))
    )
    assert reported == [(str(tree / "raw"), "Permission denied")]
    assert [folder.path for folder in folders] == [str(tree), str(tree / "x"), str(tree / "x" / "raw")]


def test_a_file_that_cannot_be_examined_is_reported_and_named_in_its_folder(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = beneath.listing

    @contextmanager
    def stubborn(path: bytes, folder: bytes | None) -> Iterator[Any]:
        with real(path, folder) as entries:
            yield [(name, StubbornEntry() if name == b"a.jpg" else entry) for name, entry in entries]

    monkeypatch.setattr(beneath, "listing", stubborn)
    reported: list[str] = []
    folders = list(scan.walk(str(tree), str(tree), ScanOptions(), lambda path, _: reported.append(path)))
    assert reported == [str(tree / "a.jpg")]
    assert list(folders[0].files) == [b"a.png"]
    assert folders[0].unreadable == [b"a.jpg"]


def test_a_file_that_vanishes_during_the_walk_is_nothing_to_report(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = beneath.listing

    @contextmanager
    def slow(path: bytes, folder: bytes | None) -> Iterator[Any]:
        with real(path, folder) as entries:
            (tree / "a.jpg").unlink(missing_ok=True)
            yield entries

    monkeypatch.setattr(beneath, "listing", slow)
    folder = walk(tree)[0]
    assert list(folder.files) == [b"a.png"]
    assert folder.unreadable == []


def test_a_root_that_is_gone_is_reported(tmp_path: Path) -> None:
    reported: list[str] = []
    missing = str(tmp_path / "missing")
    assert not list(scan.walk(missing, missing, ScanOptions(), lambda path, _: reported.append(path)))
    assert reported == [missing]
