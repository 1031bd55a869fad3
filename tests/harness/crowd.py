"""Many processes search while another adds, changes, removes and forgets images: every answer must be right.

`python tests/harness/crowd.py --readers 20 --seconds 90` prints one JSON line; its exit code says whether nothing was
found. Three quarters of the readers keep a `Collection` open, the others start the command line for each query. Of
every answer is checked that

- nothing fails: no "database is locked", no missing file, no traceback;
- no path comes twice, scores fall, and each is the cosine of that content's known embedding with the query's;
- the images that the writer leaves alone are all there, or, of the best few, those that score high enough;
- what the writer changes holds one of the contents that it gives it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from numpy.typing import NDArray
from pool import Pool, make_pool
from victim import write_vectors_often

from mmsearch import Collection
from mmsearch.encoders import load_encoder
from mmsearch.indexing.settings import IndexSettings

TEXTS = ("a dog", "a cat on a sofa", "flowers", "a red thing", "food on a plate", "the sky at night")
STABLE, CHANGING = 40, 60

# How far a score may lie from that of the known embedding: float16, and another batch.
TOLERANCE = 0.002

# How long all of the crowd may take to be there; the time that it is given begins then.
START_SECONDS = 180.0

# One of so many readers starts a process for each query.
COLD_EVERY = 4

# An answer: path, content hash and score of each result.
Answer = Sequence[tuple[str, str, float]]


class World:
    """What readers and writer know of each other: a folder with the truth, as files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "photos"
        self.place = folder / "collection"
        self.end = folder / "end"

    def begun(self, number: int | str) -> Path:
        """A file that says that a reader has had its first answer."""
        return self.folder / f"begun-{number}"

    def make(self, seed: int, stable: int = STABLE, changing: int = CHANGING) -> None:
        """Images that stay, images that will change, one index run, and what every answer is to be measured by."""
        pool = make_pool(self.folder, stable + 3 * changing, seed)
        contents = list(pool.files)
        staying = {str(self.root / f"stable-{number}.jpg"): contents[number] for number in range(stable)}
        for path, content in staying.items():
            pool.write(Path(path), content)
        for number, content in enumerate(contents[stable : stable + changing]):
            pool.write(self._changing(number), content)
        with Collection.open(self.place) as photos:
            photos.add([self.root], model="starter")
        texts = load_encoder("starter").encode_texts(TEXTS)
        vectors = np.stack([pool.embeddings[content] for content in contents])
        np.savez(self.folder / "truth.npz", texts=texts, vectors=vectors)
        (self.folder / "truth.json").write_text(json.dumps({"stable": staying, "contents": contents}))

    def _changing(self, number: int) -> Path:
        return self.root / ("x" if number % 3 else "y") / f"changing-{number}.jpg"

    def write(self, seed: int) -> dict[str, int]:
        """Change files and index them, again and again, until the end."""
        write_vectors_often()
        rng = random.Random(seed)
        truth = json.loads((self.folder / "truth.json").read_text())
        files = {path.stem: path.read_bytes() for path in (self.folder / "pool").iterdir()}
        pool = Pool(files, {})
        changing = truth["contents"][len(truth["stable"]) :]
        count = len(changing) // 3
        runs = encoded = 0
        with Collection.open(self.place) as photos:
            while not self.end.exists():
                for number in rng.sample(range(count), count // 5):
                    if rng.random() < 0.4:
                        self._changing(number).unlink(missing_ok=True)
                    else:
                        pool.write(self._changing(number), rng.choice(changing))
                summary = photos.add([self.root], settings=IndexSettings(workers=1, batch_size=4))
                encoded += summary.encoded
                runs += 1
                if runs % 5 == 0:
                    photos.forget(self.root / "y")
                if runs % 7 == 0:
                    photos.optimize()
        return {"runs": runs, "encoded": encoded}

    def read(self, seed: int, *, cold: bool) -> dict[str, object]:
        """Search until the end, and check every answer."""
        judge = Judge(self.folder)
        rng = random.Random(seed)
        queries, problems = 0, list[str]()
        with Collection.open(self.place, notice=problems.append) as photos:
            while not self.end.exists() and not problems:
                text = rng.randrange(len(TEXTS))
                top = rng.choice((5, 1000))
                try:
                    if cold:
                        problems += judge.text(text, top, self._ask_cold(TEXTS[text], top))
                    elif rng.random() < 0.5:
                        hits = photos.search(text=TEXTS[text], k=top)
                        problems += judge.text(text, top, [(h.path, h.image.content_hash, h.score) for h in hits])
                    else:
                        like = rng.choice(sorted(judge.stable))
                        hits = photos.search(like=like, k=top, include_self=True)
                        problems += judge.like(like, top, [(h.path, h.image.content_hash, h.score) for h in hits])
                except Exception as error:  # whatever it is, it must not happen
                    problems.append(f"{type(error).__name__}: {error}")
                queries += 1
                self.begun(seed).touch()
        return {"queries": queries, "problems": problems, "cold": cold}

    def _ask_cold(self, text: str, top: int) -> Answer:
        command = [sys.executable, "-m", "mmsearch", "query", text, "-k", str(top), "-C", str(self.place), "--jsonl"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode or done.stderr:
            raise RuntimeError(f"exit code {done.returncode}: {done.stderr}")
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        return [(row["path"], row["hash"], row["score"]) for row in rows]


class Judge:
    """Says what is wrong with an answer."""

    def __init__(self, folder: Path) -> None:
        truth, arrays = json.loads((folder / "truth.json").read_text()), np.load(folder / "truth.npz")
        self.stable: dict[str, str] = truth["stable"]
        self._changing = set(truth["contents"][len(self.stable) :])
        self._texts: NDArray[np.float32] = arrays["texts"]
        self._vectors = dict(zip(truth["contents"], arrays["vectors"], strict=True))

    def text(self, number: int, top: int, answer: Answer) -> list[str]:
        return self._problems(lambda content: self._score(number, content), top, answer)

    def like(self, path: str, top: int, answer: Answer) -> list[str]:
        vector = self._vectors[self.stable[path]]
        return self._problems(lambda content: float(self._vectors[content] @ vector), top, answer)

    def _score(self, number: int, content: str) -> float:
        return float(self._vectors[content] @ self._texts[number])

    def _problems(self, score_of: Callable[[str], float], top: int, answer: Answer) -> list[str]:
        found = {path for path, _, _ in answer}
        problems = [] if len(found) == len(answer) <= top else ["a path comes twice, or too many do"]
        scores = [score for _, _, score in answer]
        if scores != sorted(scores, reverse=True):
            problems.append("scores do not fall")
        for path, content, score in answer:
            if self.stable.get(path, content) != content or (path not in self.stable and content not in self._changing):
                problems.append(f"{path} has a content that it never had")
            elif abs(score - score_of(content)) > TOLERANCE:
                problems.append(f"{path} scores {score:.4f}, its content {score_of(content):.4f}")
        least = scores[-1] if len(answer) == top else -1.0
        missing = [p for p, content in self.stable.items() if p not in found and score_of(content) > least + TOLERANCE]
        return problems + [f"{path} is missing" for path in missing]


def crowd(
    folder: Path, *, readers: int, seconds: float, seed: int, stable: int = STABLE, changing: int = CHANGING
) -> dict[str, object]:
    """Run the crowd in an empty folder and return its counts; `problems` is empty where every answer was right."""
    world = World(folder)
    world.make(seed, stable, changing)
    roles = ["writer", *("cold" if number % COLD_EVERY == COLD_EVERY - 1 else "warm" for number in range(readers))]
    started = time.monotonic()
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, "--role", role, "--folder", str(folder), "--seed", str(seed + number)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number, role in enumerate(roles)
    ]
    deadline = time.monotonic() + START_SECONDS
    while len(list(folder.glob(world.begun("*").name))) < readers and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(seconds)
    world.end.touch()
    outcomes = [(process.communicate(), process.returncode) for process in processes]
    problems = [errors for (_, errors), code in outcomes if code]
    written, *read = [json.loads(out) if not code else {} for (out, _), code in outcomes]
    problems += [problem for counts in read for problem in counts.get("problems", [])]
    return {
        "seed": seed,
        "readers": readers,
        "queries": sum(counts.get("queries", 0) for counts in read),
        "cold_queries": sum(counts.get("queries", 0) for counts in read if counts.get("cold")),
        "fewest_queries": min((counts.get("queries", 0) for counts in read), default=0),
        **written,
        "seconds": round(time.monotonic() - started, 1),
        "problem_count": len(problems),
        "problems": problems[:10],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--readers", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=90.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--role", choices=("writer", "cold", "warm"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role:
        world = World(options.folder)
        writes = options.role == "writer"
        counts = world.write(options.seed) if writes else world.read(options.seed, cold=options.role == "cold")
        print(json.dumps(counts))
        return 0
    with tempfile.TemporaryDirectory(prefix="mmsearch-crowd-") as folder:
        os.environ["MMSEARCH_CACHE"] = str(Path(folder) / "cache")
        report = crowd(Path(folder), readers=options.readers, seconds=options.seconds, seed=options.seed)
    print(json.dumps(report))
    return int(bool(report["problem_count"]))


if __name__ == "__main__":
    sys.exit(main())
