"""Whose files these are, and what is cleaned away: only this user's, of our own names, never through links."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from owners import STRANGER, as_root, give_away, posix

from mmsearch.base import cache, config, ownership
from mmsearch.base.cleaning import is_ours, ours, remove_ours
from mmsearch.base.errors import UntrustedError

pytestmark = posix

NAMES = re.compile(r"[0-9a-f]{4}\.json")


def test_what_is_the_users_own_is_not_doubted(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch(0o600)
    link = tmp_path / "link"
    link.symlink_to(file)
    for path in (tmp_path, file, link, tmp_path / "none"):
        assert ownership.doubt(path) is None
    tmp_path.chmod(0o755)
    assert ownership.doubt(tmp_path) is None, "others may read"


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o720, 0o702, 0o1777, 0o2775])
def test_what_others_can_write_to_is_doubted(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    folder.chmod(mode)
    assert str(ownership.doubt(folder)) == f"others can write to {folder} (mode {mode:04o})"
    link = tmp_path / "link"
    link.symlink_to(folder)
    assert ownership.doubt(link), "a link is what it leads to"


def test_what_belongs_to_others_is_doubted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    give_away(folder, monkeypatch)
    assert str(ownership.doubt(folder)).startswith(f"{folder} belongs to ")


@as_root
def test_a_strangers_link_to_the_users_own_folder_is_doubted(tmp_path: Path) -> None:
    """As in /tmp, where everybody can make one."""
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    os.lchown(link, STRANGER, STRANGER)
    assert str(ownership.doubt(link)) == f"{link} belongs to user {STRANGER}"


@as_root
def test_what_belongs_to_root_is_not_doubted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: STRANGER)
    assert ownership.doubt(tmp_path) is None
    tmp_path.chmod(0o777)
    assert ownership.doubt(tmp_path)


def test_where_there_are_no_owners_nothing_is_doubted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o777)
    monkeypatch.setattr(ownership, "HAS_OWNERS", False)
    assert ownership.doubt(tmp_path) is None and ownership.is_this_users(os.stat(tmp_path))


def test_clean_ups_find_only_what_is_ours(tmp_path: Path) -> None:
    for name in ("aaaa.json", "bbbb.json", "holiday.json", "aaaa.json.bak"):
        (tmp_path / name).touch()
    (tmp_path / "cccc.json").symlink_to(tmp_path / "holiday.json")
    (tmp_path / "dddd.json").symlink_to(tmp_path / "nowhere")
    assert [path.name for path in ours(tmp_path, NAMES)] == ["aaaa.json", "bbbb.json"]
    assert list(ours(tmp_path / "none", NAMES)) == []


def test_clean_ups_do_not_go_through_a_folder_that_is_a_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    (real / "aaaa.json").touch()
    link.symlink_to(real)
    assert list(ours(link, NAMES)) == []
    assert [path.name for path in ours(link, NAMES, through_links=True)] == ["aaaa.json"]
    assert not remove_ours(link / "aaaa.json") and (real / "aaaa.json").exists()
    assert remove_ours(link / "aaaa.json", through_links=True) and not (real / "aaaa.json").exists()


def test_clean_ups_leave_what_is_a_strangers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "aaaa.json").touch()
    give_away(folder, monkeypatch)
    assert list(ours(folder, NAMES)) == []
    assert not remove_ours(folder / "aaaa.json") and not remove_ours(folder) and (folder / "aaaa.json").exists()


def test_what_is_removed_goes_whole_and_links_in_it_lead_nowhere(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    folder = tmp_path / "folder"
    (folder / "below").mkdir(parents=True)
    (folder / "below" / "link").symlink_to(precious)
    link = tmp_path / "link"
    link.symlink_to(precious)
    assert remove_ours(folder) and not folder.exists() and (precious / "file").exists()
    assert not is_ours(link) and not remove_ours(link) and link.is_symlink() and (precious / "file").exists()
    assert not remove_ours(tmp_path / "none")


def test_a_cache_of_others_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    top = config.cache_dir()
    assert cache.made_folder("answers") == top / "answers" == cache.own_folder("answers")
    top.chmod(0o770)
    assert cache.own_folder("answers") is None
    with pytest.raises(UntrustedError, match=r"the cache is not used: others can write .*chmod go-w .*mmsearch trust"):
        cache.made_folder("other")
    assert not (top / "other").exists()
    ownership.TRUSTED.add(top)
    assert cache.made_folder("other").is_dir()
    ownership.TRUSTED.remove(top)
    monkeypatch.setenv("MMSEARCH_TRUSTED", os.pathsep.join(["", "/none", str(top.parent)]))
    assert cache.own_folder("other")
    monkeypatch.setenv("MMSEARCH_TRUSTED", os.pathsep.join(["", f"{top}-2"]))
    assert cache.own_folder("other") is None
    top.chmod(0o700)
    (top / "answers").chmod(0o777)
    assert cache.own_folder("answers") is None and cache.own_folder("other") == top / "other"
    (top / "answers").chmod(0o700)
    give_away(top, monkeypatch)
    with pytest.raises(UntrustedError, match=r"belongs to [^;]*; if you trust all who can write there, `mmsearch"):
        cache.folder("answers")
