"""Filters: dates, sizes and conditions as people write them, and that they decide inside the search."""

from __future__ import annotations

import math
import os
import sqlite3
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmsearch import Collection
from mmsearch.base import names
from mmsearch.base.errors import UsageError
from mmsearch.base.records import FileRecord, ImageFacts
from mmsearch.encoders import load_encoder
from mmsearch.indexing.refresh import refresh_vectors
from mmsearch.query import conditions
from mmsearch.query.conditions import Comparison, Condition, Field, Junction
from mmsearch.query.dates import period
from mmsearch.query.filters import Filters
from mmsearch.query.parse import from_words
from mmsearch.query.sizes import parse_size
from mmsearch.searching import answering, candidates
from mmsearch.store.catalog import Catalog
from mmsearch.store.distance import EARTH_RADIUS, distance
from mmsearch.store.selection import Selection

# --- dates and sizes ---

NOW = datetime(2026, 11, 22, 15, 30, 12)  # a Sunday


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("2021", "2021-01-01", "2022-01-01"),
        ("2021-07", "2021-07-01", "2021-08-01"),
        ("2021-12-31", "2021-12-31", "2022-01-01"),
        ("2021-07-04T12:30:05", "2021-07-04T12:30:05", "2021-07-04T12:30:06"),
        ("today", "2026-11-22", "2026-11-23"),
        ("Yesterday", "2026-11-21", "2026-11-22"),
        ("this week", "2026-11-16", "2026-11-23"),
        ("last week", "2026-11-09", "2026-11-16"),
        ("last  month", "2026-10-01", "2026-11-01"),
        ("last year", "2025-01-01", "2026-01-01"),
        ("3 days ago", "2026-11-19", "2026-11-20"),
        ("2 weeks ago", "2026-11-08", "2026-11-09"),
        ("9 months ago", "2026-02-22", "2026-02-23"),
        ("1 year ago", "2025-11-22", "2025-11-23"),
        ("July 2021", "2021-07-01", "2021-08-01"),
        ("summer of 2021", "2021-06-01", "2021-09-01"),
        ("winter 2021", "2021-12-01", "2022-03-01"),
        ("last summer", "2026-06-01", "2026-09-01"),
        ("last winter", "2025-12-01", "2026-03-01"),
        ("autumn", "2025-09-01", "2025-12-01"),
        ("this autumn", "2026-09-01", "2026-12-01"),
        ("last december", "2025-12-01", "2026-01-01"),
        ("Sept. 2020", "2020-09-01", "2020-10-01"),
        ("may", "2026-05-01", "2026-06-01"),
    ],
)
def test_dates(text: str, start: str, end: str) -> None:
    assert period(text, NOW) == (datetime.fromisoformat(start), datetime.fromisoformat(end))


def test_the_last_day_of_a_month_is_kept_in_the_past() -> None:
    assert period("1 month ago", datetime(2026, 3, 31))[0] == datetime(2026, 2, 28)


@pytest.mark.parametrize(
    "text",
    ["", "soon", "1", "2021-13", "2021-02-30", "last 2021", "ma", "last May 2021", "99999 years ago", "12/03/21"],
)
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="as a date"):
        period(text, NOW)


@given(st.text(max_size=20) | st.from_regex(r"(last|this) [a-z]+ \d{4}|\d{1,5} (day|month|year)s? ago", fullmatch=True))
@example("9999")
@example("9999-12-31")
def test_any_text_is_a_period_or_one_line(text: str) -> None:
    try:
        start, end = period(text, NOW)
    except UsageError as error:
        assert "\n" not in str(error)
    else:
        assert start < end


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("500k", 500_000),
        ("10MB", 10_000_000),
        ("10 mb", 10_000_000),
        ("1.5GiB", 1_610_612_736),
        ("1e3", 1000),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "-1", "10XB", "1i", "MB", "1e30", "nan", "9e999T"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_size(text)


def test_distance_by_hand() -> None:
    assert distance(0, 0, 0, 90) == pytest.approx(EARTH_RADIUS * math.pi / 2)
    assert distance(90, 0, -90, 123) == pytest.approx(EARTH_RADIUS * math.pi)
    assert distance(0, 179.5, 0, -179.5) == pytest.approx(EARTH_RADIUS * math.pi / 180)
    assert distance(48.8566, 2.3522, 51.5074, -0.1278) == pytest.approx(343.6, abs=0.2)  # Paris, London
    assert distance(1, None, 0, 0) is None


