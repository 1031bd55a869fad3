"""The front door to encoders: a model's name in, an object with `encode_images` and `encode_texts` out.

Nothing heavy is imported here; torch and ONNX Runtime are loaded by the one file that runs them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from mmsearch import config
from mmsearch.encoders import models
from mmsearch.encoders.models import ModelSource

if TYPE_CHECKING:
    from mmsearch.types import Encoder

__all__ = ["ModelSource", "Precision", "choose_default", "load_encoder", "resolve"]

Precision = Literal["auto", "fp32", "bf16", "fp16"]


def _say_nothing(line: str) -> None:
    """The default for `notice`."""


def resolve(spec: str) -> ModelSource:
    """Read a `--model` text; cheap, with no network. Raises UnknownModelError for a name that means nothing."""
    return models.parse(spec)


def load_encoder(
    spec: str,
    *,
    device: str = "auto",
    precision: Precision = "auto",
    notice: Callable[[str], None] = _say_nothing,
    progress: bool = True,
) -> Encoder:
    """Load the model that `spec` names, fetching its files first where they are not on this disk.

    `device` is `auto`, `cpu`, `cuda`, `cuda:N` or `mps`. `precision` is of the weights that run; `auto` takes the
    fastest that keeps the ranking. `notice` is given one line before something slow; `progress` shows a bar on stderr
    while files are fetched. Raises UnknownModelError, ModelUnavailableError, ModelError or DeviceError.
    """
    source = resolve(spec)
    if source.kind == "starter":
        from mmsearch.encoders import starter

        return starter.load(device=device, precision=precision)
    from mmsearch.encoders import files

    model_files = files.locate(source, notice=notice, progress=progress)
    from mmsearch.encoders import openclip

    return openclip.load(source, model_files, device=device, precision=precision)


def choose_default(notice: Callable[[str], None] = _say_nothing) -> str:
    """The model of a new collection whose user has named none.

    That is `clip` where its weights are on this disk or the model hub answers within `config.HUB_PROBE_SECONDS`; else
    the built-in `starter`, with one line to `notice` that says so.
    """
    from mmsearch.encoders import catalogue, hub

    card = models.ALIASES[models.DEFAULT]
    if not catalogue.installed():
        reason = "open_clip is not installed"
    elif models.is_cached(card):
        return card.alias
    elif config.hub_offline():
        reason = f"the weights of {card.alias} are not on this disk and HF_HUB_OFFLINE is set"
    elif hub.answers(card.repo):
        return card.alias
    else:
        reason = f"the weights of {card.alias} are not on this disk and {hub.host()} does not answer"
    notice(
        f"using the small built-in model ({models.STARTER}), because {reason};"
        f" for better results, index again with --model {card.alias} when it can be had"
    )
    return models.STARTER
