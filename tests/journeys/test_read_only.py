"""Collections in folders that cannot be written: read them, say clearly why not where something has to be written."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from modes import run_obeying_modes

from mmsearch import Collection
from mmsearch.store.connection import CATALOG_NAME

pytestmark = pytest.mark.skipif(os.name == "nt", reason="modes are of POSIX")

SEARCH = ("query", "a cat", "-k", "3", "--jsonl", "-C")


@pytest.fixture
def place(indexed: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of a collection; whatever a test does to its modes is undone."""
    folder = Path(shutil.copytree(indexed, tmp_path / "collection"))
    for path in folder.glob(f"{CATALOG_NAME}-*"):
        path.unlink()
    yield folder
    folder.chmod(0o700)


def forbid_writing(folder: Path) -> None:
    for path in folder.iterdir():
        path.chmod(0o400)
    folder.chmod(0o500)


def with_log(place: Path, tmp_path: Path) -> Path:
    """A copy as a killed process leaves it: the last changes are in the log only."""
    database = sqlite3.connect(place / CATALOG_NAME, isolation_level=None)
    try:
        database.execute("PRAGMA wal_autocheckpoint = 0")
        database.execute("DELETE FROM images WHERE name = CAST('cat.jpg' AS BLOB)")
        return Path(shutil.copytree(place, tmp_path / "copy"))
    finally:
        database.close()


def test_it_can_be_searched_and_looked_at(place: Path, indexed: Path) -> None:
    forbid_writing(place)
    before = sorted(path.name for path in place.iterdir())
    found = run_obeying_modes(*SEARCH, place)
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout == run_obeying_modes(*SEARCH, indexed).stdout
    for command in ("info", "doctor"):
        outcome = run_obeying_modes(command, "-C", place)
        assert (outcome.returncode, outcome.stderr) == (0, "")
    assert sorted(path.name for path in place.iterdir()) == before


@pytest.mark.parametrize("command", [["index"], ["forget", "/"], ["optimize"], ["doctor", "--repair"]])
def test_what_has_to_write_says_why_it_cannot(place: Path, command: list[str]) -> None:
    forbid_writing(place)
    outcome = run_obeying_modes(*command, "-C", place)
    assert (outcome.returncode, outcome.stdout) == (1, "")
    (line,) = outcome.stderr.splitlines()
    assert line.startswith("mmsearch: no permission to write to") and str(place) in line and "-C" in line


def test_a_log_that_a_killed_run_has_left_is_read(place: Path, tmp_path: Path) -> None:
    copy = with_log(place, tmp_path)
    forbid_writing(copy)
    found = run_obeying_modes(*SEARCH, copy)
    assert (found.returncode, found.stderr) == (0, "")
    assert "cat.jpg" not in found.stdout, "the log counts"
    assert len(found.stdout.splitlines()) == 3
    copy.chmod(0o700)


def test_a_log_without_its_index_is_refused_in_plain_words(place: Path, tmp_path: Path) -> None:
    copy = with_log(place, tmp_path)
    (copy / f"{CATALOG_NAME}-shm").unlink()
    forbid_writing(copy)
    outcome = run_obeying_modes(*SEARCH, copy)
    copy.chmod(0o700)
    assert outcome.returncode == 1
    (line,) = outcome.stderr.splitlines()
    assert "copied during a run, to a place that cannot be written" in line and str(copy) in line
    assert run_obeying_modes(*SEARCH, copy).returncode == 0, "where it can be written it is read"


def test_a_folder_that_becomes_unwritable_in_the_middle(photos: Path, tmp_path: Path) -> None:
    """The files that are open stay so; the vector file cannot be made. What is stored is kept, and the next run ends
    it.
    """
    place = tmp_path / "collection"
    run = "import os, sys\nfrom mmsearch.indexing import pipeline\nfrom mmsearch.cli.main import main\n"
    run += "real = pipeline.Indexer._close\n"
    run += "def close(self, *a):\n    os.chmod(self._catalog.folder, 0o500)\n    return real(self, *a)\n"
    run += "pipeline.Indexer._close = close\nmain()\n"
    outcome = run_obeying_modes("index", photos, "--model", "starter", "-C", place, code=run)
    assert outcome.returncode == 1
    assert "cannot write the vector file" in outcome.stderr and "run the command again" in outcome.stderr
    assert run_obeying_modes("info", "-C", place).returncode == 0
    assert len(run_obeying_modes("query", "a cat", "-C", place, "--paths", "-k", 100).stdout.splitlines()) == 24
    place.chmod(0o700)
    with Collection.open(place) as collection:
        summary = collection.add()
        assert (summary.encoded, summary.unchanged) == (0, 24)
        assert all(finding.ok for finding in collection.doctor())
