"""What the catalog holds as JSON, read strictly: anything else than what mmsearch writes is a `ValueError`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, get_args

from mmsearch.base.records import Interpolation, Preprocess, ResizeMode, ScanOptions

# Largest width of embeddings, and side in pixels of a model's input, that are believed; the largest models that
# open_clip has take a quarter of either.
_MOST_DIM = 16_384
_MOST_SIDE = 4_096


def reads(read: Callable[[str], Any], text: Any) -> bool:
    """Whether `read` takes a text."""
    try:
        read(text)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return False
    return True


def is_dim(value: Any) -> bool:
    """Whether a number can be the width of embeddings."""
    return isinstance(value, int) and 0 < value <= _MOST_DIM


def options(text: str) -> ScanOptions:
    """The options of a root, as `dataclasses.asdict` gave them."""
    fields = _object(text)
    for name in ("include", "exclude"):
        patterns = fields[name]
        _require(isinstance(patterns, list) and all(isinstance(pattern, str) for pattern in patterns))
        fields[name] = tuple(patterns)
    _require({"hidden", "follow_symlinks"} <= fields.keys())  # those that came later may be missing
    _require(all(isinstance(value, bool) for name, value in fields.items() if name not in {"include", "exclude"}))
    return ScanOptions(**fields)


def preprocess(text: str) -> Preprocess:
    """How an encoder takes its images, as `Preprocess.to_json` gave it."""
    how = Preprocess.from_json(_object(text))
    _require(all(_is_whole(side) and 0 < side <= _MOST_SIDE for side in (how.size, how.resize)))
    _require(how.resize_mode in get_args(ResizeMode) and how.interpolation in get_args(Interpolation))
    _require(all(len(values) == 3 and all(map(_is_finite, values)) for values in (how.mean, how.std)))
    _require(0 not in how.std and _is_whole(how.fill) and 0 <= how.fill <= 255)
    return how


def summary(text: str) -> dict[str, Any]:
    """What a run did, as `Summary.to_json` gave it: what is shown has its type, and all numbers are finite."""
    fields = _object(text)
    _require(isinstance(fields.get("device", ""), str) and isinstance(fields.get("precision", ""), str))
    _require(all(_is_finite(fields.get(name, 0)) for name in ("encoded", "seconds")))
    return fields


def _object(text: str) -> dict[str, Any]:
    fields = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    _require(isinstance(fields, dict))
    return dict(fields)


def _refuse(word: str) -> float:
    raise ValueError(f"JSON has no number {word}")


def _finite(text: str) -> float:
    value = float(text)
    _require(math.isfinite(value))
    return value


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _require(holds: bool) -> None:
    if not holds:
        raise ValueError("not as mmsearch writes it")