@pytest.mark.parametrize(
    "words",
    [
        {"in": ""},
        {"near": "1,2"},
        {"near": "91,0,1"},
        {"near": "0,0,-1"},
        {"near": "0,0,nan"},
        {"near": ["a", 0, 1]},
        {"orientation": "round"},
        {"min_width": -1},
        {"min_width": 2**63},
        {"min_size": "big"},
        {"glob": ""},
        {"glob": "a\0"},
        {"glob": "*" * 5000},
        {"camera": ""},
        {"in": "a\0b"},
        {"in": [3]},
        {"after": "soon"},
        {"where": ""},
        {"has_gps": "yes"},
    ],
)
def test_filters_that_cannot_be_meant(words: dict[str, object]) -> None:
    with pytest.raises(UsageError) as error:
        from_words({"text": "a cat"} | words)
    assert "\n" not in str(error.value)


# --- a catalog of known files ---

DIM = 384
FACTS = [
    ImageFacts(4000, 3000, "JPEG", "2021-07-14T18:05:09", "Canon EOS 80D", 48.8566, 2.3522),
    ImageFacts(3000, 4000, "MPO", "2019-12-31T23:59:59", "NIKON Z 6", 0.0, 179.9),
    ImageFacts(500, 500, "PNG"),
    ImageFacts(1920, 1080, "HEIF", None, "Apple 'iPhone' 12", -33.5, 151.25),
    ImageFacts(2001, 10, "JPEG", "2021-01-01T00:00:00", "CanoScan"),
]
FOLDERS = ["/p/2021", "/p/2021/july", "/p/2020", "/", "/p/caf\udce9"]
NAMES = ["IMG_{}.jpg", "img_{}.png", "[x] {}.jpg", "ü{}.heic", "a\n{}.jpg"]
COUNT = 300


