"""How fast `mmsearch index` is, beside a plain open_clip loop, rclip, and what the machine could do at most.

    python tests/bench/index_speed.py [--images 1000 | --folder DIR] [--model clip-random|starter]
        [--precision auto|fp32|bf16] [--rclip PATH | --no-rclip] [--runs 3] [--keep DIR]

Everything is measured in turn, `--runs` times, and each figure is the median of its runs. stdout gets one JSON line
(null: not measured), stderr a note on each step:

- `images_per_s`: `mmsearch index` into a new collection, once running: images from the end of the first batch to the
  end of the last, by the time that they are stored, as seen from outside in the catalog.
- `plain_loop_images_per_s`: see plain_loop.py. The same definition, fp32, the same weights.
- `rclip_images_per_s`: rclip on the same folder with the same weights (see peer.py), the same definition.
- `limit_images_per_s`: see limit.py; `model_images_per_s` and `decode_images_per_s` are its parts.
- `share_of_limit`: `images_per_s` / `limit_images_per_s`.
- `ratio_to_rclip`: `images_per_s` / `rclip_images_per_s`; over 1, mmsearch is faster.
- `whole_command_images_per_s`: encoded images / seconds of the whole command, start of Python and load of the model
  included. `whole_command_ratio_to_rclip`: the seconds of rclip's whole command / those of mmsearch's.
- `peak_rss_mb`, `rclip_peak_rss_mb`: memory of the whole command with its worker processes (see commands.Outcome).
- `model`, `precision` (of mmsearch's run), `images` (encoded in a run), `runs`.

`clip-random` is ViT-B-32-256 with random weights, as fast as the trained one. rclip and the plain loop run only beside
it: the starter model is ours alone. `--keep DIR` keeps photos and model files for the next time.

mmsearch exports a model for queries at the end of its first index run on a machine. That is done before anything is
measured (by indexing one photo), as is the making of rclip's model files; a note says how long it took.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import commands
import peer
import photos
import random_clip
from commands import middle, note, ratio, rounded

from mmsearch.base.errors import MMSearchError
from mmsearch.store.catalog import Catalog

_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Setting:
    """What is measured: `weights` is the CLIP checkpoint, None for the starter model."""

    photos: Path
    work: Path
    cache: Path
    spec: str
    precision: str
    weights: Path | None
    rclip: Path | None


@dataclass(slots=True)
class Figures:
    """One value a run, in order."""

    rate: list[float | None] = field(default_factory=list)
    seconds: list[float | None] = field(default_factory=list)
    whole_rate: list[float | None] = field(default_factory=list)
    rss: list[float | None] = field(default_factory=list)
    plain_rate: list[float | None] = field(default_factory=list)
    rclip_rate: list[float | None] = field(default_factory=list)
    rclip_seconds: list[float | None] = field(default_factory=list)
    rclip_rss: list[float | None] = field(default_factory=list)
    limit: list[float | None] = field(default_factory=list)
    model_limit: list[float | None] = field(default_factory=list)
    decode_limit: list[float | None] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)


class StoredImages:
    """Watches a catalog grow: `samples` are (second, images stored so far)."""

    def __init__(self, collection: Path) -> None:
        self.samples: list[tuple[float, int]] = []
        self._collection = collection

    def __call__(self, second: float) -> None:
        with suppress(MMSearchError), Catalog(self._collection, write=False) as catalog:
            self.samples.append((second, catalog.files.count()))


def main() -> None:
    arguments = _parser().parse_args()
    with tempfile.TemporaryDirectory(prefix="mmsearch-bench-") as temporary:
        setting = _prepare(arguments, arguments.keep or Path(temporary), Path(temporary))
        figures = Figures()
        for number in range(1, arguments.runs + 1):
            note(f"run {number} of {arguments.runs}")
            measure(setting, figures)
            note(f"  {json.dumps(figures.summary)}")
    print(json.dumps(report(setting, figures, arguments.runs)))


def measure(setting: Setting, figures: Figures) -> None:
    """One run of everything."""
    _measure_ours(setting, figures)
    if setting.weights is not None:
        _measure_plain_loop(setting, setting.weights, figures)
    if setting.rclip is not None:
        _measure_rclip(setting, setting.rclip, figures)
    _measure_limit(setting, figures)


def report(setting: Setting, figures: Figures, runs: int) -> dict[str, Any]:
    """The JSON line, as the module's docstring defines it."""
    rate, rclip_rate, limit = middle(figures.rate), middle(figures.rclip_rate), middle(figures.limit)
    return {
        "images_per_s": rounded(rate),
        "plain_loop_images_per_s": rounded(middle(figures.plain_rate)),
        "rclip_images_per_s": rounded(rclip_rate),
        "limit_images_per_s": rounded(limit),
        "model_images_per_s": rounded(middle(figures.model_limit)),
        "decode_images_per_s": rounded(middle(figures.decode_limit)),
        "share_of_limit": rounded(ratio(rate, limit)),
        "ratio_to_rclip": rounded(ratio(rate, rclip_rate)),
        "whole_command_images_per_s": rounded(middle(figures.whole_rate)),
        "whole_command_ratio_to_rclip": rounded(ratio(middle(figures.rclip_seconds), middle(figures.seconds))),
        "peak_rss_mb": rounded(middle(figures.rss), 0),
        "rclip_peak_rss_mb": rounded(middle(figures.rclip_rss), 0),
        "model": "starter" if setting.weights is None else f"{random_clip.ARCHITECTURE} (random weights)",
        "precision": figures.summary["precision"],
        "images": figures.summary["encoded"],
        "runs": runs,
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measure the speed of `mmsearch index`.")
    parser.add_argument("--images", type=int, default=1000, help="photos to make (default: 1000)")
    parser.add_argument("--folder", type=Path, help="a folder of images to use instead")
    parser.add_argument("--model", choices=["clip-random", "starter"], default="clip-random")
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto")
    peer.add_options(parser)
    parser.add_argument("--runs", type=int, default=3, help="times that everything is measured (default: 3)")
    parser.add_argument("--keep", type=Path, help="where photos and model files are kept (default: nowhere)")
    return parser


def _prepare(arguments: argparse.Namespace, kept: Path, work: Path) -> Setting:
    folder = arguments.folder
    if folder is None:
        folder = kept / f"photos-{arguments.images}"
        note(f"making {arguments.images} photos in {folder}")
        photos.make(folder, arguments.images)
    weights = None
    spec = "starter"
    rclip = peer.find(arguments) if arguments.model == "clip-random" else None
    if arguments.model == "clip-random":
        note(f"making model files in {kept}")
        weights = random_clip.checkpoint(kept.absolute())
        spec = f"{random_clip.ARCHITECTURE}:{weights}"
    if rclip is not None and weights is not None:
        peer.make_data_folder(kept / "rclip", weights)
        if kept != work:
            (work / "rclip").symlink_to((kept / "rclip").absolute())
    setting = Setting(folder.absolute(), work, kept / "cache", spec, arguments.precision, weights, rclip)
    if weights is not None:
        _export(setting)
    return setting


def _export(setting: Setting) -> None:
    """Let mmsearch make what it makes once for a model."""
    one = setting.work / "one"
    one.mkdir()
    shutil.copy(_first_photo(setting), one)
    outcome, _ = _index(setting, one)
    note(f"a first index run of one photo, which exports the model where that is not done: {outcome.seconds:.1f} s")


def _first_photo(setting: Setting) -> Path:
    return min(path for path in setting.photos.rglob("*") if path.is_file())


def _index(setting: Setting, folder: Path) -> tuple[commands.Outcome, StoredImages]:
    """`mmsearch index` of a folder into a new collection."""
    collection = setting.work / "collection"
    shutil.rmtree(collection, ignore_errors=True)
    command = [sys.executable, "-m", "mmsearch", "index", folder, "-C", collection, "--json"]
    command += ["--model", setting.spec, "--precision", setting.precision]
    stored = StoredImages(collection)
    return commands.run(command, env=_environment(setting), watch=stored, allowed=(0, 3)), stored


def _measure_ours(setting: Setting, figures: Figures) -> None:
    outcome, stored = _index(setting, setting.photos)
    figures.summary = json.loads(outcome.stdout)
    figures.rate.append(commands.rate(stored.samples))
    figures.seconds.append(outcome.seconds)
    figures.whole_rate.append(figures.summary["encoded"] / outcome.seconds)
    figures.rss.append(outcome.peak_rss_mb)
    _tell("mmsearch", figures.rate, outcome)


def _measure_plain_loop(setting: Setting, weights: Path, figures: Figures) -> None:
    command = [sys.executable, _HERE / "plain_loop.py", setting.photos, random_clip.ARCHITECTURE, weights]
    outcome = commands.run(command, env=_environment(setting))
    figures.plain_rate.append(json.loads(outcome.stdout)["images_per_s"])
    _tell("plain open_clip loop", figures.plain_rate, outcome)


def _measure_rclip(setting: Setting, rclip: Path, figures: Figures) -> None:
    data = setting.work / "rclip"
    peer.forget(data)
    outcome = peer.run(rclip, data, setting.photos, _first_photo(setting))
    figures.rclip_rate.append(peer.rate(outcome))
    figures.rclip_seconds.append(outcome.seconds)
    figures.rclip_rss.append(outcome.peak_rss_mb)
    _tell("rclip", figures.rclip_rate, outcome)


def _measure_limit(setting: Setting, figures: Figures) -> None:
    command = [sys.executable, _HERE / "limit.py", setting.photos, setting.spec, setting.precision]
    outcome = commands.run(command, env=_environment(setting))
    limit = json.loads(outcome.stdout)
    figures.limit.append(limit["images_per_s"])
    figures.model_limit.append(limit["model_images_per_s"])
    figures.decode_limit.append(limit["decode_images_per_s"])
    note("  " + ", ".join(f"{name} {value:.2f}" for name, value in limit.items()))


def _environment(setting: Setting) -> dict[str, str]:
    return {"HF_HUB_OFFLINE": "1", "MMSEARCH_CACHE": str(setting.cache.absolute())}


def _tell(name: str, rates: list[float | None], outcome: commands.Outcome) -> None:
    pace = f"{rates[-1]:.2f} images/s once running" if rates[-1] else "too few batches for a rate"
    memory = f"{outcome.peak_rss_mb:.0f} MB" if outcome.peak_rss_mb else "unknown memory"
    note(f"  {name}: {pace}; whole command {outcome.seconds:.1f} s, {memory}")


if __name__ == "__main__":
    main()
