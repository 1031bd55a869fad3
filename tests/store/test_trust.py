"""A collection in which others may have put something: links, pipes, other people's catalogs and logs."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from command import Command
from owners import STRANGER, as_root, give_away, posix

from mmsearch import Collection
from mmsearch.base.errors import StorageError, UntrustedError
from mmsearch.base.ownership import TRUSTED
from mmsearch.store import lock, trust
from mmsearch.store.catalog import Catalog
from mmsearch.store.trust import CATALOG_FILES, CATALOG_NAME, LOCK_NAME

pytestmark = posix

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


@pytest.fixture
def place(indexed: Path, tmp_path: Path) -> Path:
    """A collection of the test's own."""
    return Path(shutil.copytree(indexed, tmp_path / "collection"))


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """A file of the user's own that must stay as it is."""
    path = tmp_path / "precious"
    path.write_bytes(b"precious" * 100)
    return path


@pytest.mark.parametrize("name", [CATALOG_NAME, f"{CATALOG_NAME}-wal", f"{CATALOG_NAME}-shm", LOCK_NAME])
@pytest.mark.parametrize("trusted", [False, True])
def test_links_are_opened_by_nobody(command: Command, place: Path, precious: Path, name: str, trusted: bool) -> None:
    (place / name).unlink(missing_ok=True)
    (place / name).symlink_to(precious)
    if trusted:
        TRUSTED.add(place)
    for arguments in (["index"], ["optimize"], ["doctor", "--repair"]):
        outcome = command(*arguments, "-C", place)
        assert (outcome.code, outcome.out) == (1, ""), arguments
        assert outcome.err == f"mmsearch: {place / name} is a link, and is not opened; " + (
            "remove it, or put the file itself there\n"
        )
    assert command("query", "a cat", "-C", place).code == (0 if name == LOCK_NAME else 1)
    assert precious.read_bytes() == b"precious" * 100


def test_a_link_to_nothing_makes_nothing(command: Command, photos: Path, tmp_path: Path) -> None:
    place, target = tmp_path / "c", tmp_path / "target"
    place.mkdir(0o700)
    for name in (CATALOG_NAME, LOCK_NAME):
        (place / name).symlink_to(target)
        assert command("index", photos, "--model", "starter", "-C", place).code == 1
        assert not target.exists() and (place / name).is_symlink()
        (place / name).unlink()


@pytest.mark.parametrize("name", [CATALOG_NAME, LOCK_NAME])
def test_a_pipe_holds_nobody_up(command: Command, place: Path, name: str) -> None:
    (place / name).unlink(missing_ok=True)
    os.mkfifo(place / name, 0o600)
    outcome = command("index", "-C", place)
    assert outcome.code == 1 and f"{place / name} is not a file" in outcome.err
    assert command("query", "a cat", "-C", place).code == (0 if name == LOCK_NAME else 1)


def link_to_a_file(note: Path, precious: Path) -> None:
    note.symlink_to(precious)


def link_to_a_note(note: Path, precious: Path) -> None:
    precious.write_text('{"command": "index", "pid": 1, "since": "2026-01-01T00:00:00+00:00", "host": "here"}')
    note.symlink_to(precious)


def link_to_nothing(note: Path, precious: Path) -> None:
    precious.unlink()
    note.symlink_to(precious)


def pipe(note: Path, precious: Path) -> None:
    os.mkfifo(note)


def users_file(note: Path, precious: Path) -> None:
    note.write_text('{"novel": "chapter one"}')
    note.chmod(0o600)


@pytest.mark.parametrize("plant", [link_to_a_file, link_to_a_note, link_to_nothing, pipe, users_file])
def test_the_note_of_the_writer_destroys_nothing(
    command: Command, place: Path, precious: Path, plant: Callable[[Path, Path], None]
) -> None:
    note = place / lock.HOLDER_NAME
    note.unlink(missing_ok=True)
    plant(note, precious)
    before = precious.read_bytes() if precious.exists() else None
    own = note.read_bytes() if plant is users_file else None
    assert command("index", "-C", place).code == 0
    assert command("doctor", "-C", place).code == 0
    assert (precious.read_bytes() if precious.exists() else None) == before
    assert own is None or note.read_bytes() == own


