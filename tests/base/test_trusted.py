"""Lists in the user's settings: folders that are trusted."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from mmsearch.base import config
from mmsearch.base.errors import StorageError, UsageError
from mmsearch.base.trusted import TrustedFolders


def test_a_folder_stands_for_what_lies_in_it(tmp_path: Path) -> None:
    trusted = TrustedFolders("things")
    assert trusted.all() == [] and not trusted.covers(tmp_path)
    assert trusted.add(tmp_path / "a") == str(tmp_path / "a")
    trusted.add(tmp_path / "a")
    assert TrustedFolders("things").all() == [str(tmp_path / "a")]
    assert trusted.covers(tmp_path / "a") and trusted.covers(tmp_path / "a" / "b" / "c")
    assert not trusted.covers(tmp_path) and not trusted.covers(tmp_path / "ab")
    assert not trusted.covers(tmp_path / "a" / ".." / "b")
    assert not TrustedFolders("others").covers(tmp_path / "a"), "each purpose has its own list"
    assert trusted.remove(tmp_path / "a") and not trusted.remove(tmp_path / "a")
    assert not trusted.covers(tmp_path / "a")


def test_one_path_a_line_for_the_user_only(tmp_path: Path) -> None:
    trusted = TrustedFolders("things")
    trusted.add(tmp_path / "a b")
    trusted.add(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    place = config.settings_dir() / "trusted-things"
    assert place.read_bytes() == os.fsencode(tmp_path) + b"/a b\n" + os.fsencode(tmp_path) + b"/\xff\n"
    assert os.name == "nt" or stat.S_IMODE(place.stat().st_mode) == 0o600
    with pytest.raises(UsageError, match="has a line break"):
        trusted.add(tmp_path / "a\n/")


@pytest.mark.skipif(os.name == "nt", reason="links need a right there")
def test_a_link_that_is_turned_is_not_trusted(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "a")
    trusted = TrustedFolders("things")
    assert trusted.add(link) == str(tmp_path / "a") and trusted.covers(link)
    link.unlink()
    link.symlink_to(tmp_path / "b")
    assert not trusted.covers(link) and trusted.covers(tmp_path / "a")


def test_a_list_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    config.settings_dir().parent.mkdir(parents=True, exist_ok=True)
    config.settings_dir().write_text("a file")
    with pytest.raises(StorageError, match="trusted-things cannot be written"):
        TrustedFolders("things").add(tmp_path)
    assert TrustedFolders("things").all() == []
