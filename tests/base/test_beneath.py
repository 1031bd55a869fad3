"""Files beneath a folder are opened through no link; the way to the folder is the user's own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from long_folders import deep_folder

from mmsearch.base import beneath


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder that is reached through a link, with a file two folders below."""
    (tmp_path / "disk" / "a" / "b").mkdir(parents=True)
    (tmp_path / "disk" / "a" / "b" / "c.jpg").write_bytes(b"picture")
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "c.jpg").write_bytes(b"secret")
    (tmp_path / "way").symlink_to("disk")
    return tmp_path


def read(path: Path | str, folder: Path | str | None) -> bytes:
    descriptor = beneath.open_descriptor(str(path), os.O_RDONLY, None if folder is None else str(folder))
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def test_the_way_to_the_folder_may_lead_through_links(tree: Path) -> None:
    path = tree / "way" / "a" / "b" / "c.jpg"
    for folder in (tree / "way", tree / "way" / "a" / "b", None):
        assert read(path, folder) == b"picture"
    with pytest.raises(OSError, match="its folder is a symbolic link now"):
        read(path, tree)


@pytest.mark.parametrize("swapped", ["a/b/c.jpg", "a/b", "a"])
def test_a_link_in_place_of_a_file_or_a_folder_is_not_followed(tree: Path, swapped: str) -> None:
    path, place = tree / "disk" / "a" / "b" / "c.jpg", tree / "disk" / swapped
    place.rename(tree / "moved")
    if swapped == "a":
        (tree / "private" / "b").mkdir()
        (tree / "private" / "c.jpg").rename(tree / "private" / "b" / "c.jpg")
    place.symlink_to(tree / "private" / "c.jpg" if swapped.endswith(".jpg") else tree / "private")
    assert read(path, None) == b"secret"  # as links are followed that the user wants followed
    with pytest.raises(OSError, match="is a symbolic link now, which is not followed"):
        read(path, tree / "disk")


@pytest.mark.parametrize(
    "path", ["a/../../private/c.jpg", "a/./b/c.jpg", "a//b/c.jpg", "a/b/c.jpg/", "a/b\0/c.jpg", ".."]
)
def test_paths_that_no_file_has_are_refused(tree: Path, path: str) -> None:
    with pytest.raises(OSError, match="no file can have this path"):
        read(f"{tree}/disk/{path}", tree / "disk")
    with pytest.raises(OSError, match="no file can have this path"):
        read(tree / "private" / "c.jpg", tree / "disk")


def test_what_is_missing_keeps_its_own_words(tree: Path) -> None:
    for name in ("none.jpg", "none/c.jpg"):
        with pytest.raises(FileNotFoundError, match="No such file"):
            read(tree / "disk" / name, tree / "disk")
    with pytest.raises(NotADirectoryError):
        read(tree / "disk" / "a" / "b" / "c.jpg" / "d", tree / "disk")


@pytest.mark.skipif(sys.platform == "win32", reason="long paths are opened in pieces")
def test_long_paths_are_opened_and_listed(tmp_path: Path) -> None:
    with deep_folder(tmp_path) as (path, descriptor):
        os.close(os.open("a.jpg", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=descriptor))
        assert read(f"{path}/a.jpg", tmp_path) == b""
        with beneath.listing(os.fsencode(path), os.fsencode(tmp_path)) as entries:
            assert [name for name, _ in entries] == [b"a.jpg"]
