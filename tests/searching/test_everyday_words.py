"""Telling from a few words in Latin letters whether they are English."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch import encoders
from mmsearch.searching import everyday_words
from mmsearch.searching.everyday_words import _ARTICLES, _INDEFINITE, _languages, looks_foreign

HERE = Path(__file__).parents[1]


def is_foreign(text: str) -> bool:
    return looks_foreign(text, encoders.knows_word)


@pytest.mark.parametrize(
    "text",
    [
        "eine Katze",
        "Katze",
        "ein Hund",
        "rotes Auto",
        "Hund am Strand",
        "der Hund spielt im Garten",
        "ein deutscher Schäferhund",
        "un chat",
        "un chat noir",
        "le chat",
        "chien",
        "l'église",
        "un homme sur la plage",
        "un perro",
        "EL PERRO",
        "una casa blanca",
        "niño jugando en la playa",
        "un gatto",
        "il mare",
        "spiaggia",
        "um cachorro",
        "o gato",
        "een hond",
        "fiets",
        "kot",
        "pies na plaży",
        "łódź na jeziorze",
        "en hund",
        "ett äpple",
        "et tre",
        "fjell",
        "kissa",
        "kočka",
        "bir kedi",
        "egy kutya",
        "o pisică",
        "kucing",
        "um galo",
        "un pollastre",
        "Eine Katze.",
        "zwei\u0308te Bru\u0308cke",
        "pelēks kaķis",
    ],
)
def test_other_languages(text: str) -> None:
    assert is_foreign(text)


@pytest.mark.parametrize(
    "text",
    [
        "a cat",
        "cat",
        "",
        "...",
        "42",
        "die",
        "a die",
        "la la land",
        "Los Angeles",
        "El Capitan",
        "crème brûlée",
        "piñata",
        "dachshund",
        "capybara",
        "axolotl in a tank",
        "un building",
        "en route",
        "art nouveau",
        "Cirque du Soleil",
        "Notre-Dame de Paris",
        "Björk on stage, naïve café",
        "a man and his Hund",
        "the word Katze on a sign",
        "kirche berlin",
        "photo of the Straße des 17. Juni",
        "œuvre",
        "Tōkyō",
        "Gdańsk",
        "DSC_0001.JPG",
        "red sports car",
        "zzyzx",
        "😀",
    ],
)
def test_english(text: str) -> None:
    assert not is_foreign(text)


def test_english_made_of_words_from_elsewhere() -> None:
    texts = (HERE / "bench" / "borrowed_english.txt").read_text("utf-8").splitlines()
    told = [text for text in texts if is_foreign(text)]
    assert len(texts) > 700
    assert len(told) < 0.01 * len(texts), told


def test_captions_are_english(sample_data: Path) -> None:
    package = Path(everyday_words.__file__).parent
    captions = (package / "reference_captions" / "captions.txt").read_text("utf-8").splitlines()
    for line in (sample_data / "captions.jsonl").read_text("utf-8").splitlines():
        captions += json.loads(line)["captions"]
    assert len(captions) > 300
    assert [text for text in captions if is_foreign(text)] == []


def test_the_lists_are_in_order() -> None:
    lists = _languages()
    assert len(lists) == 16
    for language in lists:
        assert len(language.own) > 60
        assert not language.own & language.shared
        assert all(word == word.lower() and word.isalpha() for word in language.own | language.shared)
    known = frozenset[str]().union(*(language.own | language.shared for language in lists))
    assert known >= _ARTICLES > _INDEFINITE


def test_english_words_are_looked_up_only_where_they_matter() -> None:
    def fail(word: str) -> bool:
        raise AssertionError(word)

    assert not looks_foreign("a photo of a cat", fail)
    assert not looks_foreign("giraffe", fail)
    assert looks_foreign("eine Katze", fail)


@given(st.text())
def test_any_text_can_be_asked(text: str) -> None:
    is_foreign(text)


@pytest.mark.parametrize(
    ("word", "known"),
    [
        ("cat", True),
        ("Cat", True),
        ("café", True),
        ("katze", False),
        ("##s", False),
        ("", False),
        ("[unk]", False),
        ('a"b', False),
    ],
)
def test_the_vocabulary(word: str, known: bool) -> None:
    assert encoders.knows_word(word) is known
