"""Which texts and images belong together, and which of them are resampled together."""

from __future__ import annotations

from mmsearch.evaluating.captions import CaptionedImage, CaptionSet
from mmsearch.evaluating.pairs import Matching, match


def image(path: str, *captions: str) -> CaptionedImage:
    return CaptionedImage(path, captions)


def lists(pairs: Matching) -> tuple[list[list[int]], list[list[int]]]:
    return [row.tolist() for row in pairs.right_images], [row.tolist() for row in pairs.right_texts]


def test_texts_and_contents_count_once() -> None:
    said = CaptionSet(
        "c.jsonl",
        (image("/a", "x", "y"), image("/b", "x"), image("/gone", "w"), image("/copy of a", "y", "z"), image("/c", "v")),
    )
    pairs = match(said, {"/a": "1", "/b": "2", "/copy of a": "1", "/c": "3"})
    assert pairs.texts == ("x", "y", "z", "v")
    assert (pairs.contents, pairs.paths) == (("1", "2", "3"), ("/a", "/b", "/c"))
    assert lists(pairs) == ([[0, 1], [0], [0], [2]], [[0, 1, 2], [0], [3]])
    assert pairs.pairs == 5 and pairs.classes == 0
    assert pairs.image_units.tolist() == [0, 0, 1], "the first two share a text"
    assert pairs.text_units.tolist() == [0, 0, 0, 1]


def test_classes() -> None:
    said = CaptionSet(
        "folder", (image("/a", "cat"), image("/b", "dog"), image("/c", "dog")), classes=("bird", "cat", "dog")
    )
    pairs = match(said, {"/a": "1", "/b": "2", "/c": "3"})
    assert pairs.texts == ("cat", "dog", "bird") and pairs.classes == 3
    assert lists(pairs) == ([[0], [1, 2]], [[0], [1], [1]]), "nothing is asked about birds"
    assert pairs.image_units.tolist() == [0, 1, 2], "the classes are given, the images are drawn"
    assert pairs.text_units.tolist() == [0, 1]


def test_nothing() -> None:
    pairs = match(CaptionSet("c.jsonl", (image("/a", "x"),)), {})
    assert (pairs.texts, pairs.contents, pairs.pairs) == ((), (), 0)
