"""What a model's open_clip_config.json may say: all of it is checked here before open_clip or transformers sees it.

The tables hold everything that open_clip 3 builds a model by. A key that is not in them, or a value that is not of its
kind, is refused: open_clip hands some of them on as arguments of functions in other libraries.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mmsearch.base.errors import ModelError
from mmsearch.base.text import first_line
from mmsearch.encoders import plain_files

Check = Callable[[Any], bool]

# A name of a repository of the hub, which may lack the organisation ("roberta-base" is the hub's own name for one).
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?", re.ASCII)
_INSIDE = re.compile(r"\./[\w./-]{1,255}", re.ASCII)
_WORD = re.compile(r"[\w.-]{0,64}", re.ASCII)
_LANGUAGE = re.compile(r"[a-z]{2,3}(_[A-Za-z]{2,4})?")

# Far beyond what open_clip knows: 56 layers, a width of 1,792, 512 pixels, 1,369 patches, 901,629 tokens. They keep a
# configuration from taking hours or all memory before its parameters can be counted.
MOST_LAYERS = 512
MOST_WIDTH = 8_192
_MOST_PIXELS = 2_048
_MOST_PATCHES = 16_384
MOST_TOKENS = 4_000_000
_MOST_CONTEXT = 4_096


def read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The `model_cfg` and `preprocess_cfg` of a file, checked.

    Raises ModelError for a file that is none, or asks for what no model needs, ModelUnavailableError for a missing one.
    """
    try:
        found = plain_files.read_json(path)
        model, preprocess = dict(found["model_cfg"]), dict(found.get("preprocess_cfg") or {})
        if not isinstance(model["text_cfg"], dict) or not isinstance(model["vision_cfg"], dict):
            raise TypeError("a tower without settings")
        if "embed_dim" not in model:
            raise KeyError("embed_dim")
    except (ValueError, KeyError, TypeError) as error:
        what = f"{path} is not a configuration of an open_clip model: {first_line(error)}"
        raise ModelError(what, "use a model that you trust") from error
    _check(path, "model_cfg", model, _MODEL)
    preprocess = {name: preprocess[name] for name in _PREPROCESS if preprocess.get(name) is not None}
    _check(path, "preprocess_cfg", preprocess, _PREPROCESS)
    if _patches(model["vision_cfg"]) > _MOST_PATCHES:
        raise ModelError(f"{path} cuts images into more than {_MOST_PATCHES:,} patches", "use a model that you trust")
    return model, preprocess


def known(path: Path) -> dict[str, Any]:
    """Those parts of a `model_cfg` that `read` would take, of a file that may lack others. Raises as it does."""
    found = plain_files.read_json(path).get("model_cfg")
    return _known(found, _MODEL) if isinstance(found, dict) else {}


