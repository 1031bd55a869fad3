"""Make the golden collection of the current schema: a real collection, small, and what it answers.

`python tests/golden/make.py` writes `tests/golden/v<schema>/`. A released schema's folder is never made again: it is
what users have on their disks. It holds the catalog, the vector file, and `answers.json`, as `answers_of` gives them.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from PIL import Image

from mmsearch import Collection
from mmsearch.base.records import ScanOptions
from mmsearch.store import schema
from mmsearch.store.connection import CATALOG_NAME

HERE = Path(__file__).parent
SAMPLE_DATA = HERE.parents[1] / "sample_data"
ANSWERS = "answers.json"

# The same on every machine, because the catalog names it.
PLACE = Path("/tmp/mmsearch-golden")

PHOTOS = ("bee.jpg", "cat.jpg", "coffee.jpg", "dog.jpg", "owl.jpg", "rocket.jpg", "spaniels.jpg", "sushi.jpg")
SIDE = 120

# Searches by the words that stand for them.
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "offline": {"offline": True},
    "exact": {"exact": True, "include_self": True},
    "below": {"below": PLACE / "disk", "offline": True},
}


def make(target: Path) -> None:
    """Index two folders, change files, let one folder vanish; keep what that leaves."""
    shutil.rmtree(PLACE, ignore_errors=True)
    pets, disk = PLACE / "pets and more", PLACE / "disk"
    for folder in (pets, disk):
        folder.mkdir(parents=True)
    for number, name in enumerate(PHOTOS):
        image = Image.open(SAMPLE_DATA / name).convert("RGB")
        image.thumbnail((SIDE, SIDE))
        image.save((disk if number % 4 == 3 else pets) / name, quality=80)
    os.rename(pets / "bee.jpg", os.fsencode(pets) + b"/b\xe9e\n.jpg")
    shutil.copy(pets / "cat.jpg", pets / "cat again.jpg")
    (pets / "broken.jpg").write_bytes(b"\xff\xd8\xff no image")
    (pets / "notes.txt").write_text("neither image nor named so")
    with Collection.open(PLACE / "collection") as photos:
        photos.add([disk], model="starter")
        photos.add([pets], options=ScanOptions(exclude=("*.tmp",), hidden=True))
        (pets / "rocket.jpg").unlink()
        (pets / "owl.jpg").rename(pets / "bird.jpg")
        disk.rename(PLACE / "unplugged")
        photos.add()
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for path in [PLACE / "collection" / CATALOG_NAME, *(PLACE / "collection").glob("vectors-*")]:
        shutil.copy(path, target)
    answers = json.dumps(answers_of(PLACE / "collection"), sort_keys=True, indent=1)
    shutil.rmtree(PLACE)
    (target / ANSWERS).write_text(answers + "\n", "utf-8")


def answers_of(folder: Path) -> dict[str, Any]:
    """What a collection says of itself and finds, as plain JSON: without a model, so that it depends on none."""
    with Collection.open(folder) as photos:
        facts = photos.info()
        paths = [hit.path for hit in photos.search(like=1, k=100, include_self=True, offline=True)]
        searches = {
            f"{os.path.basename(path)!r} {name}": [
                [os.fsencode(hit.path).hex(), round(hit.score, 4), hit.offline, hit.image.content_hash]
                for hit in photos.search(like=path, k=5, **options)
            ]
            for path in sorted(paths)
            for name, options in OPTIONS.items()
        }
    return {
        "roots": [[root.path, root.images, root.options.hidden, bool(root.offline_since)] for root in facts.roots],
        "excluded": [list(root.options.exclude) for root in facts.roots],
        "images": facts.images,
        "embeddings": facts.embeddings,
        "model": facts.model,
        "dim": facts.dim,
        "failures": facts.failures,
        "vectors_kind": facts.vectors_kind,
        "searches": searches,
    }


def main() -> int:
    target = HERE / f"v{schema.VERSION}"
    make(target)
    print(f"{target}: {sum(path.stat().st_size for path in target.iterdir()):,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
