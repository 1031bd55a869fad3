"""What `--json` prints is what its schema says: nothing is missing, of another type, or without a description."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from command import Command

from mmsearch.cli import schemas


def strict(node: Any) -> Any:
    """A schema that allows no more fields than it names."""
    if isinstance(node, list):
        return [strict(part) for part in node]
    if not isinstance(node, dict):
        return node
    made = {name: strict(part) for name, part in node.items()}
    return made | {"additionalProperties": False} if "properties" in made and made.get("type") else made


def check(name: str, printed: Any) -> None:
    schema = json.loads(schemas.text(name))
    jsonschema.Draft202012Validator(schema).validate(printed)
    jsonschema.Draft202012Validator(strict(schema)).validate(printed)


@pytest.fixture
def of_samples(indexed: Path, tmp_path: Path) -> list[str]:
    """Options that name a collection of all sample photos, which may be changed."""
    shutil.copytree(indexed, tmp_path / "collection")
    return ["-C", str(tmp_path / "collection")]


def test_schemas_are_schemas() -> None:
    for name in schemas.names():
        jsonschema.Draft202012Validator.check_schema(json.loads(schemas.text(name)))


@pytest.mark.parametrize(
    "question",
    [
        ("a cat", "--plus", "sun:0.5", "--minus", "people"),
        ("--image", "{photo}"),
        ("--like", "3", "--diverse"),
        ("a cat", "--more", "#3", "--less", "#5"),
        ("--orientation", "landscape"),
    ],
)
def test_query(command: Command, of_samples: list[str], sample_data: Path, question: tuple[str, ...]) -> None:
    asked = [word.format(photo=sample_data / "dog.jpg") for word in question]
    answer = command("query", *asked, *of_samples, "--json")
    assert answer.json["results"]
    check("query", answer.json)
    lines = command("query", *asked, *of_samples, "--jsonl").out.splitlines()
    assert [json.loads(line) for line in lines] == answer.json["results"]
    for line in lines:
        check("query-jsonl", json.loads(line))


def test_query_of_a_name_that_is_not_unicode() -> None:
    from mmsearch.rendering.fields import EXAMPLE, hit_to_json

    check("query-jsonl", hit_to_json(EXAMPLE) | {"hash": "0" * 32})


def test_batch(command: Command, of_samples: list[str], tmp_path: Path) -> None:
    questions = tmp_path / "questions"
    questions.write_text('a cat\n{"text": "a dog", "minus": ["people:0.5"], "top": 2}\n{"text": ""}\n{"broken\n')
    lines = [json.loads(line) for line in command("query", "--batch", questions, *of_samples).out.splitlines()]
    assert ["error" in line for line in lines] == [False, False, True, True]
    for line in lines:
        check("query-batch", line)


def test_index_info_optimize_reindex_doctor(command: Command, photos: Path, tmp_path: Path) -> None:
    where = ["-C", str(tmp_path / "collection"), "--json"]
    (photos / "bad.jpg").write_text("not an image")
    check("index", command("index", photos, "--model", "starter", *where).json)
    check("index", command("index", *where).json)
    info = command("info", "--recall", *where).json
    assert info["failures"] and info["recall"]
    check("info", info)
    check("optimize", command("optimize", *where).json)
    check("reindex", command("reindex", "--model", "starter", *where).json)
    check("reindex", command("reindex", "--drop-old", *where).json)
    check("doctor", command("doctor", *where).json)


def test_models(command: Command) -> None:
    listed = command("models", "--json").json
    check("models-list", listed)
    check("models-show", command("models", "show", "clip", "--json").json)
    check("models-pull", command("models", "pull", "starter", "--json").json)
    check("models-remove", command("models", "remove", "--leftovers", "--yes", "--json").json)


def test_eval(command: Command, sample_data: Path, tmp_path: Path) -> None:
    captions = [sample_data / "captions.jsonl", "--model", "starter"]
    check("eval", command("eval", *captions, "--worst", "1", "--json").json)
    check("eval", command("eval", *captions, "--centring", "both", "--json").json)
    for name in ("cat", "dog"):
        (tmp_path / "classes" / name).mkdir(parents=True)
        shutil.copy(sample_data / f"{name}.jpg", tmp_path / "classes" / name)
    of_classes = command("eval", tmp_path / "classes", "--model", "starter", "--json").json
    assert of_classes["zero_shot"]
    check("eval", of_classes)


def test_every_json_option_has_a_schema() -> None:
    """Read from the reference, which is made from the program."""
    from mmsearch.cli.reference import reference

    commands = re.findall(r"^## mmsearch (.+?)\n(.*?)(?=^## |\Z)", reference(), re.MULTILINE | re.DOTALL)
    printing = {name.replace(" ", "-") for name, text in commands if re.search(r"^  --json ", text, re.MULTILINE)}
    printing = {name for name in printing if name != "models"} | {"query-jsonl", "query-batch"}
    assert printing == set(schemas.names())


def test_schemas_are_printed(command: Command) -> None:
    for name in schemas.names():
        printed = command("help", "schema", *name.split("-"))
        assert printed.code == 0 and printed.out.rstrip("\n") == schemas.text(name).rstrip("\n")
    listed = command("help", "schema")
    assert set(listed.out.split()) >= set(schemas.names())
    unknown = command("help", "schema", "nothing")
    assert unknown.code == 2 and "query-jsonl" in unknown.err and unknown.err.count("\n") == 1


def described(node: Any) -> Iterator[str]:
    """The names of the fields of a schema and of what is below."""
    if isinstance(node, dict):
        for name, part in node.get("properties", {}).items():
            yield name
            yield from described(part)
        for name in ("items", "anyOf", "oneOf", "$defs"):
            yield from described(node.get(name))
    elif isinstance(node, list):
        for part in node:
            yield from described(part)


def test_the_guide_names_every_field_of_results_runs_and_evaluations() -> None:
    from mmsearch.cli import guide

    told = {"query": "scripts", "index": "scripts", "reindex": "models", "eval": "evaluating"}
    for name, chapter in told.items():
        fields = set(described(json.loads(schemas.text(name))))
        if name == "eval":
            fields = set(described(json.loads(schemas.text(name))["$defs"]["evaluation"])) | {"difference", "p", "real"}
        known = set(re.findall(r"`([\w@]+)`", guide.text(chapter)))
        assert fields <= known | {"kind", "value", "weight"}, (chapter, fields - known)
