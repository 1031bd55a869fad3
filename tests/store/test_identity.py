"""What opens as a catalog: databases of other programs are left alone, definitions of strangers are not run."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from command import Command

from mmsearch.base.errors import StorageError
from mmsearch.base.records import FileRecord, ImageFacts
from mmsearch.store import connection, schema
from mmsearch.store.catalog import Catalog
from mmsearch.store.salvage import salvage

SAMPLE_DATA = Path(__file__).resolve().parents[2] / "sample_data"
EVERY_COMMAND = (
    "query cat", "info", "index", "index {photos}", "forget /", "optimize", "doctor", "doctor --repair",
    "reindex --model starter",
)  # fmt: skip


def changed(folder: Path, script: str) -> None:
    """Change the database in a folder as any program could, through SQLite."""
    with closing(sqlite3.connect(folder / connection.CATALOG_NAME, isolation_level=None)) as database:
        for statement in script.split(";;"):
            database.execute(statement)


def contents_of(folder: Path) -> dict[str, bytes]:
    """What lies in a folder, but for the index of a log that a process has left: it is memory, not data."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith("-shm")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A collection with an image."""
    with Catalog(tmp_path / "place", write=True) as catalog, catalog.transaction():
        content = catalog.contents.add(b"0" * 16, ImageFacts(4, 3, "PNG"))
        catalog.files.put_image(FileRecord("/p/a.png", 1, 1), content)
    return tmp_path / "place"


# --- databases of other programs ---

FOREIGN = {
    "tables": "CREATE TABLE places (name)",
    "an id": "PRAGMA application_id = 77",
    "a version": "PRAGMA user_version = 5",
    "a log": "PRAGMA journal_mode = WAL;; CREATE TABLE places (name)",
    "a ledger of its own": "CREATE TABLE migrations (version INTEGER);; INSERT INTO migrations VALUES (1)",
    "our tables under its id": "PRAGMA application_id = 77;; "
    + ";; ".join(schema._statements(schema.MIGRATIONS[0][1])),
}


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("write", [True, False])
def test_a_database_of_another_program_is_left_alone(tmp_path: Path, kind: str, write: bool) -> None:
    changed(tmp_path, FOREIGN[kind])
    before = contents_of(tmp_path)
    with pytest.raises(StorageError, match=r"catalog.sqlite3 is the database of another program; choose another place"):
        Catalog(tmp_path, write=write)
    assert contents_of(tmp_path) == before


@pytest.mark.parametrize("arguments", EVERY_COMMAND)
@pytest.mark.parametrize("kind", ["tables", "no database at all"])
def test_no_command_makes_a_file_beside_it(command: Command, tmp_path: Path, arguments: str, kind: str) -> None:
    place = tmp_path / "place"
    place.mkdir(mode=0o755)
    if kind in FOREIGN:
        changed(place, FOREIGN[kind])
    else:
        (place / connection.CATALOG_NAME).write_bytes(b"enciphered, perhaps " * 300)
    before = contents_of(place)
    outcome = command(*(word.format(photos=SAMPLE_DATA) for word in arguments.split()), "-C", place)
    assert outcome.code == 1 and len(outcome.err.splitlines()) == 1
    assert ("another program" if kind in FOREIGN else "not a database") in outcome.err
    assert contents_of(place) == before
    assert place.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("write", [True, False])
def test_what_another_program_has_in_its_log_only_stays_there(tmp_path: Path, write: bool) -> None:
    script = "import sqlite3, os, sys; database = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
    script += "database.execute('PRAGMA journal_mode = WAL').fetchall()\n"
    script += "database.execute('CREATE TABLE places (name)')\nos._exit(0)"
    subprocess.run([sys.executable, "-c", script, tmp_path / connection.CATALOG_NAME], check=True)
    before = contents_of(tmp_path)
    assert len(before) == 2
    with pytest.raises(StorageError, match="another program"):
        Catalog(tmp_path, write=write)
    assert contents_of(tmp_path) == before


