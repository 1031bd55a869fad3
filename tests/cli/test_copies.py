"""Copies hold what was indexed and nothing else, whatever others have put in its place since."""

from __future__ import annotations

import io
import os
import sqlite3
import stat
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from command import Command

from mmsearch.cli.query import copies
from mmsearch.cli.query.copies import Original, copy, link, put_all
from mmsearch.images.content_hash import content_hash

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links and modes are of POSIX")


def original(path: Path, beneath: Path | None = None) -> Original:
    """A file as it is indexed now, in the root `beneath`; without one its links are followed."""
    data = path.read_bytes()
    return Original(str(path), len(data), content_hash(io.BytesIO(data)).hex(), beneath and str(beneath))


@pytest.fixture
def collection(command: Command, photos: Path, tmp_path: Path) -> Path:
    """A collection of `photos`, in which a folder `below` has a dog. Beside them lies a secret of the same names."""
    (photos / "below").mkdir()
    (photos / "dog.jpg").rename(photos / "below" / "dog.jpg")
    (tmp_path / "private").mkdir(mode=0o700)
    for name in ("cat.jpg", "dog.jpg"):
        (tmp_path / "private" / name).write_text("secret")
        (tmp_path / "private" / name).chmod(0o600)
    assert command("index", photos, "--model", "starter", "-C", tmp_path / "c").code == 0
    return tmp_path / "c"


def swap(place: Path, target: Path) -> None:
    place.rename(place.with_name("moved"))
    place.symlink_to(target)


@pytest.mark.parametrize("option", ["--copy-to", "--link-to"])
@pytest.mark.parametrize("swapped", ["cat.jpg", "below"])
def test_a_link_that_was_swapped_in_is_not_followed(
    command: Command, collection: Path, photos: Path, tmp_path: Path, swapped: str, option: str
) -> None:
    swap(photos / swapped, tmp_path / "private" / ("" if swapped == "below" else swapped))
    done = command("query", "a cat", "-C", collection, "-k", 24, option, tmp_path / "out")
    path = photos / ("below/dog.jpg" if swapped == "below" else swapped)
    said = [line for line in done.err.splitlines() if str(path) in line]
    assert done.code == 3 and len(said) == 1 and ("symbolic link" in said[0] or "not a regular file" in said[0])
    made = list((tmp_path / "out").iterdir())
    assert len(made) == 23 and not any(file.read_bytes() == b"secret" for file in made)


def test_pages_and_sheets_show_no_picture_behind_a_link(
    command: Command, collection: Path, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "private" / "cat.jpg").write_bytes((photos / "sushi.jpg").read_bytes())
    swap(photos / "cat.jpg", tmp_path / "private" / "cat.jpg")
    page, sheet = tmp_path / "page.html", tmp_path / "sheet.png"
    done = command("query", "a cat", "-C", collection, "-k", 1, "--gallery", page, "--montage", sheet)
    assert done.code == 3 and "cat.jpg: it is a symbolic link now, which is not followed" in done.err
    assert "data:image" not in page.read_text().split("<main", 1)[1]


def test_links_are_followed_where_they_were_when_indexed(command: Command, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "album").symlink_to(photos)
    (tmp_path / "way").symlink_to("root")  # and a root may be reached through one
    for options in (["--follow-symlinks"], []):
        root = tmp_path / "way" if options else tmp_path / "way" / "album"
        assert command("index", root, *options, "--model", "starter", "-C", tmp_path / f"c{len(options)}").code == 0
        out = tmp_path / f"out{len(options)}"
        done = command("query", "a cat", "-C", tmp_path / f"c{len(options)}", "-k", 3, "--copy-to", out)
        assert done.code == 0 and len(list(out.iterdir())) == 3


@pytest.mark.parametrize("change", ["size", "bytes", "while it is read"])
def test_what_has_changed_is_said_and_not_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    source = tmp_path / "a.jpg"
    source.write_bytes(b"picture")
    indexed = original(source, tmp_path)
    status = source.stat()
    if change == "while it is read":
        real = copies._opened

        def late(file: Original, access: int):  # type: ignore[no-untyped-def]
            opened = real(file, access)
            source.write_bytes(b"PICTURE")
            return opened

        monkeypatch.setattr(copies, "_opened", late)
    else:
        source.write_bytes(b"picture, larger" if change == "size" else b"PICTURE")
        os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))
    [(path, reason)] = put_all([indexed], tmp_path / "out", copy)
    assert path == str(source) and "has changed since it was indexed" in reason and "mmsearch index" in reason
    assert os.listdir(tmp_path / "out") == []


def test_a_new_time_is_no_change(tmp_path: Path) -> None:
    source = tmp_path / "a.jpg"
    source.write_bytes(b"picture")
    indexed = original(source, tmp_path)
    os.utime(source, (1, 1))
    assert put_all([indexed], tmp_path / "out", copy) == []
    assert (tmp_path / "out" / "a.jpg").stat().st_mtime == 1