def file_of(row: int) -> FileRecord:
    folder, name = FOLDERS[row % 5], NAMES[row // 5 % 5].format(row)
    return FileRecord(os.path.join(folder, name), 100_000 * (row % 7), (1_500_000_000 + row * 2_000_000) * 10**9)


def facts_of(row: int) -> ImageFacts:
    return FACTS[row // 25 % 5]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A collection of 300 contents, every third of which has a second file elsewhere; and their vectors."""
    folder = tmp_path_factory.mktemp("many")
    vectors = np.random.default_rng(3).standard_normal((COUNT, DIM)).astype(np.float32)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16).astype(np.float32)
    with Catalog(folder, write=True) as catalog:
        with catalog.transaction():
            encoder = catalog.encoders.start_with(load_encoder("starter").info)
            for row, vector in enumerate(vectors):
                content = catalog.contents.add(row.to_bytes(16, "big"), facts_of(row))
                catalog.embeddings.put(encoder.id, content, vector)
                catalog.files.put_image(file_of(row), content)
                if row % 3 == 0:
                    catalog.files.put_image(FileRecord(f"/copies/{row}.jpg", 1, 10**18), content)
        refresh_vectors(catalog, encoder, kind="ivf-sq8")
    return folder, vectors


def files() -> list[tuple[int, FileRecord]]:
    first = [(row, file_of(row)) for row in range(COUNT)]
    return first + [(row, FileRecord(f"/copies/{row}.jpg", 1, 10**18)) for row in range(0, COUNT, 3)]


def moment(row: int, file: FileRecord) -> str:
    return facts_of(row).taken_at or datetime.fromtimestamp(file.mtime_ns / 1e9).isoformat(timespec="seconds")


CASES = {
    "in": ({"in": "/p/2021"}, lambda row, file: file.path.startswith("/p/2021/")),
    "two folders": ({"in": ["/p/2020", "/copies"]}, lambda row, file: file.path.startswith(("/p/2020/", "/copies/"))),
    "name": ({"glob": "iMg_*"}, lambda row, file: os.path.basename(file.path).lower().startswith("img_")),
    "brackets": ({"glob": "[[]x] *"}, lambda row, file: os.path.basename(file.path).startswith("[x] ")),
    "place": ({"glob": "2021/*.jpg"}, lambda row, file: "/2021/" in file.path and file.path.endswith(".jpg")),
    "whole path": ({"glob": "/IMG_?.jpg"}, lambda row, file: fnmatchcase(file.path, "/IMG_?.jpg")),
    "after": ({"after": "2021"}, lambda row, file: moment(row, file) >= "2021"),
    "before": ({"before": "2021-07-14T18:05:09"}, lambda row, file: moment(row, file) < "2021-07-14T18:05:09"),
    "size": ({"min_size": "200k", "max_size": 400_000}, lambda row, file: 200_000 <= file.size <= 400_000),
    "width": ({"min_width": 2000}, lambda row, file: facts_of(row).width >= 2000),
    "height": ({"min_height": 3000}, lambda row, file: facts_of(row).height >= 3000),
    "portrait": ({"orientation": "Portrait"}, lambda row, file: facts_of(row).height > facts_of(row).width),
    "square": ({"orientation": "square"}, lambda row, file: facts_of(row).height == facts_of(row).width),
    "format": ({"image_format": ["jpg", "heic"]}, lambda row, file: facts_of(row).format != "PNG"),
    "camera": ({"camera": "canon"}, lambda row, file: "Canon" in (facts_of(row).camera or "")),
    "near": ({"near": "48.9,2.3,10"}, lambda row, file: facts_of(row).latitude == 48.8566),
    "across the date line": ({"near": (0, -179.9, 30)}, lambda row, file: facts_of(row).latitude == 0),
    "gps": ({"has_gps": True}, lambda row, file: facts_of(row).latitude is not None),
    "no gps": ({"has_gps": False}, lambda row, file: facts_of(row).latitude is None),
    "where": (
        {"where": "width > 2000 and not (camera like '%canon%' or format in ('MPO')) or size = 600k"},
        lambda row, file: (
            facts_of(row).width > 2000
            and facts_of(row).camera is not None
            and "canon" not in (facts_of(row).camera or "").lower()
            and facts_of(row).format != "MPO"
        )
        or file.size == 600_000,
    ),
    "quotes": (
        {"where": "camera = 'Apple ''iPhone'' 12' and path like '/p/%'"},
        lambda row, file: "iPhone" in (facts_of(row).camera or "") and file.path.startswith("/p/"),
    ),
    "between": (
        {"where": "taken_at between '2021' and '2022'"},
        lambda row, file: (facts_of(row).taken_at or "")[:4] == "2021",
    ),
    "null": ({"where": "latitude is null and height < width"}, lambda row, file: facts_of(row).width == 2001),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_each_filter(many: tuple[Path, np.ndarray], name: str) -> None:
    """Listed by date, the newest first: just the files that Python finds too."""
    words, holds = CASES[name]
    wanted = [(moment(row, file), file.path) for row, file in files() if holds(row, file)]
    assert 0 < len(wanted) < len(files())
    wanted.sort(key=lambda pair: os.fsencode(pair[1]))
    wanted.sort(key=lambda pair: pair[0], reverse=True)
    with Collection.open(many[0]) as photos:
        hits = photos.search(**words, k=1000)
    assert {hit.score for hit in hits} == {None}
    assert sorted(hit.path for hit in hits) == sorted(path for _, path in wanted)
    dates = [hit.image.facts.taken_at or moment_of(hit.image.mtime_ns) for hit in hits]
    assert dates == [date for date, _ in wanted]


def moment_of(mtime_ns: int) -> str:
    return datetime.fromtimestamp(mtime_ns / 1e9).isoformat(timespec="seconds")


@settings(max_examples=40)
@given(
    chosen=st.lists(st.sampled_from(sorted(CASES)), min_size=1, max_size=3, unique=True),
    seed=st.integers(0, 5),
    top=st.integers(1, 40),
    exact=st.booleans(),
    index=st.booleans(),
)
def test_a_filtered_search_gives_the_best_of_what_passes(
    many: tuple[Path, np.ndarray], chosen: list[str], seed: int, top: int, exact: bool, index: bool
) -> None:
    """Against brute force; in the vector file too, with every list looked into."""
    folder, vectors = many
    words: dict[str, object] = {}
    for name in chosen:
        for word, value in CASES[name][0].items():
            words.setdefault(word, value)
    used = [name for name in chosen if all(words[word] == value for word, value in CASES[name][0].items())]
    used_words = {word: words[word] for name in used for word in CASES[name][0]}
    passing = [(row, file) for row, file in files() if all(CASES[name][1](row, file) for name in used)]
    vector = vectors[seed]
    wanted = sorted(
        ((-float(vectors[row] @ vector), os.fsencode(file.path)) for row, file in passing if row != seed),
    )[:top]
    with pytest.MonkeyPatch.context() as patch:
        if index:
            patch.setattr(answering, "EXACT_SUBSET", 0)
            patch.setattr(candidates, "_MOST_PROBES_FACTOR", 10**6)
            patch.setattr(candidates.CandidateSource, "search", _all_lists(candidates.CandidateSource.search))
        with Collection.open(folder) as photos:
            hits = photos.search(like=seed_path(seed), k=top, exact=exact, **used_words)
    assert [os.fsencode(hit.path) for hit in hits] == [path for _, path in wanted]
    for hit, (score, _) in zip(hits, wanted, strict=True):
        assert hit.score == pytest.approx(-score, abs=1e-3)


def seed_path(seed: int) -> str:
    return file_of(seed).path


def _all_lists(original):  # type: ignore[no-untyped-def]
    def search_all(self, usable, vectors, wanted, allowed=None):  # type: ignore[no-untyped-def]
        return original(self, usable, vectors, max(wanted, COUNT), allowed)

    return search_all


# --- conditions ---


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("", 1),
        ("widht > 3", 1),
        ("width >", 8),
        ("width > 'a'", 9),
        ("width", 6),
        ("width > 3)", 10),
        ("(width > 3", 11),
        ("width > 3 or", 13),
        ("width like '1%'", 12),
        ("name in ()", 10),
        ("name between 'a' or 'b'", 18),
        ("name not = 'a'", 10),
        ("camera = Canon", 10),
        ("camera = 'Canon", 10),
        ("width > 3; DROP TABLE images", 10),
        ("size > 10XB", 8),
        ("width = name", 9),
        ("not " * 60 + "width > 3", 205),
        ("name = 'a' -- x", 12),
    ],
)
def test_an_error_in_a_condition_names_its_position(text: str, position: int) -> None:
    with pytest.raises(UsageError) as error:
        conditions.parse(text)
    assert f"at position {position} of" in str(error.value), str(error.value)


