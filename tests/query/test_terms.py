"""Terms of a query: weights, expressions, and what becomes of them as vectors."""

from __future__ import annotations

import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mmsearch import Collection
from mmsearch.base.errors import UsageError
from mmsearch.query.expression import parse
from mmsearch.query.parse import MOST_TERMS, WORDS, from_words, gather
from mmsearch.query.terms import Term, split_weight
from mmsearch.searching.fuse import fuse
from mmsearch.store.catalog import Catalog


@pytest.mark.parametrize(
    ("text", "value", "weight"),
    [
        ("sunset", "sunset", None),
        ("sunset:0.5", "sunset", 0.5),
        ("sunset:.5", "sunset", 0.5),
        ("sunset:2.", "sunset", 2),
        ("sunset:-1e-3", "sunset", -0.001),
        ("ratio 3:2:1", "ratio 3:2", 1),
        ("a: b", "a: b", None),
        ("at 5:", "at 5:", None),
        (":2", ":2", None),
        ("x:nan", "x:nan", None),
        ("x:inf", "x:inf", None),
        ("x:1_000", "x:1_000", None),
        (r"C:\photos\a.jpg", r"C:\photos\a.jpg", None),
        ("http://host:8080", "http://host:8080", None),
        ("http://host:8080/a.jpg", "http://host:8080/a.jpg", None),
        ("http://host:8080/a.jpg:2", "http://host:8080/a.jpg", 2),
        ("https://[::1]:80", "https://[::1]:80", None),
    ],
)
def test_a_weight_is_a_number_after_the_last_colon(text: str, value: str, weight: float | None) -> None:
    assert split_weight(text) == (value, weight)


def test_a_file_of_the_literal_name_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert gather(image="a.jpg:2") == (Term("image", str(tmp_path / "a.jpg"), 2),)
    (tmp_path / "a.jpg:2").touch()
    assert gather(image="a.jpg:2") == (Term("image", str(tmp_path / "a.jpg:2")),)
    (tmp_path / "7").touch()
    assert gather(like=["7", "8", "8:2"]) == (Term("like", str(tmp_path / "7")), Term("like", 8), Term("like", 8, 2))


def test_all_forms_add_up(tmp_path: Path) -> None:
    found = gather(
        text="a beach:2",
        plus=["sunset:0.5", ("sea", 2)],
        minus="people",
        image=[(b"bytes", -1), "http://host/a.jpg:3"],
        like=12,
        expr="2*sand",
        terms=[{"kind": "text", "value": "x:1", "weight": 4}],
    )
    assert found == (
        Term("text", "x:1", 4),
        Term("text", "a beach:2"),
        Term("text", "sand", 2),
        Term("text", "sunset", 0.5),
        Term("text", "sea", 2),
        Term("text", "people", -1),
        Term("image", b"bytes", -1),
        Term("image", "http://host/a.jpg", 3),
        Term("like", 12),
    )
    assert gather(terms=[term.to_json() for term in found if term.value != b"bytes"]) == tuple(
        term for term in found if term.value != b"bytes"
    )


@pytest.mark.parametrize(
    "words",
    [
        {"plus": "sunset:0"},
        {"plus": "sunset:-1"},
        {"minus": "people:-1"},
        {"plus": "a:1e999"},
        {"plus": [("a", math.nan)]},
        {"plus": [("a", 10**400)]},
        {"plus": [("a",)]},
        {"plus": [("a", True)]},
        {"plus": [3]},
        {"plus": ":1"} | {"text": " "},
        {"plus": ["x"] * 101},
        {"image": 3},
        {"image": "a\0b"},
        {"like": 0},
        {"like": 2**64},
        {"like": True},
        {"more": ["#3", None]},
        {"text": "caf\udce9"},
        {"text": "\ud800"},
        {"terms": [{"kind": "sound", "value": "x", "weight": 1}]},
        {"terms": ["x"]},
        {"expr": ""},
        {},
        {"min_score": 0.1, "in": "/x"},
        {"text": "a", "top": 0},
        {"text": "a", "txet": "b"},
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(words: dict[str, object]) -> None:
    with pytest.raises(UsageError) as error:
        from_words(words)
    assert "\n" not in str(error.value)


# --- expressions ---


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2*beach + 0.5*sunset - people", [("text", "beach", 2), ("text", "sunset", 0.5), ("text", "people", -1)]),
        ("- people + a red car", [("text", "people", -1), ("text", "a red car", 1)]),
        ("beach+sea", [("text", "beach", 1), ("text", "sea", 1)]),
        ("hot-air balloon -tree-house", [("text", "hot-air balloon", 1), ("text", "tree-house", -1)]),
        ("a dog's nose", [("text", "a dog's nose", 1)]),
        ("2 cats", [("text", "2 cats", 1)]),
        (".5 * 'rock + roll'", [("text", "rock + roll", 0.5)]),
        (r'"a \"b\" c" - "x*y"', [("text", 'a "b" c', 1), ("text", "x*y", -1)]),
        ("image(/a/b c.jpg) - 2*like(12)", [("image", "/a/b c.jpg", 1), ("like", 12, -2)]),
        ("image('/a (1).jpg')", [("image", "/a (1).jpg", 1)]),
        ("image(https://x.org/a.jpg:2)", [("image", "https://x.org/a.jpg:2", 1)]),
        ("image of a cat", [("text", "image of a cat", 1)]),
        ("Ünïcode 日本", [("text", "Ünïcode 日本", 1)]),
    ],
)
def test_expressions(text: str, wanted: list[tuple[object, ...]]) -> None:
    assert [(term.kind, term.value, term.weight) for term in parse(text)] == wanted


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("", 1),
        ("   ", 4),
        ("beach +", 8),
        ("beach ++ sea", 8),
        ("beach * 2", 7),
        ("2 * * x", 5),
        ("(beach)", 1),
        ("beach (sea)", 7),
        ("image(a", 8),
        ("image()", 7),
        ("'beach", 1),
        ("0*beach", 1),
        ("sea - 1e999*beach", 7),
        ("like(0)", 1),
        ("'a' 'b'", 5),
    ],
)
def test_an_error_in_an_expression_names_its_position(text: str, position: int) -> None:
    with pytest.raises(UsageError) as error:
        parse(text)
    assert f"at position {position} of" in str(error.value), str(error.value)