@pytest.mark.parametrize(("mode", "kept"), [(0o4755, 0o755), (0o2770, 0o770), (0o1644, 0o644), (0o600, 0o600)])
def test_permissions_are_kept_and_special_rights_are_not(tmp_path: Path, mode: int, kept: int) -> None:
    source = tmp_path / "a.jpg"
    source.write_bytes(b"picture")
    source.chmod(mode)
    before = os.umask(0)
    try:
        assert put_all([original(source)], tmp_path / "out", copy) == []
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out" / "a.jpg").stat().st_mode) == kept


def test_a_copy_is_nobody_elses_while_it_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, seen = tmp_path / "a.jpg", []
    source.write_bytes(b"picture")
    source.chmod(0o644)
    real = copies._transfer

    def watched(descriptor: int, made: io.BufferedIOBase) -> str:
        seen.append(stat.S_IMODE(os.fstat(made.fileno()).st_mode))
        return real(descriptor, made)  # type: ignore[arg-type]

    monkeypatch.setattr(copies, "_transfer", watched)
    before = os.umask(0)
    try:
        assert put_all([original(source)], tmp_path / "out", copy) == []
    finally:
        os.umask(before)
    assert seen == [0o600]


def test_notes_of_other_programs_are_kept(tmp_path: Path) -> None:
    source = tmp_path / "a.jpg"
    source.write_bytes(b"picture")
    try:
        os.setxattr(source, "user.tags", b"holiday")
    except (OSError, AttributeError):
        pytest.skip("this disk has no extended attributes")
    assert put_all([original(source)], tmp_path / "out", copy) == []
    assert os.getxattr(tmp_path / "out" / "a.jpg", "user.tags") == b"holiday"


@pytest.mark.parametrize("name", [b"../../private/cat.jpg", b"/etc/passwd", b"below/dog.jpg", b"a\0b.jpg", b"..", b"."])
@pytest.mark.parametrize("option", ["--copy-to", "--link-to"])
def test_names_of_a_catalog_that_was_tampered_with_lead_nowhere(
    command: Command, collection: Path, tmp_path: Path, name: bytes, option: str
) -> None:
    database = sqlite3.connect(collection / "catalog.sqlite3")
    with database:
        database.execute("UPDATE images SET name = ? WHERE name = ?", (name, b"cat.jpg"))
    database.close()
    before = {path for path in tmp_path.rglob("*") if "c/" not in str(path.relative_to(tmp_path))}
    out = tmp_path / "deep" / "er" / "out"
    done = command("query", "a cat", "-C", collection, "-k", 3, option, out, "--gallery", tmp_path / "page.html")
    assert done.code == 3 and "2 files to" in done.err and len(os.listdir(out)) == 2
    new = {path for path in tmp_path.rglob("*") if "c/" not in str(path.relative_to(tmp_path))} - before
    assert {path.parent for path in new} <= {out, tmp_path, tmp_path / "deep", tmp_path / "deep" / "er"}


@pytest.mark.parametrize("folder", [b"photos", b"/nowhere/../etc", b"//etc"])
def test_folders_of_a_catalog_that_was_tampered_with_lead_nowhere(
    command: Command, collection: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    database = sqlite3.connect(collection / "catalog.sqlite3")
    with database:
        database.execute("UPDATE folders SET path = ? WHERE path = ?", (folder, os.fsencode(photos)))
    database.close()
    done = command("query", "a cat", "-C", collection, "-k", 2, "--copy-to", tmp_path / "out")
    assert done.code == 3 and os.listdir(tmp_path / "out") in ([], ["dog.jpg"])


@pytest.mark.parametrize("act", [copy, link])
@pytest.mark.parametrize("way", ["a/../a/b.jpg", "a//b.jpg", "./a/b.jpg", "a/b.jpg/", "a/b.jpg\0"])
def test_paths_that_lead_elsewhere_than_they_say_are_refused(
    tmp_path: Path, act: Callable[[Original, str], None], way: str
) -> None:
    """Also where links are followed."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.jpg").write_bytes(b"picture")
    indexed = original(tmp_path / "a" / "b.jpg")
    [(_, reason)] = put_all([replace(indexed, path=f"{tmp_path}/{way}")], tmp_path / "out", act)
    assert "no file can have this path" in reason and os.listdir(tmp_path / "out") == []


def test_many_files_of_one_name_take_no_longer_each(tmp_path: Path) -> None:
    """Counted, not timed: how often a name that is taken is tried."""
    sources = []
    for number in range(500):
        path = tmp_path / "in" / str(number) / "IMG_0001.jpg"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"%d" % number)
        sources.append(original(path))
    tries = []

    def watched(file: Original, target: str) -> None:
        tries.append(target)
        link(file, target)

    assert put_all(sources, tmp_path / "out", watched) == [] and len(tries) == 500
    tries.clear()
    assert put_all(sources, tmp_path / "out", watched) == [] and len(tries) == 1000
    assert len(os.listdir(tmp_path / "out")) == 1000


def test_nothing_is_put_into_a_collection(command: Command, collection: Path) -> None:
    before = sorted(os.listdir(collection))
    for option in ("--copy-to", "--link-to"):
        refused = command("query", "a cat", "-C", collection, option, collection)
        assert refused.code == 2 and "is a collection" in refused.err and refused.out == ""
    assert sorted(os.listdir(collection)) == before
