"""Checksums: every way of writing leaves one, a flipped bit is found and put right, older catalogs get theirs."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from catalogs import edited
from command import Command
from hypothesis import given
from hypothesis import strategies as st

from mmsearch import Collection
from mmsearch.base.errors import StorageError
from mmsearch.base.records import EncoderInfo, FileRecord, ImageFacts, Preprocess, ScanOptions
from mmsearch.store import bits, checksums, filling, rows, rules, schema
from mmsearch.store.catalog import Catalog, VectorFile
from mmsearch.store.repair import Checks
from mmsearch.store.salvage import salvage

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
INFO = EncoderInfo("starter", "f00d", 4, Preprocess(size=32, resize=36))
VECTOR = np.array([0.5, -0.5, 0.5, 0.5], np.float32)


def all_damages(catalog: Catalog) -> list[str]:
    tables = [table for table in rules.RULES if table != "embeddings"]
    found = [str(damage) for table in tables for damage in rows.damages(catalog, table)]
    return found + [
        f"embedding {number}" for one in catalog.encoders.all() for number in Checks(catalog).damaged_embeddings(one)
    ]


@pytest.fixture
def catalog(tmp_path: Path) -> Any:
    with Catalog(tmp_path / "c", write=True) as opened:
        yield opened


def fill(catalog: Catalog) -> None:
    """One row at least in every table."""
    with catalog.transaction():
        encoder = catalog.encoders.start_with(INFO)
        catalog.encoders.begin(EncoderInfo("clip", "beef", 8, Preprocess(size=224, resize=224)))
        for path in ("/p", "/q"):
            catalog.roots.put(path, ScanOptions(exclude=("*.é", "x")))
        catalog.roots.put("/p", ScanOptions(hidden=True))
        catalog.roots.set_offline(["/q"], ["/p"])
        for number, facts in enumerate(
            [
                ImageFacts(1, 2, "JPEG"),
                ImageFacts(3, 4, "PNG", "2020-02-03T04:05:06", "Größe", 5, -7.5),  # a whole number of degrees
            ]
        ):
            content = catalog.contents.add(bytes([number]) * 16, facts)
            catalog.embeddings.put(encoder.id, content, VECTOR)
            catalog.files.put_image(FileRecord(f"/p/{number}\udcff", 5, -1), content)
        catalog.files.put_image(FileRecord("/p/1\udcff", 6, 10**18), 1)
        catalog.files.put_image(FileRecord("/p/2", 6, 10**18), 2)
        catalog.files.put_failure(FileRecord("/p/bad", 0, 3), "why 🐈\n", ignored=False, retry=True)
        catalog.files.put_failure(FileRecord("/p/text", 0, 3), "", ignored=True, retry=False)
        name, digest = f"vectors-{'0123' * 8}.faiss", "beef"
        catalog.vector_files.put(encoder.id, VectorFile("main", name, 0, 2, 2, 0, "flat", 0, 0, 9, 9, digest, digest))
    with catalog.transaction():
        catalog.add_run("2024-01-01T00:00:00+00:00", {"new": 2, "seconds": 1.5})
        catalog.files.remove("/p/0\udcff")
        catalog.contents.drop_released()
        catalog.encoders.switch_to(2)
        catalog.encoders.switch_to(1)


def test_all_ways_of_writing_leave_sound_rows(catalog: Catalog) -> None:
    fill(catalog)
    assert all_damages(catalog) == []
    for table in rules.RULES:
        name = "embeddings_1" if table == "embeddings" else table
        assert catalog.database.count(f"SELECT count(*) FROM {name}") or table == "released"
        if table in checksums.COVERED or table == "embeddings":
            assert not catalog.database.count(f"SELECT count(*) FROM {name} WHERE checksum IS NULL")


def test_every_column_has_its_rule(catalog: Catalog) -> None:
    fill(catalog)
    told = {table: set(columns) for table, columns in rules.RULES.items()}
    there = {}
    for (name,) in catalog.database.all(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name != 'sqlite_sequence'"
    ):
        columns = {row[1] for row in catalog.database.all(f"PRAGMA table_info({name})")}
        there["embeddings" if name.startswith("embeddings_") else name] = columns
    assert told == there
    assert all(set(covered) <= told[table] for table, covered in checksums.COVERED.items())


@pytest.mark.parametrize("table", [table for table in rules.RULES if table not in ("embeddings", "vector_files")])
def test_a_value_of_any_other_kind_breaks_a_rule(table: str) -> None:
    """No rule takes everything, but for numbers that may be any."""
    hostile = [
        None,
        -(2**63),
        2**63 - 1,
        float("inf"),
        float("nan"),
        "\udcff",
        "x" * 5000,
        b"../x",
        b"",
        b"\0",
        "[]",
        "{",
    ]
    for name, rule in rules.RULES[table].items():
        wrong = [value for value in hostile if not rule.holds(value)]
        assert len(wrong) >= 8, (table, name)


@given(st.data())
def test_one_flipped_bit_is_found_and_put_right(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["hash", "width", "format", "camera", "latitude", "checksum"]))
    row = {
        "hash": bytes(range(16)), "width": 4000, "height": 3000, "format": "JPEG", "taken_at": None,
        "camera": "Größe 1", "latitude": 48.25, "longitude": -0.5,
    }  # fmt: skip
    checksum = checksums.of_row(*row.values())
    before = checksum if name == "checksum" else row[name]
    flipped = flip(before, data)
    damaged = row if name == "checksum" else {**row, name: flipped}
    told = flipped if name == "checksum" else checksum
    assert checksums.of_row(*damaged.values()) != told
    assert bits.written_row(damaged, told, lambda column, value: True) == (name, before)


@given(st.binary(min_size=2, max_size=64), st.integers(1, 2**40), st.data())
def test_one_flipped_bit_of_an_embedding_is_put_right(vector: bytes, number: int, data: st.DataObject) -> None:
    checksum = checksums.of_vector(number, vector)
    damaged = flip(vector, data)
    assert checksums.of_vector(number, damaged) != checksum != checksums.of_vector(number + 1, vector)
    assert bits.written_vector(number, damaged, checksum) == vector
    assert bits.written_vector(number, vector, flip(checksum, data, 32)) == vector
    assert bits.written_vector(number, vector[::-1] + b"x", checksum) is None


def flip(value: Any, data: st.DataObject, width: int = 31) -> Any:
    """The same with one bit flipped."""
    if isinstance(value, int):
        return value ^ (1 << data.draw(st.integers(0, width - 1)))
    raw = (
        struct.pack("<d", value) if isinstance(value, float) else value if isinstance(value, bytes) else value.encode()
    )
    place, bit = data.draw(st.integers(0, len(raw) - 1)), data.draw(st.integers(0, 7))
    raw = raw[:place] + bytes([raw[place] ^ 1 << bit]) + raw[place + 1 :]
    if isinstance(value, float):
        return struct.unpack("<d", raw)[0]
    return raw if isinstance(value, bytes) else raw.decode("utf-8", "surrogateescape")


def test_a_damaged_embedding_is_seen_when_it_is_read(catalog: Catalog) -> None:
    fill(catalog)
    encoder = catalog.encoders.current()
    assert encoder is not None
    assert catalog.embeddings.of(encoder, [1, 2])[0].tolist() == [1, 2]
    with catalog.transaction():
        catalog.database.run("UPDATE embeddings_1 SET vector = zeroblob(8) WHERE content_id = 2")
    assert catalog.embeddings.of(encoder, [1])[0].tolist() == [1]
    with pytest.raises(StorageError, match="doctor --repair"):
        catalog.embeddings.of(encoder, [1, 2])


def define(folder: Path, table: str, sql: str) -> None:
    """Change what a table is said to be, not what it holds."""
    with edited(folder) as database:
        database.execute("PRAGMA writable_schema = ON")
        database.execute("UPDATE sqlite_schema SET sql = ? WHERE name = ?", (sql, table))


@pytest.mark.parametrize(
    "table", ["images", "contents", "folders", "roots", "encoders", "vector_files", "runs", "failures"]
)
def test_a_row_that_holds_anything_is_an_error_in_words(catalog: Catalog, table: str) -> None:
    """As after a flip in the head of its record, which says what types its columns have."""
    fill(catalog)
    sql = catalog.database.one("SELECT sql FROM sqlite_schema WHERE name = ?", (table,))[0]
    catalog.close()
    loose = sql.replace(" NOT NULL", "").replace("STRICT, WITHOUT", "WITHOUT").replace(") STRICT", ")")
    define(catalog.folder, table, loose)
    with edited(catalog.folder) as database:
        keys = ("id", "folder_id", "encoder_id", "content_id", "part", "checksum")
        for row in database.execute(f"PRAGMA table_info({table})").fetchall():
            if row[1] not in keys and not (table == "failures" and row[1] == "name"):
                database.execute(f"UPDATE OR IGNORE {table} SET {row[1]} = NULL")
    define(catalog.folder, table, sql)
    with Catalog(catalog.folder, write=True) as damaged:
        for read in (
            damaged.roots.all,
            damaged.roots.offline,
            damaged.encoders.all,
            damaged.last_run,
            damaged.files.failures,
            lambda: damaged.vector_files.of(1),
            damaged.vector_files.names,
            lambda: damaged.files.of_contents([1, 2]),
            lambda: list(damaged.files.folders_at("/")),
            lambda: list(damaged.files.hashes()),
        ):
            with contextlib.suppress(StorageError):
                read()
        assert rows.damages(damaged, table)


# --- catalogs from before there were checksums ---


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A collection of the first schema."""
    place = Path(shutil.copytree(GOLDEN / "v1", tmp_path / "old"))
    for path in [place, *place.iterdir()]:
        path.chmod(0o700 if path.is_dir() else 0o600)
    return place


