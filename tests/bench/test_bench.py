"""The benchmarks run and say what they promise; how fast anything is, no test asks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmsearch.encoders.names import ALIASES, STARTER

BENCH = Path(__file__).parent
SAMPLE_DATA = Path(__file__).parents[2] / "sample_data"


def run(script: str, *options: object) -> dict[str, Any]:
    """A benchmark's one line on stdout."""
    command = [sys.executable, BENCH / script, *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_index_speed(tmp_path: Path) -> None:
    result = run("index_speed.py", "--images", 6, "--model", "starter", "--runs", 1, "--keep", tmp_path)
    measured = {"limit_images_per_s", "model_images_per_s", "decode_images_per_s", "whole_command_images_per_s"}
    not_measured = {"plain_loop_images_per_s", "rclip_images_per_s", "ratio_to_rclip", "whole_command_ratio_to_rclip"}
    one_batch_only = {"images_per_s", "share_of_limit"}
    assert all(result[name] > 0 for name in measured)
    assert all(result[name] is None for name in {*not_measured, *one_batch_only, "rclip_peak_rss_mb"})
    assert result["peak_rss_mb"] is None or result["peak_rss_mb"] > 0
    assert (result["model"], result["precision"], result["images"], result["runs"]) == ("starter", "fp32", 6, 1)
    assert len(list((tmp_path / "photos-6").iterdir())) == 6


def test_languages_told(tmp_path: Path) -> None:
    stamp = "A cat.\nde.utf8=Eine Katze.\nnb.utf8=En katt.\n"
    (tmp_path / "cat.txt").write_text(stamp, "utf-8")
    result = run("languages_told.py", "--stamps", tmp_path)
    assert result["stamps"] == {"en": [0, 1], "de": [1, 1], "nb": [1, 1]}
    assert result["borrowed"].keys() == {"en"}


def test_refresh_speed() -> None:
    result = run("refresh_speed.py", "--files", 12, "--folders", 3, "--runs", 1, "--no-rclip")
    assert (result["files"], result["folders"], result["runs"]) == (12, 3, 1)
    assert result["refresh_s"] > 0
    assert result["walk_s"] is not None
    assert all(result[name] is None for name in ("rclip_refresh_s", "rclip_query_s", "ratio_to_rclip"))
    assert "peak_rss_mb" in result


def test_decode_speed() -> None:
    result = run("decode_speed.py", "--megapixels", 0.3, "--runs", 1)
    assert (result["width"], result["height"], result["model"]) == (632, 474, "starter")
    assert set(result["formats"]) == {"JPEG", "PNG", "WEBP", "HEIF", "AVIF", "JXL"}
    for figures in result["formats"].values():
        assert figures["pillow_s"] > 0
        assert figures["mmsearch_s"] > 0
        assert figures["embedding_cosine"] > 0.99


def test_query_speed(tmp_path: Path) -> None:
    result = run("query_speed.py", "--rows", 300, "--model", "starter", "--runs", 1, "--lines", 3, "--keep", tmp_path)
    assert (result["rows"], result["dim"], result["kind"]) == (300, 384, "flat")
    measured = {"cold_s", "warm_ms", "warm_encode_ms", "batch_queries_per_s", "build_s"}
    assert all(result[name] > 0 for name in measured)
    assert result["recall_at_10"] == 1.0 and result["rclip_cold_s"] is None


def test_confidence() -> None:
    """What the cut is for, on the photos that are always there: no more than one absent subject in ten shows."""
    sample = run("confidence.py")["sample"]
    assert (sample["images"], sample["questions"]) == (24, 62)
    assert sample["absent"]["rate"] <= 0.1 < sample["present"]["rate"] < sample["first"]["rate"]
    shares = np.array([row[1:] for row in sample["roc"]["rows"]])
    assert (np.diff(shares, axis=0) <= 0).all()  # a higher cut shows no more


def test_vectors_and_words(tmp_path: Path) -> None:
    """Nouns of which an eighth shows in each photo, and photos that are near to any text: what centring is for."""
    rng = np.random.default_rng(0)
    subjects = np.linalg.qr(rng.normal(size=(64, 64)))[0]
    common, nouns, bank = subjects[0], subjects[1:33], subjects[33:]
    shown = rng.random((200, 32)) < 0.125
    images = shown @ nouns + rng.uniform(0, 4, (200, 1)) * common + 0.1 * rng.normal(size=(200, 64))
    np.savez(tmp_path / "made.npz", images=images, texts=nouns + 3 * common, bank_others=bank + 3 * common)
    lines = [
        {"word": str(row), "text_row": row, "images": np.flatnonzero(photos).tolist() if row % 4 else []}
        for row, photos in enumerate(shown.T)
    ]
    (tmp_path / "words.jsonl").write_text("\n".join(map(json.dumps, lines)))
    result = run("vectors_and_words.py", tmp_path)
    assert (result["images"], result["words"], result["bank"]) == (200, 32, "bank_others")
    ranking = result["ranking"]
    assert ranking["words"] == 24 and ranking["gain"]["better"] + ranking["gain"]["worse"] <= 24
    assert ranking["strengths"]["0.0"]["map"] + 0.1 < ranking["strengths"]["0.75"]["map"]
    assert ranking["gain"]["interval"][0] > 0
    for told in result["confidence"].values():
        assert sum(told["questions"].values()) == 32 and told["questions"]["absent"] == 8
        assert sum(band["results"] for band in told["right_at"]) == 320


def test_labelled_photos() -> None:
    labels = json.loads((BENCH / "labelled_photos.json").read_text("utf-8"))
    assert len(set(labels["photos"])) == 120 and len(labels["queries"]) == 82
    assert all(0 <= row < 120 for rows in labels["queries"].values() for row in rows)
    assert len(set(labels["absent"])) == 102 and not labels["queries"].keys() & set(labels["absent"])


def test_stamps(tmp_path: Path) -> None:
    folder = tmp_path / "stamps" / "plants"
    folder.mkdir(parents=True)
    text = "A flower.\nde.utf8=Eine Blume.\nca@valencia.utf8=Una flor = flor.\n"
    for name in ("rose", "tulip", "silent", "drawing"):
        (folder / f"{name}.txt").write_text("\n" if name == "silent" else text, "utf-8")
    for name in ("rose.png", "tulip.png", "silent.png", "rose_mirror.png", "drawing.svg"):
        (folder / name).touch()
    expected = {None: "A flower.", "de": "Eine Blume.", "ca@valencia": "Una flor = flor."}
    for language, caption in expected.items():
        command = [sys.executable, BENCH / "stamps.py", tmp_path, *(["--language", language] if language else [])]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert lines == [{"file": str(folder / name), "captions": [caption]} for name in ("rose.png", "tulip.png")]
        assert "2 stamps, 1 different captions" in done.stderr
    nothing = subprocess.run([*command[:3], "--language", "xx"], capture_output=True, text=True, check=False)
    assert nothing.returncode == 1 and "no captioned stamps" in nothing.stderr


def test_model_costs() -> None:
    """What the cards say of downloads and work, counted on the architectures themselves."""
    cards = [card for card in ALIASES.values() if card.alias != STARTER]
    costs = run("model_costs.py", *(card.alias for card in cards))
    for card in cards:
        tokenizer = 34 if card.needs_tokenizer else 0  # MB of Gemma's tokenizer.json, in the repositories of SigLIP 2
        assert abs(card.download_mb - costs[card.alias]["weights_mb"] - tokenizer) < 1.5
        assert card.image_gflop == round(costs[card.alias]["image_gflop"], 1)


def test_starter_views(tmp_path: Path) -> None:
    """A rocket at the left edge of a wide picture: the crop loses it, the squeeze does not."""
    rocket, cat = (
        Image.open(SAMPLE_DATA / name).convert("RGB").resize((300, 300)) for name in ("rocket.jpg", "cat.jpg")
    )
    for name, at in (("edge", 0), ("middle", 350), ("grey", None)):
        wide = Image.new("RGB", (1000, 300), "gray")
        if at is not None:
            wide.paste(rocket, (at, 0))
        wide.save(tmp_path / f"{name}.png")
    cat.save(tmp_path / "cat.png")
    lines = [
        {"file": "edge.png", "captions": ["a rocket"], "boxes": {"a rocket": [[0, 0, 0.3, 1]]}},
        {"file": "middle.png", "captions": ["a rocket"], "boxes": {"a rocket": [[0.35, 0, 0.65, 1]]}},
        {"file": "grey.png", "captions": []},
        {"file": "cat.png", "captions": ["a cat"]},
    ]
    captions = tmp_path / "set.jsonl"
    captions.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    result = run("starter_views.py", captions, "--ways", "squash", "crop-224", "crop-256+squash", "--rounds", 1)
    found = result["sets"]["set"]
    assert found["n"] == {"photos": 4, "text_to_image": 2, "image_to_text": 3, "pairs": 3, "long": 2, "edge": 1}
    assert found["squash"]["edge"]["recall@1"] == [1, 0, 0, 0]
    assert found["crop-224"]["edge"]["recall@1"] == [0, -1, -1, -1]
    assert found["crop-224"]["text_to_image"]["recall@1"] == [1, 0, 0, 0]
    assert result["cost"]["times"]["squash"] == 1 < result["cost"]["times"]["crop-256+squash"]
