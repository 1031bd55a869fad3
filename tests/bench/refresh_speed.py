"""How fast `mmsearch index` finds that nothing is to do in a large tree, beside rclip and a bare walk.

    python tests/bench/refresh_speed.py [--files 100000] [--folders 1000] [--rclip PATH | --no-rclip] [--runs 3]
        [--keep DIR]

The tree has distinct, decodable JPEG files of 8 x 8 pixels. What each program would have stored for them is written
into its database beforehand, with random embeddings, so that nothing has to be encoded. Everything is measured in turn,
`--runs` times; each figure is the median. stdout gets one JSON line (null: not measured), stderr a note on each step:

- `files`, `folders`: of the tree.
- `refresh_s`: the whole command `mmsearch index`, from the start of Python to its end.
- `rclip_refresh_s`: the whole command `rclip`, which looks for changes and then answers a query; it has no command that
  does the first alone. `rclip_query_s`: the same with --no-indexing, so the query alone.
- `walk_s`: os.walk and os.stat of every file, in one Python thread.
- `ratio_to_rclip`: (`rclip_refresh_s` - `rclip_query_s`) / `refresh_s`, that is without rclip's query, and without its
  start, but with mmsearch's; over 1, mmsearch is faster.
- `whole_command_ratio_to_rclip`: `rclip_refresh_s` / `refresh_s`.
- `peak_rss_mb`: memory of `mmsearch index` with all its processes (see commands.Outcome).
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import commands
import numpy as np
import peer
import random_clip
from commands import middle, note, ratio, rounded
from PIL import Image

from mmsearch.base.records import FileRecord, ImageFacts, ScanOptions
from mmsearch.encoders import starter
from mmsearch.images.content_hash import content_hash
from mmsearch.store.catalog import Catalog

_SIDE = 8  # pixels

# Files that one transaction stores.
_TRANSACTION = 10_000


@dataclass(slots=True)
class Figures:
    """One value a run, in order."""

    refresh: list[float | None] = field(default_factory=list)
    rss: list[float | None] = field(default_factory=list)
    walk: list[float | None] = field(default_factory=list)
    rclip: list[float | None] = field(default_factory=list)
    rclip_query: list[float | None] = field(default_factory=list)


def main() -> None:
    arguments = _parser().parse_args()
    rclip = peer.find(arguments)
    with tempfile.TemporaryDirectory(prefix="mmsearch-bench-") as temporary:
        kept, work = arguments.keep or Path(temporary), Path(temporary)
        tree = (kept / f"tree-{arguments.files}-{arguments.folders}").absolute()
        note(f"making {arguments.files} files in {tree}")
        make_tree(tree, arguments.files, arguments.folders)
        collection = work / "collection"
        note("writing the collection")
        remember(collection, tree)
        _refresh(collection, arguments.files)  # it writes the vector file, which the later runs find
        data = _prepare_rclip(rclip, kept, work, tree) if rclip else None
        figures = Figures()
        for number in range(1, arguments.runs + 1):
            measure(figures, collection, tree, arguments.files, rclip, data)
            note(f"run {number} of {arguments.runs}: {_last(figures)}")
    print(json.dumps(report(figures, arguments)))


def make_tree(tree: Path, files: int, folders: int) -> None:
    """Write the files, equally many to a folder; folders that are there already are kept."""
    jpeg = io.BytesIO()
    Image.new("RGB", (_SIDE, _SIDE), (90, 120, 60)).save(jpeg, "JPEG")
    for number in range(folders):
        folder = tree / f"{number // 100:03}" / f"{number:05}"
        if folder.exists():
            continue
        folder.mkdir(parents=True)
        for file in range(number, files, folders):
            # What follows the end of the image is not read, and makes the content distinct.
            (folder / f"photo-{file:07}.jpg").write_bytes(jpeg.getvalue() + b"%d" % file)


def entries(folder: Path | str) -> Iterator[os.DirEntry[str]]:
    """All files below a folder."""
    with os.scandir(folder) as listing:
        for entry in listing:
            if entry.is_dir():
                yield from entries(entry.path)
            else:
                yield entry


def remember(collection: Path, tree: Path) -> None:
    """Make a collection that holds every file of the tree, as indexing it with the starter model would."""
    rng = np.random.default_rng(0)
    info = starter.info()
    facts = ImageFacts(_SIDE, _SIDE, "JPEG")
    files = list(entries(tree))
    with Catalog(collection, write=True) as catalog:
        with catalog.transaction():
            catalog.roots.put(str(tree), ScanOptions())
            encoder = catalog.encoders.start_with(info)
        for start in range(0, len(files), _TRANSACTION):
            with catalog.transaction():
                for file in files[start : start + _TRANSACTION]:
                    state = file.stat()
                    with Path(file.path).open("rb") as content:
                        number = catalog.contents.add(content_hash(content), facts)
                    catalog.files.put_image(FileRecord(file.path, state.st_size, state.st_mtime_ns), number)
                    vector = rng.standard_normal(info.dim).astype(np.float32)
                    catalog.embeddings.put(encoder.id, number, vector / np.linalg.norm(vector))


def measure(figures: Figures, collection: Path, tree: Path, files: int, rclip: Path | None, data: Path | None) -> None:
    """One run of everything."""
    outcome = _refresh(collection, files)
    figures.refresh.append(outcome.seconds)
    figures.rss.append(outcome.peak_rss_mb)
    figures.walk.append(walk(tree))
    if rclip is not None and data is not None:
        query = Path(next(entries(tree)).path)
        figures.rclip.append(peer.run(rclip, data, tree, query).seconds)
        figures.rclip_query.append(peer.run(rclip, data, tree, query, index=False).seconds)


def walk(tree: Path) -> float:
    """Seconds for the least that any refresh has to do. Not with pathlib, which would be what takes the time."""
    started = time.perf_counter()
    for folder, _, names in os.walk(tree):
        for name in names:
            os.stat(os.path.join(folder, name))
    return time.perf_counter() - started


def report(figures: Figures, arguments: argparse.Namespace) -> dict[str, Any]:
    """The JSON line, as the module's docstring defines it."""
    refresh, rclip, query = middle(figures.refresh), middle(figures.rclip), middle(figures.rclip_query)
    return {
        "files": arguments.files,
        "folders": arguments.folders,
        "refresh_s": rounded(refresh),
        "rclip_refresh_s": rounded(rclip),
        "rclip_query_s": rounded(query),
        "walk_s": rounded(middle(figures.walk), 4),
        "ratio_to_rclip": rounded(ratio(rclip - query if rclip and query else None, refresh)),
        "whole_command_ratio_to_rclip": rounded(ratio(rclip, refresh)),
        "peak_rss_mb": rounded(middle(figures.rss), 0),
        "runs": arguments.runs,
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measure `mmsearch index` with nothing to do.")
    parser.add_argument("--files", type=int, default=100_000, help="files in the tree (default: 100000)")
    parser.add_argument("--folders", type=int, default=1_000, help="folders that they lie in (default: 1000)")
    peer.add_options(parser)
    parser.add_argument("--runs", type=int, default=3, help="times that everything is measured (default: 3)")
    parser.add_argument("--keep", type=Path, help="where the tree and model files are kept (default: nowhere)")
    return parser


def _refresh(collection: Path, files: int) -> commands.Outcome:
    command = [sys.executable, "-m", "mmsearch", "index", "-C", collection, "--json"]
    outcome = commands.run(command, env={"HF_HUB_OFFLINE": "1"})
    summary = json.loads(outcome.stdout)
    if summary["unchanged"] != files or summary["encoded"]:
        raise RuntimeError(f"there was something to do: {outcome.stdout}")
    return outcome


def _prepare_rclip(rclip: Path, kept: Path, work: Path, tree: Path) -> Path:
    """A data directory of rclip that knows every file of the tree; rclip makes the database itself."""
    note("making rclip's model files and database")
    models = peer.make_data_folder((kept / "rclip").absolute(), random_clip.checkpoint(kept.absolute()))
    data = work / "rclip-refresh"
    data.mkdir()
    for path in models.iterdir():
        if path.is_dir():
            (data / path.name).symlink_to(path)
    peer.run(rclip, data, tree, Path(next(entries(tree)).path), index=False)
    peer.remember(data, entries(tree))
    return data


def _last(figures: Figures) -> str:
    columns = {"mmsearch": figures.refresh, "walk": figures.walk, "rclip": figures.rclip, "query": figures.rclip_query}
    return ", ".join(f"{name} {values[-1]:.2f} s" for name, values in columns.items() if values and values[-1])


if __name__ == "__main__":
    main()
