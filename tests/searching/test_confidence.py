"""How sure a result is: the formula by hand, what it means, and what a user sees of it."""

from __future__ import annotations

import json
import math
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from command import Command
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsearch import Collection, encoders
from mmsearch.base import config
from mmsearch.base.errors import UsageError
from mmsearch.encoders import load_encoder
from mmsearch.searching.background import Form
from mmsearch.searching.centring import centred
from mmsearch.searching.confidence import BEST, LEAST_QUESTIONS, TAIL, Background, confidences
from mmsearch.searching.reference_captions import caption_vectors, captions


def units(rows: int, dim: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def chance(z: float) -> float:
    """The probability that a standard normal value is over z."""
    return 0.5 * math.erfc(z / math.sqrt(2))


# --- the formula ---


def test_standing_by_hand() -> None:
    questions, images, question = units(40, 8, 1), units(30, 8, 2), units(1, 8, 3)[0]
    background = Background(questions, images, whole=True)
    assert background.suffices
    all_scores = images @ questions.T
    ceiling_mean = np.quantile(all_scores.mean(axis=0), 0.9)
    ceiling_spread = np.quantile(all_scores.std(axis=0), 0.9)
    for row, found in enumerate(background.standing(images, question)):
        score = float(images[row] @ question)
        by_image = (score - all_scores[row].mean()) / all_scores[row].std()
        others = np.delete(images, row, axis=0) @ question
        mean = (29 * others.mean() + 8 * all_scores.mean()) / 37
        spread = math.sqrt((29 * others.var() + 8 * all_scores.var()) / 37)
        by_question = (score - min(mean, ceiling_mean)) / min(spread, ceiling_spread)
        assert found == pytest.approx((by_image + by_question) / 2, abs=1e-4)


def test_an_image_and_its_copies_are_no_unrelated_questions() -> None:
    images = units(20, 8, 4)
    with_copies = Background(np.concatenate([images, images[:1], images[:1]]), images, whole=True)
    without = Background(images[1:], images, whole=True)
    question = units(1, 8, 5)[0]
    one = with_copies.standing(images[:1], question)
    assert np.isfinite(one).all()
    scores = without.questions @ images[0]
    by_image = (float(images[0] @ question) - scores.mean()) / scores.std()
    by_question = with_copies._by_question((images[:1] @ question).astype(float), images @ question)
    assert one[0] == pytest.approx((by_image + by_question[0]) / 2, abs=1e-4)


def test_confidences_by_hand() -> None:
    assert confidences(np.array([3.0]), 100)[0] == pytest.approx(1 - 100 * chance(3.0 / TAIL))
    assert confidences(np.array([1.0]), 100)[0] == 0.0
    pair = confidences(np.array([3.0, 2.8]), 50)  # the second makes both likelier
    second = 50 * chance(2.8 / TAIL) / 2
    assert pair == pytest.approx([1 - min(50 * chance(3.0 / TAIL), second), 1 - second])
    assert len(confidences(np.empty(0), 10)) == 0


@given(st.lists(st.floats(-8, 8), min_size=1, max_size=130), st.integers(1, 10**7))
@settings(max_examples=60, deadline=None)
def test_confidences_follow_the_standing_and_not_what_is_asked_for(standing: list[float], among: int) -> None:
    found = confidences(np.array(standing), among)
    assert ((found >= 0) & (found <= 1)).all()
    best = standing[:BEST]
    order = np.argsort(best)
    assert (np.diff(found[:BEST][order]) >= -1e-12).all()
    assert found[:BEST] == pytest.approx(confidences(np.array(best), among))  # more results change no earlier one
    more = confidences(np.array(standing), among * 2)
    assert (more <= found + 1e-12).all()


def test_of_unrelated_questions_about_one_in_ten_finds_something() -> None:
    """The promise, on scores that are as normal as can be; `TAIL` makes it rarer still."""
    images, questions, asked = units(300, 64, 6), units(256, 64, 7), units(400, 64, 8)
    background = Background(questions, images, whole=True)
    found = [confidences(background.standing(images, one), len(images)).max() >= config.LIKELY for one in asked]
    assert 0.0 < np.mean(found) <= 0.1


def test_an_image_planted_for_a_question_is_found() -> None:
    images, questions, asked = units(300, 64, 6), units(256, 64, 7), units(1, 64, 9)[0]
    images[17] = images[17] + asked
    images[17] /= np.linalg.norm(images[17])
    found = confidences(Background(questions, images, whole=True).standing(images, asked), len(images))
    assert found.argmax() == 17 and found[17] > 0.99 and np.delete(found, 17).max() < config.LIKELY


def test_a_folder_of_one_subject_does_not_hide_it() -> None:
    """In a folder of cats, "a cat" is as sure as elsewhere: the ceilings see to it."""
    rng, subject = np.random.default_rng(10), units(1, 64, 11)[0]
    images = units(60, 64, 12) * 0.8 + subject
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    questions = units(256, 64, 13)
    background = Background(questions, images, whole=True)
    assert (confidences(background.standing(images, subject), 60) > config.LIKELY).mean() > 0.9
    other = rng.standard_normal(64).astype(np.float32)
    assert confidences(background.standing(images, other / np.linalg.norm(other)), 60).max() < config.LIKELY


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_images_give_finite_confidences_or_none(count: int) -> None:
    images = units(count, 8, 14)
    background = Background(units(64, 8, 15), images, whole=True)
    assert background.suffices == (count > 0)
    if count:
        found = confidences(background.standing(images, units(1, 8, 16)[0]), count)
        assert np.isfinite(found).all()
    assert not Background(units(LEAST_QUESTIONS - 1, 8, 15), units(5, 8, 1), whole=True).suffices


# --- unrelated questions ---


def test_unrelated_questions_have_the_form_of_the_one_asked(collection: Collection) -> None:
    words, images = units(256, 8, 17), units(40, 8, 18)

    def questions(spec: str = "starter", **asked: object) -> np.ndarray:
        return Form.of(collection.query(**asked), spec).questions(words, images)

    assert np.array_equal(questions(text="a cat"), words)
    assert np.array_equal(questions(like=1), images)
    assert np.array_equal(questions(more=[1, 2]), images)
    assert np.array_equal(questions("ViT-B-32/openai", text="a cat"), centred(words, words.mean(axis=0)))
    assert np.array_equal(questions("ViT-B-32/openai", text="a cat", templates=False), words)
    mixed = questions(text="a cat", minus="b", image="x.jpg:2")
    assert mixed.shape == (256, 8) and np.allclose(np.linalg.norm(mixed, axis=1), 1, atol=1e-5)
    # 1, -1 and 2 of random directions: the image's share of the sum is 2 / sqrt(6).
    assert (mixed @ images.T).max(axis=1).mean() == pytest.approx(2 / math.sqrt(6), abs=0.08)
    away = questions(image="x.jpg:-1")
    assert (away @ images.T).min(axis=1) == pytest.approx(-1, abs=1e-5)


def test_captions_are_many_and_different() -> None:
    lines = captions()
    assert len(lines) == len(set(lines)) == 256
    assert all(line == line.strip() and line.isascii() for line in lines)


def test_the_embeddings_that_are_shipped_are_the_models_own() -> None:
    encoder = load_encoder("starter")

    def never() -> object:
        raise AssertionError("they are not shipped")

    shipped = caption_vectors(encoder.info.fingerprint, encoder.info.dim, never)  # type: ignore[arg-type]
    assert np.einsum("ij,ij->i", shipped, encoder.encode_texts(captions())) == pytest.approx(1, abs=1e-3)


def test_embeddings_of_another_model_are_kept_privately_and_made_again_when_damaged(home: Path) -> None:
    encoder = load_encoder("starter")
    calls = []

    def load() -> object:
        calls.append(1)
        return encoder

    first = caption_vectors("another", encoder.info.dim, load)  # type: ignore[arg-type]
    again = caption_vectors("another", encoder.info.dim, load)  # type: ignore[arg-type]
    assert len(calls) == 1 and again == pytest.approx(first, abs=1e-3)
    (kept,) = (config.cache_dir() / "captions").iterdir()
    if os.name == "posix":
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    kept.write_bytes(b"no array")
    once_more = caption_vectors("another", encoder.info.dim, load)  # type: ignore[arg-type]
    assert once_more == pytest.approx(first, abs=1e-3)
    assert len(calls) == 2


# --- searching ---


def test_what_is_there_is_likely_and_what_is_not_is_not(collection: Collection) -> None:
    for text, name in [("a cat", "cat.jpg"), ("a bridge", "bridge.jpg"), ("flowers", "sunflower.jpg")]:
        best = collection.search(text)[0]
        assert Path(best.path).name == name and best.confidence is not None and best.confidence >= config.LIKELY
    for text in ("a washing machine", "a piano", "a giraffe", "an X-ray of a hand"):
        assert max(hit.confidence or 0 for hit in collection.search(text)) < config.LIKELY, text


def test_confidence_does_not_depend_on_what_is_asked_for(collection: Collection) -> None:
    full = {hit.path: hit.confidence for hit in collection.search("a bird", k=24)}
    assert None not in full.values()
    for hit in [*collection.search("a bird", k=3), *collection.search("a bird", k=5, exact=True)]:
        assert full[hit.path] == pytest.approx(hit.confidence, abs=1e-6)


def test_min_confidence_is_the_same_cut_everywhere(collection: Collection, command: Command, indexed: Path) -> None:
    everything = collection.search("a dog")
    least = everything[0].confidence or 0
    likely = collection.search("a dog", min_confidence=least)
    assert [hit.path for hit in likely] == [hit.path for hit in everything if (hit.confidence or 0) >= least]
    assert [hit.rank for hit in likely] == list(range(1, len(likely) + 1)) and 0 < len(likely) < 10
    printed = command("query", "a dog", "--min-confidence", least, "-C", indexed, "--jsonl").out.splitlines()
    assert [json.loads(line)["path"] for line in printed] == [hit.path for hit in likely]
    line = json.dumps({"text": "a dog", "min_confidence": least})
    source = indexed.parent / "lines"
    source.write_text(line + "\n")
    assert json.loads(command("query", "--batch", source, "-C", indexed).out)["count"] == len(likely)
    for wrong in (-0.1, 1.1, math.nan):
        with pytest.raises(UsageError, match="invalid confidence"):
            collection.search("a dog", min_confidence=wrong)
    with pytest.raises(UsageError, match="--likely and --min-confidence need a text or an image"):
        collection.search(below="/x", min_confidence=0.5)


def test_lists_by_date_have_no_confidence(collection: Collection, sample_data: Path) -> None:
    assert {hit.confidence for hit in collection.search(below=sample_data)} == {None}


def test_a_stored_image_needs_no_model_for_it(
    indexed: Path, sample_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("loads a model")

    monkeypatch.setattr(encoders, "load_query_encoder", never)
    with Collection.open(indexed) as photos:
        best = photos.search(like=sample_data / "dog.jpg")[0]
    assert Path(best.path).name == "spaniels.jpg" and best.confidence is not None