def lacking(place: Path) -> int:
    with edited(place) as database:
        tables = [*checksums.COVERED, *schema.embeddings_tables(database)]
        return sum(
            database.execute(f"SELECT count(*) FROM {name} WHERE checksum IS NULL").fetchone()[0] for name in tables
        )


def test_an_older_catalog_is_well_and_gets_its_checksums_from_a_repair(command: Command, old: Path) -> None:
    before = command("doctor", "-C", old)
    assert "no checksums yet" in before.out and "problem   rows" not in before.out
    assert lacking(old) > 20
    told = command("doctor", "--repair", "-C", old).out
    assert "given a checksum" in told
    assert lacking(old) == 0
    assert "checksum" not in command("doctor", "-C", old).out
    with edited(old) as database:
        database.execute("UPDATE contents SET checksum = NULL WHERE id = 1")
    assert "row 1 of contents is not as it was written" in command("doctor", "-C", old).out


def test_an_index_run_gives_a_small_collection_its_checksums(old: Path) -> None:
    with Collection.open(old) as photos:
        photos.add()
    assert lacking(old) == 0


def test_giving_checksums_goes_on_where_it_was_stopped(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Catalog(old, write=True) as catalog:
        monkeypatch.setattr(filling, "_STEP", 2)
        run_many = catalog.database.run_many
        calls = iter(range(3))

        def stop(*arguments: Any) -> None:
            if next(calls, None) is None:
                raise KeyboardInterrupt
            run_many(*arguments)

        monkeypatch.setattr(catalog.database, "run_many", stop)
        with pytest.raises(KeyboardInterrupt):
            filling.fill_checksums(catalog)
        monkeypatch.undo()
        assert all_damages(catalog) == []
        assert 0 < filling.fill_checksums(catalog) < catalog.contents.count()
        assert all_damages(catalog) == []
        assert filling.fill_checksums(catalog) == 0


def test_an_older_catalog_is_salvaged_with_all_its_rows(old: Path) -> None:
    with edited(old) as database:
        before = [database.execute(f"SELECT count(*) FROM {name}").fetchone() for name in ("images", "embeddings_1")]
    salvage(old)
    with Catalog(old, write=True) as catalog:
        after = [catalog.database.one(f"SELECT count(*) FROM {name}") for name in ("images", "embeddings_1")]
        assert after == before
        assert all_damages(catalog) == []
        filling.fill_checksums(catalog)
    assert lacking(old) == 0


def test_a_migrated_table_is_as_a_new_one(old: Path) -> None:
    sql = "SELECT sql FROM sqlite_schema WHERE name = 'embeddings_1'"
    Catalog(old, write=True).close()
    with sqlite3.connect(":memory:", isolation_level=None) as new:
        schema.migrate(new)
        schema.create_embeddings_table(new, 1)
        with edited(old) as migrated:
            assert migrated.execute(sql).fetchone() == new.execute(sql).fetchone()
    new.close()


def test_names_that_are_no_text_are_no_obstacle(catalog: Catalog) -> None:
    """Neither to checksums nor to filling: paths are bytes, and text may be damaged."""
    fill(catalog)
    with catalog.transaction():
        for table in checksums.COVERED:
            catalog.database.run(f"UPDATE {table} SET checksum = NULL")
        catalog.database.run("UPDATE contents SET camera = CAST(x'ff' AS TEXT)")
        catalog.database.set_meta(checksums.PARTIAL, "partial")
    filling.fill_checksums(catalog)
    found = all_damages(catalog)
    assert len(found) == catalog.contents.count() and all("camera" in line for line in found)
