"""Kill downloads and exports of a model at random instants, and check what the next process finds after each kill.

`python tests/harness/kill_models.py --kills 100` prints one JSON line for each of the two; the exit code says whether
nothing was found. A download comes from a hub on the loopback interface, which sends slowly. After each kill

- no file is in the hub's cache, or in the export, whose content is not whole;
- the next download goes on where the last one stopped, and ends with the right bytes and nothing beside them;
- the next export makes one that answers as the model does, and removes what the dead one left.

The graphs of the tiny model are traced once and copied from then on: tracing writes to a temporary folder only.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import hub_server
import numpy as np
import tiny_models
from victim import die_at

from mmsearch.encoders import ensure_export, load_encoder, openclip
from mmsearch.encoders.export import folder as export_folder
from mmsearch.encoders.export import make as export_make

REPO = "tiny/model"
WEIGHTS = "open_clip_model.safetensors"
CONFIG = "open_clip_config.json"

# Bytes of the made-up weights, of which the library writes ten million at a time, and seconds to send all of them.
SIZE, SENDING = 40_000_000, 0.5

# Steps on disk (fsync, rename, removal) that an export takes, about.
EXPORT_STEPS = 10

FETCH = f"""
from mmsearch.encoders import hub
for name in {[CONFIG, WEIGHTS]!r}:
    hub.fetch({REPO!r}, [name], notice=lambda line: None, progress=False)
