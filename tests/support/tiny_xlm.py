"""A tiny model with an XLM-RoBERTa text tower, fetched from a hub on the loopback interface, indexed with and asked.

`python tests/support/tiny_xlm.py HOME PHOTOS` runs by itself, since transformers reads where its files lie when it is
imported.
It leaves a collection and an export below HOME, and prints what the model on torch answers.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

TEXT = "一只猫"
TOWER, MODEL = "tests/xlm", "tests/xlm-clip"
TEXT_CONFIG = {
    "context_length": 16,
    "hf_model_name": TOWER,
    "hf_tokenizer_name": TOWER,
    "hf_proj_type": "mlp",
    "hf_pooler_type": "mean_pooler",
}
CONFIG: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": TEXT_CONFIG,
}
TOWER_CONFIG = {
    "model_type": "xlm-roberta",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 32,
    "type_vocab_size": 1,
    "bos_token_id": 0,
    "pad_token_id": 1,
    "eos_token_id": 2,
}


def environment(home: Path, url: str = "http://127.0.0.1:1") -> dict[str, str]:
    """Where the libraries keep things, for a process that uses the model."""
    return {"HF_HOME": str(home / "hub"), "HF_ENDPOINT": url, "MMSEARCH_CACHE": str(home / "cache")}


def tower_files(folder: Path) -> dict[str, bytes]:
    """The text tower's configuration and tokenizer, as a repository has them."""
    from tiny_tokenizers import roberta_like

    roberta_like(folder)
    names = {"bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "pad_token": "<pad>"}
    settings = {"tokenizer_class": "XLMRobertaTokenizerFast", "unk_token": "<unk>", **names}
    tokenizer = (folder / "tokenizer.json").read_bytes()
    size = len(json.loads(tokenizer)["model"]["vocab"])
    return {
        "config.json": json.dumps({**TOWER_CONFIG, "vocab_size": size}).encode(),
        "tokenizer.json": tokenizer,
        "tokenizer_config.json": json.dumps(settings).encode(),
    }


def weights(folder: Path) -> bytes:
    """Random weights for the model, whose tower's configuration is in the hub's cache."""
    import safetensors.torch

    from mmsearch.encoders import openclip

    (folder / "tiny-xlm.json").write_text(json.dumps(CONFIG))
    openclip.open_clip.add_model_config(folder)
    openclip.torch.manual_seed(0)
    with openclip.quiet():
        model = openclip.open_clip.create_model("tiny-xlm", pretrained_text=False)
    return safetensors.torch.save({name: tensor.clone() for name, tensor in model.state_dict().items()})


def main(home: Path, photos: Path) -> None:
    import hub_server

    work = home / "work"
    work.mkdir(parents=True)
    with hub_server.serve(hub_server.Hub()) as running:
        os.environ |= environment(home, running.url)
        running.repos[TOWER] = tower_files(work / "tower")
        from mmsearch import Collection
        from mmsearch.encoders import hub, load_encoder

        hub.fetch(TOWER, ["config.json"], notice=print, progress=False)
        preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic"}
        config = json.dumps({"model_cfg": CONFIG, "preprocess_cfg": preprocess}).encode()
        running.repos[MODEL] = {"open_clip_config.json": config, "open_clip_model.safetensors": weights(work)}
        spec = f"hf-hub:{MODEL}"
        with Collection.open(home / "collection") as collection:
            collection.add([photos], model=spec, device="cpu", precision="fp32")
            encoder = load_encoder(spec, device="cpu", precision="fp32", progress=False)
            (vector,) = encoder.encode_texts([TEXT])
            hits = [(hit.path, hit.score) for hit in collection.search(text=TEXT, k=3)]
    print(json.dumps({"hits": hits, "vector": vector.tolist()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
