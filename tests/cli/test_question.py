"""`mmsearch query`: terms, feedback on the last answer and filters, as a user types them."""

from __future__ import annotations

import json
import os
import re
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from command import Command

from mmsearch.base import config


def names(answer: dict[str, object]) -> list[str]:
    return [Path(result["path"]).name for result in answer["results"]]  # type: ignore[attr-defined]


def test_terms_on_the_command_line_in_one_string_and_in_batch_agree(
    command: Command, indexed: Path, sample_data: Path, tmp_path: Path
) -> None:
    dog = sample_data / "dog.jpg"
    apart = command(
        "query", "a beach", "--plus", "sunset:0.5", "--minus", "people", "--image", f"{dog}:2", "-C", indexed, "--json"
    ).json
    assert apart["query"] == {
        "text": "a beach",
        "image": f"{dog}:2",
        "like": None,
        "terms": [
            {"kind": "text", "value": "a beach", "weight": 1.0},
            {"kind": "text", "value": "sunset", "weight": 0.5},
            {"kind": "text", "value": "people", "weight": -1.0},
            {"kind": "image", "value": str(dog), "weight": 2.0},
        ],
    }
    together = f"a beach + 0.5*sunset - people + 2*image({dog})"
    compact = command("query", "--expr", together, "-C", indexed, "--json").json
    assert compact["query"]["terms"] == apart["query"]["terms"] and compact["query"]["text"] is None
    lines = [
        {"text": "a beach", "plus": ["sunset:0.5"], "minus": "people", "image": [[str(dog), 2]]},
        {"expr": together},
        {"terms": apart["query"]["terms"]},
    ]
    source = tmp_path / "lines"
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    answers = [json.loads(line) for line in command("query", "--batch", source, "-C", indexed).out.splitlines()]
    for answer in [compact, *answers]:
        assert names(answer) == names(apart)
        scores = [result["score"] for result in answer["results"]]
        assert scores == pytest.approx([result["score"] for result in apart["results"]], abs=1e-3)
    assert "dog.jpg" not in names(apart) and names(apart)[0] == "spaniels.jpg"


def test_standard_input_may_have_a_weight(sample_data: Path, indexed: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "mmsearch", "query", "a beach", "--image", "-:3", "-C", indexed, "--json", "-k", "1"],
        input=(sample_data / "dog.jpg").read_bytes(),
        capture_output=True,
        check=True,
    )
    answer = json.loads(result.stdout)
    assert names(answer) == ["spaniels.jpg"]
    assert answer["query"]["terms"][1] == {"kind": "image", "value": None, "weight": 3.0}


@pytest.mark.parametrize(
    "arguments",
    [
        ["a beach", "--plus", "sea:0"],
        ["--expr", "beach +"],
        ["--image", "-", "--image", "-:2"],
        ["--minus", "people", "--plus", "people"],
        ["a cat", "--after", "soon"],
        ["a cat", "--where", "widht > 3"],
        ["a cat", "--orientation", "round"],
        ["a cat", "--min-size", "big"],
        ["--more", "first"],
        ["a cat", "--more", "3"],
        ["--in", "/", "--min-score", "0.1"],
        [],
    ],
)
def test_usage_errors_are_one_line(command: Command, indexed: Path, arguments: list[str]) -> None:
    outcome = command("query", *arguments, "-C", indexed)
    assert outcome.code == 2 and outcome.out == "" and outcome.err.count("\n") == 1, outcome.err


# --- words ---


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["a", "dog", "on", "grass"], "a dog on grass"),
        (["a", "dog", "-k", "3", "on grass"], "a dog on grass"),
        (["--no-gps", "a", "dog", "--likely"], "a dog"),
        (["a  dog"], "a  dog"),  # one text stays as it is
        (["--", "a", "--minus", "-k"], "a --minus -k"),
        (["a dog", "--minus", "people", "at night"], "a dog at night"),
    ],
)
def test_words_are_joined(command: Command, indexed: Path, arguments: list[str], text: str) -> None:
    answer = command("query", "-C", indexed, "--json", *arguments).json
    assert answer["query"]["text"] == text
    assert answer["query"]["terms"][0] == {"kind": "text", "value": text, "weight": 1.0}


@pytest.mark.parametrize("arguments", [[""], ["", " "], [" "]])
def test_words_of_nothing_are_refused(command: Command, indexed: Path, arguments: list[str]) -> None:
    refused = command("query", *arguments, "-C", indexed)
    assert refused.code == 2 and "the query text is empty" in refused.err and refused.err.count("\n") == 1


def test_joined_words_are_remembered_as_one_text(command: Command, indexed: Path) -> None:
    command("query", "a", "dog", "-C", indexed, "--session", "s")
    assert "refining 'a dog'" in command("query", "--more", 1, "-C", indexed, "--session", "s").err


