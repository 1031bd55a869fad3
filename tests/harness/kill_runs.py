"""Kill `mmsearch index`, `forget` and `optimize` at random instants, and check everything after each kill.

`python tests/harness/kill_runs.py --kills 200` prints one JSON line; its exit code says whether nothing was found.
Between kills files are added, changed, renamed and removed. After each kill

- SQLite finds the catalog whole, and a search finds each image in it, once, with its own embedding;
- every image that was stored before the kill and is still on disk is there, with the content that it had;
- the next run encodes just what is not stored yet, makes the catalog equal to the disk, and leaves a collection with
  which `doctor` finds nothing wrong; a forgotten folder has gone whole or not at all;
- the dead run's worker processes have ended.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from pool import State, make_pool
from victim import write_vectors_often

from mmsearch import Collection
from mmsearch.indexing.settings import IndexSettings
from mmsearch.vectors import on_disk

VICTIM = Path(__file__).with_name("victim.py")
FOLDERS = ("a", "a/deep", "b", "c")
FORGOTTEN = "b"

# How far the scores of one image may lie apart that was encoded in different batches.
SAME_SCORE = 0.002

# Every so many kills, another command than `index` is killed, and the command line is asked as well.
FORGET_EVERY, OPTIMIZE_EVERY, COLD_EVERY = 6, 9, 20

# The share of kills at a chosen step (see victim.py); the others come at a random moment, from outside.
AT_STEPS = 0.5

# The share of kills at one of the few steps that concern other files than the catalog, and how many a run has at most.
AT_FILE_STEPS = 0.2
MOST_FILE_STEPS = 6

# Seconds after which the workers of a killed run must have ended.
ORPHAN_SECONDS = 20.0


@dataclass
class Report:
    """What a harness did and found."""

    seed: int
    kills: int = 0
    finished_first: int = 0
    at_steps: int = 0
    commands: Counter[str] = field(default_factory=Counter)
    mid_run: int = 0
    vector_leftovers: int = 0
    images_checked: int = 0
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def to_json(self) -> str:
        return json.dumps({**vars(self), "problems": self.problems[:20], "problem_count": len(self.problems)})


class Harness:
    """One folder of images, one collection, one sequence of kills."""

    def __init__(self, folder: Path, seed: int, images: int) -> None:
        self.rng = random.Random(seed)
        self.report = Report(seed)
        self.root = folder / "photos"
        self.place = folder / "collection"
        self.pool = make_pool(folder, 3 * images, seed)
        self.disk: dict[str, str] = {}
        for number in range(images):
            self._put(self.root / self.rng.choice(FOLDERS) / f"{number:04}.jpg")
        self.images = images
        self.names = images
        # Seconds and steps that a whole run takes; corrected by runs that come to their end before they are killed.
        self.spans = {"index": 3.0, "forget": 0.8, "optimize": 1.0}
        self.steps = {"index": 300, "forget": 70, "optimize": 16}
        write_vectors_often()

    def run(self, kills: int) -> Report:
        started = time.monotonic()
        with Collection.open(self.place) as photos:
            while self.report.kills < kills and not self.report.problems:
                self._one_kill(photos)
        self.report.seconds = round(time.monotonic() - started, 1)
        return self.report

    # --- what happens on disk ---

    def _put(self, path: Path) -> None:
        content = self.rng.choice(list(self.pool.files))
        self.pool.write(path, content)
        self.disk[str(path)] = content

    def _change_files(self) -> None:
        for _ in range(self.rng.randrange(8, 24)):
            self.names += 1
            self._put(self.root / self.rng.choice(FOLDERS) / f"{self.names:04}.jpg")
        for path in self.rng.sample(sorted(self.disk), min(8, len(self.disk))):
            self._put(Path(path))
        for path in self.rng.sample(sorted(self.disk), min(6, len(self.disk))):
            target = Path(path).with_name(f"moved-{self.names}-{Path(path).name[-8:]}")
            os.replace(path, target)
            self.disk[str(target)] = self.disk.pop(path)
        for path in self.rng.sample(sorted(self.disk), max(0, len(self.disk) - self.images)):
            os.unlink(path)
            del self.disk[path]

    # --- one kill ---

    def _one_kill(self, photos: Collection) -> None:
        command = self._next_command()
        if command == "index":
            self._change_files()
        earlier = State.read(self.place)
        before, killed = self._kill(command)
        after = State.read(self.place)
        self.report.finished_first += not killed
        self.report.kills += killed
        self.report.commands[command] += killed
        if killed and command == "index":
            self.report.mid_run += earlier.images != after.images and after.images != self.disk
        if killed:
            left = on_disk.others(self.place, [])
            self.report.vector_leftovers += any(path.suffix == ".tmp" for path in left)
        self._check_survivors(command, earlier, before, after)
        if after.embeddings:
            self._check_search(photos, after)
        self._check_next_run(photos, after)

    def _next_command(self) -> str:
        number = self.report.kills + self.report.finished_first
        if number and number % FORGET_EVERY == 0:
            return "forget"
        return "optimize" if number and number % OPTIMIZE_EVERY == 0 else "index"

    def _kill(self, command: str) -> tuple[State, bool]:
        """Start a command and kill it; returns what was stored just before, and whether it was still running."""
        options = {
            "index": [str(self.root), "--model", "starter", "--batch-size", "4", "--workers", "1"],
            "forget": [str(self.root / FORGOTTEN)],
            "optimize": [],
        }
        chosen = self.rng.random()
        is_file_step = chosen < AT_FILE_STEPS
        step = self.rng.randint(1, MOST_FILE_STEPS if is_file_step else self.steps[command]) if chosen < AT_STEPS else 0
        # What precedes the first change on disk is half of a run, and killed less often than the rest.
        delay = self.rng.uniform(0.0 if self.rng.random() < 0.2 else 0.5, 1.05) * self.spans[command]
        arguments = [sys.executable, VICTIM, command, *options[command], "-C", self.place]
        variable = "DIE_AT_FILE_STEP" if is_file_step else "DIE_AT_STEP"
        environment = {**os.environ, variable: str(step)} if step else None
        before = State.read(self.place)
        started = time.monotonic()
        with subprocess.Popen(
            arguments, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment
        ) as run:
            try:
                _, errors = run.communicate(timeout=None if step else delay)
            except subprocess.TimeoutExpired:
                before = State.read(self.place)
                run.kill()
                _, errors = run.communicate()
        if run.returncode == -signal.SIGKILL:
            self._wait_for_workers(run.pid)
            self.report.at_steps += bool(step)
            return before, True
        if run.returncode != 0:
            self.report.problems.append(f"{command} failed: {errors.decode()}")
        if step and not is_file_step:
            self.steps[command] = max(10, int(step * 0.9))
        elif not step:
            self.spans[command] = time.monotonic() - started
        return State.read(self.place), False

    def _wait_for_workers(self, group: int) -> None:
        deadline = time.monotonic() + ORPHAN_SECONDS
        while time.monotonic() < deadline:
            try:
                os.killpg(group, 0)
            except ProcessLookupError:
                return
            time.sleep(0.02)
        self.report.problems.append("workers outlive the run that was killed")

    # --- what must hold ---

    def _check_survivors(self, command: str, earlier: State, before: State, after: State) -> None:
        problems = after.problems(self.pool)
        gone = str(self.root / FORGOTTEN) + os.sep
        if command == "forget":
            kept = {path: content for path, content in earlier.images.items() if not path.startswith(gone)}
            if after.images not in (kept, earlier.images):
                problems.append("a folder was forgotten by halves")
        else:
            lost = [
                path
                for path, content in before.images.items()
                if self.disk.get(path) == content and after.images.get(path) != content
            ]
            problems += [f"{path} was stored and is lost" for path in lost]
            known = [(path, self.disk.get(path), earlier.images.get(path)) for path in after.images]
            problems += [f"{path} is none of its files" for path, *each in known if after.images[path] not in each]
        self.report.images_checked += len(after.images)
        self.report.problems += problems

    def _check_search(self, photos: Collection, state: State) -> None:
        path = self.rng.choice(sorted(state.images))
        hits = photos.search(like=path, k=len(state.images) + 10, include_self=True)
        found = Counter(hit.path for hit in hits)
        if found.keys() != state.images.keys():
            self.report.problems.append(f"a search finds {len(found)} of {len(state.images)} images")
        if found and found.most_common(1)[0][1] > 1:
            self.report.problems.append(f"found twice: {found.most_common(1)[0][0]}")
        for hit in hits:
            score = float(self.pool.embeddings[hit.image.content_hash] @ self.pool.embeddings[state.images[path]])
            if abs(hit.score - score) > SAME_SCORE:
                self.report.problems.append(f"{hit.path} scores {hit.score:.4f}, not {score:.4f}")
        if self.report.kills % COLD_EVERY == 1:
            cold = [sys.executable, "-m", "mmsearch", "query", "a cat", "-C", self.place, "--paths"]
            answer = subprocess.run(cold, capture_output=True, text=True)
            if answer.returncode or not answer.stdout or "Traceback" in answer.stderr:
                self.report.problems.append(f"query failed: {answer.stderr}")

    def _check_next_run(self, photos: Collection, after: State) -> None:
        summary = photos.add([self.root], model="starter", settings=IndexSettings(workers=1))
        missing = set(self.disk.values()) - set(after.embeddings)
        if summary.encoded != len(missing):
            self.report.problems.append(f"the next run encoded {summary.encoded} images, {len(missing)} were missing")
        state = State.read(self.place)
        if state.images != self.disk:
            self.report.problems.append("after the next run the catalog is not what is on disk")
        self.report.problems += state.problems(self.pool)
        problems = [finding for finding in photos.doctor() if not finding.ok]
        self.report.problems += [f"doctor: {finding.check}: {finding.text}" for finding in problems]


def kill_runs(folder: Path, *, kills: int, seed: int, images: int) -> Report:
    """Run the harness in an empty folder; stops at the first problem."""
    return Harness(folder, seed, images).run(kills)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mmsearch-kills-") as folder:
        os.environ["MMSEARCH_CACHE"] = str(Path(folder) / "cache")
        report = kill_runs(Path(folder), kills=options.kills, seed=options.seed, images=options.images)
    print(report.to_json())
    return int(bool(report.problems))


if __name__ == "__main__":
    sys.exit(main())
