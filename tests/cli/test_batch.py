"""`mmsearch query --batch` and `--like`, `mmsearch optimize`, `mmsearch info --recall`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command import Command

from mmsearch import Collection


@pytest.fixture
def batch(command: Command, indexed: Path, tmp_path: Path):  # type: ignore[no-untyped-def]
    def run(*lines: str, code: int = 0, options: tuple[object, ...] = ()) -> list[dict[str, object]]:
        source = tmp_path / "queries.txt"
        source.write_text("".join(f"{line}\n" for line in lines))
        outcome = command("query", "--batch", source, "-C", indexed, *options)
        assert outcome.code == code, outcome.err
        return [json.loads(line) for line in outcome.out.splitlines()]

    return run


def names(answer: dict[str, object]) -> list[str]:
    return [Path(result["path"]).name for result in answer["results"]]  # type: ignore[attr-defined]


def test_batch_answers_in_order_as_single_queries_do(batch, command: Command, indexed: Path) -> None:  # type: ignore[no-untyped-def]
    words = ["a cat", "a rocket", "sushi", "a bee on a flower"] * 40
    answers = batch(*words, options=("-k", 3))
    assert [answer["query"] for answer in answers] == [{"text": text} for text in words]
    single = command("query", "a rocket", "-C", indexed, "-k", 3, "--json").json["results"]
    for answer in answers[1::4]:
        assert [result["path"] for result in answer["results"]] == [result["path"] for result in single]
        for ours, theirs in zip(answer["results"], single, strict=True):
            assert ours["score"] == pytest.approx(theirs["score"], abs=1e-4)


def test_batch_lines_may_be_objects_with_options(batch, sample_data: Path) -> None:  # type: ignore[no-untyped-def]
    dog = str(sample_data / "dog.jpg")
    answers = batch(
        json.dumps({"text": "a cat", "top": 2}),
        json.dumps({"image": dog, "include_self": True}),
        json.dumps({"like": dog}),
        json.dumps({"text": "a cat", "min_score": 0.99}),
        json.dumps({"text": "a cat", "in": "/nowhere"}),
        json.dumps({"text": "a cat", "exact": True}),
        options=("-k", 1),
    )
    assert [names(answer) for answer in answers] == [
        ["cat.jpg", names(answers[0])[1]], ["dog.jpg"], ["spaniels.jpg"], [], [], ["cat.jpg"],
    ]  # fmt: skip


def test_a_bad_line_costs_only_itself(batch, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "text.jpg").write_text("no picture")
    answers = batch(
        "a cat",
        "{broken",
        json.dumps({"txet": "a dog"}),
        json.dumps({"text": "a dog", "top": "three"}),
        json.dumps({"text": "a dog", "top": True}),
        json.dumps({"text": "a dog", "image": "x.jpg"}),
        json.dumps({"image": str(tmp_path / "text.jpg")}),
        json.dumps({"like": 999_999}),
        "a rocket",
        code=3,
    )
    assert ["error" in answer for answer in answers] == [False] + [True] * 7 + [False]
    assert names(answers[0])[0] == "cat.jpg" and names(answers[-1])[0] == "rocket.jpg"
    assert "txet" in answers[2]["error"]


def test_lines_of_any_bytes_are_answered_in_valid_json(batch, command: Command, indexed: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    source = tmp_path / "queries.txt"
    lines = [
        b'\xef\xbb\xbf{"text": "a cat"}\r',  # a byte order mark, as editors on Windows write it
        b"\xff",
        b'{"text": "a cat", "in": "/\xff"}',
        rb'{"text": "\ud800"}',
        b'{"text": "a cat", "min_score": NaN}',
        b'{"text": "a cat", "near": [1e999, 1, 1]}',
        b"a rocket",  # without a line end
    ]
    source.write_bytes(b"\n".join(lines))
    run = [sys.executable, "-m", "mmsearch", "query", "-C", indexed, "-k", "1", "--batch"]
    of_file = subprocess.run([*run, source], capture_output=True, check=False)
    of_pipe = subprocess.run(
        [*run, "-"],
        input=source.read_bytes(),
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"},
    )
    assert of_file.returncode == of_pipe.returncode == 3
    said = rb"mmsearch: no indexed images in /\xff; `mmsearch info` lists the folders"
    assert of_file.stderr.splitlines() == of_pipe.stderr.splitlines() == [said]
    assert of_file.stdout == of_pipe.stdout

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    answers = [json.loads(line, parse_constant=refuse) for line in of_file.stdout.decode("utf-8").splitlines()]
    assert ["error" in answer for answer in answers] == [False, True, False, True, True, True, False]
    assert names(answers[0]) == ["cat.jpg"] and names(answers[2]) == [] and names(answers[-1]) == ["rocket.jpg"]
    assert answers[2]["query"]["in"] == "/\ufffd"


def test_bad_lines_are_found_out_at_once(indexed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Lines that are at fault cost nobody else anything: all are answered together, once."""
    from mmsearch.cli.query.batch import _answers, _Line
    from mmsearch.query.parse import from_words

    asked = [{"text": "a cat"}, {"image": "gone.jpg"}, {"text": "a rocket"}, {"image": "gone too.jpg"}]
    lines = [_Line(words, from_words(words)) for words in asked] + [_Line({}, None, "bad")]
    with Collection.open(indexed) as photos:
        sizes: list[int] = []
        real = photos.search_each
        monkeypatch.setattr(photos, "search_each", lambda queries: sizes.append(len(queries)) or real(queries))
        monkeypatch.setattr(photos, "search_many", None)
        cat, gone, rocket, gone_too, bad = _answers(photos, lines)
    assert sizes == [4]
    assert bad == "bad" and "gone.jpg" in str(gone) and "gone too.jpg" in str(gone_too)
    assert [Path(hits[0].path).name for hits in (cat, rocket)] == ["cat.jpg", "rocket.jpg"]  # type: ignore[union-attr]


