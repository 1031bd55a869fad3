"""The built-in model: its files lie beside this one. MODEL_CARD.md says what it is made of and what it is good at."""

from __future__ import annotations

import functools
import json
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmsearch.base.errors import DeviceError, ModelUnavailableError, UsageError
from mmsearch.base.records import EncoderInfo, Preprocess
from mmsearch.encoders import names as model_names

if TYPE_CHECKING:
    from mmsearch.encoders.onnx import OnnxEncoder

FOLDER = Path(__file__).parent

# The marks that letters lose in the vocabulary: it is that of BERT, uncased.
_MARKS = "Mn"


def load(device: str = "auto", precision: str = "auto") -> OnnxEncoder:
    """The starter encoder, which runs on the CPU in fp32. Opens no graph yet."""
    if device not in ("auto", "cpu"):
        raise DeviceError(
            f"the {model_names.STARTER} model runs on the CPU, not on {device!r}",
            f"leave out --device, or index with --model {model_names.DEFAULT}",
        )
    if precision not in ("auto", "fp32"):
        raise UsageError(f"the {model_names.STARTER} model runs in fp32, not in {precision!r}", "leave out --precision")
    from mmsearch.encoders.onnx import MaskedTokenizer, OnnxEncoder

    return OnnxEncoder(
        info(),
        image=FOLDER / "image.onnx",
        text=FOLDER / "text.onnx",
        tokenize=MaskedTokenizer(FOLDER / "tokenizer.json", facts()["context_length"]),
    )


def info() -> EncoderInfo:
    """What identifies the model, without opening it."""
    known = facts()
    how = Preprocess.from_json(known["preprocess"])
    return EncoderInfo(model_names.STARTER, known["fingerprint"], known["dim"], how)


@functools.lru_cache(maxsize=10_000)
def has_word(word: str) -> bool:
    """Whether the vocabulary has a word of letters as a whole. Most of its words are English, or names.

    The file is searched as it is, in a few thousandths of the 0.02 s that reading its JSON would take.
    """
    decomposed = unicodedata.normalize("NFD", word.lower())
    plain = "".join(letter for letter in decomposed if unicodedata.category(letter) != _MARKS)
    return plain.isalpha() and f'"{plain}":'.encode() in _vocabulary()


@functools.cache
def _vocabulary() -> bytes:
    return (FOLDER / "tokenizer.json").read_bytes()


def facts() -> dict[str, Any]:
    """What `starter.json` says: dimensions, preprocessing, and the SHA-256 and size of each file."""
    try:
        found: dict[str, Any] = json.loads((FOLDER / "starter.json").read_text("utf-8"))
        return found
    except FileNotFoundError as error:
        raise ModelUnavailableError("the built-in model's files are missing", "reinstall mmsearch") from error
