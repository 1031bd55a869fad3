"""The front door to encoders: a model's name in, an object with `encode_images` and `encode_texts` out.

Nothing heavy is imported here; torch and ONNX Runtime are loaded by the one file that runs them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mmsearch import config
from mmsearch.encoders import models
from mmsearch.encoders.models import ModelSource

if TYPE_CHECKING:
    from mmsearch.types import Encoder, EncoderInfo, Preprocess

__all__ = [
    "ModelSource",
    "choose_default",
    "ensure_export",
    "expected_preprocess",
    "identify",
    "knows_word",
    "load_encoder",
    "load_export",
    "load_query_encoder",
    "reads",
    "resolve",
    "short_name",
]


def _say_nothing(line: str) -> None:
    """The default for `notice`."""


def resolve(spec: str) -> ModelSource:
    """Read a `--model` text; cheap, with no network. Raises UnknownModelError for a name that means nothing."""
    return models.parse(spec)


def load_encoder(
    spec: str,
    *,
    device: str = "auto",
    precision: str = "auto",
    notice: Callable[[str], None] = _say_nothing,
    progress: bool = True,
) -> Encoder:
    """Load the model that `spec` names, fetching its files first where they are not on this disk.

    `device` is `auto`, `cpu`, `cuda`, `cuda:N`, several (`cuda:0,1`, `cuda:all`) or `mps`. `precision` (`auto`, `fp32`,
    `bf16`, `fp16`) is of the weights that run; `auto` takes the fastest that keeps the ranking. `notice` is given one
    line before something slow; `progress` shows a bar on stderr while files are fetched. Raises UnknownModelError,
    ModelUnavailableError, ModelError or DeviceError.
    """
    source = resolve(spec)
    if source.kind == "starter":
        from mmsearch.encoders import starter

        return starter.load(device=device, precision=precision)
    from mmsearch.encoders import files

    model_files = files.locate(source, notice=notice, progress=progress)
    from mmsearch.encoders import openclip

    encoders = [
        openclip.load(source, model_files, device=name, precision=precision) for name in openclip.device_names(device)
    ]
    if len(encoders) == 1:
        return encoders[0]
    from mmsearch.encoders.parallel import ParallelEncoder

    return ParallelEncoder(encoders)


def load_query_encoder(
    stored: EncoderInfo, *, notice: Callable[[str], None] = _say_nothing, progress: bool = True
) -> Encoder:
    """The encoder for queries among embeddings by `stored`: one that is open in a fraction of a second.

    That is the built-in model, or the export of another one. Where there is none yet, the model is loaded with torch
    and exported; one that cannot be exported runs on torch. `notice` is given a line before what takes long, and one
    where the export fails, which is not tried again with the same versions of all that takes part. Raises as
    `load_encoder` does; whether the model is still the one that made the embeddings is for the caller to check.
    """
    from mmsearch.encoders import exporting

    if stored.spec == models.STARTER:
        return load_encoder(models.STARTER)
    return exporting.load(stored, notice, lambda **chosen: load_encoder(stored.spec, progress=progress, **chosen))


def load_export(stored: EncoderInfo, *, device: str = "auto", precision: str = "auto") -> Encoder | None:
    """The export of the model `stored`, for indexing without torch, which takes some 10 s to load; None without one.

    With `auto` it is left to torch where that has a GPU, or a CPU that multiplies bf16, to run on. An export runs on
    the CPU in fp32: for a handful of images, `device="cpu", precision="fp32"` is quickest on any machine.
    """
    from mmsearch.encoders import exporting

    return exporting.load_export(stored, device, precision)


def identify(spec: str, notice: Callable[[str], None] = _say_nothing, *, progress: bool = True) -> EncoderInfo | None:
    """What identifies the model that `spec` names, without loading it; None where only the loaded model can say.

    Fetches the model's files where they are not on this disk, and reads all of the weights the first time.
    """
    from mmsearch.encoders import files, fingerprints, settings
    from mmsearch.types import EncoderInfo

    source = resolve(spec)
    how = settings.expected(source)
    if how is None:
        return None
    found = files.locate(source, notice=notice, progress=progress)
    fingerprint = fingerprints.fingerprint(found.build_config, how, found.weights)
    return EncoderInfo(source.spec, fingerprint, int(found.config["embed_dim"]), how)


def ensure_export(encoder: Encoder, notice: Callable[[str], None] = _say_nothing) -> None:
    """Export the model of an encoder that `load_encoder` gave, unless that has been done; `notice` is told before.

    For the end of an index run, while the model is loaded. What goes wrong becomes a line to `notice`.
    """
    from mmsearch.encoders import exporting

    exporting.ensure(encoder, notice)


def expected_preprocess(spec: str) -> Preprocess | None:
    """How the model that `spec` names takes its images, if that can be told without loading it."""
    from mmsearch.encoders import settings

    source = resolve(spec)
    if source.kind == "starter":
        from mmsearch.encoders import starter

        return starter.info().preprocess
    return settings.expected(source)


def reads(encoder: Encoder, text: str) -> bool:
    """Whether a text that is not in English can mean something to a model; see `mmsearch.encoders.reading`."""
    from mmsearch.encoders import reading

    return reading.reads(encoder, text)


def knows_word(word: str) -> bool:
    """Whether an English model has a word of letters whole in its vocabulary: that of the built-in one is taken."""
    from mmsearch.encoders import starter

    return starter.has_word(word)


def short_name(spec: str) -> str:
    """A model's alias where it has one, else its name as it is."""
    return next((card.alias for card in models.EVERY_ALIAS.values() if card.spec == spec), spec)


def choose_default(notice: Callable[[str], None] = _say_nothing, better: str = "name it with --model") -> str:
    """The model of a new collection whose user has named none.

    That is `clip` where its weights are on this disk or the model hub answers within `config.HUB_PROBE_SECONDS`; else
    the built-in `starter`, with one line to `notice` that says so; `better` says how to have the other one later.
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
        f" for better results, once {card.alias} can be had, {better.format(card.alias)}"
    )
    return models.STARTER