def test_batch_answers_a_program_that_waits_for_each_answer(indexed: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "mmsearch", "query", "--batch", "-", "-C", indexed, "-k", "1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin and process.stdout
        for words, name in (("a cat", "cat.jpg"), ("a rocket", "rocket.jpg")):
            process.stdin.write(words + "\n")
            process.stdin.flush()
            assert names(json.loads(process.stdout.readline())) == [name]
        process.stdin.close()
        assert process.stdout.read() == ""
    assert process.returncode == 0


def test_batch_excludes_a_query_on_the_command_line(command: Command, indexed: Path) -> None:
    assert command("query", "a cat", "--batch", "-", "-C", indexed).code == 2
    assert command("query", "--batch", "/no/such/file", "-C", indexed).code == 1


def test_like_finds_what_resembles_an_indexed_image(command: Command, sample_data: Path, indexed: Path) -> None:
    by_path = command("query", "--like", sample_data / "dog.jpg", "-C", indexed, "--json").json["results"]
    assert Path(by_path[0]["path"]).name == "spaniels.jpg"
    own = command("query", "--like", sample_data / "dog.jpg", "-C", indexed, "--include-self", "--json").json["results"]
    assert own[0]["score"] == pytest.approx(1, abs=1e-4) and own[0]["path"] == str(sample_data / "dog.jpg")
    by_id = command("query", "--like", own[0]["id"], "-C", indexed, "--json").json["results"]
    assert by_id == by_path
    outcome = command("query", "--like", "/no/such.jpg", "-C", indexed)
    assert outcome.code == 1 and "/no/such.jpg" in outcome.err and "--image" in outcome.err


def test_like_loads_no_model(sample_data: Path, indexed: Path) -> None:
    poison = "import sys; sys.modules['onnxruntime'] = sys.modules['torch'] = sys.modules['tokenizers'] = None; "
    script = poison + "from mmsearch.cli.main import main; main()"
    arguments = ["query", "--like", str(sample_data / "dog.jpg"), "-C", str(indexed), "--paths", "-k", "1"]
    result = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, check=True, text=True)
    assert result.stdout.strip().endswith("spaniels.jpg")