def _known(values: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name in values.keys() & table.keys():
        value, rule = values[name], table[name]
        if isinstance(rule, dict):
            if isinstance(value, dict):
                kept[name] = _known(value, rule)
        elif rule(value):
            kept[name] = value
    return kept


def is_inside(name: str) -> bool:
    """Whether the name of a text tower is that of a folder inside of the model's, not of a repository of the hub."""
    return _INSIDE.fullmatch(name) is not None and ".." not in name.split("/")


def _patches(vision: Mapping[str, Any]) -> float:
    """How many patches a transformer of open_clip's own cuts an image into."""
    sizes = (vision.get("image_size", 224), vision.get("patch_size") or 16)
    (height, width), (down, right) = ([one, one] if isinstance(one, int) else one for one in sizes)
    return float(height / down * width / right)


def _check(path: Path, where: str, values: Any, table: Mapping[str, Any]) -> None:
    if not isinstance(values, dict):
        raise ModelError(f"{path} is not a configuration of an open_clip model: {where} is not an object")
    for name, value in values.items():
        place = f"{where}.{name}"
        rule = table.get(name)
        if rule is None:
            what = f"open_clip cannot build a model from {path}: it sets {place}, which mmsearch does not know"
            raise ModelError(what, "use a model that you trust")
        if value is None and name in _MAY_BE_NULL:
            continue
        if isinstance(rule, dict):
            _check(path, place, value, rule)
        elif not rule(value):
            raise ModelError(_refusal(path, place, value), "use a model that you trust")


def _refusal(path: Path, place: str, value: Any) -> str:
    if place.endswith("_name"):
        return f"{path} names {_shown(value)}, which is outside of the model"
    return f"{path} sets {place} to {_shown(value)}, which mmsearch does not pass on"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def whole(most: int, least: int = 1) -> Check:
    """Whether a value is a whole number in a range."""
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def number(most: float, least: float = 0.0) -> Check:
    """Whether a value is a number in a range, neither infinite nor NaN."""
    return lambda value: isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most


def yes_or_no(value: Any) -> bool:
    return isinstance(value, bool)


def word(value: Any) -> bool:
    """Whether a value is a short name that can be neither a path nor an address."""
    return isinstance(value, str) and _WORD.fullmatch(value) is not None and ".." not in value


def _repository(value: Any) -> bool:
    return isinstance(value, str) and (
        is_inside(value) or (REPOSITORY.fullmatch(value) is not None and ".." not in value)
    )


def _one_of(*values: Any) -> Check:
    return lambda value: value in values and isinstance(value, str)


def _several(check: Check, *counts: int) -> Check:
    """Whether each value in a list of one of these lengths passes."""
    return lambda values: isinstance(values, list) and len(values) in counts and all(map(check, values))


def _or(*checks: Check) -> Check:
    return lambda value: any(check(value) for check in checks)


def _language(value: Any) -> bool:
    return isinstance(value, str) and _LANGUAGE.fullmatch(value) is not None


_SIZE = _or(whole(_MOST_PIXELS), _several(whole(_MOST_PIXELS), 2))
_COLOUR = _or(number(1e4, -1e4), _several(number(1e4, -1e4), 3))
_ACTIVATION = {"approximate": _one_of("none", "tanh")}
_NORM = {"eps": number(1.0)}

# What an attention block of either tower has.
_BLOCK: dict[str, Any] = {
    "act_kwargs": _ACTIVATION,
    "norm_kwargs": _NORM,
    "block_type": word,
    "qk_norm": yes_or_no,
    "scaled_cosine_attn": yes_or_no,
    "scale_heads": yes_or_no,
    "scale_attn_inner": yes_or_no,
    "scale_attn": yes_or_no,
    "scale_fc": yes_or_no,
    "width": whole(MOST_WIDTH),
    "mlp_ratio": number(64.0),
    "ls_init_value": number(1e4, -1e4),
    "pool_type": word,
    "output_tokens": yes_or_no,
    "final_ln_after_pool": yes_or_no,
}

_VISION: dict[str, Any] = {
    **_BLOCK,
    "layers": _or(whole(MOST_LAYERS), _several(whole(MOST_LAYERS), 4)),
    "head_width": whole(MOST_WIDTH),
    "patch_size": _or(whole(_MOST_PIXELS), _several(whole(_MOST_PIXELS), 2)),
    "image_size": _SIZE,
    "patch_dropout": number(1.0),
    "attentional_pool": _or(yes_or_no, word),
    "attn_pooler_queries": whole(MOST_WIDTH),
    "attn_pooler_heads": whole(MOST_WIDTH),
    "no_ln_pre": yes_or_no,
    "pos_embed_type": word,
    "timm_model_name": word,
    "timm_model_pretrained": yes_or_no,
    "timm_pool": word,
    "timm_proj": word,
    "timm_proj_bias": yes_or_no,
    "timm_drop": number(1.0),
    "timm_drop_path": number(1.0),
}

_TEXT: dict[str, Any] = {
    **_BLOCK,
    "layers": whole(MOST_LAYERS),
    "heads": whole(MOST_WIDTH),
    "context_length": whole(_MOST_CONTEXT, least=3),
    "vocab_size": whole(MOST_TOKENS),
    "embed_cls": yes_or_no,
    "pad_id": whole(MOST_TOKENS, least=0),
    "eos_id": whole(MOST_TOKENS, least=0),
    "no_causal_mask": yes_or_no,
    "proj_bias": yes_or_no,
    "proj_type": word,
    "hf_tokenizer_name": _repository,
    "hf_model_name": _repository,
    "hf_model_pretrained": yes_or_no,
    "hf_proj_type": word,
    "hf_pooler_type": word,
    "tokenizer_mode": word,
    "tokenizer_kwargs": {
        "clean": _one_of("lower", "whitespace", "canonicalize"),
        "strip_sep_token": yes_or_no,
        "language": _language,
    },
}

_MULTIMODAL: dict[str, Any] = {
    **_TEXT,
    "dim_head": whole(MOST_WIDTH),
    "n_queries": whole(MOST_WIDTH),
    "attn_pooler_heads": whole(MOST_WIDTH),
}

_MODEL: dict[str, Any] = {
    "embed_dim": whole(MOST_WIDTH),
    "vision_cfg": _VISION,
    "text_cfg": _TEXT,
    "multimodal_cfg": _MULTIMODAL,
    "custom_text": yes_or_no,
    "quick_gelu": yes_or_no,
    "init_logit_scale": number(1e4, -1e4),
    "init_logit_bias": number(1e4, -1e4),
    "nonscalar_logit_scale": yes_or_no,
    "output_dict": yes_or_no,
}

_PREPROCESS: dict[str, Any] = {
    "size": _SIZE,
    "mode": _one_of("RGB"),
    "mean": _COLOUR,
    "std": _or(number(1e4, 1e-6), _several(number(1e4, 1e-6), 3)),
    "interpolation": _one_of("bicubic", "bilinear", "random"),
    "resize_mode": _one_of("shortest", "longest", "squash"),
    "fill_color": whole(255, least=0),
}

# What open_clip has None for by default, or some configurations of its own have null for.
_MAY_BE_NULL = frozenset(
    {
        "act_kwargs",
        "norm_kwargs",
        "block_type",
        "ls_init_value",
        "patch_size",
        "timm_model_name",
        "timm_proj",
        "timm_drop_path",
        "hf_tokenizer_name",
        "hf_model_name",
        "tokenizer_mode",
        "tokenizer_kwargs",
        "multimodal_cfg",
        "init_logit_bias",
        "hf_proj_type",
        "hf_pooler_type",
    }
)
