"""Collections that others have made, or may write to: trusted by a command, refreshed with their folders named."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sqlite3
from pathlib import Path

import pytest
from command import Command
from owners import give_away, posix

from mmsearch.base.ownership import TRUSTED
from mmsearch.store.trust import CATALOG_NAME

pytestmark = posix


@pytest.fixture
def place(indexed: Path, tmp_path: Path) -> Path:
    """A collection that came from somewhere else."""
    return Path(shutil.copytree(indexed, tmp_path / "their collection"))


@pytest.fixture
def private(tmp_path: Path, sample_data: Path) -> Path:
    """A folder that its user would not hand over."""
    folder = tmp_path / "private"
    folder.mkdir()
    shutil.copy2(sample_data / "cat.jpg", folder / "secret.jpg")
    return folder


def plant(place: Path, root: Path) -> None:
    """Add a root to a collection as somebody else's program might."""
    database = sqlite3.connect(place / CATALOG_NAME, isolation_level=None)
    database.execute(
        "INSERT INTO roots (path, options, added_at) SELECT ?, options, added_at FROM roots", (os.fsencode(root),)
    )
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()


WRITERS = (["index"], ["index", "PHOTOS"], ["forget", "PHOTOS"], ["optimize"], ["reindex", "--model", "starter"])


def test_nothing_is_written_until_the_line_is_followed(
    command: Command, place: Path, private: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(place, private)
    give_away(place, monkeypatch)
    before = {path.name: path.stat().st_mtime_ns for path in (place, *place.iterdir())}
    for words in (*WRITERS, ["doctor", "--repair"]):
        outcome = command(*[photos if word == "PHOTOS" else word for word in words], "-C", place)
        assert (outcome.code, outcome.out) == (1, ""), words
        (line,) = outcome.err.splitlines()
        assert f"nothing is written to the collection at {place}: {place} belongs to " in line
    assert {path.name: path.stat().st_mtime_ns for path in (place, *place.iterdir())} == before
    assert command("query", "a cat", "-C", place, "--paths", "-k", 1).out.endswith("cat.jpg\n")

    (advice,) = re.findall(r"`mmsearch (trust .*?)`", line)
    assert command(*shlex.split(advice)).code == 0
    assert command("trust").out == f"{place}\n"
    refreshed = command("index", "-C", place)
    assert refreshed.code == 0
    named = refreshed.err.splitlines()[0]
    assert "refreshing a collection that" in named and "has made; its folders: " in named and str(private) in named
    assert str(private) in command("index", "-C", place).err.splitlines()[0], "each time: it is theirs to change"
    assert command("trust", "--remove", place).code == 0
    assert command("index", "-C", place).code == 1 and command("trust").out == ""


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777])
def test_what_others_can_write_to_can_be_closed(command: Command, place: Path, mode: int) -> None:
    place.chmod(mode)
    outcome = command("index", "-C", place)
    assert outcome.code == 1 and f"others can write to {place} (mode {mode:04o})" in outcome.err
    assert f"`chmod go-w {shlex.quote(str(place))}` closes it; " in outcome.err
    found = command("doctor", "-C", place)
    assert found.code == 1 and "others can write to" in found.out and "mmsearch trust" in found.out
    place.chmod(mode & ~0o022)
    assert command("index", "-C", place).code == 0


def test_a_shared_collection_that_is_trusted_stays_open(command: Command, place: Path) -> None:
    place.chmod(0o770)
    TRUSTED.add(place.parent)
    assert command("index", "-C", place).code == 0
    found = command("doctor", "--repair", "-C", place)
    assert found.code == 0 and "whom you trust" in found.out
    assert place.stat().st_mode & 0o777 == 0o770


def test_folders_are_named_before_they_are_read(command: Command, place: Path, private: Path, indexed: Path) -> None:
    """Of a collection that came from elsewhere, although its files are the user's own now, and that has changed."""
    first, second = command("index", "-C", place), command("index", "-C", place)
    assert "that was made or changed elsewhere; its folders: " in first.err.splitlines()[0]
    assert "elsewhere" not in second.err, "the user has been told"
    plant(place, private)
    third, fourth = command("index", "-C", place), command("index", "-C", place)
    assert str(private) in third.err.splitlines()[0] and "elsewhere" not in fourth.err
    moved = Path(shutil.move(place, place.with_name("moved")))
    assert "elsewhere" in command("index", "-C", moved).err


def test_the_users_own_folders_are_not_named(command: Command, photos: Path, private: Path, tmp_path: Path) -> None:
    place = tmp_path / "c"
    runs = [command("index", photos, "--model", "starter", "-C", place), command("index", "-C", place)]
    runs += [command("index", private, "-C", place), command("index", "-C", place)]
    runs += [command("forget", private, "-C", place), command("index", "-C", place)]
    runs += [command("index", photos, "--hidden", "-C", place), command("index", "-C", place)]
    assert [run.code for run in runs] == [0] * len(runs)
    assert not any("elsewhere" in run.err for run in runs)


def test_adding_a_folder_does_not_silence_the_warning(
    command: Command, place: Path, private: Path, photos: Path
) -> None:
    plant(place, private)
    assert "elsewhere" not in command("index", photos, "-C", place).err, "only the folder that is named is read"
    assert command("forget", photos, "-C", place).code == 0
    assert str(private) in command("index", "-C", place).err.splitlines()[0]


def test_trust_says_what_is_wrong(command: Command, tmp_path: Path) -> None:
    for arguments, told in (
        ([tmp_path / "none"], "no such folder"),
        (["--remove"], "--remove needs a folder"),
        ([tmp_path, "--remove"], "is not trusted"),
    ):
        outcome = command("trust", *arguments)
        assert outcome.code in (1, 2) and told in outcome.err and outcome.err.count("\n") == 1
    gone = tmp_path / "gone"
    gone.mkdir()
    assert command("trust", gone).code == 0
    gone.rmdir()
    assert command("trust", "--remove", gone).code == 0 and command("trust").out == ""