@pytest.mark.parametrize("place", [0, 5_000, 9_999])
def test_an_error_in_a_long_expression_shows_what_is_near(place: int) -> None:
    with pytest.raises(UsageError) as error:
        parse("a" * place + "(" + "b" * (9_999 - place))
    assert f"at position {place + 1} of" in str(error.value) and "(" in str(error.value).split("expression", 1)[1][:170]
    assert len(str(error.value)) < 400


SIGNS = st.sampled_from([*"+-*()'\"\\:. 2a", "image(", "like(", "0.5*", "\0", "\n", "\udc80"])


@given(st.lists(SIGNS, max_size=24).map("".join) | st.text(max_size=40))
@example("2*" * 500)
def test_an_expression_gives_terms_or_one_line(text: str) -> None:
    try:
        found = parse(text)
    except UsageError as error:
        assert "\n" not in str(error) and "at position" in str(error)
    else:
        assert found and all(math.isfinite(term.weight) and term.weight for term in found)


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1).filter(str.strip),
            st.floats(0.001, 1000) | st.floats(-1000, -0.001),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_quoted_texts_come_back(parts: list[tuple[str, float]]) -> None:
    written = [f"{'-' if weight < 0 else '+'} {abs(weight)!r}*{quoted(text)}" for text, weight in parts]
    assert [(term.value, term.weight) for term in parse(" ".join(written))] == parts


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(sorted(WORDS)), JSON, max_size=4))
def test_any_words_give_a_query_or_one_line(words: dict[str, object]) -> None:
    try:
        from_words(words)
    except UsageError as error:
        assert "\n" not in str(error)


# --- vectors ---


def unit(*values: float) -> np.ndarray:
    vector = np.array(values, np.float32)
    return vector / np.linalg.norm(vector)


def test_fusion_by_hand() -> None:
    # 2 * (1, 0) - 1 * (0.6, 0.8) = (1.4, -0.8), of length sqrt(2.6)
    found = fuse([2, -1], [unit(1, 0), unit(3, 4)])
    assert found == pytest.approx(np.array([1.4, -0.8]) / math.sqrt(2.6), abs=1e-6)
    assert found.dtype == np.float32
    one = unit(1, 2, 3)
    assert fuse([5], [one]) is one
    assert fuse([-5], [one]) == pytest.approx(-one)
    assert fuse([1e300, 1e300], [unit(1, 0), unit(0, 1)]) == pytest.approx([math.sqrt(0.5)] * 2)


def test_terms_that_cancel_each_other_out_are_an_error() -> None:
    one = unit(1, 2, 3)
    for weights, vectors in (([1, -1], [one, one]), ([2, 1], [one, -2 * one]), ([1, -1], [one, one + 1e-7])):
        with pytest.raises(UsageError, match="cancel"):
            fuse(weights, vectors)  # type: ignore[arg-type]


@pytest.fixture
def collection(indexed: Path):  # type: ignore[no-untyped-def]
    with Collection.open(indexed) as photos:
        yield photos


