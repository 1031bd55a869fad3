"""How often is a subject that is absent found, and how often is a right image kept? One JSON line.

    python tests/bench/confidence.py [--stamps FOLDER] [--photos FOLDER]

For each question with known answers: with its right images there ("present"), does `--likely` (a confidence of
`config.LIKELY` or more) keep one of them? Without them ("absent"), does it keep anything? All results are looked at,
not only the first ten. Three sets, with the built-in model:

- sample: `sample_data`, each caption a question with one right photo. Always there.
- stamps: `apt-get download tuxpaint-stamps-default && dpkg-deb -x tuxpaint-stamps-default_*.deb FOLDER`. Every caption
  is a question; absent means without all stamps whose captions share a word with it.
  `mmsearch.searching.confidence.TAIL` was fitted to this set.
- photos: 120 photos and wallpapers with 82 questions, labelled from thumbnails before
  confidences were thought of (`labelled_photos.json`). The Debian packages named there, each unpacked into
  FOLDER/PACKAGE as above, and the wheels of scikit-image 0.26, scikit-learn 1.9 and matplotlib 3.10, all unzipped into
  FOLDER/whl. Nothing was fitted to this set. "elsewhere" asks the same photos for 102 subjects that none of them shows,
  named before any was asked.

Absent subjects are hard ones: without the rose, the sunflower stays. Those from elsewhere are such as come to mind.
Rates come with 95 % intervals (Wilson). `first` counts only questions whose first result, without any cut, is right,
`ten` those with a right one among the first ten: the model cannot be surer of what it does not find, and what is not
among the ten, no cut brings back. `roc` has, for each cut, the rates of absent and of present ones that show.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.base import config
from mmsearch.encoders import load_encoder
from mmsearch.images import decode
from mmsearch.images.preprocess import prepare
from mmsearch.searching.confidence import BEST, Background, confidences
from mmsearch.searching.reference_captions import caption_vectors

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from vectors_and_words import auroc, bands  # noqa: E402

SAMPLE_DATA = HERE.parents[1] / "sample_data"

CUTS = (0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)

# Words of captions that name no subject.
_EMPTY = set(
    re.findall(
        "[a-z]+", "a an the of in on with and or for to at from by is are its it this that some two three one very"
    )
)


@dataclass(frozen=True)
class Question:
    """A text, which images are right for it, and which must go for its subject to be absent (bool, one an image)."""

    text: str
    right: NDArray[np.bool_]
    related: NDArray[np.bool_]


@dataclass(frozen=True)
class Outcome:
    """The best confidence without and with the right images, and the rank of the first right image, from 0.

    `ten` are the confidences of the ten best results, (10,) or fewer, and `right` says which of them are right.
    """

    absent: float
    kept: float
    rank: int
    ten: NDArray[np.float64]
    right: NDArray[np.bool_]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stamps", type=Path, metavar="FOLDER")
    parser.add_argument("--photos", type=Path, metavar="FOLDER")
    arguments = parser.parse_args()
    encoder = load_encoder("starter")
    captions = caption_vectors(encoder.info.fingerprint, encoder.info.dim, lambda: encoder)
    report: dict[str, Any] = {"cut": config.LIKELY}
    for name, (paths, questions) in _sets(arguments.stamps, arguments.photos):
        vectors = _embedded(encoder, paths)
        texts = encoder.encode_texts([question.text for question in questions])
        outcomes = [_ask(*pair, vectors, captions) for pair in zip(questions, texts, strict=True)]
        report[name] = {"images": len(paths), "questions": len(questions), **_summary(outcomes)}
        if name == "photos":
            subjects = encoder.encode_texts(_labels()["absent"])
            surest = [_answer(subject, vectors, captions)[1].max() for subject in subjects]
            report[name]["elsewhere"] = _rate([value >= config.LIKELY for value in surest])
    print(json.dumps(report))


def _sets(stamps: Path | None, photos: Path | None) -> Iterator[tuple[str, tuple[list[Path], list[Question]]]]:
    yield "sample", _sample()
    if stamps:
        yield "stamps", _stamps(stamps)
    if photos:
        yield "photos", _photos(photos)


def _sample() -> tuple[list[Path], list[Question]]:
    lines = [json.loads(line) for line in (SAMPLE_DATA / "captions.jsonl").read_text("utf-8").splitlines()]
    rows = np.eye(len(lines), dtype=bool)
    questions = [Question(text, row, row) for row, line in zip(rows, lines, strict=True) for text in line["captions"]]
    return [SAMPLE_DATA / line["file"] for line in lines], questions


def _stamps(folder: Path) -> tuple[list[Path], list[Question]]:
    from stamps import stamps

    found = stamps(folder.absolute())
    if not found:
        sys.exit(f"no captioned stamps below {folder}")
    words = [_words(caption) for _, caption in found]
    questions = []
    for caption in dict.fromkeys(caption for _, caption in found):
        right = np.array([other == caption for _, other in found])
        questions.append(Question(caption, right, right | np.array([bool(_words(caption) & other) for other in words])))
    return [path for path, _ in found], questions


def _words(caption: str) -> set[str]:
    """Words with a meaning, with and without the s of the plural."""
    found = set(re.findall(r"[a-z]+", caption.lower())) - _EMPTY
    return found | {word[:-1] for word in found if word.endswith("s")}


def _labels() -> dict[str, Any]:
    labels: dict[str, Any] = json.loads((HERE / "labelled_photos.json").read_text("utf-8"))
    return labels


def _photos(folder: Path) -> tuple[list[Path], list[Question]]:
    labels = _labels()
    paths = [folder / path for path in labels["photos"]]
    missing = [path for path in paths if not path.exists()]
    if missing:
        sys.exit(f"{len(missing)} of {len(paths)} photos are not there, such as {missing[0]}")
    rows = {text: np.isin(np.arange(len(paths)), right) for text, right in labels["queries"].items()}
    return paths, [Question(text, row, row) for text, row in rows.items()]


def _embedded(encoder: Any, paths: Sequence[Path]) -> NDArray[np.float32]:
    pixels = []
    for path in paths:
        with path.open("rb") as file:
            image, _ = decode.decode(file, max_pixels=config.DEFAULT_MAX_PIXELS)
        pixels.append(prepare(image, encoder.info.preprocess))
    parts = [encoder.encode_images(np.stack(pixels[at : at + 32])) for at in range(0, len(pixels), 32)]
    return np.concatenate(parts)


def _ask(question: Question, text: NDArray[np.float32], vectors: Any, captions: Any) -> Outcome:
    scores = vectors @ text
    best, sure = _answer(text, vectors, captions)
    right = question.right[best]
    absent = _answer(text, vectors[~question.related], captions)[1] if not question.related.all() else np.zeros(1)
    rank = int((scores > scores[question.right].max()).sum())
    return Outcome(float(absent.max()), float(sure[right].max(initial=0.0)), rank, sure[:10], right[:10])


def _answer(text: NDArray[np.float32], vectors: Any, captions: Any) -> tuple[NDArray[np.intp], Any]:
    """The best images and their confidences."""
    best = np.argsort(-(vectors @ text), kind="stable")[:BEST]
    background = Background(captions, vectors, whole=True)
    return best, confidences(background.standing(vectors[best], text), len(vectors))


def _summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    groups = {
        "absent": [outcome.absent for outcome in outcomes],
        "present": [outcome.kept for outcome in outcomes],
        "ten": [outcome.kept for outcome in outcomes if outcome.rank < 10],
        "first": [outcome.kept for outcome in outcomes if outcome.rank == 0],
    }
    shown: dict[str, Any] = {
        name: _rate([value >= config.LIKELY for value in values]) for name, values in groups.items()
    }
    roc = [[cut, *(round(_share(values, cut), 3) for values in groups.values())] for cut in CUTS]
    separated = auroc(np.array(groups["first"]), np.array(groups["absent"]))
    right_at = bands(np.concatenate([one.ten for one in outcomes]), np.concatenate([one.right for one in outcomes]))
    shown |= {"auroc": round(separated, 3), "right_at": right_at}
    return {**shown, "roc": {"columns": ["cut", *groups], "rows": roc}}


def _share(values: Sequence[float], cut: float) -> float:
    return sum(value >= cut for value in values) / max(1, len(values))


def _rate(outcomes: Sequence[bool]) -> dict[str, Any]:
    """A rate with Wilson's 95 % interval (Wilson 1927)."""
    n, z = len(outcomes), 1.96
    if not n:
        return {"n": 0}
    p = sum(outcomes) / n
    middle, half = p + z * z / (2 * n), z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)
    return {"n": n, "rate": round(p, 3), "from": round(low, 3), "to": round(high, 3)}


if __name__ == "__main__":
    main()
