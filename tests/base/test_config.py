"""Settings, records and errors: what every other room stands on."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

import pytest

from mmsearch.base import config, errors
from mmsearch.base.records import Hit, ImageFacts, ImageRecord, Preprocess

TREE = [error for error in vars(errors).values() if isinstance(error, type) and issubclass(error, errors.MMSearchError)]


@pytest.mark.parametrize("named", ["argument", "variable", "neither"])
def test_a_collection_has_a_name(home: Path, monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    if named == "variable":
        monkeypatch.setenv("MMSEARCH_COLLECTION", "holidays")
    found = config.collection_path("holidays" if named == "argument" else None)
    assert found == config.data_dir() / ("default" if named == "neither" else "holidays")
    assert home in found.parents


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/a/b", "/a/b"),
        ("x/y", "{cwd}/x/y"),
        ("./x", "{cwd}/x"),
        (".", "{cwd}"),
        ("~/x", "{home}/x"),
        ("~", "{home}"),
        ("caf\udce9/x", "{cwd}/caf\udce9/x"),
    ],
)
@pytest.mark.parametrize("variable", [False, True])
def test_a_collection_has_a_path(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: str, variable: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MMSEARCH_COLLECTION", text if variable else "/not/this")
    found = config.collection_path(None if variable else text)
    assert str(found) == expected.format(cwd=tmp_path, home=home)


def test_an_empty_variable_is_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMSEARCH_COLLECTION", "")
    assert config.collection_path() == config.data_dir() / config.DEFAULT_COLLECTION


def test_the_cache_is_where_the_user_wants_it(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert home in config.cache_dir().parents
    monkeypatch.setenv("MMSEARCH_CACHE", str(tmp_path / "elsewhere"))
    assert config.cache_dir() == tmp_path / "elsewhere"
    monkeypatch.delenv("MMSEARCH_CACHE")
    assert config.cache_dir().name == "mmsearch"
    assert home in config.cache_dir().parents


@pytest.mark.parametrize(
    ("value", "offline"), [("1", True), ("true", True), ("Yes", True), ("ON", True), ("0", False), ("", False)]
)
def test_the_hub_may_be_forbidden(monkeypatch: pytest.MonkeyPatch, value: str, offline: bool) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    assert config.hub_offline() is offline
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert config.hub_offline() is False


def test_the_hub_may_be_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    assert config.hub_endpoint() == "https://huggingface.co"
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/hub/")
    assert config.hub_endpoint() == "https://mirror.example/hub"


# --- errors ---


@pytest.mark.parametrize("error", TREE)
def test_an_error_is_one_line(error: type[errors.MMSearchError]) -> None:
    raised = error("what\n is  wrong", "what\nto do")
    assert str(raised) == "what is wrong; what to do"
    assert str(error("only this")) == "only this"
    assert (raised.message, raised.hint) == ("what is wrong", "what to do")


def test_the_docstring_draws_the_tree() -> None:
    assert errors.__doc__ is not None
    drawn: dict[str, tuple[int, int]] = {}
    for line in inspect.cleandoc(errors.__doc__).splitlines():
        found = re.match(r"(?P<indent>[ │├└─]*)(?P<name>\w+Error)\b(?: +exit (?P<code>\d))?", line)
        if found:
            drawn[found["name"]] = (len(found["indent"]) // 4, int(found["code"] or 1))
    assert drawn == {error.__name__: (len(error.mro()) - 4, error.exit_code) for error in TREE}


# --- records ---


def test_preprocessing_survives_json() -> None:
    how = Preprocess(256, 288, "longest", "lanczos", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 127)
    assert Preprocess.from_json(json.loads(json.dumps(how.to_json()))) == how


def test_a_hit_knows_its_path() -> None:
    record = ImageRecord(1, "/p/a.jpg", 2, 3, 4, "f00d", ImageFacts(5, 6, "JPEG"))
    assert Hit(1, 0.5, record).path == "/p/a.jpg"
