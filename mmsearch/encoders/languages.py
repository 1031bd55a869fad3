"""Which texts a model can make sense of, as far as its card and its tokenizer tell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmsearch.base.errors import MMSearchError
from mmsearch.base.records import Encoder, EncoderInfo
from mmsearch.encoders import hub, model_config, openclip_tables
from mmsearch.encoders import names as model_names
from mmsearch.encoders import weights as weight_files
from mmsearch.encoders.export import folder as export_folder
from mmsearch.encoders.names import ModelSource
from mmsearch.encoders.onnx import OnnxEncoder

# Share of a text's tokens that say no more than "unknown", or name a single byte, from which on it is not read.
_MOST_UNKNOWN = 0.5


def reads(encoder: Encoder, text: str) -> bool:
    """Whether a text that is not in English can mean something to a model. In doubt it can.

    That is what the card of a model with a short name says. CLIP's own tokenizer stands for English: it takes any text
    apart into bytes, and says nothing of what the model has learnt. Of other tokenizers, those know a text that have
    tokens for most of it.
    """
    source = _source(encoder.info)
    if source is not None and source.alias:
        return model_names.EVERY_ALIAS[source.alias].languages != "English"
    if _has_clips_tokenizer(encoder.info, source):
        return False
    tokenize = encoder.tokenize if isinstance(encoder, OnnxEncoder) else None
    if not isinstance(tokenize, export_folder.ExportTokenizer):
        return True
    return tokenize.unknown_share(text) < _MOST_UNKNOWN


def _source(info: EncoderInfo) -> ModelSource | None:
    try:
        return model_names.parse(info.spec)
    except MMSearchError:  # open_clip is not installed, or knows the model no more
        return None


def _has_clips_tokenizer(info: EncoderInfo, source: ModelSource | None) -> bool:
    manifest = export_folder.read_manifest(export_folder.folder_of(info.fingerprint))
    if manifest is not None:
        return manifest.clip_tokenizer
    text = _text_config(source) if source else None
    return text is not None and not text.get("hf_tokenizer_name") and not text.get("hf_model_name")


def _text_config(source: ModelSource) -> dict[str, Any] | None:
    """The part of a model's configuration that is about texts, if it can be read without a download."""
    try:
        if source.kind in ("pair", "checkpoint"):
            config: Any = openclip_tables.architecture_config(source.architecture)
        else:
            here = hub.cached(source.repo, weight_files.CONFIG_NAME) if source.kind == "hub" else None
            path = here or Path(source.path, weight_files.CONFIG_NAME)
            config = model_config.known(path)
        text: dict[str, Any] = config["text_cfg"]
    except (MMSearchError, ValueError, KeyError, TypeError):
        return None
    return text