@pytest.mark.parametrize("kind", ["ivf-sq8", "ivf-sq4", "flat", "auto"])
def test_optimize_builds_each_kind_and_answers_stay(command: Command, photos: Path, tmp_path: Path, kind: str) -> None:
    collection = tmp_path / "collection"
    assert command("index", photos, "--model", "starter", "-C", collection).code == 0
    before = command("query", "a cat", "-C", collection, "--json", "-k", 5).json
    outcome = command("optimize", "--kind", kind, "-C", collection, "--json")
    assert outcome.code == 0
    assert outcome.json["after"]["kind"] == ("flat" if kind == "auto" else kind)
    assert outcome.json["after"]["recall_at_10"] >= 0.98
    assert command("query", "a cat", "-C", collection, "--json", "-k", 5).json == before
    assert len(list(collection.glob("vectors-*"))) == 1
    assert "recall@10" in command("optimize", "-C", collection).out


def test_optimize_without_images(command: Command, tmp_path: Path) -> None:
    assert command("optimize", "-C", tmp_path / "none").code == 1
    assert command("optimize", "--kind", "magic", "-C", tmp_path / "none").code == 2


def test_info_measures_recall(command: Command, indexed: Path) -> None:
    measured = command("info", "--recall", "-C", indexed, "--json").json["recall"]
    assert measured["recall_at_10"] == 1.0 and measured["queries"] == 24 and measured["kind"] == "flat"
    assert "recall@10 1.000" in command("info", "--recall", "-C", indexed).out
    assert "recall" not in command("info", "-C", indexed, "--json").json


def test_a_small_folder_in_a_large_collection_gives_its_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking for 10 within a folder of 50 gives the 10 best of those 50; larger folders are filtered in the index."""
    import numpy as np

    from mmsearch.base.records import FileRecord, ImageFacts
    from mmsearch.encoders import load_encoder
    from mmsearch.indexing.refresh import refresh_vectors
    from mmsearch.searching import answering, candidates
    from mmsearch.store.catalog import Catalog

    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((6000, 384)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with Catalog(tmp_path, write=True) as catalog:
        with catalog.transaction():
            encoder = catalog.encoders.start_with(load_encoder("starter").info)
            for row, vector in enumerate(vectors):
                content = catalog.contents.add(row.to_bytes(16, "big"), ImageFacts(1, 1, "PNG"))
                catalog.embeddings.put(encoder.id, content, vector)
                folder = "few" if row % 120 == 0 else "half" if row % 2 else "rest"
                catalog.files.put_image(FileRecord(f"/{folder}/{row:05d}.png", 1, 1), content)
        refresh_vectors(catalog, encoder, kind="ivf-sq8")
    query = load_encoder("starter").encode_texts(["a cat"])[0]

    def best(rows: range) -> list[str]:
        order = sorted(rows, key=lambda row: -float(vectors[row] @ query))
        return [f"{row:05d}.png" for row in order[:10]]

    with Collection.open(tmp_path) as photos:
        few = [Path(hit.path).name for hit in photos.search(text="a cat", below="/few")]
        assert few == best(range(0, 6000, 120))
        monkeypatch.setattr(answering, "EXACT_SUBSET", 100)
        monkeypatch.setattr(candidates, "EXACT_SUBSET", 100)
        half = [Path(hit.path).name for hit in photos.search(text="a cat", below="/half")]
        assert len(set(half) & set(best(range(1, 6000, 2)))) >= 8
        exact = [Path(hit.path).name for hit in photos.search(text="a cat", below="/half", exact=True)]
        assert exact == best(range(1, 6000, 2))
        everything = [Path(hit.path).name for hit in photos.search(text="a cat", exact=True)]
        assert everything == best(range(6000))
