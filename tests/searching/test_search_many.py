"""Many queries at a time: the answers are those that each would get alone, and texts are embedded ahead."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch import Collection
from mmsearch.base.errors import ModelError
from mmsearch.cli.query import batch, lines
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.searching import answering, view

QUESTIONS: list[dict[str, Any]] = [
    {"text": "a cat"},
    {"text": "a rocket", "top": 3},
    {"text": "a cat", "minus": ["people"]},
    {"text": "a bee on a flower", "exact": True},
    {"like": 1},
    {"text": "food", "orientation": "landscape"},
    {"text": "food", "orientation": "landscape", "exact": True, "top": 2},
    {"text": "a dog", "min_confidence": 0.9, "diverse": True},
    {"image_format": "JPEG"},
]


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """The texts of each call of the encoder."""
    calls: list[Sequence[str]] = []
    original = OnnxEncoder.encode_texts

    def noted(self: OnnxEncoder, texts: Sequence[str]) -> np.ndarray:
        calls.append(list(texts))
        return original(self, texts)

    monkeypatch.setattr(OnnxEncoder, "encode_texts", noted)
    return calls


@pytest.mark.parametrize("most", [answering._MOST_CANDIDATES, 150])
def test_together_as_alone(collection: Collection, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(answering, "_MOST_CANDIDATES", most)
    queries = [collection.query(**words) for words in QUESTIONS]
    for query, together in zip(queries, collection.search_many(queries), strict=True):
        alone = collection.search_many([query])[0]
        assert [hit.path for hit in together] == [hit.path for hit in alone]
        for ours, theirs in zip(together, alone, strict=True):
            assert ours.score == pytest.approx(theirs.score, abs=1e-5)
            assert ours.confidence == pytest.approx(theirs.confidence, abs=1e-4)
    assert any(hit.confidence for hit in collection.search_many(queries)[0])


def test_expected_texts_are_embedded_once(collection: Collection, encoded: list[Sequence[str]]) -> None:
    first, second = ([collection.query(text=text) for text in part] for part in (["a cat", "a dog"], ["a bee", "tea"]))
    collection.expect(first)  # there is no model yet
    assert encoded == []
    plain = [collection.search_many(queries) for queries in (first, second)]
    del encoded[:]
    collection.expect(first)
    collection.expect(second)
    assert [collection.search_many(queries) for queries in (first, second)] == plain
    assert encoded == [["a cat", "a dog"], ["a bee", "tea"]]
    collection.expect(first)
    collection.search_many(first[:1])  # what comes is another thing
    assert sorted(encoded[2:]) == [["a cat"], ["a cat", "a dog"]]
    collection.expect([collection.query(like=1)])
    assert len(encoded) == 4


def test_what_goes_wrong_ahead_is_raised_where_it_matters(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection.search(text="a cat")
    monkeypatch.setattr(OnnxEncoder, "_run", _fail)
    queries = [collection.query(text="a dog"), collection.query(text="a bee")]
    collection.expect(queries)
    assert collection.search(like=1)
    with pytest.raises(ModelError, match="no more"):
        collection.search_many(queries)


def test_top_is_another_word_for_k(collection: Collection) -> None:
    assert len(collection.search("a cat", top=2)) == len(collection.search("a cat", k=2)) == 2


def _fail(*_: object) -> None:
    raise ModelError("no more")


def test_a_batch_grows_and_embeds_each_text_once(
    collection: Collection, encoded: list[Sequence[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [f"a cat and {number} dogs" for number in range(700)]
    source = tmp_path / "texts.txt"
    source.write_text("\n".join(texts), "utf-8")
    collection.search(text="a warm start")
    del encoded[:]
    assert batch.run(collection, str(source), {"top": 1}) == 0
    assert sorted(text for call in encoded for text in call) == sorted(texts)
    sizes = sorted(map(len, encoded))
    assert sizes[0] <= lines._FIRST_AT_ONCE and sizes[-1] <= lines._MOST_AT_ONCE
    assert capsys.readouterr().out.count("\n") == 700


def test_lines_before_one_that_cannot_be_read_are_answered(
    collection: Collection, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(source: str) -> Any:
        yield "a cat"
        yield "a dog"
        raise OSError(5, source)

    monkeypatch.setattr(batch, "read", read)
    with pytest.raises(OSError, match="a disk"):
        batch.run(collection, "a disk", {"top": 1})
    assert capsys.readouterr().out.count("\n") == 2


@given(st.lists(st.integers(-(2**62), 2**62), max_size=40))
def test_distinct(numbers: list[int]) -> None:
    assert view.distinct(np.array(numbers, np.int64)).tolist() == sorted(set(numbers))
