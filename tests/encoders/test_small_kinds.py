"""The kinds of model that are offered, small and with random weights: loaded, prepared for and exported as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_kinds
from PIL import Image

from mmsearch.encoders import ensure_export, expected_preprocess, load_encoder, openclip, resolve
from mmsearch.encoders.export import folder as export_folder
from mmsearch.images.preprocess import prepare

torch, open_clip = openclip.torch, openclip.open_clip
TEXTS = ["a photo of a cat", "", "the red house, on the sky!", "a dog and " * 100]


@pytest.fixture(scope="module", params=small_kinds.KINDS)
def kind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """An alias, and a folder with a small model of its kind."""
    return request.param, small_kinds.make(request.param, tmp_path_factory.mktemp(request.param))


def test_an_offered_kind(kind: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images and texts get open_clip's own embeddings, on torch and in the export, and the settings of the alias."""
    alias, folder = kind
    monkeypatch.setenv("MMSEARCH_CACHE", str(tmp_path))
    encoder = load_encoder(f"local-dir:{folder}", device="cpu", precision="fp32")
    assert isinstance(encoder, openclip.OpenClipEncoder)
    how, real = encoder.info.preprocess, expected_preprocess(alias)
    assert real is not None
    for setting in ("mean", "std", "interpolation", "resize_mode"):
        assert getattr(how, setting) == getattr(real, setting)

    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    images = pictures()
    with torch.inference_mode():
        expected = model.eval().encode_image(torch.stack([transform(image) for image in images]), normalize=True)
        expected_texts = model.encode_text(torch.from_numpy(tokens(alias, encoder)), normalize=True)
    assert float((expected @ expected.T).min()) < 0.999, "these weights would hide a mistake"
    prepared = np.stack([prepare(image, how) for image in images])
    notices: list[str] = []
    ensure_export(encoder, notices.append)
    export = export_folder.find(encoder.info.fingerprint)
    assert export is not None, notices
    for ours in (encoder, export):
        assert cosine(ours.encode_images(prepared), expected) >= 0.9999
        assert cosine(ours.encode_texts(TEXTS), expected_texts) >= 0.9999
        assert cosine(np.concatenate([ours.encode_texts([text]) for text in TEXTS]), expected_texts) >= 0.9999


def tokens(alias: str, encoder: openclip.OpenClipEncoder) -> np.ndarray:
    """Token ids by open_clip; a tokenizer.json it reads with transformers, as test_tokens.py compares."""
    if alias.startswith("siglip2"):
        return np.asarray(encoder.tokenize(TEXTS))
    theirs = open_clip.get_tokenizer(resolve(alias).architecture)
    return np.asarray(theirs(TEXTS).numpy())


def pictures() -> list[Image.Image]:
    """Pictures of one colour each, and darker to the right: untrained towers tell these apart."""
    shade = np.linspace(1, 0.3, 150)[None, :, None]
    colours = [(250, 20, 30), (10, 40, 240), (120, 230, 90)]
    return [Image.fromarray(np.uint8(np.broadcast_to(colour, (90, 150, 3)) * shade)) for colour in colours]


def cosine(found: np.ndarray, expected: Any) -> float:
    assert found.shape == expected.shape
    return float((found * expected.numpy()).sum(axis=1).min())
