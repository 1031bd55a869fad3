"""What is printed as JSON is JSON: Python's own words for numbers that it has not would end a reader."""

from __future__ import annotations

import json
import math

import pytest

from mmsearch.cli.console import dumps


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_numbers_that_json_has_not_are_null(value: float) -> None:
    fields = {"a": value, "b": [1.5, (value, "x")], "c": {"d": {"e": value}}, "f": True, "g": None, "é": 10**400}
    read = json.loads(dumps(fields), parse_constant=lambda word: pytest.fail(word))
    assert read == {"a": None, "b": [1.5, [None, "x"]], "c": {"d": {"e": None}}, "f": True, "g": None, "é": 10**400}


def test_others_are_as_they_were() -> None:
    fields = {"a": [0.1, -0.0, 1e300], "b": "Infinity"}
    assert json.loads(dumps(fields, indent=2)) == fields
