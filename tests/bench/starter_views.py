"""Which part of a picture should the built-in model see? Ways to give it one, compared on the same questions.

    python tests/bench/starter_views.py captions.jsonl [MORE.jsonl ...] [--ways squash crop-240] [--rounds 5]

A file is one set: JSON Lines as `mmsearch eval` reads them, `{"file": ..., "captions": [...]}` a photo, paths relative
to the file. A text that several photos have is one question, for which each of them is right; a photo without captions
is one more that could be found. Where a line also has `"boxes": {CAPTION: [[left, top, right, bottom], ...]}`, in parts
of the width and the height, it says where the things of that caption are. Needs `onnx`.

Prints one JSON line. For each set and way, the means over questions of recall@1, recall@10 and MRR, and over photos
that have captions, asked for their texts (`image_to_text`). Then, for each photo that a text names, the rank of the
photo among those that the text does not name (`pairs`), and of these pairs the ones of photos at least 1.5 times as
long as wide or as wide as tall (`long`), and the ones whose things all lie at the edges: less than half of each box
within the central square (`edge`). Each figure has its difference to the first way, with the 95 % interval of a paired
bootstrap (photos that share a text are drawn together). Last, what a photo costs in resizing and in the model,
relative to the first way: the median over `--rounds` in which the ways take turns.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmsearch.base import config
from mmsearch.base.machine import available_cpus
from mmsearch.base.records import Preprocess, ResizeMode
from mmsearch.encoders import starter
from mmsearch.encoders.onnx import open_session
from mmsearch.evaluating import resampling
from mmsearch.evaluating.metrics import MEANS, per_query, retrieve
from mmsearch.images import decode
from mmsearch.images.preprocess import prepare

SIDE = 224  # pixels; what the network was trained at
STEP = 32  # pixels; the network halves an image five times, and its padding is right only for whole multiples
BATCH = 32

# From this ratio of the sides on, a photo counts as long.
LONG = 1.5

# The columns of `per_query` that are shown.
SHOWN = ("recall@1", "recall@10", "mrr")

View = Callable[[Image.Image], NDArray[np.uint8]]


def as_encoders_do(resize: int, mode: ResizeMode, fill: int = 0) -> View:
    how = Preprocess(size=SIDE, resize=resize, resize_mode=mode, fill=fill)
    return lambda image: prepare(image, how)


def whole(area: int = 0, shortest: int = 0) -> View:
    """The whole picture in about its shape, of `area` pixels or with a side of `shortest`; sides multiples of STEP."""

    def view(image: Image.Image) -> NDArray[np.uint8]:
        scale = math.sqrt(area / (image.width * image.height)) if area else shortest / min(image.size)
        width, height = (max(1, round(side * scale / STEP)) * STEP for side in image.size)
        return np.array(image.resize((width, height), Image.Resampling.BICUBIC))

    return view


# Each way: the views of a picture of which the logits are averaged.
WAYS: dict[str, tuple[str, ...]] = {
    name: tuple(name.split("+"))
    for name in (
        "squash",
        "squash-256",
        "crop-224",
        "crop-240",
        "crop-256",
        "halfway-224",
        "halfway-240",
        "halfway-256",
        "pad",
        "whole-224",
        "whole-area-224",
        "whole-area-256",
        "crop-256+whole-area-256",
        "crop-256+squash",
    )
}

VIEWS: dict[str, View] = {
    "squash": as_encoders_do(SIDE, "squash"),
    "squash-256": as_encoders_do(256, "squash"),
    "crop-224": as_encoders_do(224, "shortest"),
    "crop-240": as_encoders_do(240, "shortest"),
    "crop-256": as_encoders_do(256, "shortest"),
    "halfway-224": as_encoders_do(224, "halfway"),
    "halfway-240": as_encoders_do(240, "halfway"),
    "halfway-256": as_encoders_do(256, "halfway"),
    "pad": as_encoders_do(SIDE, "longest", fill=127),
    "whole-224": whole(shortest=224),
    "whole-area-224": whole(area=224**2),
    "whole-area-256": whole(area=256**2),
}


class Network:
    """The image tower in two parts: pictures of any size to logits, and logits to embeddings."""

    def __init__(self) -> None:
        import onnx

        path = starter.FOLDER / "image.onnx"
        model = onnx.load(path)
        logits = next(node.output[0] for node in model.graph.node if node.op_type == "Gemm")
        with tempfile.TemporaryDirectory() as folder:
            onnx.utils.extract_model(path, f"{folder}/compose.onnx", [logits], ["embeddings"])
            onnx.utils.extract_model(path, f"{folder}/classify.onnx", ["pixels"], [logits])
            free = onnx.load(f"{folder}/classify.onnx")
            del free.graph.value_info[:]
            for axis, name in ((1, "height"), (2, "width")):
                free.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
            onnx.save(free, f"{folder}/classify.onnx")
            threads = available_cpus()
            self._classify, self._compose = (
                open_session(Path(folder, f"{part}.onnx"), threads) for part in ("classify", "compose")
            )
        self._logits = logits

    def logits(self, pixels: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """float32 (n, 1000) of n pictures, in batches of those of one shape."""
        rows = np.empty((len(pixels), 1000), np.float32)
        alike: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for row, picture in enumerate(pixels):
            alike[picture.shape].append(row)
        for group in alike.values():
            for at in range(0, len(group), BATCH):
                batch = group[at : at + BATCH]
                stacked = np.stack([pixels[row] for row in batch])
                rows[batch] = self._classify.run([self._logits], {"pixels": stacked})[0]
        return rows

    def embeddings(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = self._compose.run(["embeddings"], {self._logits: logits})[0]
        return found


@dataclass
class Set:
    """Photos and questions: `right` has the rows of the photos that each text names, `boxes` what is known of where."""

    paths: list[Path] = field(default_factory=list)
    right: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    boxes: dict[tuple[str, int], list[list[float]]] = field(default_factory=dict)
    sizes: list[tuple[int, int]] = field(default_factory=list)


def read(path: Path) -> Set:
    found = Set()
    for line in path.read_text("utf-8").splitlines():
        record = json.loads(line)
        row = len(found.paths)
        found.paths.append(path.parent / record["file"])
        for text in dict.fromkeys(record["captions"]):
            found.right[text].append(row)
        found.boxes.update({(text, row): boxes for text, boxes in record.get("boxes", {}).items()})
    return found


def pictures(paths: Sequence[Path]) -> Iterator[Image.Image]:
    for path in paths:
        with path.open("rb") as file:
            yield decode.decode(file, max_pixels=config.DEFAULT_MAX_PIXELS, target=256)[0]


def embedded(network: Network, photos: Set, ways: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    """The embeddings of all photos, float32 (n, dim), by each way. Notes the sizes of the photos."""
    views = dict.fromkeys(view for way in ways for view in WAYS[way])
    logits: dict[str, list[NDArray[np.float32]]] = {view: [] for view in views}
    for at in range(0, len(photos.paths), 4 * BATCH):
        images = list(pictures(photos.paths[at : at + 4 * BATCH]))
        photos.sizes += [image.size for image in images]
        for view in views:
            logits[view].append(network.logits([VIEWS[view](image) for image in images]))
    seen = {view: np.concatenate(parts) for view, parts in logits.items()}
    return {way: network.embeddings(np.mean([seen[view] for view in WAYS[way]], axis=0)) for way in ways}


def at_the_edges(size: tuple[int, int], boxes: Sequence[Sequence[float]]) -> bool:
    """Whether less than half of each box lies within the central square."""
    width, height = size
    square = min(size)
    left, top = (width - square) / 2 / width, (height - square) / 2 / height

    def inside(box: Sequence[float]) -> float:
        across = min(box[2], 1 - left) - max(box[0], left)
        down = min(box[3], 1 - top) - max(box[1], top)
        area = (box[2] - box[0]) * (box[3] - box[1])
        return max(0.0, across) * max(0.0, down) / area if area > 0 else 1.0

    return bool(boxes) and all(inside(box) < 0.5 for box in boxes)


Table = NDArray[np.float64]


def figures(photos: Set, texts: NDArray[np.float32], images: NDArray[np.float32]) -> dict[str, tuple[Table, Any]]:
    """For each kind of question its results, float64 (n, 3) as in SHOWN, and the unit that each belongs to (n,)."""
    right = [np.array(rows, np.int64) for rows in photos.right.values()]
    units = resampling.linked(right, len(images))
    columns = [MEANS.index(name) for name in SHOWN]
    captions: dict[int, list[int]] = defaultdict(list)
    for number, rows in enumerate(right):
        for row in rows.tolist():
            captions[row].append(number)
    named = sorted(captions)
    backward = retrieve(images[named], texts, [np.array(captions[row], np.int64) for row in named])
    found = {
        "text_to_image": (per_query(retrieve(texts, images, right))[:, columns], units[[rows[0] for rows in right]]),
        "image_to_text": (per_query(backward)[:, columns], np.array(named)),
    }
    pairs = [(text, number, int(row)) for number, (text, rows) in enumerate(photos.right.items()) for row in rows]
    scores = np.round(texts.astype(float) @ images.T.astype(float), 9)
    ranks = np.array([_rank(scores[number], right[number], row) for _, number, row in pairs])
    table = np.stack([ranks <= 1, ranks <= 10, 1 / ranks], axis=1).astype(float)
    rows = np.array([row for _, _, row in pairs])
    long = np.array([max(photos.sizes[row]) >= LONG * min(photos.sizes[row]) for row in rows])
    edge = np.array([at_the_edges(photos.sizes[row], photos.boxes.get((text, row), [])) for text, _, row in pairs])
    for name, chosen in (("pairs", rows >= 0), ("long", long), ("edge", edge)):
        if chosen.any():
            found[name] = (table[chosen], rows[chosen])
    return found


def _rank(scores: NDArray[np.float64], right: NDArray[np.int64], row: int) -> int:
    """The rank of the photo `row` among those that the text does not name, from 1, ties against us."""
    wrong = np.ones(len(scores), bool)
    wrong[right] = False
    return 1 + int((scores[wrong] >= scores[row]).sum())


def compared(table: Table, base: Table, units: NDArray[np.int64]) -> dict[str, list[float]]:
    """By figure: the mean, its difference to `base`, and the ends of the difference's 95 % interval."""
    differences = table - base
    numbers = np.unique(units, return_inverse=True)[1]

    def mean(times: NDArray[np.float64]) -> NDArray[np.float64]:
        drawn: NDArray[np.float64] = times @ differences / times.sum(axis=1, keepdims=True)
        return drawn

    low, high = resampling.bootstrap(mean, numbers)
    columns = zip(SHOWN, table.mean(axis=0), differences.mean(axis=0), low, high, strict=True)
    return {name: [round(float(value), 4) for value in values] for name, *values in columns}


