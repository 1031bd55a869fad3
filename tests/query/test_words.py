"""A question's words are declared once: Python, batch lines and the command line have the same, also earlier names."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Unpack, get_type_hints

import pytest
import typer
from command import Command

from mmsearch import Collection, UsageError
from mmsearch.cli.app import application
from mmsearch.query.parse import OPTION_WORDS, WORDS, from_words, overriding
from mmsearch.query.query import Query
from mmsearch.query.value_types import kinds_of
from mmsearch.query.words import EARLIER, SearchWords, Word, Words

TYPED = """
from mmsearch import Collection

def ask(photos: Collection, folders: list[str]) -> None:
    photos.search("a cat", top=5, below=folders, plus=[("sunset", 0.5)], near=(48.9, 2.3, 5), min_score=0, k=None)
    photos.query(text="a cat", after=None, image=b"", likely=True)
    photos.search("a cat", {wrong})
"""


def test_every_word_has_its_type_and_its_help() -> None:
    for name, hint in Words.__annotations__.items():
        assert all(kinds_of(hint)) and object not in kinds_of(hint), name
        if name != "terms":
            (word,) = hint.__metadata__
            assert isinstance(word, Word) and word.help[0].isupper() and word.help.endswith("."), name
            assert bool(word.value) is (kinds_of(hint) != (bool,)), name


def test_kinds_are_those_of_the_type() -> None:
    assert kinds_of(Annotated[str | Sequence[tuple[str, float]] | None, Word("X.")]) == (str, list, tuple)
    assert kinds_of(float | None) == (int, float)
    assert kinds_of(str | os.PathLike[str] | bytes) == (str, os.PathLike, bytes)
    assert kinds_of(bool) == (bool,)


def test_options_of_the_command_line_are_the_words() -> None:
    query = typer.main.get_command(application()).commands["query"]  # type: ignore[attr-defined]
    options = {option.name: option for option in query.params}
    assert WORDS.keys() - {"terms"} <= options.keys()
    for name in WORDS.keys() - {"terms", "text"}:
        assert options[name].opts[0] == f"--{name.replace('_', '-')}" and options[name].help, name
        assert (list in WORDS[name] and name != "near") is options[name].multiple, name


def test_options_are_fields_of_a_query_and_python_takes_all_words() -> None:
    assert OPTION_WORDS - {"likely"} <= Query.__dataclass_fields__.keys()
    assert get_type_hints(Collection.search)["words"] == Unpack[SearchWords]
    assert get_type_hints(Collection.query)["words"] == Unpack[Words]
    named = inspect.signature(Collection.search).parameters.keys() - {"self", "words"}
    assert named - {"k"} | SearchWords.__annotations__.keys() == WORDS.keys()


@pytest.mark.slow
@pytest.mark.parametrize("wrong", ["", 'top="5"', "tpo=5", 'plus=[("sunset", "much")]', "below=3", "likely=1"])
def test_a_type_checker_checks_them(tmp_path: Path, wrong: str) -> None:
    from mypy import api

    told, failed, code = api.run(["--strict", "--config-file=", "-c", TYPED.format(wrong=wrong)])
    assert (code, told.count("error:"), failed) == (int(bool(wrong)), int(bool(wrong)), ""), told


@pytest.mark.parametrize(
    ("earlier", "now"),
    [
        ({"k": 3, "text": "a"}, {"top": 3, "text": "a"}),
        ({"k": None, "text": "a"}, {"text": "a"}),
        ({"k": None, "top": 3, "text": "a"}, {"top": 3, "text": "a"}),
        ({"in": "/a"}, {"below": "/a"}),
        ({"in": ["/a", "/b"], "below": Path("/c")}, {"below": ["/c", "/a", "/b"]}),
    ],
)
def test_earlier_names_mean_the_same(earlier: dict[str, Any], now: dict[str, Any]) -> None:
    assert set(EARLIER.values()) <= WORDS.keys() and not EARLIER.keys() & WORDS.keys()
    assert from_words(earlier) == from_words(now)


def test_earlier_names_override_and_do_not_contradict() -> None:
    assert overriding({"below": ["/a"], "top": 1}, {"in": "/b", "k": 2}) == {"below": "/b", "top": 2}
    assert overriding({"below": ["/a"], "top": 1}, {"in": None}) == {"below": None, "top": 1}
    with pytest.raises(UsageError, match="'k' and 'top' are two names of one option; give 'top' alone"):
        from_words({"text": "a", "k": 1, "top": 1})
    with pytest.raises(UsageError, match="invalid value 'x' for 'k'; give a whole number"):
        from_words({"text": "a", "k": "x"})


def test_all_ways_of_asking_give_the_same_answer(
    command: Command, indexed: Path, sample_data: Path, tmp_path: Path
) -> None:
    inner = str(sample_data)
    with Collection.open(indexed) as photos:
        wanted = [hit.path for hit in photos.search("a cat", top=3, below=inner)]
        assert len(wanted) == 3
        assert [hit.path for hit in photos.search("a cat", k=3, **{"in": inner})] == wanted  # type: ignore[arg-type]
        assert [hit.path for hit in photos.search_many([photos.query(text="a cat", top=3)])[0]] == wanted
    for flags in (["--top", 3, "--below", inner], ["-k", 3, "--in", inner], ["-k", 3, "--in", inner, "--below", "/x"]):
        assert command("query", "a cat", "-C", indexed, "--paths", *flags).out.splitlines() == wanted
    lines = [{"top": 3, "below": inner}, {"k": 3, "in": [inner]}, {}]
    source = tmp_path / "lines"
    source.write_text("\n".join(json.dumps({"text": "a cat", **line}) for line in lines))
    told = command("query", "--batch", source, "-C", indexed, "--in", inner, "-k", 1).out.splitlines()
    answers = [[result["path"] for result in json.loads(line)["results"]] for line in told]
    assert answers == [wanted, wanted, wanted[:1]]


def test_the_help_has_one_name_for_one_thing(command: Command) -> None:
    told = command("query", "--help").out
    assert "--below DIR" in told and "-k, --top N" in told and "--in " not in told
    assert command("query", "x", "--below", "").err == command("query", "x", "--in", "").err != ""
