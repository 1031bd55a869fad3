"""Collections of every released schema open, migrate and answer as they did; those of a later one are refused."""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
from pathlib import Path

import pytest
from catalogs import seal
from command import Command

from mmsearch import Collection
from mmsearch.encoders import load_encoder
from mmsearch.store import schema
from mmsearch.store.connection import CATALOG_NAME

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
sys.path.insert(0, str(GOLDEN))

import make  # noqa: E402

VERSIONS = sorted(path.name for path in GOLDEN.iterdir() if path.name.startswith("v"))


def copy_of(version: str, tmp_path: Path) -> Path:
    copy = Path(shutil.copytree(GOLDEN / version, tmp_path / version))
    for path in (copy, *copy.iterdir()):  # a checkout has the modes of its user's umask
        path.chmod(path.stat().st_mode & ~0o022)
    return copy


def test_every_schema_has_its_golden_collection() -> None:
    assert [f"v{number}" for number in range(1, schema.VERSION + 1)] == VERSIONS


@pytest.mark.parametrize("version", VERSIONS)
def test_a_golden_collection_answers_as_it_did(version: str, tmp_path: Path) -> None:
    place = copy_of(version, tmp_path)
    answers = json.loads((place / make.ANSWERS).read_text("utf-8"))
    assert len(answers["searches"]) == 4 * answers["images"] > 0
    assert any(answers["searches"].values())
    assert json.loads(json.dumps(make.answers_of(place))) == answers
    database = sqlite3.connect(place / CATALOG_NAME)
    try:
        assert database.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)
        ledger = [number for (number,) in database.execute("SELECT version FROM migrations ORDER BY version")]
        assert ledger == list(range(1, schema.VERSION + 1))
    finally:
        database.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_golden_collection_is_the_schema_that_it_says(version: str, tmp_path: Path) -> None:
    """Its tables are what the migrations up to its version make: made by a released mmsearch, not edited since."""
    place = copy_of(version, tmp_path)
    made = sqlite3.connect(tmp_path / "fresh.sqlite3", isolation_level=None)
    golden = sqlite3.connect(place / CATALOG_NAME)
    sql = "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'embeddings_%' ORDER BY name"
    try:
        assert golden.execute("PRAGMA user_version").fetchone() == (int(version[1:]),)
        for _, script in schema.MIGRATIONS[: int(version[1:])]:
            made.executescript(script)
        assert golden.execute(sql).fetchall() == made.execute(sql).fetchall()
    finally:
        made.close()
        golden.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_golden_collection_is_well(version: str, tmp_path: Path) -> None:
    place = copy_of(version, tmp_path)
    with Collection.open(place) as photos:
        list(photos.doctor(repair=True))  # a checkout gives files the modes that it likes
        findings = list(photos.doctor())
    assert [finding.text for finding in findings if not finding.ok and finding.check != "model"] == []


def test_embeddings_of_an_earlier_built_in_model_are_brought_up_to_date(command: Command, tmp_path: Path) -> None:
    """The golden collection has them, but no photos any more: so a new one is given the model of the golden one."""
    golden = sqlite3.connect(copy_of("v1", tmp_path) / CATALOG_NAME)
    earlier = golden.execute("SELECT fingerprint, preprocess FROM encoders").fetchone()
    golden.close()
    assert earlier[0] != load_encoder("starter").info.fingerprint
    photos, place = tmp_path / "photos", tmp_path / "place"
    photos.mkdir()
    for name in ("cat.jpg", "dog.jpg", "owl.jpg"):
        shutil.copy(make.SAMPLE_DATA / name, photos)
    assert command("index", photos, "--model", "starter", "-C", place).code == 0
    database = sqlite3.connect(place / CATALOG_NAME)
    with database:
        database.execute("UPDATE encoders SET fingerprint = ?, preprocess = ?", earlier)
        seal(database, "encoders")
    database.close()
    line = "mmsearch: the collection was made with a different version of the model starter than the one on this disk; "
    line += "`mmsearch reindex --model starter` brings it up to date\n"
    (photos / "new.jpg").write_bytes((make.SAMPLE_DATA / "bee.jpg").read_bytes())
    for arguments in (["query", "a cat"], ["query", "--image", photos / "cat.jpg"], ["index"]):
        outcome = command(*arguments, "-C", place)
        assert (outcome.code, outcome.out, outcome.err) == (1, "", line)
    assert command(*line.split("`")[1].split()[1:], "-C", place).code == 0
    assert command("index", "-C", place).code == 0
    found = command("query", "a bee", "--json", "-C", place).json["results"]
    assert Path(found[0]["path"]).name == "new.jpg" and len(found) == 4


@pytest.mark.parametrize(
    "arguments",
    ["query cat", "info", "index", "index {place}", "forget /", "optimize", "doctor", "doctor --repair"],
)
def test_a_collection_from_later_is_left_as_it_is(command: Command, tmp_path: Path, arguments: str) -> None:
    place = copy_of(VERSIONS[-1], tmp_path)
    database = sqlite3.connect(place / CATALOG_NAME, isolation_level=None)
    database.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    database.execute("CREATE TABLE of_the_future (x)")
    database.close()
    for path in [place, *place.iterdir()]:
        path.chmod(0o700 if path.is_dir() else 0o600)
    before = {path.name: path.read_bytes() for path in place.iterdir()}
    outcome = command(*(word.format(place=place) for word in arguments.split()), "-C", place)
    assert outcome.code == 1
    line = outcome.err.splitlines()[-1]
    assert f"has schema {schema.VERSION + 1}" in line and "upgrade mmsearch" in line
    after = {path.name: path.read_bytes() for path in place.iterdir() if path.name != "writer.lock"}
    assert after == before
