"""Small models of the kinds that are offered: open_clip's own configuration of each alias with smaller numbers in it.

Towers, pooling, projection, tokenizer settings and preprocessing are those of the real one, whose image tower from timm
is built by the same class with the same options. Weights are random and seeded.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tiny_models

from mmsearch.encoders import openclip, openclip_tables, resolve

# What the image tower of timm is called that is built like the real one, with these of its options.
_TOWERS: dict[str, tuple[str, dict[str, Any]]] = {
    "siglip2": ("small_siglip", {"img_size": 64, "embed_dim": 32, "depth": 2, "num_heads": 2}),
    "pe-large": ("small_pe", {"img_size": 56, "embed_dim": 64, "depth": 2, "num_heads": 4, "ref_feat_shape": (4, 4)}),
    "mobile": ("small_fastvit", {"layers": (1, 1, 1, 1), "embed_dims": (32, 32, 64, 64)}),
}
KINDS = tuple(_TOWERS)
# Pixels. FastViT takes any number that can be halved five times.
_FASTVIT_SIZE = 64


def make(alias: str, folder: Path) -> Path:
    """A folder in open_clip's hub layout with a small model of the kind of `alias`, one of `KINDS`."""
    import safetensors.torch

    source = resolve(alias)
    config = openclip_tables.architecture_config(source.architecture)
    _shrink(config, alias)
    settings = openclip_tables.pretrained(source.architecture)[source.tag].settings
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": dict(settings)}), "utf-8"
    )
    if config["text_cfg"].get("hf_tokenizer_name"):
        tiny_models.write_tokenizer(folder)
    openclip.torch.manual_seed(0)
    with openclip.quiet():
        model = openclip.open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    _stir(model)
    safetensors.torch.save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return folder


def _stir(model: Any) -> None:
    """Larger weights, and batch norms with the statistics of some noise: a new FastViT makes all images alike."""
    torch = openclip.torch
    with torch.no_grad():
        for weights in model.visual.parameters():
            if weights.ndim == 4:
                weights.normal_(std=0.3)
        for _ in range(20):  # each moves the statistics by a tenth
            model.train().encode_image(torch.randn(8, 3, *model.visual.image_size))


def _shrink(config: dict[str, Any], alias: str) -> None:
    text, vision = config["text_cfg"], config["vision_cfg"]
    tower, options = _TOWERS[alias]
    _register(tower, vision["timm_model_name"], options)
    vision.update(timm_model_name=tower, image_size=options.get("img_size", _FASTVIT_SIZE))
    text.update(width=32, heads=2, layers=2)
    if text.get("hf_tokenizer_name"):
        text.update(vocab_size=64, context_length=tiny_models.CONTEXT_LENGTH)
    config["embed_dim"] = 32


def _register(name: str, real: str, options: dict[str, Any]) -> None:
    """Make timm know a tower `name`, which is the tower `real` with other `options`."""
    import timm

    if timm.is_model(name):
        return
    build = timm.models.model_entrypoint(real)

    def small(pretrained: bool = False, **chosen: Any) -> Any:
        return build(pretrained, **{**options, **chosen})

    small.__name__ = name
    timm.models.register_model(small)
