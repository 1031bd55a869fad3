"""Tiny models with random weights, saved in every form that `--model` takes.

Two architectures: `tiny-clip` is built as OpenAI's CLIP is, with CLIP's own tokenizer; `tiny-siglip` has an image tower
from timm, squashed images and a tokenizer that comes as tokenizer.json. Weights are seeded, so that a model is the same
wherever it is made.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmsearch.encoders import openclip  # first: it imports torch and open_clip without their warnings

CONTEXT_LENGTH = 16
TOKENIZER_REPO = "tiny/siglip-tokenizer"

MODEL_CONFIGS: dict[str, dict[str, Any]] = {
    "tiny-clip": {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
        "text_cfg": {"context_length": CONTEXT_LENGTH, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
    },
    "tiny-siglip": {
        "embed_dim": 16,
        "custom_text": True,
        "init_logit_bias": -10,
        "vision_cfg": {
            "image_size": 160,
            "timm_model_name": "test_vit",
            "timm_model_pretrained": False,
            "timm_pool": "avg",
            "timm_proj": "linear",
        },
        "text_cfg": {
            "context_length": CONTEXT_LENGTH,
            "vocab_size": 64,
            "width": 32,
            "heads": 2,
            "layers": 2,
            "no_causal_mask": True,
            "pool_type": "last",
            "proj_bias": True,
            "hf_tokenizer_name": TOKENIZER_REPO,
            "tokenizer_kwargs": {"clean": "canonicalize"},
        },
    },
}
PREPROCESS_CONFIGS: dict[str, dict[str, Any]] = {
    "tiny-clip": {"mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28], "interpolation": "bicubic"},
    "tiny-siglip": {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"},
}
# fmt: off
WORDS = (
    "a", "photo", "of", "the", "cat", "dog", "red", "blue", "car", "sky", "tree", "house", "two", "in", "on", "and",
)
# fmt: on


@dataclass(frozen=True)
class TinyModel:
    """A model on disk: `name` is its architecture as open_clip knows it; `directory` has open_clip's hub layout."""

    name: str
    checkpoint: Path
    safetensors: Path
    directory: Path


def make(name: str, folder: Path, seed: int = 0) -> TinyModel:
    """Register the architecture with open_clip and save a model of it in every form below `folder`."""
    import safetensors.torch

    torch, open_clip = openclip.torch, openclip.open_clip
    folder.mkdir(parents=True, exist_ok=True)
    register(folder / "architectures")
    torch.manual_seed(seed)
    with openclip.quiet():
        weights = open_clip.create_model(name).state_dict()
    tiny = TinyModel(name, folder / f"{name}.pt", folder / f"{name}.safetensors", folder / "directory")
    torch.save(weights, tiny.checkpoint)
    safetensors.torch.save_file(weights, tiny.safetensors)
    write_directory(tiny.directory, name, tiny.safetensors)
    return tiny


def register(folder: Path) -> None:
    """Make the tiny architectures known to open_clip, in this process."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, config in MODEL_CONFIGS.items():
        (folder / f"{name}.json").write_text(json.dumps(config), "utf-8")
    openclip.open_clip.add_model_config(folder)


def write_directory(folder: Path, name: str, weights: Path) -> None:
    """A folder as `push_to_hf_hub` of open_clip makes it."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_cfg": MODEL_CONFIGS[name], "preprocess_cfg": PREPROCESS_CONFIGS[name]}
    (folder / "open_clip_config.json").write_text(json.dumps(config), "utf-8")
    (folder / "open_clip_model.safetensors").write_bytes(weights.read_bytes())
    if "hf_tokenizer_name" in MODEL_CONFIGS[name]["text_cfg"]:
        write_tokenizer(folder)


def write_tokenizer(folder: Path) -> None:
    """A tokenizer of whole words in the files that transformers writes: ends with </s>, padded with <pad>."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    vocabulary = {token: place for place, token in enumerate(["<pad>", "</s>", "<unk>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": "<pad>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "padding_side": "right",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
