"""Ranking and confidence of short questions, measured on embeddings that somebody else made. Prints one JSON line.

    python tests/bench/vectors_and_words.py FOLDER [--bank NAME] [--least 5]

It measures models whose weights are not at hand, from vectors of images and of words in one space. FOLDER holds:

- one `.npz` file with `images`, float (n, dim), and `texts` (t, dim), a row a question; and, in arrays whose names
  start with `bank_`, (m, dim), embeddings of other short texts about all kinds of things, in the form of the questions.
  Rows need not be normalised.
- `words.jsonl`: a JSON object a line, with `word`, `text_row` (its row in `texts`) and `images` (the rows of the images
  that show it; an empty list: none does).

`ranking` compares questions with and without centring (`mmsearch.searching.centring`), at several strengths, by the
mean average precision and the share of first results that are right, over the words with at least `--least` images. At
the strength that mmsearch uses it counts the words that got better and worse, and gives the 95 % interval of the gain
(a paired bootstrap over words). m is the mean of the bank.

`confidence` says what the number is worth: shares of the questions whose best result reaches `config.LIKELY`, for those
whose first result is right, those whose first result is wrong, and those about what no image shows; `auroc` is the
chance that a question of the first kind has a higher value than one of the last (0.5: no better than a coin), for the
confidence and for plain cosines. `right_at` has, for bands of confidence, how many of the ten best results were there,
and which share of them is right. Labels made from captions miss much of what can be seen, so figures compare methods,
and are no absolutes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.base import config
from mmsearch.searching import centring
from mmsearch.searching.confidence import BEST, Background, confidences
from mmsearch.vectors.exact import units

Matrix = NDArray[np.float32]

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
DRAWS = 10_000
BANDS = (0.0, 0.01, 0.25, 0.5, 0.75, 0.9, 0.99, 1.01)

# Results of a question that `right_at` looks at.
_TEN = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--bank", metavar="NAME", help="the array of other short texts; the largest where not given")
    parser.add_argument(
        "--least", type=int, default=5, metavar="N", help="images that a word of `ranking` has at least"
    )
    arguments = parser.parse_args()
    arrays = _arrays(arguments.folder)
    banks = {name: units(array) for name, array in arrays.items() if name.startswith("bank_")}
    if not banks:
        sys.exit("there is no array whose name starts with bank_")
    name = arguments.bank or max(banks, key=lambda name: len(banks[name]))
    images, bank = units(arrays["images"]), banks[name]
    lines = [json.loads(line) for line in (arguments.folder / "words.jsonl").read_text("utf-8").splitlines()]
    texts = units(arrays["texts"])[[line["text_row"] for line in lines]]
    right = np.stack([np.isin(np.arange(len(images)), line["images"]) for line in lines])
    report = {
        "images": len(images),
        "words": len(lines),
        "bank": name,
        "ranking": _ranking(images, texts, right, bank, arguments.least),
        "confidence": {
            label: _confidence(images, questions, right, others)
            for label, questions, others in (
                ("plain", texts, bank),
                ("centred", centring.centred(texts, bank.mean(axis=0)), centring.centred(bank, bank.mean(axis=0))),
            )
        },
    }
    print(json.dumps(report))


def _arrays(folder: Path) -> Mapping[str, Matrix]:
    files = sorted(folder.glob("*.npz"))
    if len(files) != 1:
        sys.exit(f"{folder} holds {len(files)} .npz files, and should hold one")
    with np.load(files[0], allow_pickle=False) as arrays:
        return {name: arrays[name].astype(np.float32) for name in arrays.files}


def _ranking(images: Matrix, texts: Matrix, right: NDArray[np.bool_], bank: Matrix, least: int) -> dict[str, Any]:
    kept = right.sum(axis=1) >= least
    texts, right, mean = texts[kept], right[kept], bank.mean(axis=0)
    by_strength = {}
    for strength in STRENGTHS:
        figures = _ranked(images, units(texts - np.float32(strength) * mean), right)
        by_strength[str(strength)] = {"map": _rounded(figures[:, 0].mean()), "first": _rounded(figures[:, 1].mean())}
    gain = _ranked(images, centring.centred(texts, mean), right)[:, 0] - _ranked(images, texts, right)[:, 0]
    return {
        "words": int(kept.sum()),
        "strengths": by_strength,
        "gain": {
            "map": _rounded(gain.mean()),
            "interval": [_rounded(end) for end in _interval(gain)],
            "better": int((gain > 0).sum()),
            "worse": int((gain < 0).sum()),
        },
    }


def _ranked(images: Matrix, questions: Matrix, right: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Average precision, and whether the first result is right, of each question (q, 2)."""
    found = []
    for scores, wanted in zip(questions @ images.T, right, strict=True):
        hits = np.flatnonzero(wanted[np.argsort(-scores, kind="stable")])
        found.append((np.mean(np.arange(1, len(hits) + 1) / (hits + 1)), float(hits[0] == 0)))
    return np.array(found)


def _interval(values: NDArray[np.float64]) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    means = [values[rng.integers(0, len(values), len(values))].mean() for _ in range(DRAWS)]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def _confidence(images: Matrix, questions: Matrix, right: NDArray[np.bool_], bank: Matrix) -> dict[str, Any]:
    background = Background(bank, images, whole=True)
    best: dict[str, list[tuple[float, float]]] = {"right_first": [], "wrong_first": [], "absent": []}
    sure, correct = [], []
    for question, wanted in zip(questions, right, strict=True):
        scores = images @ question
        order = np.argsort(-scores, kind="stable")[:BEST]
        found = confidences(background.standing(images[order], question), len(images))
        kind = "absent" if not wanted.any() else "right_first" if wanted[order[0]] else "wrong_first"
        best[kind].append((float(found.max()), float(scores[order[0]])))
        sure.append(found[:_TEN])
        correct.append(wanted[order[:_TEN]])
    columns = {kind: np.array(pairs).reshape(-1, 2).T for kind, pairs in best.items()}
    return {
        "questions": {kind: len(pairs) for kind, pairs in best.items()},
        "likely": {kind: _rounded((pair[0] >= config.LIKELY).mean()) for kind, pair in columns.items()},
        "auroc": {
            name: {
                other: _rounded(auroc(columns["right_first"][row], columns[other][row]))
                for other in ("absent", "wrong_first")
            }
            for row, name in enumerate(("confidence", "cosine"))
        },
        "right_at": bands(np.concatenate(sure), np.concatenate(correct)),
    }


def bands(sure: NDArray[np.float64], right: NDArray[np.bool_]) -> Sequence[dict[str, Any]]:
    """For bands of confidence, how many results (n,) were there, and which share of them is right."""
    found = []
    for low, high in pairwise(BANDS):
        inside = (sure >= low) & (sure < high)
        share = _rounded(right[inside].mean()) if inside.any() else None
        found.append({"from": low, "results": int(inside.sum()), "right": share})
    return found


def auroc(higher: NDArray[np.float64], lower: NDArray[np.float64]) -> float:
    """The chance that one of `higher` is above one of `lower`; a tie counts half."""
    difference = higher[:, np.newaxis] - lower
    return float((difference > 0).mean() + 0.5 * (difference == 0).mean())


def _rounded(value: Any) -> float:
    return round(float(value), 4)


if __name__ == "__main__":
    main()