WORDS = [
    *conditions.FIELDS, "and", "or", "not", "like", "in", "between", "is", "null", "(", ")", ",", "=", "<", ">=", "<>",
    "'a'", "\"b'\"", "'", '"', "1", "-2.5e3", "10MB", ";", "--", "/*", "DROP TABLE images", "\0", "%", "?", "1e999",
]  # fmt: skip


@given(st.lists(st.sampled_from(WORDS), max_size=14).map(" ".join) | st.text(max_size=30))
@example("(" * 3000)
@example("width = 1" + " or width = 1" * 190)
def test_a_condition_runs_or_is_one_line(many: tuple[Path, np.ndarray], text: str) -> None:
    try:
        condition = conditions.parse(text)
    except UsageError as error:
        assert "\n" not in str(error)
        return
    with Catalog(many[0], write=False) as catalog:
        catalog.files.latest(Selection(Filters(where=condition)), 1000)
        assert catalog.files.count() == len(files())


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6) | st.sampled_from(
    ["'; DROP TABLE images; --", "x' OR '1'='1", "Canon EOS 80D", "%"]
)
COMPARISONS = st.builds(
    lambda name, sign, text: Comparison(sign, (Field(name), text)),
    st.sampled_from(["camera", "name", "format", "taken_at"]),
    st.sampled_from(["=", "<>", "<", ">="]),
    TEXTS,
) | st.builds(
    lambda name, sign, number: Comparison(sign, (Field(name), number)),
    st.sampled_from(["width", "height", "latitude"]),
    st.sampled_from(["=", "<>", "<", "<=", ">", ">="]),
    st.integers(-5000, 5000) | st.floats(-100, 100),
)
TREES: st.SearchStrategy[Condition] = st.recursive(
    COMPARISONS,
    lambda inner: (
        st.builds(Junction, st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=3).map(tuple))
        | st.builds(lambda part: Junction("not", (part,)), inner)
    ),
    max_leaves=6,
)


@given(TREES)
def test_conditions_mean_what_they_say(many: tuple[Path, np.ndarray], tree: Condition) -> None:
    """Written out and read again, the store's answer is that of a plain evaluation with SQL's unknown."""
    text = written(tree)
    assert conditions.parse(text) == tree
    with Catalog(many[0], write=False) as catalog:
        found = {image.path for image in catalog.files.latest(Selection(Filters(where=conditions.parse(text))), 1000)}
    assert found == {file.path for row, file in files() if holds(tree, row, file) is True}


