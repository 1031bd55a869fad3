"""What every connection is told: the file is distrusted, and Ctrl-C ends whatever SQLite does."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from mmsearch.base.errors import MMSearchError, StorageError
from mmsearch.base.records import FileRecord, ImageFacts
from mmsearch.store import connection
from mmsearch.store.catalog import Catalog
from mmsearch.store.distance import distance

# Seconds; SQLite waits for a lock 30 times as long.
_PROMPT = 5.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with Catalog(tmp_path / "place", write=True):
        pass
    return tmp_path / "place"


@pytest.mark.parametrize("write", [True, False])
def test_settings_for_files_that_are_not_trusted(folder: Path, write: bool) -> None:
    with Catalog(folder, write=write) as catalog:
        names = ("trusted_schema", "cell_size_check", "foreign_keys")
        assert [catalog.database.one(f"PRAGMA {name}")[0] for name in names] == [0, 1, 1]
        assert catalog.database.one("PRAGMA mmap_size") in (None, (0,))
        with pytest.raises(MMSearchError, match="too big"):
            catalog.database.one("SELECT length(zeroblob(100000000))")


def test_the_inner_workings_of_the_file_stay_as_they_are(folder: Path) -> None:
    with Catalog(folder, write=True) as catalog:
        with pytest.raises(StorageError, match=r"not authorized|may not be modified"):
            catalog.database.one("PRAGMA writable_schema = ON")
            catalog.database.run("DELETE FROM sqlite_schema")
        assert catalog.files.count() == 0


def test_a_trigger_that_comes_while_a_catalog_is_open_does_nothing(folder: Path) -> None:
    with Catalog(folder, write=True) as catalog:
        with closing(sqlite3.connect(folder / connection.CATALOG_NAME)) as other:
            other.execute(
                "CREATE TRIGGER evil AFTER INSERT ON contents BEGIN"
                " INSERT INTO meta (key, value) VALUES ('x', 'y'); END"
            )
        try:
            with catalog.transaction():
                catalog.contents.add(b"0" * 16, ImageFacts(4, 3, "PNG"))
        except StorageError as error:  # before Python 3.12
            assert "not authorized" in error.message
        assert catalog.database.meta("x") is None


def test_references_are_followed_all_the_same(folder: Path) -> None:
    """What SQLite does on the part of a foreign key it does by a trigger of its own."""
    with Catalog(folder, write=True) as catalog, catalog.transaction():
        catalog.database.create_embeddings_table(1)
        number = catalog.contents.add(b"0" * 16, ImageFacts(4, 3, "PNG"))
        catalog.database.run("INSERT INTO embeddings_1 (content_id, vector) VALUES (?, x'00')", (number,))
        catalog.files.put_image(FileRecord("/p/a.png", 1, 1), number)
        catalog.files.remove("/p/a.png")
        assert catalog.contents.drop_released() == 1
        assert catalog.embeddings.count(1) == 0


ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)"


_CHILD = """
import pathlib, sys
from mmsearch.store.catalog import Catalog
print("begun", flush=True)
try:
    Catalog(pathlib.Path(sys.argv[1]), write=False).database.one(sys.argv[2])
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="a signal to another process ends it there")
@pytest.mark.parametrize(
    "sql", [f"{ENDLESS} SELECT sum(x) FROM n", f"{ENDLESS} SELECT sum(distance_km(x % 90, 1.0, 2.0, 3.0)) FROM n"]
)
def test_ctrl_c_ends_a_statement(folder: Path, sql: str) -> None:
    interrupted(folder, sql)


@pytest.mark.skipif(sys.platform == "win32", reason="a signal to another process ends it there")
def test_ctrl_c_ends_waiting_for_a_lock(folder: Path) -> None:
    with closing(sqlite3.connect(folder / connection.CATALOG_NAME, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN IMMEDIATE")
        other.execute("INSERT INTO meta (key, value) VALUES ('a', 'b')")
        interrupted(folder, "SELECT 1")


def interrupted(folder: Path, sql: str) -> None:
    """Have another process run a statement that takes for ever, and interrupt it."""
    arguments = [sys.executable, "-c", _CHILD, str(folder), sql]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        try:
            assert child.stdout.readline() == "begun\n"
            time.sleep(0.3)
            started = time.monotonic()
            child.send_signal(signal.SIGINT)
            assert child.stdout.readline() == "interrupted\n"
            assert time.monotonic() - started < _PROMPT
        finally:
            child.kill()


@pytest.mark.parametrize("number", [float("inf"), float("-inf"), float("nan"), 1e308, -1e308])
def test_no_number_is_too_odd_for_a_distance(number: float) -> None:
    for place in ((number, 1.0), (1.0, number)):
        found = distance(*place, 2.0, 3.0)
        assert found is None or 0 <= found < 20_100
