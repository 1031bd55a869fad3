"""Fixtures for tests of the encoders: tiny models, made once a session, and a model hub on the loopback interface."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hub_server
import pytest

if TYPE_CHECKING:
    from tiny_models import TinyModel


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """A model like OpenAI's CLIP, with 16 dimensions and images of 32 pixels."""
    import tiny_models

    return tiny_models.make("tiny-clip", tmp_path_factory.mktemp("tiny-clip"))


@pytest.fixture(scope="session")
def tiny_siglip(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """A model like SigLIP 2: image tower from timm, squashed images of 160 pixels, a tokenizer of its own."""
    import tiny_models

    return tiny_models.make("tiny-siglip", tmp_path_factory.mktemp("tiny-siglip"))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[hub_server.Hub]:
    """An empty model hub that this process believes to be the real one, with an empty cache of its own."""
    from huggingface_hub import constants

    with hub_server.serve(hub_server.Hub()) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield running
