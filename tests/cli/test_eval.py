"""`mmsearch eval` as a user runs it: its figures against the product's own search, its JSON, and rounds of naming."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import stat
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import Command, Outcome

from mmsearch import Collection
from mmsearch.base.records import EncoderInfo
from mmsearch.evaluating import embeddings
from mmsearch.evaluating import run as evaluation_run
from mmsearch.evaluating.embeddings import EmbeddedImages

FIGURES = {"recall@1", "recall@5", "recall@10", "median_rank", "mrr", "map"}


def write(path: Path, captions: dict[str, list[str]]) -> Path:
    lines = [json.dumps({"file": name, "captions": texts}) for name, texts in captions.items()]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def refused(outcome: Outcome, code: int, words: str) -> None:
    assert outcome.code == code and outcome.out == ""
    assert outcome.err.count("\n") == 1 and words in outcome.err and "; " in outcome.err


def test_the_contract_and_the_figures(command: Command, sample_data: Path, indexed: Path) -> None:
    """The figures of texts are those of `mmsearch query`, whose answers are sorted by the same cosines."""
    source = sample_data / "captions.jsonl"
    answer = command("eval", source, "--model", "starter", "--json").json
    assert set(answer) == {
        "model", "text_to_image", "image_to_text", "n_images", "n_captions", "n_pairs", "n_gallery", "confidence",
        "n_missing", "n_skipped", "centring", "level",
    }  # fmt: skip
    assert set(answer["text_to_image"]) == set(answer["image_to_text"]) == FIGURES | {"intervals"}
    assert set(answer["text_to_image"]["intervals"]) == FIGURES
    counts = ("model", "n_images", "n_captions", "n_pairs", "n_gallery", "n_missing", "n_skipped", "confidence")
    assert [answer[name] for name in counts] == ["starter", 24, 62, 62, 24, 0, 0, 0.95]
    ranks = []
    with Collection.open(indexed) as photos:
        for record in map(json.loads, source.read_text("utf-8").splitlines()):
            for caption in record["captions"]:
                names = [Path(hit.path).name for hit in photos.search(text=caption, k=24)]
                ranks.append(names.index(record["file"]) + 1)
    found = answer["text_to_image"]
    for k in (1, 5, 10):
        assert found[f"recall@{k}"] == pytest.approx(np.mean(np.array(ranks) <= k), abs=1e-6)
    assert found["median_rank"] == np.median(ranks)
    assert found["mrr"] == found["map"] == pytest.approx(np.mean(1 / np.array(ranks)), abs=1e-6)
    for direction in ("text_to_image", "image_to_text"):
        for name, (low, high) in answer[direction]["intervals"].items():
            assert low <= answer[direction][name] <= high
    assert found["recall@1"] > 0.75 and found["recall@10"] > 0.95


def test_images_find_their_texts(command: Command, sample_data: Path, indexed: Path) -> None:
    """A second look at the other direction, from the embeddings by a plain sort."""
    from mmsearch.encoders import load_encoder
    from mmsearch.store.catalog import Catalog

    records = [json.loads(line) for line in (sample_data / "captions.jsonl").read_text("utf-8").splitlines()]
    texts = [(record["file"], caption) for record in records for caption in record["captions"]]
    words = load_encoder("starter").encode_texts([caption for _, caption in texts]).astype(np.float64)
    ranks, precisions = [], []
    with Catalog(indexed, write=False) as catalog:
        stored = catalog.encoders.current()
        assert stored is not None
        for record in records:
            image = catalog.files.at(str(sample_data / record["file"]))
            assert image is not None
            vector = catalog.embeddings.of(stored, [image.content_id])[1][0].astype(np.float64)
            order = np.argsort(-(words @ vector), kind="stable")
            places = [place for place, number in enumerate(order, 1) if texts[number][0] == record["file"]]
            ranks.append(places[0])
            precisions.append(np.mean([found / place for found, place in enumerate(places, 1)]))
    answer = command("eval", sample_data / "captions.jsonl", "-C", indexed, "--json").json["image_to_text"]
    assert answer["mrr"] == pytest.approx(np.mean(1 / np.array(ranks)), abs=1e-6)
    assert answer["map"] == pytest.approx(np.mean(precisions), abs=1e-6)
    assert answer["recall@1"] == pytest.approx(np.mean(np.array(ranks) == 1), abs=1e-6)


def test_a_collection_and_a_scratch_one_agree(
    command: Command, photos: Path, sample_data: Path, indexed: Path, home: Path
) -> None:
    """The collection knows other paths of the same files."""
    source = sample_data / "captions.jsonl"
    encoded = command("eval", source, "--images", photos, "--model", "starter", "--json")
    shutil.rmtree(home / "cache")
    stored = command("eval", source, "--images", photos, "-C", indexed, "--json")
    assert stored.json == encoded.json and stored.err == encoded.err == ""
    assert not (home / "cache" / "mmsearch" / "eval").exists(), "nothing was encoded"


def test_a_second_evaluation_encodes_nothing(
    command: Command, photos: Path, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(photos / "c.jsonl", {"cat.jpg": ["a cat"], "dog.jpg": ["a dog"]})
    first = command("eval", source, "--model", "starter", "--json")
    everything = list((home / "cache").rglob("*"))
    modes = {stat.S_IMODE(path.lstat().st_mode) for path in everything if not path.is_symlink()}
    assert modes <= {0o700, 0o600} or os.name == "nt"
    monkeypatch.setattr("mmsearch.encoders.onnx.OnnxEncoder.encode_images", None)
    assert command("eval", source, "--model", "starter", "--json") == first
    shutil.copy(photos / "owl.jpg", photos / "dog.jpg")
    assert command("eval", source, "--model", "starter", "--json").code == 1, "a changed image is encoded again"


def test_shared_captions_and_copies(command: Command, photos: Path, tmp_path: Path) -> None:
    shutil.copy(photos / "cat.jpg", photos / "copy.jpg")
    captions = {
        "dog.jpg": ["a dog", "a golden retriever"],
        "spaniels.jpg": ["a dog", "two brown dogs"],
        "cat.jpg": ["a cat"],
        "copy.jpg": ["a cat's face"],
        "owl.jpg": ["an owl"],
    }
    answer = command("eval", write(photos / "c.jsonl", captions), "--model", "starter", "--json").json
    assert (answer["n_images"], answer["n_captions"], answer["n_pairs"]) == (4, 6, 7)
    assert answer["text_to_image"]["recall@1"] == answer["text_to_image"]["map"] == 1, "either dog, and both first"
    assert answer["image_to_text"]["recall@1"] == 1


def test_worst(command: Command, sample_data: Path, indexed: Path) -> None:
    source = sample_data / "captions.jsonl"
    worst = command("eval", source, "-C", indexed, "--worst", 3, "--json").json["worst"]
    texts, images = worst["text_to_image"], worst["image_to_text"]
    assert [len(texts), len(images)] == [3, 3]
    assert [wrong["rank"] for wrong in texts] == sorted((wrong["rank"] for wrong in texts), reverse=True)
    with Collection.open(indexed) as photos:
        for wrong in texts:
            hits = photos.search(text=wrong["caption"], k=24)
            assert hits[0].path == wrong["first"] and hits[0].score == pytest.approx(wrong["first_score"], abs=1e-5)
            assert hits[wrong["rank"] - 1].path == wrong["path"]
            assert hits[wrong["rank"] - 1].score == pytest.approx(wrong["score"], abs=1e-5)
    assert {frozenset(wrong) for wrong in images} == {
        frozenset({"path", "rank", "caption", "score", "first", "first_score"})
    }
    table = command("eval", source, "-C", indexed, "--worst", 3).out
    assert f"rank {texts[0]['rank']}: {texts[0]['caption']}" in table and "worst, image to text:" in table


def test_the_table_has_the_figures(command: Command, sample_data: Path, indexed: Path) -> None:
    answer = command("eval", sample_data / "captions.jsonl", "-C", indexed, "--json").json
    lines = command("eval", sample_data / "captions.jsonl", "-C", indexed).out.splitlines()
    assert lines[0].startswith("starter: 24 images, 62 different captions")
    assert all(len(line) <= 80 for line in lines)
    for line, name in zip(lines[2:], ["recall@1", "recall@5", "recall@10", "median_rank", "mrr", "map"], strict=True):
        for direction in ("text_to_image", "image_to_text"):
            value = answer[direction][name]
            assert (f"{value:g} (" if name == "median_rank" else f"{value:.3f} (") in line


def test_images_that_are_not_there_or_broken(command: Command, photos: Path) -> None:
    (photos / "broken.jpg").write_bytes((photos / "dog.jpg").read_bytes()[:300])
    captions = {"cat.jpg": ["a cat"], "gone.jpg": ["gone"], "broken.jpg": ["broken"], "dog.jpg": ["a dog"]}
    source = write(photos / "c.jsonl", captions)
    for _ in range(2):  # the second run knows of the broken one
        outcome = command("eval", source, "--model", "starter", "--json")
        assert outcome.code == 3
        assert [outcome.json[name] for name in ("n_images", "n_missing", "n_skipped")] == [2, 1, 1]
        assert f"left out {photos / 'gone.jpg'}: no such file" in outcome.err
        assert f"left out {photos / 'broken.jpg'}: " in outcome.err and outcome.err.count("\n") == 2


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not take such names")
def test_names_of_any_bytes(command: Command, photos: Path) -> None:
    name = os.fsdecode(b"c\xff\x1b[2J\nat.jpg")
    os.rename(photos / "cat.jpg", photos / name)
    os.symlink(photos / "owl.jpg", photos / "link.jpg")
    source = write(photos / "c.jsonl", {name: ["an owl"], "link.jpg": ["a cat"], name + "2": ["gone"]})
    for options in ((), ("--json",)):
        outcome = command("eval", source, "--model", "starter", "--worst", 5, *options)
        assert outcome.code == 3 and "\x1b" not in outcome.out + outcome.err
        assert outcome.err.count("\n") == 1
    assert outcome.json["worst"]["text_to_image"][0]["first"] in (
        str(photos / "link.jpg"),
        str(photos / "c\ufffd\x1b[2J\nat.jpg"),
    )


def test_without_symbolic_links(command: Command, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system gives none, copies take their place, and follow changes."""

    def refuse(*_: object) -> None:
        raise OSError("no privilege")

    captions = {"cat.jpg": ["a cat"], "dog.jpg": ["a dog"], "owl.jpg": ["an owl"]}
    source = write(photos / "c.jsonl", captions)
    linked = command("eval", source, "--model", "starter", "--json").json
    monkeypatch.setenv("MMSEARCH_CACHE", str(photos / "cache"))
    monkeypatch.setattr(Path, "symlink_to", refuse)
    assert command("eval", source, "--model", "starter", "--json").json == linked
    shutil.copy(photos / "dog.jpg", photos / "cat.jpg")
    assert command("eval", source, "--model", "starter", "--json").json["n_images"] == 2


