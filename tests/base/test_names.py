"""Names that people take for the same have one key, whatever bytes they are."""

from __future__ import annotations

import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.base import names


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Zoë.PNG", "zoë.png"),
        ("ÉTÉ", "été"),
        ("STRASSE", "straße"),
        ("ΣΊΣΥΦΟΣ", "σίσυφος"),
        ("Привет", "ПРИВЕТ"),
        ("Å", "\u212b"),  # the sign of a unit
        ("한국", unicodedata.normalize("NFD", "한국")),
        ("caf\udce9", "CAF\udce9"),  # a byte that is no UTF-8
    ],
)
def test_names_that_are_the_same_to_people(one: str, other: str) -> None:
    for form in ("NFC", "NFD"):
        assert names.folded(unicodedata.normalize(form, one)) == names.folded(other)
        assert names.key(os.fsencode(unicodedata.normalize(form, one))) == names.key(os.fsencode(other))


@pytest.mark.parametrize(("one", "other"), [("e", "é"), ("o", "ö"), ("ı", "i"), ("x²", "x2"), ("\udce9", "é")])
def test_names_that_are_not(one: str, other: str) -> None:
    assert names.folded(one) != names.folded(other)


def test_a_name_in_normal_form_keeps_its_case() -> None:
    assert names.composed(unicodedata.normalize("NFD", "Zoë\udcff")) == "Zoë\udcff"


@given(st.binary(max_size=12))
def test_any_bytes_have_a_key_which_is_its_own(raw: bytes) -> None:
    key = names.key(raw)
    assert names.key(key) == key
    assert key == os.fsencode(names.folded(os.fsdecode(raw)))