@pytest.mark.parametrize(
    ("arguments", "advised"),
    [
        (["dog.jpg"], "dog.jpg is an image file, but was taken as words; to find images like it: "
                      "mmsearch query --image dog.jpg"),
        (["my dog.jpg"], "mmsearch query --image 'my dog.jpg'"),
        (["my", "dog.jpg"], "my dog.jpg is an image file, but was taken as words; to find images like it: "
                            "mmsearch query --image 'my dog.jpg'"),
        (["dog.jpg", "cat.jpg"], "dog.jpg, cat.jpg are image files, but were taken as words; to find images like them: "
                                 "mmsearch query --image dog.jpg --image cat.jpg"),
        (["--", "-dog.jpg"], "mmsearch query --image ./-dog.jpg"),
        (["nameless"], "mmsearch query --image nameless"),
        (["a", "dog.jpg"], None),
        (["notes.txt"], None),
        (["gone.jpg"], None),
        (["folder.jpg"], None),
        (["pipe.jpg"], None),
        (["a dog", "--image", "dog.jpg"], None),
    ],
)  # fmt: skip
def test_a_text_that_names_an_image_gets_its_answer_and_advice(
    command: Command,
    indexed: Path,
    sample_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    advised: str | None,
) -> None:
    for name in ("dog.jpg", "cat.jpg", "my dog.jpg", "-dog.jpg", "nameless"):
        (tmp_path / name).write_bytes((sample_data / "dog.jpg").read_bytes())
    (tmp_path / "notes.txt").write_text("a dog")
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MMSEARCH_COLLECTION", str(indexed))
    answer = command("query", "--paths", "-k", 3, *arguments)
    assert answer.code == 0 and len(answer.out.splitlines()) == 3
    if advised is None:
        assert answer.err == ""
        return
    assert answer.err.count("\n") == 1 and answer.err.endswith(f"{advised}\n")
    typed = shlex.split(answer.err.partition("mmsearch query ")[2])
    assert command("query", *typed, "--paths").code == 0, "the command works as it stands"
    elsewhere = command("query", "-C", indexed, "--paths", *arguments).err
    assert elsewhere.endswith(f"-C {indexed}\n"), "and asks the same collection"


# --- the last answer ---


def test_refining_the_last_answer(command: Command, indexed: Path) -> None:
    def ask(*arguments: object, session: str = "one"):  # type: ignore[no-untyped-def]
        return command("query", *arguments, "-C", indexed, "--json", "--session", session)

    assert ask("--more", 1).code == 1
    first = ask("an animal", "-k", 12).json
    results = {Path(result["path"]).name: result for result in first["results"]}
    bee, cat = results["bee.jpg"], results["cat.jpg"]
    refined = ask("--more", bee["rank"], "--less", cat["rank"], "-k", 12)
    assert re.fullmatch(
        r"mmsearch: refining 'an animal' \(asked \d\d:\d\d\): more like \S+bee\.jpg; less like \S+cat\.jpg\n",
        refined.err,
    )
    by_id = ask("an animal", "--more", f"#{bee['id']}", "--less", f"#{cat['id']}", "-k", 12, session="two").json
    assert refined.json["results"] == by_id["results"] != first["results"]
    assert refined.json["query"]["terms"] == first["query"]["terms"]
    assert refined.json["query"]["more"] == [bee["path"]] and by_id["query"]["less"] == [cat["id"]]
    again = ask("--less", refined.json["results"][0]["rank"], "--orientation", "landscape").json
    assert again["query"]["more"] == [bee["path"]], "what was said before still counts"
    assert again["query"]["less"] == [cat["path"], refined.json["results"][0]["path"]]
    assert all(result["width"] > result["height"] for result in again["results"])
    last = ask("--more", 1).json
    assert all(result["width"] > result["height"] for result in last["results"]), "and so do filters"
    assert "has no result 99" in ask("--more", 99).err


def test_the_last_answer_is_private_and_of_its_session(command: Command, indexed: Path, home: Path) -> None:
    folder = config.cache_dir() / "answers"
    assert command("query", "a cat", "-C", indexed, "--session", "a").code == 0
    (file,) = folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert (
        "no earlier answer from this collection" in command("query", "--more", 1, "-C", indexed, "--session", "b").err
    )
    file.write_text("{}")
    assert command("query", "--more", 1, "-C", indexed, "--session", "a").code == 1
    os.utime(file, (0, 0))
    command("query", "a cat", "-C", indexed, "--session", "b")
    assert file not in list(folder.iterdir()), "old answers are forgotten"


