"""Files and folders are brought to the disk, and nothing stays open."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from mmsearch.base.durable import append_private, open_to_write, read_json, sync, write_json, write_private


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, os.stat_result]]:
    """The descriptors that were brought to the disk, and what they were of."""
    calls: list[tuple[int, os.stat_result]] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        calls.append((descriptor, os.fstat(descriptor)))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    return calls


@pytest.mark.parametrize("name", ["file", "folder"])
def test_files_and_folders(tmp_path: Path, synced: list[tuple[int, os.stat_result]], name: str) -> None:
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
    else:
        path.write_bytes(b"content")
    sync(path)
    if name == "folder" and os.name == "nt":
        assert synced == []
        return
    ((descriptor, status),) = synced
    assert os.path.samestat(status, path.stat()) and stat.S_ISDIR(status.st_mode) == (name == "folder")
    assert name == "folder" or path.read_bytes() == b"content"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_a_disk_that_refuses_leaves_nothing_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []

    def full(descriptor: int) -> None:
        opened.append(descriptor)
        raise OSError(28, "No space left on device")

    path = tmp_path / "file"
    path.write_bytes(b"content")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        sync(path)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened[0])


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        sync(tmp_path / "none")


def test_json_is_whole_private_and_replaced(tmp_path: Path, synced: list[tuple[int, os.stat_result]]) -> None:
    path = tmp_path / "note.json"
    for content in ({"a": [1, "é"]}, {}):
        write_json(path, content)
        assert read_json(path) == content
    assert len(synced) == 2 and list(tmp_path.iterdir()) == [path]
    assert os.name == "nt" or stat.S_IMODE(path.stat().st_mode) == 0o600


def test_json_that_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "note.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert read_json(path) == {"a": 1} and list(tmp_path.iterdir()) == [path]


def test_a_private_file_is_replaced_and_synced_only_where_it_shall_last(
    tmp_path: Path, synced: list[tuple[int, os.stat_result]]
) -> None:
    path = tmp_path / "note"
    path.write_bytes(b"others may read this")
    path.chmod(0o644)
    write_private(path, b"x")
    assert (path.read_bytes(), synced) == (b"x", [])
    write_private(path, b"y", lasts=True)
    assert path.read_bytes() == b"y" and len(synced) == 1 and list(tmp_path.iterdir()) == [path]
    assert os.name == "nt" or stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_disk_that_is_full_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "note"
    write_private(path, b"x")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_private(path, b"y", lasts=True)
    assert path.read_bytes() == b"x" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("before", "after"), [(None, b""), (b"a\n", b"a\n"), (b"a\nb", b"a\nb\n")])
def test_lines_are_added(
    tmp_path: Path, synced: list[tuple[int, os.stat_result]], before: bytes | None, after: bytes
) -> None:
    path = tmp_path / "lines"
    if before is not None:
        path.write_bytes(before)
    append_private(path, "é")
    assert path.read_bytes() == after + "é\n".encode() and len(synced) == 1
    assert before is not None or os.name == "nt" or stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [None, b"", b"{", b"[1]", b"\xff"])
def test_what_is_no_object_reads_as_an_empty_one(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "note.json"
    if content is not None:
        path.write_bytes(content)
    assert read_json(path) == {}


WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


@pytest.mark.skipif(os.name == "nt", reason="links need a right there")
@pytest.mark.parametrize("flags", [WRITE, os.O_RDWR, os.O_WRONLY | os.O_APPEND | os.O_CREAT])
def test_no_link_is_followed_to_write(tmp_path: Path, flags: int) -> None:
    precious, link = tmp_path / "precious", tmp_path / "link"
    precious.write_bytes(b"precious")
    link.symlink_to(precious)
    with pytest.raises(OSError, match="a link is in its place, which is not followed; remove it"):
        open_to_write(link, flags)
    assert precious.read_bytes() == b"precious"
    precious.unlink()
    with pytest.raises(OSError, match="a link is in its place"):
        open_to_write(link, flags)
    assert not precious.exists()


@pytest.mark.skipif(os.name == "nt", reason="there are no pipes with a name")
@pytest.mark.parametrize("flags", [WRITE, os.O_RDWR])
def test_a_pipe_holds_nobody_up(tmp_path: Path, flags: int) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match=r"is not a file; remove it|No such device"):
        open_to_write(tmp_path / "pipe", flags)


def test_what_is_opened_is_private_and_cut_only_where_asked(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for flags, left in ((WRITE, b"b"), (os.O_WRONLY | os.O_APPEND, b"bb"), (WRITE, b"b")):
        descriptor = open_to_write(path, flags)
        os.write(descriptor, b"b")
        os.close(descriptor)
        assert path.read_bytes() == left
    assert os.name == "nt" or stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        open_to_write(path, WRITE | os.O_EXCL)


@pytest.mark.skipif(os.name == "nt", reason="links need a right there")
def test_a_file_takes_the_place_of_a_link(tmp_path: Path) -> None:
    """Also where somebody has guessed what the file is called until it is whole."""
    precious, note = tmp_path / "precious", tmp_path / "note"
    precious.write_bytes(b"precious")
    for name in ("note", f"note.{os.getpid()}.tmp", "note.tmp"):
        (tmp_path / name).symlink_to(precious)
    write_private(note, b"new")
    assert not note.is_symlink() and note.read_bytes() == b"new" and precious.read_bytes() == b"precious"
    note.unlink()
    note.symlink_to(precious)
    write_json(note, {"a": 1})
    assert read_json(note) == {"a": 1} and precious.read_bytes() == b"precious"
