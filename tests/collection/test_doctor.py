"""`mmsearch doctor`: every damage is found, told in plain words, and mended without losing anything."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from catalogs import edited, seal
from command import Command

from mmsearch import Collection
from mmsearch.base import config
from mmsearch.base.paths import make_private
from mmsearch.base.records import EncoderInfo
from mmsearch.encoders import health, starter
from mmsearch.encoders.export import folder as export_folder
from mmsearch.store import checksums, lock, schema
from mmsearch.store.connection import CATALOG_NAME

ALL = [
    "permissions", "schema", "catalog", "rows", "models", "references", "contents", "embeddings", "vectors", "model",
    "leftovers",
]  # fmt: skip


@pytest.fixture
def place(indexed: Path, tmp_path: Path) -> Path:
    """A collection to damage."""
    return Path(shutil.copytree(indexed, tmp_path / "damaged"))


def sql(*statements: str) -> Callable[[Path], None]:
    def damage(place: Path) -> None:
        with edited(place) as database:
            for statement in statements:
                database.execute(statement)

    return damage


def vector_file(place: Path) -> Path:
    (path,) = place.glob("vectors-*.faiss")
    return path


def flip_a_bit(place: Path) -> None:
    path = vector_file(place)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def cut(place: Path) -> None:
    os.truncate(vector_file(place), 1000)


def leave_files(place: Path) -> None:
    for name in (f"vectors-{'0123' * 8}.faiss.tmp", f"vectors-{'4567' * 8}.faiss"):
        (place / name).write_bytes(b"half")
        (place / name).chmod(0o600)


def open_to_all(place: Path) -> None:
    place.chmod(0o755)
    (place / CATALOG_NAME).chmod(0o644)
    vector_file(place).chmod(0o640)


def scale_an_embedding(factor: float) -> Callable[[Path], None]:
    def damage(place: Path) -> None:
        with edited(place) as database:
            (data,) = database.execute("SELECT vector FROM embeddings_1 WHERE content_id = 3").fetchone()
            vector = np.frombuffer(data, "<f2") * np.float16(factor)
            database.execute("UPDATE embeddings_1 SET vector = ? WHERE content_id = 3", (vector.tobytes(),))

    return damage


def flip_in_an_embedding(place: Path) -> None:
    with edited(place) as database:
        (data,) = database.execute("SELECT vector FROM embeddings_1 WHERE content_id = 3").fetchone()
        flipped = bytearray(data)
        flipped[100] ^= 1
        database.execute("UPDATE embeddings_1 SET vector = ? WHERE content_id = 3", (bytes(flipped),))


def formats_by_a_number(place: Path) -> None:
    """What another fact of the collection may be, with the right checksum."""
    with edited(place) as database:
        database.execute("INSERT INTO meta (key, value) VALUES ('formats', '7')")
        checksum = checksums.of_row("formats", "7")
        database.execute("UPDATE meta SET checksum = ? WHERE key = 'formats'", (checksum,))


def not_a_number(place: Path) -> None:
    with edited(place) as database:
        (data,) = database.execute("SELECT vector FROM embeddings_1 WHERE content_id = 3").fetchone()
        database.execute("UPDATE embeddings_1 SET vector = ? WHERE content_id = 3", (data[:-2] + b"\x00\x7e",))


def bad_index(place: Path) -> None:
    """An index entry that is missing, as after a bug or a flipped bit in its page."""
    with edited(place) as database:
        database.execute("PRAGMA writable_schema = ON")
        database.execute("DELETE FROM sqlite_schema WHERE name = 'images_by_content'")
        database.execute("PRAGMA writable_schema = RESET")
        database.execute("CREATE INDEX images_by_content ON images (content_id) WHERE id > 5")
        database.execute("PRAGMA writable_schema = ON")
        good = "CREATE INDEX images_by_content ON images (content_id)"
        database.execute("UPDATE sqlite_schema SET sql = ? WHERE name = 'images_by_content'", (good,))


FAILURE = "failures (folder_id, name, size, mtime_ns, reason, ignored)"

DAMAGES: dict[str, tuple[Callable[[Path], None], list[str], int]] = {
    # What is done, which checks see it, and how many files have to be indexed again after the repair.
    "vector file gone": (lambda place: vector_file(place).unlink(), ["vectors"], 0),
    "vector file cut": (cut, ["vectors"], 0),
    "vector file with a flipped bit": (flip_a_bit, ["vectors"], 0),
    "vector file lacks images": (sql("UPDATE vector_files SET watermark = 20"), ["vectors"], 0),
    "vector file counts wrongly": (sql("UPDATE vector_files SET count = 23"), ["vectors"], 0),
    "vector file begins late": (sql("UPDATE vector_files SET first = 5"), ["vectors"], 0),
    "vector file of the future": (sql("UPDATE vector_files SET watermark = 1000"), ["vectors"], 0),
    "removed ones miscounted": (sql("UPDATE vector_files SET removed = 2"), ["vectors"], 0),
    "embedding gone": (sql("DELETE FROM embeddings_1 WHERE content_id IN (2, 9)"), ["embeddings", "vectors"], 2),
    "embedding cut": (sql("UPDATE embeddings_1 SET vector = x'00' WHERE content_id = 7"), ["embeddings"], 1),
    "embedding empty": (sql("UPDATE embeddings_1 SET vector = x'' WHERE content_id = 7"), ["embeddings"], 1),
    "embedding too long": (scale_an_embedding(1.01), ["embeddings"], 1),
    "embedding of zeros": (scale_an_embedding(0), ["embeddings"], 1),
    "embedding infinite": (scale_an_embedding(65504), ["embeddings"], 1),
    "embedding not a number": (not_a_number, ["embeddings"], 1),
    "content gone": (sql("DELETE FROM contents WHERE id = 4"), ["references"], 1),
    "folder gone": (sql("DELETE FROM folders"), ["references"], 24),
    "file gone": (sql("DELETE FROM images WHERE id = 6"), ["contents"], 1),
    # Every kind of column with a value that it cannot have, or another than was written.
    "model not named": (sql("DELETE FROM meta"), ["models"], 0),
    "model named that is not there": (sql("UPDATE meta SET value = '7'"), ["rows", "models"], 0),
    "model named by no number": (sql("UPDATE meta SET value = 'x'"), ["rows", "models"], 0),
    "unknown fact": (sql("INSERT INTO meta (key, value) VALUES ('evil', '1')"), ["rows"], 0),
    "formats that there are not": (sql("INSERT INTO meta (key, value) VALUES ('formats', 'none')"), ["rows"], 0),
    "formats by a number": (formats_by_a_number, ["rows"], 0),
    "reindex of nothing": (sql("INSERT INTO meta (key, value) VALUES ('reindex', '1')"), ["rows", "models"], 0),
    "embeddings' table gone": (sql("DROP TABLE embeddings_1"), ["models", "embeddings", "vectors"], 24),
    "embeddings of no model": (sql("CREATE TABLE embeddings_9 (x)"), ["schema"], 0),
    "options of a folder cut": (sql("UPDATE roots SET options = '{'"), ["rows"], 0),
    "options of a folder of another type": (sql("UPDATE roots SET options = '[1]'"), ["rows"], 0),
    "pattern that is none": (
        sql("UPDATE roots SET options = json_set(options, '$.include', json('[3]'))"),
        ["rows"],
        0,
    ),
    "option unknown": (sql("UPDATE roots SET options = json_set(options, '$.evil', 1)"), ["rows"], 0),
    "folder's options changed": (sql("UPDATE roots SET options = json_set(options, '$.hidden', 1=1)"), ["rows"], 0),
    "folder with a relative path": (sql("UPDATE roots SET path = x'2e2e'"), ["rows"], 0),
    "offline since never": (sql("UPDATE roots SET offline_since = 'never'"), ["rows"], 0),
    "run's summary cut": (sql("UPDATE runs SET summary = '{'"), ["rows"], 0),
    "run's summary a list": (sql("UPDATE runs SET summary = '[]'"), ["rows"], 0),
    "run's summary not finite": (sql("UPDATE runs SET summary = '{\"seconds\": Infinity}'"), ["rows"], 0),
    "run's summary changed": (sql("UPDATE runs SET summary = json_set(summary, '$.new', 99)"), ["rows"], 0),
    "camera not UTF-8": (sql("UPDATE contents SET camera = CAST(x'ff41' AS TEXT) WHERE id = 2"), ["rows"], 1),
    "camera with an escape": (sql("UPDATE contents SET camera = char(27) || '[2J' WHERE id = 2"), ["rows"], 1),
    "format not UTF-8": (sql("UPDATE contents SET format = CAST(x'c3' AS TEXT) WHERE id = 2"), ["rows"], 1),
    "latitude infinite": (sql("UPDATE contents SET latitude = 9e999 WHERE id = 3"), ["rows"], 1),
    "longitude beyond": (sql("UPDATE contents SET longitude = -181.5 WHERE id = 3"), ["rows"], 1),
    "date that is none": (sql("UPDATE contents SET taken_at = '2020-13-40' WHERE id = 3"), ["rows"], 1),
    "width negative": (sql("UPDATE contents SET width = -1 WHERE id = 3"), ["rows"], 1),
    "height changed": (sql("UPDATE contents SET height = height + 7 WHERE id = 3"), ["rows"], 1),
    "hash cut": (sql("UPDATE contents SET hash = x'00' WHERE id = 3"), ["rows"], 1),
    "name that leads elsewhere": (sql("UPDATE images SET name = x'2e2e2f78' WHERE id = 4"), ["rows"], 1),
    "name of the folder above": (sql("UPDATE images SET name = x'2e2e' WHERE id = 4"), ["rows"], 1),
    "name with a NUL": (sql("UPDATE images SET name = x'6100' WHERE id = 4"), ["rows"], 1),
    "name changed": (sql("UPDATE images SET name = x'6161' WHERE id = 4"), ["rows"], 1),
    "size negative": (sql("UPDATE images SET size = -1 WHERE id = 4"), ["rows"], 1),
    "file of another image": (sql("UPDATE images SET content_id = 3 WHERE id = 4"), ["rows", "contents"], 1),
    "folder's path relative": (sql("UPDATE folders SET path = x'61'"), ["rows"], 24),
    "folder's path changed": (sql("UPDATE folders SET path = x'2f61'"), ["rows"], 24),
    "failure not UTF-8": (
        sql(f"INSERT INTO {FAILURE} VALUES (1, x'61', 1, 1, CAST(x'ff' AS TEXT), 0)"),
        ["rows"],
        0,
    ),
    "failure that leads elsewhere": (sql(f"INSERT INTO {FAILURE} VALUES (1, x'2f61', 1, 1, '', 0)"), ["rows"], 0),
    "released that is none": (sql("INSERT INTO released VALUES (-3)"), ["rows", "contents"], 0),
    "settings of the model cut": (sql("UPDATE encoders SET preprocess = '{'"), ["rows"], 0),
    "settings of the model changed": (
        sql("UPDATE encoders SET preprocess = json_set(preprocess, '$.size', 999999999)"),
        ["rows"],
        0,
    ),
    "no width": (sql("UPDATE encoders SET dim = 0"), ["rows"], 0),
    "another width": (sql("UPDATE encoders SET dim = dim + 6"), ["rows", "embeddings", "vectors"], 0),
    "fingerprint changed": (sql("UPDATE encoders SET fingerprint = 'beef'"), ["rows", "model"], 0),
    "fingerprint that is a path": (sql("UPDATE encoders SET fingerprint = '../x'"), ["rows", "model"], 0),
    "model's name changed": (sql("UPDATE encoders SET spec = 'local-dir:/tmp/x'"), ["rows"], 0),
    "searches look into less": (sql("UPDATE vector_files SET probes = 7"), ["vectors"], 0),
    "vector file elsewhere": (sql("UPDATE vector_files SET name = '../../x'"), ["vectors", "leftovers"], 0),
    "ledger changed": (sql("UPDATE migrations SET name = 'x'"), ["rows"], 0),
    "ledger empty": (sql("DELETE FROM migrations"), ["rows"], 0),
    "next content unknown": (sql("DELETE FROM sqlite_sequence"), ["rows", "vectors"], 0),
    "no content any more": (sql(f"UPDATE sqlite_sequence SET seq = {2**63 - 1}"), ["rows"], 0),
    "trigger": (sql("CREATE TRIGGER t AFTER INSERT ON images BEGIN DELETE FROM images; END"), ["schema"], 0),
    "view": (sql("CREATE VIEW v AS SELECT * FROM images"), ["schema"], 0),
    "virtual table": (sql("CREATE VIRTUAL TABLE v USING fts5 (x)"), ["schema"], 0),
    "table that forbids changes": (sql("CREATE TABLE t (x REFERENCES contents (id))"), ["schema"], 0),
    "index of others": (sql("CREATE INDEX evil ON images (abs(size))"), ["schema"], 0),
    "table gone": (sql("DROP TABLE runs"), ["schema"], 0),
    "view in a table's place": (sql("DROP TABLE runs", "CREATE VIEW runs AS SELECT 1 AS id"), ["schema"], 0),
    "index gone": (sql("DROP INDEX images_by_content"), ["schema"], 0),
    "table altered": (sql("ALTER TABLE images ADD COLUMN evil TEXT"), ["schema"], 0),
    "checksum gone": (sql("UPDATE contents SET checksum = NULL WHERE id = 3"), ["rows"], 1),
    "checksum of an embedding gone": (
        sql("UPDATE embeddings_1 SET checksum = NULL WHERE content_id = 3"),
        ["embeddings"],
        1,
    ),
    "embedding with a flipped bit": (flip_in_an_embedding, ["embeddings"], 0),
    "embedding of another image": (
        sql("REPLACE INTO embeddings_1 SELECT 3, vector, checksum FROM embeddings_1 WHERE content_id = 4"),
        ["embeddings"],
        1,
    ),
    "released left": (sql("INSERT INTO released VALUES (3)"), ["contents"], 0),
    "files left": (leave_files, ["leftovers"], 0),
    "index amiss": (bad_index, ["catalog"], 0),
    "open to others": (open_to_all, ["permissions"], 0),
}


def problems(outcome: Any) -> list[str]:
    return list(dict.fromkeys(finding["check"] for finding in outcome.json["findings"] if not finding["ok"]))


def test_a_sound_collection_is_well(command: Command, place: Path) -> None:
    outcome = command("doctor", "-C", place)
    assert outcome.code == 0
    assert outcome.err == ""
    assert [line.split()[:2] for line in outcome.out.splitlines()] == [["ok", name] for name in ALL]
    told = command("doctor", "-C", place, "--json").json
    assert told["well"] is True and told["collection"] == str(place)
    assert [set(finding) for finding in told["findings"]] == [{"check", "ok", "text", "repaired"}] * len(ALL)


@pytest.mark.skipif(os.name == "nt", reason="some damages are done with modes of POSIX")
@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found_and_mended(command: Command, place: Path, sample_data: Path, name: str) -> None:
    damage, seen_by, again = DAMAGES[name]
    damage(place)
    before = {path.name: path.read_bytes() for path in place.iterdir() if not path.name.endswith(("-shm", "-wal"))}
    found = command("doctor", "-C", place, "--json")
    assert found.code == 1 and not found.json["well"]
    assert problems(found) == seen_by
    after = {path.name: path.read_bytes() for path in place.iterdir() if not path.name.endswith(("-shm", "-wal"))}
    assert after == before, "nothing is changed without --repair"

    repaired = command("doctor", "--repair", "-C", place, "--json")
    assert repaired.code == 0 and repaired.json["well"], repaired.out
    assert [finding["check"] for finding in repaired.json["findings"] if finding["repaired"]][: len(seen_by)]
    clean = command("doctor", "-C", place)
    assert (clean.code, clean.err) == (0, ""), clean.out
    if again:
        summary = command("index", sample_data, "-C", place, "--json")
        assert (summary.code, summary.json["new"] + summary.json["changed"]) == (0, again)
        assert summary.json["total"] == 24
        assert command("doctor", "-C", place).code == 0


@pytest.mark.parametrize("damage", [lambda place: vector_file(place).unlink(), cut, flip_a_bit])
def test_a_damaged_vector_file_is_told_passed_over_and_written_again(
    command: Command, place: Path, indexed: Path, damage: Callable[[Path], None]
) -> None:
    damage(place)
    question = ("query", "an animal", "-k", 24, "--jsonl", "-C")
    damaged = command(*question, place)
    assert damaged.out == command(*question, indexed).out
    assert "vector file" in damaged.err and "mmsearch index" in damaged.err
    assert command("index", "-C", place).code == 0
    assert command(*question, place).err == ""
    assert command("doctor", "-C", place).code == 0


@pytest.mark.parametrize("vector", ["x''", "x'00'", "x'0000'"])
def test_a_search_that_meets_a_damaged_embedding_names_the_cure(command: Command, place: Path, vector: str) -> None:
    sql(f"UPDATE embeddings_1 SET vector = {vector} WHERE content_id = 3")(place)
    outcome = command("query", "a cat", "-C", place)
    assert outcome.code == 1 and "doctor --repair" in outcome.err and outcome.err.count("\n") == 1


@pytest.mark.parametrize("damage", [flip_in_an_embedding, scale_an_embedding(1.001)])
def test_a_search_sees_that_an_embedding_is_not_what_was_written(
    command: Command, place: Path, damage: Callable[[Path], None]
) -> None:
    damage(place)
    outcome = command("query", "a cat", "-k", 24, "-C", place)
    assert outcome.code == 1 and "doctor --repair" in outcome.err and outcome.err.count("\n") == 1


def test_without_a_model_all_images_are_read_again(command: Command, place: Path, sample_data: Path) -> None:
    sql("DELETE FROM encoders")(place)
    assert problems(command("doctor", "-C", place, "--json")) == ["models", "references"]
    assert command("doctor", "--repair", "-C", place).code == 0
    assert command("doctor", "-C", place).code == 0
    summary = command("index", sample_data, "--model", "starter", "-C", place, "--json").json
    assert (summary["encoded"], summary["total"]) == (24, 24)
    assert command("query", "a cat", "-C", place, "--paths", "-k", 1).out.endswith("cat.jpg\n")


def test_the_model_with_the_most_embeddings_becomes_the_collections(command: Command, place: Path) -> None:
    with edited(place) as database:
        columns = "spec, fingerprint, dim, preprocess, created_at"
        database.execute(
            f"INSERT INTO encoders ({columns}) SELECT 'clip', 'beef', 8, preprocess, created_at FROM encoders"
        )
        seal(database, "encoders")
        schema.create_embeddings_table(database, 2)
        database.execute("DELETE FROM meta")
    told = command("doctor", "--repair", "-C", place).out
    assert "starter is the collection's model" in told
    assert command("query", "a cat", "-C", place, "--paths", "-k", 1).out.endswith("cat.jpg\n")


def test_a_model_that_nobody_knows_goes_with_its_embeddings(command: Command, place: Path, sample_data: Path) -> None:
    sql("UPDATE encoders SET spec = 'what is this', fingerprint = 'beef', preprocess = '{'")(place)
    repaired = command("doctor", "--repair", "-C", place)
    assert repaired.code == 0 and "dropped with its embeddings" in repaired.out
    assert command("doctor", "-C", place).code == 0
    assert command("index", sample_data, "--model", "starter", "-C", place, "--json").json["encoded"] == 24


def test_tables_of_others_are_named_and_kept_beside_a_new_catalog(command: Command, place: Path) -> None:
    sql("CREATE TABLE mine (x)", "INSERT INTO mine VALUES (1)")(place)
    outcome = command("doctor", "--repair", "-C", place)
    assert outcome.code == 0 and "table mine is not mmsearch's" in outcome.out
    database = sqlite3.connect(min(place.glob(f"{CATALOG_NAME}.damaged-*")))
    assert database.execute("SELECT * FROM mine").fetchall() == [(1,)]
    database.close()


def test_a_trigger_is_dropped_and_nothing_else_changes(command: Command, place: Path) -> None:
    run = command("info", "-C", place, "--json").json["last_run"]
    sql("CREATE TRIGGER runs AFTER INSERT ON runs BEGIN DELETE FROM images; END")(place)
    assert command("info", "-C", place).code == 1
    outcome = command("doctor", "--repair", "-C", place)
    assert outcome.code == 0 and "trigger runs: dropped" in outcome.out
    assert command("info", "-C", place, "--json").json["last_run"] == run
    assert not list(place.glob(f"{CATALOG_NAME}.damaged-*"))


def test_damage_that_a_reader_meets_is_one_line(command: Command, place: Path) -> None:
    for statement, arguments in {
        "UPDATE roots SET options = '{'": ["info"],
        "UPDATE encoders SET preprocess = 'null'": ["query", "a cat"],
        "UPDATE encoders SET dim = -1": ["index"],
        "UPDATE contents SET camera = CAST(x'ff' AS TEXT)": ["query", "a cat"],
    }.items():
        copy = Path(shutil.copytree(place, place.with_name("copy")))
        sql(statement)(copy)
        outcome = command(*arguments, "-C", copy)
        assert (outcome.code, outcome.err.count("\n")) == (1, 1), outcome.err
        assert "mmsearch doctor" in outcome.err and "unexpected" not in outcome.err
        shutil.rmtree(copy)


def test_what_a_damaged_run_did_is_not_shown(command: Command, place: Path) -> None:
    sql("UPDATE runs SET summary = '[]'")(place)
    assert command("info", "-C", place, "--json").json["last_run"] is None
    assert "last run" not in command("info", "-C", place).out


def test_json_has_null_for_numbers_that_json_has_not(command: Command, place: Path) -> None:
    sql("UPDATE contents SET latitude = 9e999, longitude = -9e999")(place)
    for flag in ("--json", "--jsonl"):
        told = command("query", "a cat", "-C", place, "-k", 1, flag).out
        assert "Infinity" not in told
        found = json.loads(told, parse_constant=lambda word: pytest.fail(word))
        hit = found["results"][0] if flag == "--json" else found
        assert (hit["latitude"], hit["longitude"]) == (None, None)


# --- the files themselves ---


def verified(command: Command, place: Path, *options: str) -> list[tuple[bool, str]]:
    findings = command("doctor", "--verify", *options, "-C", place, "--json").json["findings"]
    return [(finding["ok"], finding["text"]) for finding in findings if finding["check"] == "pictures"]


def test_files_that_rot_are_found_and_read_again(command: Command, tmp_path: Path, photos: Path) -> None:
    place = tmp_path / "c"
    command("index", photos, "--model", "starter", "-C", place)
    assert verified(command, place) == [(True, "24 images have the bytes that were indexed")]
    state = (photos / "cat.jpg").stat()
    data = bytearray((photos / "cat.jpg").read_bytes())
    data[len(data) // 2] ^= 1
    (photos / "cat.jpg").write_bytes(data)
    os.utime(photos / "cat.jpg", ns=(state.st_atime_ns, state.st_mtime_ns))
    (photos / "dog.jpg").write_bytes((photos / "owl.jpg").read_bytes())
    (photos / "bee.jpg").unlink()
    assert command("doctor", "-C", place).code == 0, "only reading shows it"
    differs, same, later = verified(command, place)
    assert not differs[0] and differs[1].startswith("1 images differ") and "cat.jpg" in differs[1]
    assert same == (True, "21 images have the bytes that were indexed")
    assert later[0] and later[1].startswith("1 have changed, 1 are gone")
    assert command("doctor", "--verify", "--repair", "-C", place).code == 0
    assert command("index", photos, "-C", place, "--json").json["changed"] == 2
    assert [ok for ok, _ in verified(command, place)] == [True]


def test_files_in_folders_that_are_offline_are_not_asked_for(command: Command, tmp_path: Path, photos: Path) -> None:
    place = tmp_path / "c"
    command("index", photos, "--model", "starter", "-C", place)
    photos.rename(tmp_path / "away")
    ((ok, text),) = verified(command, place)
    assert ok and "24 are in folders that are offline" in text


def test_embeddings_to_be_made_again_are_listed_till_then(command: Command, place: Path, sample_data: Path) -> None:
    with edited(place) as database:
        database.execute("DELETE FROM embeddings_1 WHERE content_id = 2")
    command("doctor", "--repair", "-C", place)
    (failure,) = command("info", "-C", place, "--json").json["failures"]
    assert "next index run" in failure["reason"]
    command("index", sample_data, "-C", place)
    assert command("info", "-C", place, "--json").json["failures"] == []


# --- a catalog that SQLite cannot read ---


def spoil(place: Path, start: int, count: int) -> bytes:
    """Overwrite a part of the catalog; returns what the whole of it is then."""
    with edited(place):
        pass
    path = place / CATALOG_NAME
    data = bytearray(path.read_bytes())
    count = min(count, len(data) - start)
    data[start : start + count] = b"\xa5" * count
    path.write_bytes(data)
    return bytes(data)


def table_page(place: Path, table: str) -> int:
    with edited(place) as database:
        return int(database.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()[0])


def test_ids_that_are_out_of_order_are_not_read_for_ever(command: Command, place: Path) -> None:
    with edited(place) as database:
        (vector,) = database.execute("SELECT vector FROM embeddings_1 WHERE content_id = 23").fetchone()
    path = place / CATALOG_NAME
    data = bytearray(path.read_bytes())
    number = data.index(vector) - 6  # before the head of the record, which has 5 bytes
    assert data[number] == 23
    data[number] = 127
    path.write_bytes(data)
    asked = command("query", "a cat", "-C", place)
    assert asked.code == 1 and "rows of the catalog are out of order" in asked.err and asked.err.count("\n") == 1
    assert "problem   catalog" in command("doctor", "-C", place).out
    assert command("doctor", "--repair", "-C", place).code == 0
    assert command("doctor", "-C", place).code == 0


def test_a_schema_whose_text_is_damaged_is_one_line(command: Command, place: Path) -> None:
    """SQLite repeats such text in what it says, and Python cannot read that."""
    with edited(place):
        pass
    path = place / CATALOG_NAME
    data = path.read_bytes()
    where = data.index(b"CREATE TABLE runs")
    path.write_bytes(data[:where] + b"\xe4" + data[where + 1 :])
    for arguments in (["info"], ["query", "a cat"], ["index"]):
        outcome = command(*arguments, "-C", place)
        assert (outcome.code, outcome.err.count("\n")) == (1, 1) and "mmsearch doctor" in outcome.err
    assert "problem   catalog" in command("doctor", "-C", place).out
    assert "24 images were recovered" in command("doctor", "--repair", "-C", place).out
    assert command("doctor", "-C", place).code == 0


@pytest.mark.parametrize("table", ["embeddings_1", "contents", "runs", "sqlite_autoindex_contents_1", "vector_files"])
def test_a_damaged_catalog_is_salvaged(command: Command, place: Path, sample_data: Path, table: str) -> None:
    spoiled = spoil(place, 4096 * (table_page(place, table) - 1), 1500)
    found = command("doctor", "-C", place, "--json")
    assert found.code == 1 and problems(found)[0] == "catalog"
    assert (place / CATALOG_NAME).read_bytes() == spoiled
    repaired = command("doctor", "--repair", "-C", place, "--json")
    assert repaired.code == 0, repaired.out
    kept = [path for path in place.glob(f"{CATALOG_NAME}.damaged-*") if not path.name.endswith("-wal")]
    if "autoindex" not in table:
        assert [path.read_bytes() for path in kept] == [spoiled], "the damaged file is kept"
    summary = command("index", sample_data, "-C", place, "--json")
    assert (summary.code, summary.json["total"]) == (0, 24)
    assert command("doctor", "-C", place).code == 0
    assert command("query", "a cat", "-C", place, "--paths", "-k", 1).out.endswith("cat.jpg\n")


def test_a_catalog_of_which_nothing_can_be_read_stays(command: Command, place: Path) -> None:
    spoiled = spoil(place, 0, 10**9)
    for arguments in (["doctor"], ["doctor", "--repair"]):
        outcome = command(*arguments, "-C", place)
        assert outcome.code == 1
        assert "catalog" in outcome.out and "problem" in outcome.out
        assert (place / CATALOG_NAME).read_bytes() == spoiled
    assert "backup" in outcome.out
    assert "permissions" in outcome.out


# --- permissions, model, leftovers, readers ---


@pytest.mark.skipif(os.name == "nt", reason="modes are of POSIX")
def test_permissions_are_closed(command: Command, place: Path) -> None:
    open_to_all(place)
    cache = config.cache_dir()
    cache.mkdir(parents=True, exist_ok=True)
    cache.chmod(0o755)
    outcome = command("doctor", "-C", place)
    assert outcome.code == 1 and "problem   permissions" in outcome.out and "--repair" in outcome.err
    assert str(place / CATALOG_NAME) in outcome.out and "and 1 more" in outcome.out
    command("doctor", "--repair", "-C", place)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (place, cache, place / CATALOG_NAME, vector_file(place))]
    assert modes == [0o700, 0o700, 0o600, 0o600]


def test_another_model_is_told(command: Command, place: Path) -> None:
    with edited(place) as database:
        database.execute("UPDATE encoders SET fingerprint = 'beef'")
        seal(database, "encoders")
    outcome = command("doctor", "-C", place, "--json")
    assert outcome.code == 1 and problems(outcome) == ["model"]
    assert command("doctor", "--repair", "-C", place).code == 1, "no repair can mend that"


def test_a_damaged_model_is_told(
    command: Command, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Path(shutil.copytree(starter.FOLDER, tmp_path / "starter"))
    with (copy / "text.onnx").open("r+b") as file:
        file.seek(5000)
        file.write(b"spoiled")
    monkeypatch.setattr(starter, "FOLDER", copy)
    outcome = command("doctor", "-C", place, "--json")
    assert problems(outcome) == ["model"]
    assert "text.onnx is damaged" in outcome.out


@pytest.fixture
def other_model(place: Path) -> EncoderInfo:
    """The collection as if clip had made it."""
    with edited(place) as database:
        database.execute("UPDATE encoders SET spec = 'clip', fingerprint = 'beef'")
        seal(database, "encoders")
    with Collection.open(place) as photos:
        stored = photos._open_reader().encoders.current()
    assert stored is not None
    return stored.info


def test_exports_are_looked_at(command: Command, place: Path, other_model: EncoderInfo) -> None:
    assert "has no export yet" in command("doctor", "-C", place).out
    folder = export_folder.folder_of(other_model.fingerprint)
    make_private(folder)
    (folder / "export.json").write_text("{}")
    half = folder.with_name(f".making-{folder.name}-x")
    half.mkdir(mode=0o700)
    outcome = command("doctor", "-C", place, "--json")
    assert problems(outcome) == ["model"] and "damaged" in outcome.out
    assert command("doctor", "--repair", "-C", place).code == 0
    assert not folder.exists() and not half.exists()
    half.mkdir(mode=0o700)
    assert "an interrupted export" in command("doctor", "-C", place).out
    with export_folder.turn(other_model, lambda line: None):
        assert health.of(other_model)[:2] == (True, "clip is being exported by another mmsearch")
    assert command("doctor", "--repair", "-C", place).code == 0
    assert not half.exists()


def test_the_note_of_a_killed_run_is_mentioned(command: Command, place: Path) -> None:
    fields = '{"command": "index", "pid": 99999, "since": "2024-01-01T00:00:00+00:00", "host": "attic"}'
    (place / lock.HOLDER_NAME).write_text(fields)
    (place / lock.HOLDER_NAME).chmod(0o600)
    outcome = command("doctor", "-C", place)
    assert outcome.code == 0 and "process 99999 on attic" in outcome.out and "did not end" in outcome.out


def test_no_collection_and_a_new_one(command: Command, tmp_path: Path, photos: Path) -> None:
    assert command("doctor", "-C", tmp_path / "none").code == 1
    command("index", photos, "--model", "starter", "-C", tmp_path / "c")
    command("forget", photos, "-C", tmp_path / "c")
    assert command("doctor", "-C", tmp_path / "c").code == 0, "an empty collection is well too"
