"""The built-in model, as a user gets it: real photos, real queries, no torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmsearch.base.errors import DeviceError, ModelError, ModelUnavailableError, UsageError
from mmsearch.encoders import load_encoder, onnx, starter
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.images.preprocess import prepare

PHOTOS = Path(__file__).resolve().parents[2] / "sample_data"
QUERIES = {
    "a cat": "cat.jpg",
    "a kitty looking at me": "cat.jpg",
    "a dog": "dog.jpg",
    "an owl": "owl.jpg",
    "a goldfish": "goldfish.jpg",
    "a bee": "bee.jpg",
    "a bridge": "bridge.jpg",
    "mountains": "mountains.jpg",
    "a hot air balloon": "balloon.jpg",
    "a cup of coffee": "coffee.jpg",
}


@pytest.fixture(scope="module")
def encoder() -> OnnxEncoder:
    return starter.load()


@pytest.fixture(scope="module")
def pixels(encoder: OnnxEncoder) -> np.ndarray:
    images = (Image.open(PHOTOS / name).convert("RGB") for name in sorted(set(QUERIES.values())))
    return np.stack([prepare(image, encoder.info.preprocess) for image in images])


def test_finds_everyday_photos(encoder: OnnxEncoder, pixels: np.ndarray) -> None:
    names = sorted(set(QUERIES.values()))
    scores = encoder.encode_texts(list(QUERIES)) @ encoder.encode_images(pixels).T
    found = {query: names[best] for query, best in zip(QUERIES, scores.argmax(axis=1), strict=True)}
    assert found == QUERIES


def test_shapes_types_and_norms(encoder: OnnxEncoder, pixels: np.ndarray) -> None:
    for embeddings in (encoder.encode_images(pixels[:3]), encoder.encode_texts(["one", "two", "three"])):
        assert embeddings.shape == (3, encoder.info.dim)
        assert embeddings.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)


def test_nothing_in_nothing_out(encoder: OnnxEncoder, pixels: np.ndarray) -> None:
    assert encoder.encode_images(pixels[:0]).shape == (0, encoder.info.dim)
    assert encoder.encode_texts([]).shape == (0, encoder.info.dim)


def test_an_embedding_does_not_depend_on_its_batch(encoder: OnnxEncoder, pixels: np.ndarray) -> None:
    texts = ["a cat", "a much longer text about two dogs on a beach in the evening sun", "", "word " * 500] * 20
    alone = np.concatenate([encoder.encode_texts([text]) for text in texts])
    np.testing.assert_allclose(encoder.encode_texts(texts), alone, atol=1e-5)
    alone = np.concatenate([encoder.encode_images(pixels[place : place + 1]) for place in range(4)])
    np.testing.assert_allclose(encoder.encode_images(pixels[:4]), alone, atol=1e-5)


@pytest.mark.parametrize("text", ["", " ", "word " * 5_000, "\udcff\udc80 not UTF-8", "日本語 😀", "\x00"])
def test_takes_any_text(encoder: OnnxEncoder, text: str) -> None:
    assert np.isfinite(encoder.encode_texts([text])).all()


def test_pixels_of_another_size_are_refused(encoder: OnnxEncoder) -> None:
    with pytest.raises(ModelError, match="do not fit a model that takes"):
        encoder.encode_images(np.zeros((1, 32, 32, 3), np.uint8))


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps"])
def test_runs_on_the_cpu_only(device: str) -> None:
    with pytest.raises(DeviceError, match=f"starter model runs on the CPU, not on '{device}'"):
        load_encoder("starter", device=device)


def test_runs_in_fp32_only() -> None:
    with pytest.raises(UsageError, match="fp32"):
        load_encoder("starter", precision="bf16")


def test_opens_only_the_tower_that_is_used(pixels: np.ndarray) -> None:
    fresh = starter.load()
    assert isinstance(fresh, OnnxEncoder)
    fresh.encode_texts(["a cat"])
    assert "_image_session" not in vars(fresh)
    fresh = starter.load()
    fresh.encode_images(pixels[:1])
    assert "_text_session" not in vars(fresh)
    assert "_tokenizer" not in vars(fresh.tokenize)


def test_quiet_and_without_torch() -> None:
    code = (
        "import sys; from mmsearch.encoders import load_encoder\n"
        "load_encoder('starter').encode_texts(['a cat'])\n"
        "assert not {'torch', 'open_clip', 'huggingface_hub'} & set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert (result.stdout, result.stderr) == ("", "")


def test_missing_and_damaged_graphs(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailableError, match="cannot be opened"):
        onnx.open_session(tmp_path / "missing.onnx", 1)
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"no graph")
    with pytest.raises(ModelError, match=r"damaged\.onnx cannot be opened"):
        onnx.open_session(damaged, 1)
    with pytest.raises(ModelUnavailableError, match="is missing"):
        onnx.open_tokenizer(tmp_path / "tokenizer.json", 16)


def test_missing_starter_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starter, "FOLDER", tmp_path)
    with pytest.raises(ModelUnavailableError, match="reinstall mmsearch"):
        starter.load()
