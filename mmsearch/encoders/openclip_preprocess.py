"""How a model takes its images, as open_clip's settings say; needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmsearch.base.errors import ModelError
from mmsearch.base.records import Preprocess
from mmsearch.encoders import openclip_tables
from mmsearch.encoders.names import ModelSource

# open_clip/constants.py, OPENAI_DATASET_MEAN and OPENAI_DATASET_STD: what holds where a model does not say otherwise.
_DEFAULTS = {
    "mean": (0.48145466, 0.4578275, 0.40821073),
    "std": (0.26862954, 0.26130258, 0.27577711),
    "interpolation": "bicubic",
    "resize_mode": "shortest",
    "fill_color": 0,
}


def expected(source: ModelSource) -> Preprocess | None:
    """What a model will ask for, read from open_clip's tables without loading it; None where only the model can say."""
    if source.kind not in ("pair", "checkpoint") or not openclip_tables.installed():
        return None
    config = openclip_tables.architecture_config(source.architecture)
    size = config.get("vision_cfg", {}).get("image_size")
    if size is None:
        return None
    chosen = openclip_tables.pretrained(source.architecture).get(source.tag)
    return to_preprocess({**_DEFAULTS, "size": size, **(chosen.settings if chosen else {})}, source.spec)


def to_preprocess(settings: Mapping[str, Any], spec: str) -> Preprocess:
    """open_clip's final preprocessing settings of a model as ours.

    Its `random` interpolation is bicubic outside of training.
    """
    size = settings["size"]
    height, width = (size, size) if isinstance(size, int) else size
    if height != width:
        raise ModelError(f"{spec} takes images of {width} x {height} pixels; mmsearch runs models with a square input")
    interpolation = settings.get("interpolation", "bicubic")
    return Preprocess(
        size=width,
        resize=width,
        resize_mode=settings.get("resize_mode", "shortest"),
        interpolation="bicubic" if interpolation == "random" else interpolation,
        mean=_three(settings["mean"]),
        std=_three(settings["std"]),
        fill=int(settings.get("fill_color", 0)),
    )


def _three(values: float | Sequence[float]) -> tuple[float, float, float]:
    if isinstance(values, int | float):
        return float(values), float(values), float(values)
    red, green, blue = values
    return float(red), float(green), float(blue)
