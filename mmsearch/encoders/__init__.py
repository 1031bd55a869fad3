"""The front door to encoders: a model's name in, an object with `encode_images` and `encode_texts` out.

Nothing heavy is imported here; `openclip.py` loads torch, `onnx.py` ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mmsearch.base import config
from mmsearch.encoders import names as model_names
from mmsearch.encoders.names import ModelSource

if TYPE_CHECKING:
    from mmsearch.base.records import Encoder, EncoderInfo, Preprocess

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
    return model_names.parse(spec)


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
    from mmsearch.encoders import weights as weight_files

    model_files = weight_files.locate(source, notice=notice, progress=progress)
    from mmsearch.encoders import openclip

    encoders = [
        openclip.load(source, model_files, device=name, precision=precision) for name in openclip.device_names(device)
    ]
    if len(encoders) == 1:
        return encoders[0]
    from mmsearch.encoders.parallel import ParallelEncoder

    return ParallelEncoder(encoders)


def load_query_encoder(
    stored: EncoderInfo,
    *,
    notice: Callable[[str], None] = _say_nothing,
    progress: bool = True,
    may_trust: Callable[[str], bool] | None = None,
) -> Encoder:
    """The encoder for queries among embeddings by `stored`: one that is open in a fraction of a second.

    That is the built-in model, or the export of another one. Where there is none yet, the model is loaded with torch
    and exported; one that cannot be exported runs on torch. `notice` is given a line before what takes long, and one
    where the export fails, which is not tried again with the same versions of all that takes part. With `may_trust`,
    `stored` is what a collection says: before the model's own files are read, `mmsearch.encoders.trusted` is asked.
    Raises as `load_encoder` does; whether the model still is the one that made the embeddings, the caller must check.
    """
    from mmsearch.encoders import trusted
    from mmsearch.encoders.export import policy as export_policy

    if stored.spec == model_names.STARTER:
        return load_encoder(model_names.STARTER)

    def allow() -> None:
        if may_trust is not None:
            trusted.require(stored.spec, may_trust)

    def load(**chosen: Any) -> Encoder:
        return load_encoder(stored.spec, progress=progress, **chosen)

    return export_policy.load(stored, notice, load, allow)


def load_export(stored: EncoderInfo, *, device: str = "auto", precision: str = "auto") -> Encoder | None:
    """The export of the model `stored`, for indexing without torch, which takes some 10 s to load; None without one.

    With `auto` it is left to torch where that has a GPU, or a CPU that multiplies bf16, to run on. An export runs on
    the CPU in fp32: for a handful of images, `device="cpu", precision="fp32"` is quickest on any machine.
    """
    from mmsearch.encoders.export import policy as export_policy

    return export_policy.load_export(stored, device, precision)


def identify(spec: str, notice: Callable[[str], None] = _say_nothing, *, progress: bool = True) -> EncoderInfo | None:
    """What identifies the model that `spec` names, without loading it; None where only the loaded model can say.

    Fetches the model's files where they are not on this disk, and reads all of the weights the first time.
    """
    from mmsearch.base.records import EncoderInfo
    from mmsearch.encoders import fingerprints, openclip_preprocess
    from mmsearch.encoders import weights as weight_files

    source = resolve(spec)
    how = openclip_preprocess.expected(source)
    if how is None:
        return None
    found = weight_files.locate(source, notice=notice, progress=progress)
    fingerprint = fingerprints.fingerprint(found.build_config, how, found.weights)
    return EncoderInfo(source.spec, fingerprint, int(found.config["embed_dim"]), how)


def ensure_export(encoder: Encoder, notice: Callable[[str], None] = _say_nothing) -> None:
    """Export the model of an encoder that `load_encoder` gave, unless that has been done; `notice` is told before.

    For the end of an index run, while the model is loaded. What goes wrong becomes a line to `notice`.
    """
    from mmsearch.encoders.export import policy as export_policy

    export_policy.ensure(encoder, notice)


def expected_preprocess(spec: str) -> Preprocess | None:
    """How the model that `spec` names takes its images, if that can be told without loading it."""
    from mmsearch.encoders import openclip_preprocess

    source = resolve(spec)
    if source.kind == "starter":
        from mmsearch.encoders import starter

        return starter.info().preprocess
    return openclip_preprocess.expected(source)


def reads(encoder: Encoder, text: str) -> bool:
    """Whether a text that is not in English can mean something to a model; see `mmsearch.encoders.languages`."""
    from mmsearch.encoders import languages

    return languages.reads(encoder, text)


def knows_word(word: str) -> bool:
    """Whether an English model has a word of letters whole in its vocabulary: that of the built-in one is taken."""
    from mmsearch.encoders import starter

    return starter.has_word(word)


def short_name(spec: str) -> str:
    """A model's alias where it has one, else its name as it is."""
    return next((card.alias for card in model_names.EVERY_ALIAS.values() if card.spec == spec), spec)


def choose_default(notice: Callable[[str], None] = _say_nothing, better: str = "name it with --model {}") -> str:
    """The model of a new collection whose user has named none.

    That is `clip` where its weights are on this disk or the model hub answers within `config.HUB_PROBE_SECONDS`; else
    the built-in `starter`, with one line to `notice` that says so; `better` says how to have the other one later.
    """
    from mmsearch.encoders import hub, openclip_tables

    card = model_names.ALIASES[model_names.DEFAULT]
    if not openclip_tables.installed():
        reason = "open_clip is not installed"
    elif model_names.is_cached(card):
        return card.alias
    elif config.hub_offline():
        reason = f"the weights of {card.alias} are not on this disk and HF_HUB_OFFLINE is set"
    elif hub.answers(card.repo):
        return card.alias
    else:
        reason = f"the weights of {card.alias} are not on this disk and {hub.host()} does not answer"
    notice(
        f"using the small built-in model ({model_names.STARTER}), because {reason};"
        f" for better results, once {card.alias} can be had, {better.format(card.alias)}"
    )
    return model_names.STARTER
