"""How long a query takes, cold and warm, and how much of the exact answer it finds: one JSON line.

    python tests/bench/query_speed.py --rows 100000 [--model clip-random|starter] [--rclip COMMAND] [--keep FOLDER]

`cold_s` is the median over `--runs` of a whole `mmsearch query TEXT` command in a new process (the files are in the
operating system's cache); `peak_rss_mb` the largest resident set of these. `warm_ms` is the median of a text query
through a Python `Collection` kept open, `warm_encode_ms` of the encoding alone. `recall_at_10` is over 100 made-up
vectors that are not in the collection, against the exact search. `batch_queries_per_s` is the lines of `mmsearch query
--batch` divided by the whole command's seconds. `build_s` is the time to make the vector file from the catalog. The
embeddings are made up (see synthetic.py); the text tower has its real size, and random weights for `clip-random`:
neither changes the speed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import commands
import numpy as np
import peer
import random_clip
import synthetic

from mmsearch import Collection
from mmsearch.base.records import EncoderInfo
from mmsearch.encoders import ensure_export, load_encoder
from mmsearch.store.catalog import Catalog
from mmsearch.vectors import calibrate

_WORDS = ("a cat", "two dogs on a beach", "red car", "mountains at sunset", "a birthday cake", "people dancing")
_QUERIES = 100


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(options.keep or scratch)
        folder.mkdir(parents=True, exist_ok=True)
        print(json.dumps(measure(options, folder)))


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All figures, for the collection in `folder`, which is made where it is missing."""
    info = _encoder_info(options.model, folder)
    space = synthetic.Space(options.rows, info.dim)
    collection = folder / f"{options.model}-{options.rows}"
    built: float | None = None
    if not (collection / "done").exists():
        commands.note(f"writing {options.rows:,} rows")
        synthetic.fill(collection, info, space, options.rows)
        commands.note("building the vector file")
        started = time.perf_counter()
        synthetic.build(collection)
        built = time.perf_counter() - started
        (collection / "done").touch()
    rclip = Path(options.rclip) if options.rclip else None
    data = _rclip_data(rclip, folder, space, options.rows) if rclip else None
    cold, rclip_cold = _cold(collection, rclip, data, options.runs)
    warm, encode = _warm(collection)
    return {
        "rows": options.rows,
        "dim": info.dim,
        "model": options.model,
        "kind": _kind(collection),
        "cold_s": commands.rounded(median(run.seconds for run in cold)),
        "warm_ms": round(warm, 1),
        "warm_encode_ms": round(encode, 1),
        "peak_rss_mb": commands.rounded(max(run.peak_rss_mb or 0 for run in cold), 0),
        "recall_at_10": round(recall(collection, space), 4),
        "batch_queries_per_s": round(_batch(collection, folder, options.lines), 1),
        "build_s": commands.rounded(built, 3),
        "rclip_cold_s": commands.rounded(commands.middle([run.seconds for run in rclip_cold])),
        "rclip_peak_rss_mb": commands.rounded(max((run.peak_rss_mb or 0 for run in rclip_cold), default=None), 0),
    }


def recall(collection: Path, space: synthetic.Space) -> float:
    """Recall@10 of searches for vectors that are not in the collection, re-ranking included."""
    from mmsearch.searching.candidates import CandidateSource, covered

    queries = space.vectors(-1, _QUERIES)
    with Catalog(collection, write=False) as catalog:
        encoder = catalog.encoders.current()
        assert encoder is not None
        source = CandidateSource(catalog, commands.note)
        usable = source.refresh(encoder, last_try=True)
        truth = calibrate.nearest(catalog.embeddings.after(encoder, 0, covered(usable)[0]), queries)
        return calibrate.recall(truth, source.search(usable, queries, calibrate.CANDIDATES))


def _encoder_info(model: str, folder: Path) -> EncoderInfo:
    spec = "starter" if model == "starter" else f"{random_clip.ARCHITECTURE}:{random_clip.checkpoint(folder)}"
    encoder = load_encoder(spec)
    if model != "starter":
        ensure_export(encoder, commands.note)
    return encoder.info


def _rclip_data(rclip: Path, folder: Path, space: synthetic.Space, rows: int) -> Path:
    data = peer.make_data_folder(folder / "rclip", random_clip.checkpoint(folder))
    photo = Path(__file__).parents[2] / "sample_data" / "cat.jpg"
    place = folder / "one-photo"
    place.mkdir(exist_ok=True)
    (place / photo.name).write_bytes(photo.read_bytes())
    peer.run(rclip, data, place, place / photo.name)  # makes the database
    synthetic.fill_rclip(data, space, rows)
    return data


def _cold(
    collection: Path, rclip: Path | None, data: Path | None, runs: int
) -> tuple[list[commands.Outcome], list[commands.Outcome]]:
    """Whole commands, ours and rclip's in turn, after one of each that does not count."""
    ours, theirs = [], []
    for number in range(runs + 1):
        words = _WORDS[number % len(_WORDS)]
        ours.append(commands.run([sys.executable, "-m", "mmsearch", "query", words, "-C", str(collection), "--json"]))
        if rclip and data:
            # rclip searches below the current folder only.
            environment = {"RCLIP_DATADIR": str(data), "HF_HUB_OFFLINE": "1"}
            command = [rclip, "--no-indexing", "--top", "10", "--filepath-only", words]
            theirs.append(commands.run(command, env=environment, cwd=Path("/")))
    return ours[1:], theirs[1:]


def _warm(collection: Path) -> tuple[float, float]:
    """Milliseconds of a text query, and of its encoding, with everything open."""
    whole, encoding = [], []
    with Collection.open(collection) as photos:
        photos.search(text="warm up")
        encoder = photos._open_searcher()._embedder.encoder
        assert encoder is not None
        for number in range(20):
            words = f"{_WORDS[number % len(_WORDS)]} {number}"
            started = time.perf_counter()
            encoder.encode_texts([words])
            encoded = time.perf_counter()
            photos.search(text=words)
            encoding.append(encoded - started)
            whole.append(time.perf_counter() - encoded)
    return 1000 * median(whole), 1000 * median(encoding)


def _batch(collection: Path, folder: Path, lines: int) -> float:
    source = folder / "queries.txt"
    source.write_text("".join(f"{_WORDS[number % len(_WORDS)]} number {number}\n" for number in range(lines)))
    command = [sys.executable, "-m", "mmsearch", "query", "--batch", str(source), "-C", str(collection)]
    return lines / commands.run(command).seconds


def _kind(collection: Path) -> str:
    with Collection.open(collection) as photos:
        return photos.info().vectors_kind or "none"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--model", choices=("clip-random", "starter"), default="clip-random")
    parser.add_argument("--rclip", metavar="COMMAND", help="measure rclip beside it")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--lines", type=int, default=500, help="queries in the batch")
    parser.add_argument("--keep", metavar="FOLDER", help="keep and reuse models and collections here")
    options = parser.parse_args()
    options.rows = max(1, np.int64(options.rows).item())
    return options


if __name__ == "__main__":
    main()