def test_a_model_that_is_another_by_now(command: Command, photos: Path, home: Path) -> None:
    """Embeddings that other weights of the same name have left in the cache are made anew."""
    source = write(photos / "c.jsonl", {"cat.jpg": ["a cat"], "dog.jpg": ["a dog"]})
    right = command("eval", source, "--model", "starter", "--json").json
    from mmsearch.store.catalog import Catalog

    scratch = next((home / "cache" / "mmsearch" / "eval").glob("*/collection"))
    with Catalog(scratch, write=True) as catalog, catalog.transaction():
        catalog.database.run("UPDATE encoders SET fingerprint = ?", ("0" * 32,))
        catalog.database.run("UPDATE embeddings_1 SET vector = zeroblob(768)", ())
    assert command("eval", source, "--model", "starter", "--json").json == right


def test_interrupting_keeps_what_is_done(command: Command, sample_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = embeddings._index

    def interrupted(*arguments: Any) -> None:
        real(*arguments)
        signal.raise_signal(signal.SIGINT)
        assert arguments[-1].is_set()
        real(*arguments)

    monkeypatch.setattr(embeddings, "_index", interrupted)
    before = signal.getsignal(signal.SIGINT)
    refused(
        command("eval", sample_data / "captions.jsonl", "--model", "starter"),
        130,
        "the same command resumes from there",
    )
    assert signal.getsignal(signal.SIGINT) is before
    monkeypatch.setattr(embeddings, "_index", real)
    monkeypatch.setattr("mmsearch.encoders.onnx.OnnxEncoder.encode_images", None)
    assert command("eval", sample_data / "captions.jsonl", "--model", "starter").code == 0


def test_changed_weights_are_another_model(tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("1")
    homes = [embeddings._home(f"local-dir:{tmp_path}") for _ in range(2)]
    assert homes[0] == homes[1] != embeddings._home("starter")
    (tmp_path / "weights").write_text("12")
    assert embeddings._home(f"local-dir:{tmp_path}") != homes[0]


def test_only_what_the_collection_has(command: Command, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "some").mkdir()
    for name in ("cat.jpg", "dog.jpg", "owl.jpg"):
        shutil.copy(photos / name, tmp_path / "some")
    assert command("index", tmp_path / "some", "--model", "starter", "-C", tmp_path / "c").code == 0
    source = write(photos / "c.jsonl", {"cat.jpg": ["a cat"], "dog.jpg": ["a dog"], "bee.jpg": ["a bee"]})
    outcome = command("eval", source, "-C", tmp_path / "c", "--json")
    assert outcome.code == 3 and "bee.jpg: not in the collection" in outcome.err
    assert (outcome.json["n_images"], outcome.json["n_gallery"], outcome.json["n_skipped"]) == (2, 2, 1)
    whole = command("eval", source, "-C", tmp_path / "c", "--json", "--whole").json
    assert (whole["n_images"], whole["n_gallery"]) == (2, 3)
    write(source, {"bee.jpg": ["a bee"]})
    refused(command("eval", source, "-C", tmp_path / "c"), 1, "is in the collection at")


@pytest.fixture
def classes(tmp_path: Path, sample_data: Path) -> Path:
    folder = tmp_path / "classes"
    members = {"dog": ["dog.jpg", "spaniels.jpg"], "cat": ["cat.jpg"], "hot_air_balloon": ["balloon.jpg"]}
    members |= {"owl": ["owl.jpg"], "parrot": ["parrot.jpg"], "goldfish": ["goldfish.jpg"]}
    for name, files in members.items():
        (folder / name).mkdir(parents=True)
        for file in files:
            shutil.copy(sample_data / file, folder / name)
    (folder / "cat" / "notes.txt").write_text("no image")
    return folder


def test_zero_shot(command: Command, classes: Path) -> None:
    outcome = command("eval", classes, "--model", "starter", "--json")
    assert outcome.code == 0 and outcome.err == "", "a text among the images is no mishap"
    answer = outcome.json
    assert (answer["n_images"], answer["n_captions"], answer["n_pairs"]) == (7, 6, 7)
    zero_shot = answer["zero_shot"]
    assert set(zero_shot) == {"top1", "top5", "n_classes", "intervals"} and zero_shot["n_classes"] == 6
    assert zero_shot["top1"] == answer["image_to_text"]["recall@1"] >= 6 / 7
    assert zero_shot["top5"] == answer["image_to_text"]["recall@5"] == 1
    assert answer["text_to_image"]["map"] > 0.9, "both dogs for `a photo of a dog`"
    table = command("eval", classes, "--model", "starter").out
    assert "7 images, 6 classes" in table and f"zero-shot: top-1 {zero_shot['top1']:.3f}, top-5 1.000" in table


def test_a_class_without_images_is_still_an_answer(command: Command, classes: Path) -> None:
    (classes / "a fluffy golden dog with its tongue out").mkdir()
    answer = command("eval", classes, "--model", "starter", "--json").json
    assert answer["zero_shot"]["n_classes"] == 7 and answer["n_captions"] == 6
    assert answer["zero_shot"]["top1"] < 1


def other_model(monkeypatch: pytest.MonkeyPatch, indexed: Path, noise: float) -> None:
    """Make ViT-B-32/openai a model whose embeddings are the built-in model's with noise on them."""
    from mmsearch.encoders import load_encoder
    from mmsearch.store.catalog import Catalog

    starter = load_encoder("starter")
    info = EncoderInfo("ViT-B-32/openai", "f" * 32, 384, starter.info.preprocess)

    def encoded(images: Any, spec: str, **_: object) -> EmbeddedImages:
        with Catalog(indexed, write=False) as catalog:
            stored = catalog.encoders.current()
            assert spec == info.spec and stored is not None
            found = embeddings.stored(catalog, stored, images)
        vectors = found.vectors + noise * np.random.default_rng(0).normal(size=found.vectors.shape) / 384**0.5
        return EmbeddedImages(info, found.contents, found.rows, vectors.astype(np.float32), found.content_ids, {})

    monkeypatch.setattr(evaluation_run.embeddings, "encoded", encoded)
    real = evaluation_run._encode_texts
    monkeypatch.setattr(evaluation_run, "_encode_texts", lambda _, *rest: real(starter.info, *rest))


def test_models_side_by_side(
    command: Command, sample_data: Path, indexed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = ("--model", "starter", "--model", "ViT-B-32/openai", "--model", "starter")
    other_model(monkeypatch, indexed, noise=3.0)
    outcome = command("eval", sample_data / "captions.jsonl", "-C", indexed, *models, "--json")
    answer = outcome.json
    assert set(answer) == {"models", "comparisons"}
    starter, noisy = answer["models"]
    alone = command("eval", sample_data / "captions.jsonl", "-C", indexed, "--json").json
    assert starter == alone and noisy["model"] == "ViT-B-32/openai"
    (pair,) = answer["comparisons"]
    assert pair["models"] == ["starter", "ViT-B-32/openai"]
    for direction in ("text_to_image", "image_to_text"):
        assert set(pair[direction]) == FIGURES - {"median_rank"}
        for name, found in pair[direction].items():
            assert set(found) == {"difference", "interval", "p", "real"}
            assert found["difference"] == pytest.approx(starter[direction][name] - noisy[direction][name], abs=2e-6)
            assert found["interval"][0] <= found["difference"] <= found["interval"][1]
            assert found["real"] == (found["p"] < 0.05)
    found = pair["text_to_image"]["mrr"]
    assert found["real"] and found["interval"][0] > 0, "so much noise does harm"
    table = command("eval", sample_data / "captions.jsonl", "-C", indexed, *models).out
    assert "starter minus ViT-B-32/openai" in table and "real: starter is better" in table


def test_models_that_are_alike_do_not_differ(
    command: Command, sample_data: Path, indexed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other_model(monkeypatch, indexed, noise=0.2)
    models = ("--model", "starter", "--model", "ViT-B-32/openai")
    outcome = command("eval", sample_data / "captions.jsonl", "-C", indexed, *models)
    assert "no difference shown" in outcome.out and "is better" not in outcome.out


def test_a_page_of_the_worst(command: Command, sample_data: Path, indexed: Path, tmp_path: Path) -> None:
    page = tmp_path / "worst.html"
    outcome = command("eval", sample_data / "captions.jsonl", "-C", indexed, "--gallery", page, "--worst", 2)
    assert outcome.code == 0 and "worst.html" in outcome.err
    text = page.read_text("utf-8")
    assert "a smiling woman in an orange space suit" in text and text.count("data:image/jpeg") == 6


def answer_with(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(line + "\n" for line in lines)))


def test_a_round_of_naming(command: Command, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "c"
    assert command("index", photos, "--model", "starter", "-C", place).code == 0
    refused(command("eval", "-C", place), 1, "mmsearch eval --label")
    answer_with(monkeypatch, "first  thing", "", "third thing", "q", "never read")
    first = command("eval", "--label", "-C", place, "--count", 6)
    assert first.code == 0 and first.out == ""
    assert "1/6  " in first.err and "4/6  " in first.err and "stored 2 captions" in first.err
    file = place / "captions.jsonl"
    records = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    assert [record["captions"] for record in records] == [["first thing"], ["third thing"]]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 or os.name == "nt"
    answer_with(monkeypatch, "another")  # and the input ends
    second = command("eval", "--label", "-C", place)
    assert all(record["file"] not in second.err for record in records), "pictures with a caption are not asked for"
    answer = command("eval", "-C", place, "--json").json
    assert (answer["n_images"], answer["n_captions"], answer["n_gallery"]) == (3, 3, 24)
    captioned = command("eval", "-C", place, "--json", "--captioned").json
    assert captioned["n_gallery"] == 3
    assert captioned["text_to_image"]["median_rank"] <= answer["text_to_image"]["median_rank"]
    assert command("doctor", "-C", place).code == 0
    os.rename(records[0]["file"], photos / "moved.jpg")
    assert command("index", "-C", place).code == 0
    assert command("eval", "-C", place, "--json").json == answer, "a moved picture keeps its caption"
    os.unlink(photos / "moved.jpg")
    assert command("index", "-C", place).code == 0
    gone = command("eval", "-C", place, "--json")
    assert gone.code == 3 and gone.json["n_missing"] == 1 and gone.json["n_images"] == 2


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_terminal_shows_what_is_to_be_named(photos: Path, tmp_path: Path) -> None:
    import pty
    import subprocess

    with Collection.open(tmp_path / "c") as collection:
        collection.add([photos], model="starter")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "mmsearch", "eval", "--label", "-C", tmp_path / "c"]
    environment = os.environ | {"TERM": "linux", "MMSEARCH_PICTURES": "blocks"}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as running:
        os.close(theirs)
        shown = b""
        while b"caption> " not in shown:
            shown += os.read(ours, 4096)
        os.write(ours, b"q\n")
        assert running.wait() == 0
    os.close(ours)
    assert "▀".encode() in shown or "▄".encode() in shown


def test_a_round_that_was_killed_while_writing(
    command: Command, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "c"
    assert command("index", photos, "--model", "starter", "-C", place).code == 0
    answer_with(monkeypatch, "one")
    command("eval", "--label", "-C", place)
    file = place / "captions.jsonl"
    file.write_text(file.read_text("utf-8").rstrip("\n"), "utf-8")
    answer_with(monkeypatch, "two", "q")
    command("eval", "--label", "-C", place)
    assert len(file.read_text("utf-8").splitlines()) == 2
    assert command("eval", "-C", place, "--json").json["n_captions"] == 2


def test_nothing_left_to_name(command: Command, tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in photos.iterdir():
        if path.name != "cat.jpg":
            path.unlink()
    assert command("index", photos, "--model", "starter", "-C", tmp_path / "c").code == 0
    answer_with(monkeypatch, "a cat")
    command("eval", "--label", "-C", tmp_path / "c")
    answer_with(monkeypatch, "a cat")
    assert "every picture has a caption already" in command("eval", "--label", "-C", tmp_path / "c").err
    answer = command("eval", "-C", tmp_path / "c", "--json").json
    assert (answer["n_images"], answer["text_to_image"]["recall@1"]) == (1, 1)


def test_wrong_usage(command: Command, sample_data: Path, indexed: Path, tmp_path: Path) -> None:
    source = sample_data / "captions.jsonl"
    refused(command("eval", source, "--whole"), 2, "needs a collection")
    refused(command("eval", source, "--label"), 2, "--label takes only")
    refused(command("eval", source, "--prompt", "a {}"), 2, "for a folder of classes")
    refused(command("eval", source, "--count", 3), 2, "only work with --label")
    refused(command("eval", "--split", "test", "-C", indexed), 2, "need a SOURCE")
    refused(command("eval", source, "--split", "test"), 2, "has no split 'test'")
    refused(command("eval", source, "--model", "startr"), 2, "startr")
    refused(command("eval", tmp_path / "none.jsonl"), 1, "no such file")
    refused(command("eval", source, "-C", tmp_path / "none"), 1, "no collection at")
    refused(command("eval", "-C", tmp_path / "none"), 1, "no collection at")
    models = ("--model", "starter", "--model", "clip")
    refused(command("eval", source, *models, "--whole", "-C", indexed), 2, "one model")
    text = write(tmp_path / "c.jsonl", {"c.jsonl": ["a file of captions"]})
    refused(command("eval", text, "--model", "starter"), 1, "none of the files is an image")
    assert not (tmp_path / "none").exists()