def written(tree: Condition) -> str:
    if isinstance(tree, Junction):
        parts = [f"({written(part)})" for part in tree.parts]
        return f"not {parts[0]}" if tree.word == "not" else f" {tree.word} ".join(parts)
    left, right = tree.operands
    assert isinstance(left, Field)
    value = "'" + right.replace("'", "''") + "'" if isinstance(right, str) else repr(right)
    return f"{left.name} {tree.operator} {value}"


def holds(tree: Condition, row: int, file: FileRecord) -> bool | None:
    if isinstance(tree, Junction):
        parts = [holds(part, row, file) for part in tree.parts]
        if tree.word == "not":
            return None if parts[0] is None else not parts[0]
        decisive = tree.word == "or"
        return decisive if decisive in parts else None if None in parts else not decisive
    left, right = tree.operands
    assert isinstance(left, Field)
    value = os.path.basename(file.path) if left.name == "name" else getattr(facts_of(row), left.name)
    if value is None:
        return None
    if isinstance(right, str):
        value, right = names.key(os.fsencode(value)), names.key(os.fsencode(right))
    return {
        "=": value == right, "<>": value != right, "<": value < right, "<=": value <= right, ">": value > right,
        ">=": value >= right,
    }[tree.operator]  # fmt: skip


@pytest.mark.parametrize("field", [name for name, kind in conditions.FIELDS.items() if kind is str])
def test_every_text_compares_in_any_case(tmp_path: Path, field: str) -> None:
    facts = ImageFacts(1, 1, "JPEG", "2021-07-14T18:05:09", "Canon", remark="The end of ÉTÉ is missing")
    with Catalog(tmp_path, write=True) as catalog:
        with catalog.transaction():
            catalog.files.put_image(FileRecord("/p/Ä.jpg", 1, 1), catalog.contents.add(b"\xab" * 16, facts))
        (image,) = catalog.files.latest(Selection(), 1)
        known = {"path": image.path, "name": os.path.basename(image.path), "hash": image.content_hash}
        text = str(known.get(field) or getattr(image.facts, field))
        for one in (text, text.lower(), text.upper()):
            for condition in (f"{field} = '{one}'", f"{field} like '%{one}'", f"{field} in ('x', '{one}')"):
                found = catalog.files.latest(Selection(Filters.from_words({"where": condition})), 2)
                assert found == [image], condition


def test_a_filter_uses_the_files_that_pass(many: tuple[Path, np.ndarray]) -> None:
    """A content whose copy passes is shown by the copy alone."""
    with Collection.open(many[0]) as photos:
        hits = photos.search(like=file_of(0).path, include_self=True, k=1, glob="/copies/*")
        assert [hit.path for hit in hits] == ["/copies/0.jpg"] and hits[0].score == pytest.approx(1, abs=1e-3)
        assert photos.search(like=file_of(0).path, glob="*.tiff") == []


def test_places_of_the_same_latitude_may_be_far_away(many: tuple[Path, np.ndarray]) -> None:
    with Collection.open(many[0]) as photos:
        assert photos.search(near="0,0,1000") == []
        assert photos.search(near="48.8,-2.3522,100") == []
        assert len(photos.search(near="90,0,20016", k=1000)) == len(photos.search(has_gps=True, k=1000))


def test_only_bound_values_reach_sql(many: tuple[Path, np.ndarray]) -> None:
    evil = "'; DROP TABLE images; --"
    words = {"glob": [evil, f"{evil}/*"], "camera": evil, "in": evil, "image_format": evil, "where": f'name = "{evil}"'}
    with Catalog(many[0], write=False) as catalog:
        sql, values = Selection(Filters.from_words(words), (evil,)).sql(catalog.lists)
        assert "DROP" not in sql and sum(b"drop" in value for value in values if isinstance(value, bytes)) == 2
        assert sqlite3.complete_statement(sql + ";")
        assert catalog.database.count("SELECT count(*) FROM temp.lists WHERE CAST(value AS TEXT) LIKE '%DROP%'") == 5
        catalog.contents.ids(Selection(Filters.from_words(words), (evil,)))


def test_a_folder_without_indexed_images_is_named(indexed: Path, sample_data: Path) -> None:
    said: list[str] = []
    with Collection.open(indexed, notice=said.append) as photos:
        assert photos.search("a cat", **{"in": ["/nowhere", str(sample_data)]}, k=1)  # not all of it is wrong
        assert photos.search("a cat", below=sample_data, after="2090") == [] and said == []
        assert photos.search("a cat", below="/nowhere") == [] == photos.search(below="/nowhere")
    assert said == ["no indexed images in /nowhere; `mmsearch info` lists the folders"]
