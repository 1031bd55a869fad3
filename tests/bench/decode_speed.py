"""How long one large photo takes to become the model's input, and what mmsearch's shortcuts cost in the embedding.

    python tests/bench/decode_speed.py [--megapixels 12] [--runs 5]

For each format, one photo is read from memory in two ways, in turn, `--runs` times: Pillow's full decode and then the
resize that the model asks for; and mmsearch's `decode` (which lets the decoder scale where it can) and `prepare`.
stdout gets one JSON line: `width`, `height`, `model`, `runs`, and `formats`, by name:

- `pillow_s`, `mmsearch_s`: medians, in seconds. `ratio`: the first / the second; over 1, mmsearch is faster.
- `pixel_cosine`: cosine of the two inputs of the model, each minus its mean.
- `embedding_cosine`: cosine of the starter model's embeddings of the two.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from statistics import median
from typing import Any

import numpy as np
import photos
from commands import note
from numpy.typing import NDArray
from PIL import Image

from mmsearch.base import config
from mmsearch.base.records import Encoder, Preprocess
from mmsearch.encoders import starter
from mmsearch.images import decode, preprocess

# Pillow's options for each format: what cameras, phones and web sites write, or as near as the encoder comes.
FORMATS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 90},
    "PNG": {"compress_level": 3},
    "WEBP": {"quality": 85, "method": 1},
    "HEIF": {"quality": 60},
    "AVIF": {"quality": 70, "speed": 9},
    "JXL": {"quality": 90, "effort": 3},
}

# Standard deviation, in levels of 8 bits, of the noise that makes an enlarged photo as hard to decode as a real one.
_GRAIN = 4.0


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure decoding of large photos.")
    parser.add_argument("--megapixels", type=float, default=12, help="size of the photo (default: 12)")
    parser.add_argument("--runs", type=int, default=5, help="times that each way is measured (default: 5)")
    arguments = parser.parse_args()
    import pillow_heif
    import pillow_jxl  # noqa: F401  (registers itself)

    pillow_heif.register_heif_opener()
    image = large_photo(arguments.megapixels)
    formats, encoder = {}, starter.load()
    for name, options in FORMATS.items():
        file = io.BytesIO()
        image.save(file, name, **options)
        formats[name] = measure(file, arguments.runs, encoder)
        note(f"{name} ({len(file.getvalue()) / 1e6:.1f} MB): {formats[name]}")
    facts = {"width": image.width, "height": image.height, "model": encoder.info.spec, "runs": arguments.runs}
    print(json.dumps({**facts, "formats": formats}))


def large_photo(megapixels: float) -> Image.Image:
    """A photo of 4 : 3, enlarged, with the grain of a sensor."""
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    image = photos.photo(0, size=(round(height * 4 / 3), height))
    noise = np.random.default_rng(0).normal(0, _GRAIN, (image.height, image.width, 3))
    return Image.fromarray((np.asarray(image) + noise).round().clip(0, 255).astype(np.uint8))


def measure(file: io.BytesIO, runs: int, encoder: Encoder) -> dict[str, float]:
    """The figures of one file, as the module's docstring defines them."""
    how = encoder.info.preprocess
    seconds: dict[Any, list[float]] = {with_pillow: [], with_mmsearch: []}
    pixels = {}
    for _ in range(runs):
        for way in seconds:
            file.seek(0)
            started = time.perf_counter()
            pixels[way] = way(file, how)
            seconds[way].append(time.perf_counter() - started)
    pillow_s, mmsearch_s = median(seconds[with_pillow]), median(seconds[with_mmsearch])
    embeddings = encoder.encode_images(np.stack([pixels[with_pillow], pixels[with_mmsearch]]))
    return {
        "pillow_s": round(pillow_s, 4),
        "mmsearch_s": round(mmsearch_s, 4),
        "ratio": round(pillow_s / mmsearch_s, 3),
        "pixel_cosine": round(cosine(pixels[with_pillow], pixels[with_mmsearch]), 5),
        "embedding_cosine": round(float(embeddings[0] @ embeddings[1]), 5),
    }


def with_pillow(file: io.BytesIO, how: Preprocess) -> NDArray[np.uint8]:
    """Every pixel decoded, then resized."""
    return preprocess.prepare(Image.open(file).convert("RGB"), how)


def with_mmsearch(file: io.BytesIO, how: Preprocess) -> NDArray[np.uint8]:
    """As indexing does it."""
    image, _ = decode.decode(file, max_pixels=config.DEFAULT_MAX_PIXELS, target=how.resize)
    return preprocess.prepare(image, how)


def cosine(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """Cosine of two images, each minus its mean."""
    one, other = (values.astype(np.float64).ravel() - values.mean() for values in (first, second))
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))


if __name__ == "__main__":
    main()