def report(network: Network, encoder: Any, photos: Set, ways: Sequence[str]) -> dict[str, Any]:
    texts = encoder.encode_texts(list(photos.right))
    by_way = {way: figures(photos, texts, images) for way, images in embedded(network, photos, ways).items()}
    base = by_way[ways[0]]
    counts = {"photos": len(photos.paths), **{kind: len(table) for kind, (table, _) in base.items()}}
    shown = {
        way: {kind: compared(table, base[kind][0], units) for kind, (table, units) in found.items()}
        for way, found in by_way.items()
    }
    return {"n": counts, **shown}


def costs(network: Network, paths: Sequence[Path], ways: Sequence[str], rounds: int) -> dict[str, Any]:
    """Seconds for `paths` by each way, resizing and network, over those of the first way: medians over rounds."""
    images = list(pictures(paths))
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way in ways:
            start = time.perf_counter()
            for view in WAYS[way]:
                network.logits([VIEWS[view](image) for image in images])
            seconds[way].append(time.perf_counter() - start)
    first = np.array(seconds[ways[0]])
    rates = {way: round(len(images) / float(np.median(taken)), 1) for way, taken in seconds.items()}
    return {"images_per_s": rates, "times": {way: _middle(np.array(taken) / first) for way, taken in seconds.items()}}


def _middle(ratios: NDArray[np.float64]) -> float:
    return round(float(np.median(ratios)), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", type=Path, nargs="+", metavar="FILE.jsonl")
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS), metavar="WAY")
    parser.add_argument("--rounds", type=int, default=5, help="of the timing; 0: none")
    parser.add_argument("--timed", type=int, default=128, metavar="PHOTOS", help="of the first set, for the timing")
    arguments = parser.parse_args()
    network, encoder = Network(), starter.load()
    result: dict[str, Any] = {"figures": ["mean", "difference", "from", "to"], "ways": arguments.ways, "sets": {}}
    for path in arguments.sets:
        sys.stderr.write(f"{path}\n")
        result["sets"][path.stem] = report(network, encoder, read(path), arguments.ways)
    if arguments.rounds:
        timed = read(arguments.sets[0]).paths[: arguments.timed]
        result["cost"] = costs(network, timed, arguments.ways, arguments.rounds)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