def stored_vector(folder: Path, path: Path) -> np.ndarray:
    with Catalog(folder, write=False) as catalog:
        record, encoder = catalog.files.at(str(path)), catalog.encoders.current()
        assert record and encoder
        vector = catalog.embeddings.of(encoder, [record.content_id])[1][0].astype(np.float64)
    return vector / np.linalg.norm(vector)


def test_a_mixed_query_ranks_as_the_formula_says(collection: Collection, indexed: Path, sample_data: Path) -> None:
    from mmsearch.encoders import load_encoder

    dog = sample_data / "dog.jpg"
    words = load_encoder("starter").encode_texts(["a beach", "people"]).astype(np.float64)
    wanted = words[0] - 0.5 * words[1] + 2 * stored_vector(indexed, dog)
    wanted /= np.linalg.norm(wanted)
    chosen = {"minus": "people:0.5", "like": [(str(dog), 2)], "k": 30}
    for hits in (
        collection.search("a beach", include_self=True, **chosen),
        collection.search(expr=f"'a beach' - 0.5*people + 2*like({dog})", include_self=True, k=30),
    ):
        assert len(hits) == 24
        for hit in hits:
            assert hit.score == pytest.approx(stored_vector(indexed, Path(hit.path)) @ wanted, abs=2e-3)
    assert dog.name not in {Path(hit.path).name for hit in collection.search("a beach", **chosen)}


def test_feedback_is_rocchio(collection: Collection, indexed: Path, sample_data: Path) -> None:
    from mmsearch.encoders import load_encoder

    query = load_encoder("starter").encode_texts(["an animal"])[0].astype(np.float64)
    more, less = ["bee.jpg", "owl.jpg"], ["cat.jpg"]
    vectors = {name: stored_vector(indexed, sample_data / name) for name in more + less}
    wanted = query + 0.75 * (vectors["bee.jpg"] + vectors["owl.jpg"]) / 2 - 0.15 * vectors["cat.jpg"]
    wanted /= np.linalg.norm(wanted)
    images = {"more": [str(sample_data / name) for name in more], "less": str(sample_data / less[0])}
    hits = collection.search("an animal", k=30, **images)
    assert len(hits) == 24  # the examples are among them
    for hit in hits:
        assert hit.score == pytest.approx(stored_vector(indexed, Path(hit.path)) @ wanted, abs=2e-3)


def test_plain_text_is_embedded_as_it_is(collection: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte for byte what the model gives: neither templates nor another normalisation."""
    from mmsearch.encoders import load_encoder
    from mmsearch.searching.answering import Answering

    seen = []
    ranked = Answering._ranked
    monkeypatch.setattr(
        Answering, "_ranked", lambda self, entry, *rest: seen.append(entry) or ranked(self, entry, *rest)
    )
    collection.search(" a cat,  sitting ")
    assert seen[0].vector.tobytes() == load_encoder("starter").encode_texts([" a cat,  sitting "])[0].tobytes()


def test_minus_moves_results_away(collection: Collection) -> None:
    usual = [Path(hit.path).name for hit in collection.search("a dog", k=2)]
    without = [Path(hit.path).name for hit in collection.search("a dog", minus="a spaniel", k=24)]
    assert usual == ["spaniels.jpg", "dog.jpg"] and without.index("dog.jpg") < without.index("spaniels.jpg")


def test_an_image_among_the_terms_is_decoded_within_limits(collection: Collection, tmp_path: Path) -> None:
    from mmsearch.base.errors import DecodeError, SourceError

    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(DecodeError, match=r"text\.jpg"):
        collection.search(image=tmp_path / "text.jpg")
    with pytest.raises(SourceError, match=r"none\.jpg.*No such file"):
        collection.search(image=tmp_path / "none.jpg")
    with pytest.raises(SourceError, match="cannot read the query image"):
        collection.search(image=tmp_path)
    header = struct.pack(">II5B", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b""))
    )
    with pytest.raises(DecodeError, match="3,600,000,000 pixels is over the limit"):
        collection.search(image=b"\x89PNG\r\n\x1a\n" + chunks)
    with pytest.raises(DecodeError, match="empty"):
        collection.search(image=b"")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_an_image_through_a_pipe(collection: Collection, sample_data: Path, tmp_path: Path) -> None:
    import threading

    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    data = (sample_data / "dog.jpg").read_bytes()
    writer = threading.Thread(target=pipe.write_bytes, args=(data,))
    writer.start()
    assert Path(collection.search(image=pipe, k=1)[0].path).name == "spaniels.jpg"
    writer.join()


def test_most_terms() -> None:
    assert len(gather(plus=["x"] * MOST_TERMS)) == MOST_TERMS
    with pytest.raises(UsageError, match="101 terms"):
        gather(plus=["x"] * 101)
