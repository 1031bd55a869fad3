"""What a model costs to run: parameters, bytes, operations, and the memory of whole commands.

    python tests/bench/model_costs.py MODEL... [--photos 64] [--memory] [--keep DIR]

MODEL is a short name of an open_clip model. Weights are random ones of the full size, which cost the same. stdout gets
one JSON line, with an object for each model by its name, stderr a note on each step:

- `parameters`: of both towers, in millions; `weights_mb`: their bytes as float32, which is what the hub's files have.
- `image_gflop`, `text_gflop`: floating-point operations of one image and of one text of the full context length, in
  10^9, counted by torch while the towers run on shapes alone. A multiplication and an addition are two. For the models
  that open_clip's docs/model_profile.csv lists it gives that table's figures (ViT-B-32-256: 11.50, ViT-L-14: 162.03).
- with `--memory`, the peak of all processes in 10^6 bytes (see commands.Outcome), on the CPU in float32 with two
  decoding processes: `first_index_mb` of a first `mmsearch index` of `--photos` photos, which loads the model with
  torch and exports it; `index_mb` of a next one, which finds the export; `query_mb` of a cold `mmsearch query TEXT`.
  `seconds` has how long each took. A tokenizer of its own is stood in for by one with as many entries.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from itertools import islice, product
from pathlib import Path
from typing import Any

import commands
import photos
from commands import note, rounded

from mmsearch.encoders import names as model_names
from mmsearch.encoders import openclip_tables
from mmsearch.encoders.names import ModelSource

# Symbols that the stand-in tokenizer builds its entries from: 60^2 + 60^3 of them have two or three.
_SYMBOLS = [chr(number) for number in range(ord("A"), ord("A") + 60)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--photos", type=int, default=64)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    costs = {}
    with tempfile.TemporaryDirectory() as temporary:
        for name in options.models:
            source = model_names.parse(name)
            costs[name] = counted(source.architecture)
            if options.memory:
                costs[name] |= measured(source, options.keep or Path(temporary), options.photos)
    print(json.dumps(costs))


def counted(architecture: str) -> dict[str, float]:
    """Parameters, bytes and operations, from a model without weights."""
    import open_clip
    import torch

    with torch.device("meta"):
        model = open_clip.create_model(architecture, load_weights=False, device="meta").eval().requires_grad_(False)
        size = openclip_tables.architecture_config(architecture)["vision_cfg"]["image_size"]
        image, text = torch.zeros(1, 3, size, size), torch.zeros(1, model.context_length, dtype=torch.long)
    return {
        "parameters": round(sum(weights.numel() for weights in model.parameters()) / 1e6, 2),
        "weights_mb": round(sum(weights.nbytes for weights in model.state_dict().values()) / 1e6, 1),
        "image_gflop": _gflop(model.encode_image, image),
        "text_gflop": _gflop(model.encode_text, text),
    }


def _gflop(run: Any, argument: Any) -> float:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        run(argument)
    return round(counter.get_total_flops() / 1e9, 2)


def measured(source: ModelSource, folder: Path, count: int) -> dict[str, Any]:
    """Peaks of memory and seconds of whole commands."""
    note(f"writing random weights of {source.spec}")
    spec = f"local-dir:{model_folder(source, folder / source.architecture)}"
    for seed in range(2):
        photos.make(folder / f"photos-{count}-{seed}", count, seed=seed)
    cache, collection = folder / f"cache-{source.architecture}", folder / f"collection-{source.architecture}"
    for made_before in (cache, collection):
        shutil.rmtree(made_before, ignore_errors=True)
    env = {"MMSEARCH_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}
    options = ["--model", spec, "--device", "cpu", "--precision", "fp32", "--workers", 2]
    steps = {
        "first_index": ["index", folder / f"photos-{count}-0", *options],
        "index": ["index", folder / f"photos-{count}-1", *options],
        "query": ["query", "a cat", "--paths"],
    }
    peaks, seconds = {}, {}
    for name, arguments in steps.items():
        command = [sys.executable, "-m", "mmsearch", *arguments, "-C", collection]
        outcome = commands.run(list(map(str, command)), env=env)
        peaks[f"{name}_mb"] = rounded(outcome.peak_rss_mb, 0)
        seconds[name] = round(outcome.seconds, 1)
        note(f"{name}: {peaks[f'{name}_mb']} MB, {outcome.seconds:.1f} s")
    return {**peaks, "seconds": seconds, "photos": count}


def model_folder(source: ModelSource, folder: Path) -> Path:
    """A folder in open_clip's hub layout with random weights, made where it is missing."""
    weights = folder / model_names.WEIGHTS_NAMES[0]
    if weights.exists():
        return folder
    import open_clip
    import safetensors.torch
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    config = openclip_tables.architecture_config(source.architecture)
    how = openclip_tables.pretrained(source.architecture)[source.tag].settings
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": dict(how)}), "utf-8"
    )
    if config["text_cfg"].get("hf_tokenizer_name"):
        write_tokenizer(folder, int(config["text_cfg"]["vocab_size"]))
    torch.manual_seed(0)
    unfinished = weights.with_suffix(".tmp")
    safetensors.torch.save_file(
        open_clip.create_model(source.architecture, load_weights=False).state_dict(), unfinished
    )
    os.replace(unfinished, weights)
    return folder


def write_tokenizer(folder: Path, size: int) -> None:
    """A byte-pair tokenizer with `size` entries and about twice as many merges, as Gemma's has."""
    from tokenizers import AddedToken, Tokenizer
    from tokenizers.models import BPE

    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    words = ("".join(letters) for length in (1, 2, 3, 4) for letters in product(_SYMBOLS, repeat=length))
    entries = [*special, *islice(words, size - len(special))]
    merges = [(word[:place], word[place:]) for word in entries[len(special) :] for place in range(1, len(word))]
    tokenizer = Tokenizer(BPE({word: place for place, word in enumerate(entries)}, merges, unk_token="<unk>"))
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in special])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"pad_token": "<pad>", "eos_token": "<eos>"}), "utf-8")


if __name__ == "__main__":
    main()
