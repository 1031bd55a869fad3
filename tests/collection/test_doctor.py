"""`mmsearch doctor`: every damage is found, told in plain words, and mended without losing anything."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import Command

from mmsearch import Collection
from mmsearch.base import config
from mmsearch.base.paths import make_private
from mmsearch.base.records import EncoderInfo
from mmsearch.encoders import health, starter
from mmsearch.encoders.export import folder as export_folder
from mmsearch.store import lock
from mmsearch.store.connection import CATALOG_NAME

ALL = ["permissions", "catalog", "references", "contents", "embeddings", "vectors", "model", "leftovers"]


@pytest.fixture
def place(indexed: Path, tmp_path: Path) -> Path:
    """A collection to damage."""
    return Path(shutil.copytree(indexed, tmp_path / "damaged"))


@contextmanager
def edited(place: Path, *, enforce: bool = False) -> Iterator[sqlite3.Connection]:
    """The catalog, open to any edit."""
    database = sqlite3.connect(place / CATALOG_NAME, isolation_level=None)
    try:
        database.execute(f"PRAGMA foreign_keys = {int(enforce)}")
        yield database
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        database.close()


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