def test_a_collection_of_others_is_read_and_not_written_to(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for ending in ("-wal", "-shm"):
        (place / f"{CATALOG_NAME}{ending}").unlink(missing_ok=True)
    give_away(place, monkeypatch)
    before = {path.name: path.stat().st_mtime_ns for path in (place, *place.iterdir())}
    with Collection.open(place) as collection:
        assert len(collection.search("a cat", k=3)) == 3 and collection.info().images == 24
        assert [finding.check for finding in collection.doctor() if not finding.ok] == ["permissions"]
        for write in (collection.add, collection.optimize, lambda: list(collection.doctor(repair=True))):
            with pytest.raises(UntrustedError, match=r"belongs to .*`mmsearch trust "):
                write()
    with pytest.raises(UntrustedError), Catalog(place, write=True):
        pass
    assert {path.name: path.stat().st_mtime_ns for path in (place, *place.iterdir())} == before


@pytest.mark.parametrize("name", CATALOG_FILES)
def test_a_file_that_others_can_write_to_counts_as_the_folder(place: Path, name: str) -> None:
    (place / name).touch(0o600)
    assert trust.doubt(place) is None
    (place / name).chmod(0o660)
    with pytest.raises(UntrustedError, match=f"others can write to .*{name} .mode 0660.; `chmod go-w .*{name}` closes"):
        trust.require(place)
    TRUSTED.add(place.parent)
    assert trust.doubt(place) is None


@as_root
@pytest.mark.parametrize("name", CATALOG_FILES)
def test_a_log_that_somebody_else_has_left_counts_too(place: Path, name: str) -> None:
    (place / name).touch(0o600)
    os.chown(place / name, STRANGER, STRANGER)
    with pytest.raises(UntrustedError, match=f"{name} belongs to user {STRANGER}"), lock.writer(place):
        pass


def test_the_log_of_somebody_elses_run_is_read(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the run goes on, and with its index of the log or without."""
    database = sqlite3.connect(place / CATALOG_NAME, isolation_level=None)
    try:
        database.execute("PRAGMA wal_autocheckpoint = 0")
        database.execute("DELETE FROM images WHERE name = CAST('cat.jpg' AS BLOB)")
        left = Path(shutil.copytree(place, tmp_path / "left"))
        give_away(tmp_path / "left", monkeypatch)
        give_away(place, monkeypatch)
        for folder in (place, left):
            shared = (folder / f"{CATALOG_NAME}-shm").read_bytes()
            names = sorted(os.listdir(folder))
            with Collection.open(folder) as collection:
                found = [os.path.basename(hit.path) for hit in collection.search("a cat", k=24)]
            assert len(found) == 23 and "cat.jpg" not in found
            assert sorted(os.listdir(folder)) == names
            assert folder == place or (folder / f"{CATALOG_NAME}-shm").read_bytes() == shared
    finally:
        database.close()
    (left / f"{CATALOG_NAME}-shm").unlink()
    with Collection.open(left) as collection:
        with pytest.raises(UntrustedError, match=r"copied during a run.*belongs to .*`mmsearch trust"):
            collection.search("a cat")
        TRUSTED.add(left)
        assert len(collection.search("a cat", k=24)) == 23


def test_an_older_collection_of_others_is_not_migrated(tmp_path: Path) -> None:
    place = Path(shutil.copytree(GOLDEN / "v1", tmp_path / "old"))
    place.chmod(0o777)
    before = (place / CATALOG_NAME).read_bytes()
    with pytest.raises(UntrustedError, match="nothing is written to"), Catalog(place, write=False):
        pass
    assert (place / CATALOG_NAME).read_bytes() == before


def test_a_salvage_clears_what_others_have_left_and_nothing_else(place: Path, tmp_path: Path) -> None:
    """Only folders of the name that it gives them; what a link in their place leads to stays."""
    from mmsearch.store.salvage import salvage

    other = tmp_path / "other"
    for folder in (other, place / "recovered", place / ".recovering-killed"):
        folder.mkdir()
        (folder / CATALOG_NAME).write_bytes(b"precious")
    (place / ".recovering-link").symlink_to(other)
    (place / ".recovering-file").symlink_to(other / CATALOG_NAME)
    images, kept = salvage(place)
    assert images == 24 and (place / kept).exists()
    left = {path.name for path in place.iterdir() if "recover" in path.name}
    assert left == {"recovered", ".recovering-link", ".recovering-file"}
    assert (other / CATALOG_NAME).read_bytes() == (place / "recovered" / CATALOG_NAME).read_bytes() == b"precious"
    with Collection.open(place) as collection:
        assert collection.info().images == 24


def test_captions_are_not_written_through_a_link(place: Path, precious: Path) -> None:
    from mmsearch.evaluating import labels

    with Collection.open(place) as collection:
        record = collection.search("a cat", k=1)[0].image
    (place / labels.FILE_NAME).symlink_to(precious)
    with pytest.raises(StorageError, match="a link is in its place"):
        labels.append(place, record, "a cat")
    assert precious.read_bytes() == b"precious" * 100
    (place / labels.FILE_NAME).unlink()
    place.chmod(0o777)
    with pytest.raises(UntrustedError):
        labels.append(place, record, "a cat")
    assert not (place / labels.FILE_NAME).exists()