def test_without_a_terminal_nothing_is_kept(indexed: Path) -> None:
    run = [sys.executable, "-m", "mmsearch", "query", "-C", str(indexed)]
    subprocess.run([*run, "a cat"], stdin=subprocess.DEVNULL, capture_output=True, check=True)
    assert not (config.cache_dir() / "answers").exists()
    result = subprocess.run([*run, "--more", "1"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert result.returncode == 1 and "--session" in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no terminals of this kind")
def test_a_terminal_keeps_its_last_answer(indexed: Path) -> None:
    import pty

    def ask(terminal: int, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "mmsearch", "query", *arguments, "-C", str(indexed), "--paths", "-k", "3"],
            stdin=terminal,
            capture_output=True,
            text=True,
        )

    one, other = pty.openpty(), pty.openpty()
    try:
        first = ask(one[1], "a cat")
        assert ask(other[1], "--more", "2").returncode == 1
        refined = ask(one[1], "--more", "2")
        assert f"more like {first.stdout.splitlines()[1]}" in refined.stderr, refined.stderr
    finally:
        for descriptor in (*one, *other):
            os.close(descriptor)


def test_a_result_that_is_gone_is_named(command: Command, photos: Path, tmp_path: Path) -> None:
    collection = tmp_path / "c"
    command("index", photos, "--model", "starter", "-C", collection)
    best = command("query", "a cat", "-C", collection, "--session", "s", "--paths", "-k", 1).out.strip()
    os.unlink(best)
    command("index", "-C", collection)
    outcome = command("query", "--more", 1, "-C", collection, "--session", "s")
    assert outcome.code == 1 and f"{best} is not in the collection" in outcome.err


# --- filters ---


def test_filters_alone_list_by_date(command: Command, indexed: Path) -> None:
    script = "import sys; sys.modules['onnxruntime'] = sys.modules['faiss'] = sys.modules['PIL'] = None\n"
    script += "from mmsearch.cli.main import main; main()"
    arguments = ["query", "--min-width", "500", "--json", "-k", "5", "-C", str(indexed)]
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, check=True, text=True)
    results = json.loads(done.stdout)["results"]
    assert [result["rank"] for result in results] == list(range(1, len(results) + 1))
    assert all(result["score"] is None and result["width"] >= 500 for result in results)
    table = command("query", "--min-width", 500, "-C", indexed).out
    assert results[0]["path"].split("/")[-1] in table and "None" not in table


def test_zeros_and_denials_count_as_given(command: Command, indexed: Path) -> None:
    usual = command("query", "--minus", "a cat", "-C", indexed, "--json", "-k", 24).json["results"]
    assert len(usual) == 24 and all(result["score"] < 0 for result in usual)
    assert command("query", "--minus", "a cat", "-C", indexed, "--json", "--min-score", "0.0").json["count"] == 0
    assert command("query", "--no-gps", "-C", indexed, "--json", "-k", 24).json["count"] == 24
    assert command("query", "--has-gps", "-C", indexed, "--json").json["count"] == 0
    assert command("query", "--max-size", "0", "-C", indexed, "--json").json["count"] == 0


def test_filters_and_words_together(command: Command, indexed: Path, sample_data: Path, tmp_path: Path) -> None:
    options = ["-C", indexed, "--json", "-k", 24]
    png = command("query", "a cat", "--image-format", "png", *options).json["results"]
    assert [Path(result["path"]).name for result in png] == ["photographer.png"]
    where = f"name like 'b%' and size < {(sample_data / 'bridge.jpg').stat().st_size + 1}"
    found = command("query", "a cat", "--glob", "*.jpg", "--where", where, *options).json["results"]
    wanted = {
        path.name
        for path in sample_data.glob("b*.jpg")
        if path.stat().st_size <= (sample_data / "bridge.jpg").stat().st_size
    }
    assert {Path(result["path"]).name for result in found} == wanted
    assert command("query", "a cat", "--before", "1990", *options).json["results"] == []
    line = {"text": "a cat", "glob": "*.jpg", "where": where, "top": 24}
    source = tmp_path / "lines"
    source.write_text(json.dumps(line) + "\n" + '{"in": "/"}\n')
    batch = [json.loads(line) for line in command("query", "--batch", source, "-C", indexed).out.splitlines()]
    assert [result["path"] for result in batch[0]["results"]] == [result["path"] for result in found]
    assert batch[1]["count"] == 10


def test_batch_lines_may_ask_for_offline_folders(command: Command, photos: Path, tmp_path: Path) -> None:
    collection, other = tmp_path / "c", tmp_path / "other"
    other.mkdir()
    os.rename(photos / "cat.jpg", other / "cat.jpg")
    command("index", photos, other, "--model", "starter", "-C", collection)
    os.rename(other, tmp_path / "away")
    command("index", "-C", collection)
    source = tmp_path / "lines"
    lines = [
        {"text": "a cat", "top": 1},
        {"text": "a cat", "top": 1, "offline": True},
        {"offline": True, "in": str(other)},
    ]
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    outcome = command("query", "--batch", source, "-C", collection)
    answers = [json.loads(line) for line in outcome.out.splitlines()]
    assert [names(answer) == ["cat.jpg"] for answer in answers] == [False, True, True]
    assert answers[1]["results"][0]["offline"] is True and outcome.err.count("offline") == 2
