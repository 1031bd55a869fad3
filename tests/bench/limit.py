"""What this machine can do at most: the model alone and decoding alone, with mmsearch's own parts.

`python limit.py FOLDER MODEL PRECISION` prints one JSON object: `model_images_per_s` with decoding free (the encoder on
batches that lie in memory), `decode_images_per_s` with the model free (worker processes on all cores over the same
files), and `images_per_s`, which is 1 / (1 / model + 1 / decode) where both share the cores, else the lesser.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch.base import config
from mmsearch.base.records import Encoder, FileRecord, Preprocess
from mmsearch.encoders import expected_preprocess, load_encoder
from mmsearch.images.pool import DecodePool

# Files of which the decoding rate is told, at most.
_MOST_FILES = 1000

# The model runs on as many images as the folder has, but not much longer than these seconds; on two batches at least.
_MODEL_SECONDS = 10.0
_LEAST_BATCHES = 2


def main() -> None:
    folder, spec, precision = sys.argv[1:]
    how = expected_preprocess(spec)
    assert how is not None
    records = [FileRecord(str(path), 0, 0) for path in sorted(Path(folder).rglob("*")) if path.is_file()]
    decode_rate, pixels = measure_decoding(records[:_MOST_FILES], how)
    encoder = load_encoder(spec, precision=precision)
    model_rate = measure_model(encoder, pixels, len(records))
    shared = encoder.device == "cpu"
    both = 1 / (1 / model_rate + 1 / decode_rate) if shared else min(model_rate, decode_rate)
    print(json.dumps({"model_images_per_s": model_rate, "decode_images_per_s": decode_rate, "images_per_s": both}))


def measure_decoding(records: Sequence[FileRecord], how: Preprocess) -> tuple[float, NDArray[np.uint8]]:
    """Images a second of the worker processes alone, and up to a batch of their pixels."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with DecodePool(how, workers=cores, max_pixels=config.DEFAULT_MAX_PIXELS, known=lambda _: False) as pool:
        warm_up = [pool.submit(record) for record in itertools.islice(itertools.cycle(records), cores * 4)]
        pixels = [done.pixels for done in (future.result() for future in warm_up) if done.pixels is not None]
        started = time.perf_counter()
        for future in [pool.submit(record) for record in records]:
            future.result()
        seconds = time.perf_counter() - started
    return len(records) / seconds, np.stack(pixels)


def measure_model(encoder: Encoder, pixels: NDArray[np.uint8], images: int) -> float:
    """Images a second of the model alone, in batches as indexing makes them."""
    batch = np.resize(pixels, (encoder.batch_size, *pixels.shape[1:]))
    encoder.encode_images(batch)  # the first pass prepares what the later ones reuse
    batches, started = 0, time.perf_counter()
    while batches < _LEAST_BATCHES or (
        batches * len(batch) < images and time.perf_counter() - started < _MODEL_SECONDS
    ):
        encoder.encode_images(batch)
        batches += 1
    return batches * len(batch) / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