def test_an_empty_file_becomes_a_catalog(tmp_path: Path) -> None:
    (tmp_path / connection.CATALOG_NAME).touch()
    with Catalog(tmp_path, write=False) as catalog:
        assert catalog.files.count() == 0


# --- ours ---


@pytest.mark.parametrize("lost", ["PRAGMA application_id = 0", "PRAGMA application_id = 0;; PRAGMA user_version = 0"])
def test_a_catalog_without_its_id_is_known_by_its_ledger_and_given_it(folder: Path, lost: str) -> None:
    """A copy by `.dump` has neither id nor version."""
    changed(folder, lost)
    with Catalog(folder, write=False) as catalog:
        assert catalog.files.count() == 1
        assert catalog.database.one("PRAGMA application_id") == (0,), "reading writes nothing"
    with Catalog(folder, write=True) as catalog:
        assert catalog.database.one("PRAGMA application_id") == (schema.APPLICATION_ID,)
        assert catalog.database.one("PRAGMA user_version") == (schema.VERSION,)
        assert catalog.database.count("SELECT count(*) FROM migrations") == schema.VERSION
        assert catalog.files.count() == 1


def test_what_sqlite_makes_itself_is_no_strangers(folder: Path) -> None:
    changed(folder, "ANALYZE")
    with Catalog(folder, write=True) as catalog:
        assert catalog.files.count() == 1


STRANGE = {
    "trigger 'images'": "CREATE TRIGGER images AFTER INSERT ON images BEGIN DELETE FROM contents; END",
    "view 'recent'": "CREATE VIEW recent AS SELECT * FROM images",
    "index 'evil'": "CREATE INDEX evil ON images (hex(name))",
    "table 'notes'": "CREATE TABLE notes (text)",
    "table 'embeddings_01'": "CREATE TABLE embeddings_01 (content_id INTEGER PRIMARY KEY, vector BLOB NOT NULL) STRICT",
    "table 'embeddings_7'": "CREATE TABLE embeddings_7 (content_id INTEGER PRIMARY KEY, vector BLOB AS (x'00')) STRICT",
    "table 'meta'": "ALTER TABLE meta ADD COLUMN extra TEXT AS (key || value)",
    "table 'released'": "DROP TABLE released;; CREATE VIEW released AS SELECT 1 AS content_id",
    "index 'images_by_content'": "DROP INDEX images_by_content",
}


@pytest.mark.parametrize("what", STRANGE)
@pytest.mark.parametrize("write", [True, False])
def test_definitions_that_are_not_ours_are_refused(folder: Path, what: str, write: bool) -> None:
    changed(folder, STRANGE[what])
    before = (folder / connection.CATALOG_NAME).read_bytes()
    with pytest.raises(StorageError, match=f"the {what}; `mmsearch doctor --repair` takes it out, or copies"):
        Catalog(folder, write=write)
    assert (folder / connection.CATALOG_NAME).read_bytes() == before


@pytest.mark.parametrize("what", STRANGE)
def test_what_is_ours_is_saved_from_beside_them(folder: Path, what: str) -> None:
    changed(folder, STRANGE[what])
    assert salvage(folder)[0] == 1
    with Catalog(folder, write=True) as catalog:
        assert catalog.files.at("/p/a.png")


def test_a_view_in_the_place_of_a_table_is_not_read(folder: Path) -> None:
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x AS content_id FROM n"
    changed(folder, f"DROP TABLE roots;; CREATE VIEW roots AS {endless}")
    assert salvage(folder)[0] == 1


def test_a_catalog_of_an_earlier_schema_is_saved_whole(tmp_path: Path) -> None:
    golden = Path(__file__).resolve().parents[1] / "golden" / "v1" / connection.CATALOG_NAME
    shutil.copy(golden, tmp_path)
    with closing(sqlite3.connect(golden)) as database:
        images = database.execute("SELECT count(*) FROM images").fetchone()[0]
        embeddings = database.execute("SELECT count(*) FROM embeddings_1").fetchone()[0]
    assert salvage(tmp_path)[0] == images > 0
    with Catalog(tmp_path, write=True) as catalog:
        assert catalog.embeddings.count(1) == embeddings > 0