"""


@dataclass
class Report:
    """What was killed and found."""

    what: str
    seed: int
    kills: int = 0
    finished_first: int = 0
    left_behind: int = 0
    resumed: int = 0
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0


def kill_downloads(folder: Path, *, kills: int, seed: int) -> Report:
    """Kill a process that downloads, `kills` times; each time another one ends what it began."""
    rng, report, started = random.Random(seed), Report("download", seed), time.monotonic()
    content = {CONFIG: b'{"model_cfg": {}}', WEIGHTS: rng.randbytes(SIZE)}
    with hub_server.serve(hub_server.Hub(repos={REPO: content}, seconds_a_megabyte=SENDING * 1e6 / SIZE)) as server:
        span = _time_download(server, folder / "first")
        while report.kills < kills and not report.problems:
            cache = folder / f"cache-{report.kills + report.finished_first}"
            victim = _fetch(server, cache)
            try:
                victim.wait(rng.uniform(0.2, 1.05) * span)
                report.finished_first += 1
            except subprocess.TimeoutExpired:
                victim.kill()
                victim.wait()
                report.kills += 1
            report.left_behind += any(cache.rglob("*.incomplete"))
            report.problems += _wrong_files(cache, content, complete=False)
            server.requests.clear()
            if _fetch(server, cache).wait():
                report.problems.append("the next download failed")
            report.resumed += any(request.ranges for request in server.requests)
            report.problems += _wrong_files(cache, content, complete=True)
            shutil.rmtree(cache)
    report.seconds = round(time.monotonic() - started, 1)
    return report


def _time_download(server: hub_server.Hub, cache: Path) -> float:
    started = time.monotonic()
    if _fetch(server, cache).wait():
        raise RuntimeError("a download that nobody kills fails")
    return time.monotonic() - started


def _fetch(server: hub_server.Hub, cache: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "HF_ENDPOINT": server.url, "HF_HUB_CACHE": str(cache), "NO_PROXY": "*"}
    environment.pop("HF_HUB_OFFLINE", None)
    return subprocess.Popen([sys.executable, "-c", FETCH], env=environment)


def _wrong_files(cache: Path, content: dict[str, bytes], *, complete: bool) -> list[str]:
    """What is wrong with the files that have their names; with `complete` they must all be there, and nothing else."""
    found = {path.name: path.read_bytes() for path in cache.glob("*/snapshots/*/*")}
    wrong = [f"{name} is not whole" for name, data in found.items() if data != content.get(name)]
    if complete:
        wrong += [f"{name} is missing" for name in content.keys() - found.keys()]
        wrong += [f"{path.name} is left over" for path in cache.rglob("*.incomplete")]
    return wrong


def kill_exports(folder: Path, *, kills: int, seed: int) -> Report:
    """Kill a process that exports a model, `kills` times, at a random moment or before a random step on disk."""
    rng, report, started = random.Random(seed), Report("export", seed), time.monotonic()
    model = tiny_models.make("tiny-clip", folder / "model")
    openclip.torch.set_num_threads(1)  # a process with threads cannot be forked
    encoder = load_encoder(f"local-dir:{model.directory}", device="cpu", precision="fp32")
    images = rng.randbytes(2 * encoder.info.preprocess.size**2 * 3)
    pixels = np.frombuffer(images, np.uint8).reshape(2, *[encoder.info.preprocess.size] * 2, 3)
    expected = encoder.encode_images(pixels)
    span = _trace_once(encoder, folder / "traced")
    place = export_folder.folder_of(encoder.info.fingerprint)
    while report.kills < kills and not report.problems:
        step = rng.randint(1, EXPORT_STEPS) if rng.random() < 0.5 else 0
        killed = _fork_export(encoder, step, None if step else rng.uniform(0, 1.05) * span)
        report.kills += killed
        report.finished_first += not killed
        report.left_behind += any(place.parent.glob(".making-*"))
        found = export_folder.find(encoder.info.fingerprint)
        if found is not None:
            report.problems += _unfaithful(folder, pixels, expected, encoder.info.fingerprint)
        if _fork_export(encoder, 0, None):
            report.problems.append("the next export failed")
        report.problems += _unfaithful(folder, pixels, expected, encoder.info.fingerprint)
        report.problems += [f"{path.name} is left over" for path in place.parent.glob(".making-*")]
        shutil.rmtree(place)
    report.seconds = round(time.monotonic() - started, 1)
    return report


def _trace_once(encoder: Any, kept: Path) -> float:
    """Make an export for others to copy the graphs of; returns the seconds that one takes from then on."""
    if _fork_export(encoder, 0, None):
        raise RuntimeError("an export that nobody kills fails")
    place = export_folder.folder_of(encoder.info.fingerprint)
    place.rename(kept)

    def copy(tower: Any, example: Any, name: str, axes: Any, path: Path) -> None:
        for ending in (".onnx", ".weights"):
            shutil.copyfile((kept / path.name).with_suffix(ending), path.with_suffix(ending))

    export_make._write_graph = copy
    started = time.monotonic()
    _fork_export(encoder, 0, None)
    shutil.rmtree(place)
    return time.monotonic() - started


def _fork_export(encoder: Any, step: int, delay: float | None) -> bool:
    """Export in a process of its own, and kill it before `step` or after `delay` seconds; whether it was killed."""
    child = os.fork()
    if not child:
        if step:
            die_at(step, count_sql=False)
        ensure_export(encoder, lambda line: None)
        os._exit(export_folder.find(encoder.info.fingerprint) is None)
    if delay is not None:
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status > 0:
        raise RuntimeError("an export fails")
    return status == -signal.SIGKILL


def _unfaithful(folder: Path, pixels: np.ndarray, expected: np.ndarray, fingerprint: str) -> list[str]:
    """What is wrong with an export, as another process finds it: ONNX Runtime's threads must not be forked."""
    np.save(folder / "pixels.npy", pixels)
    code = (
        "import sys, numpy; from mmsearch.encoders.export import folder as export_folder;"
        "found = export_folder.find(sys.argv[1]);"
        "numpy.save(sys.argv[3], found.encode_images(numpy.load(sys.argv[2])))"
    )
    names = [fingerprint, str(folder / "pixels.npy"), str(folder / "embeddings.npy")]
    if subprocess.run([sys.executable, "-c", code, *names]).returncode:
        return ["the export cannot be used"]
    found = np.load(folder / "embeddings.npy")
    return [] if np.allclose(found, expected, atol=1e-4) else ["the export gives other embeddings"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100, help="of each")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory(prefix="mmsearch-kills-") as folder:
        os.environ["MMSEARCH_CACHE"] = str(Path(folder) / "mmsearch-cache")
        for kill in (kill_downloads, kill_exports):
            report = kill(Path(folder), kills=options.kills, seed=options.seed)
            print(json.dumps(vars(report)))
            found += report.problems
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
