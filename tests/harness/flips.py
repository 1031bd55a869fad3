"""Flip single bits of a collection's catalog, and see that each is found or harmless, and that nothing crashes.

`python tests/harness/flips.py --flips 2000` prints one JSON line; its exit code says whether nothing was silent and
nothing crashed. For each flip, on a copy of a sound collection:

- what the catalog holds is compared with what it held: a flip in unused room changes nothing;
- `doctor` says whether something is wrong; a flip that changed data and was not found must be `HARMLESS`;
- `info` and a search answer, or fail with an error of mmsearch's own;
- `doctor --repair` ends, and a second `doctor` finds all well, or says what it cannot repair.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from pool import make_pool

from mmsearch import Collection
from mmsearch.base.errors import MMSearchError
from mmsearch.store.connection import CATALOG_NAME

# Columns that the catalog has for itself or that the next run corrects: at worst a file is read again, or a number or a
# moment of the past is told wrongly. No checksum covers them.
HARMLESS = {
    ("images", "id"): "a number that only the user's own notes know",
    ("images", "size"): "the next run reads the file again",
    ("images", "mtime_ns"): "the next run reads the file again",
    ("images", "ctime_ns"): "the next run reads the file again",
    ("images", "inode"): "the next run reads the file again",
    ("failures", "ctime_ns"): "the next run tries the file again",
    ("failures", "inode"): "the next run tries the file again",
    ("failures", "reader"): "the next run tries the file again",
    ("failures", "refused_by"): "the next run tries the file again",
    ("contents", "remark"): "words for people, told wrongly",
    ("failures", "size"): "the next run tries the file again",
    ("failures", "mtime_ns"): "the next run tries the file again",
    ("roots", "id"): "nothing refers to it",
    ("roots", "added_at"): "the past",
    ("roots", "offline_since"): "the past",
    ("runs", "id"): "nothing refers to it",
    ("encoders", "created_at"): "the past",
    ("vector_files", "created_at"): "the past",
    ("migrations", "applied_at"): "the past",
    ("sqlite_sequence", "seq"): "content ids grow from a higher number",
}

# The share of flips outside of embeddings, which fill most of a catalog, and the least share of bytes that are not 0:
# room that nothing uses is full of them.
_ELSEWHERE = 0.7
_USED = 0.8

# Bytes of a page, SQLite's default.
_PAGE = 4096

# How many flips that went wrong are told.
_TOLD = 20

Rows = dict[str, list[dict[str, Any]]]


@dataclass
class Report:
    """What was done and found.

    `changed` flips changed data: each was `found`, or is `harmless`, or was `silent`. What was found was `repaired`, in
    some cases so that files are to be read again (`lost`), or something is `left`, by the checks that say so.
    """

    seed: int
    flips: int = 0
    changed: int = 0
    found: int = 0
    harmless: int = 0
    silent: int = 0
    crashed: int = 0
    repaired: int = 0
    lost: int = 0
    found_by: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def to_json(self) -> str:
        return json.dumps({**vars(self), "problems": self.problems[:_TOLD]})


class Harness:
    """A sound collection, and copies of it that are damaged."""

    def __init__(self, folder: Path, seed: int, images: int) -> None:
        self._rng = random.Random(seed)
        self._sound, self._copy = folder / "sound", folder / "copy"
        photos = folder / "photos"
        pool = make_pool(folder, images, seed)
        for number, content in enumerate(pool.files):
            pool.write(photos / f"{'ab'[number % 2]}" / f"{number:03}.jpg", content)
        (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff no image")
        with Collection.open(self._sound) as collection:
            collection.add([photos], model="starter")
        self._data = (self._sound / CATALOG_NAME).read_bytes()
        rows = _rows(self._sound)
        assert rows is not None
        self._rows = rows
        self._vectors = {self._data.find(row["vector"]) // _PAGE for row in rows["embeddings_1"]}
        self.report = Report(seed)

    def run(self, flips: int) -> Report:
        started = time.monotonic()
        for _ in range(flips):
            self.flip(self._place())
        self.report.seconds = round(time.monotonic() - started, 1)
        return self.report

    def flip(self, bit: int) -> None:
        """Flip one bit of the catalog, and look at what becomes of it."""
        data = bytearray(self._data)
        data[bit // 8] ^= 1 << bit % 8
        shutil.rmtree(self._copy, ignore_errors=True)
        shutil.copytree(self._sound, self._copy)
        (self._copy / CATALOG_NAME).write_bytes(data)
        self.report.flips += 1
        before = self.report.crashed
        rows = _rows(self._copy)
        findings = self._doctor(bit, repair=False)
        self._judge(bit, rows, findings)
        self._ask(bit)
        if findings:
            self._repair(bit)
        if self.report.crashed > before:
            self.report.crashed = before + 1

    def vector(self) -> bytes:
        """An embedding in the catalog, as it is stored."""
        return bytes(self._rows["embeddings_1"][0]["vector"])

    def bit_of(self, stored: bytes, bit: int) -> int:
        """Where in the catalog a bit of a value is."""
        return 8 * self._data.find(stored) + bit

    def _place(self) -> int:
        """A bit in a page of embeddings or, more often than by chance, in another one."""
        pages = [page for page in range(len(self._data) // _PAGE) if page not in self._vectors]
        if self._rng.random() >= _ELSEWHERE:
            pages = sorted(self._vectors)
        is_used = self._rng.random() < _USED
        while True:
            byte = _PAGE * self._rng.choice(pages) + self._rng.randrange(_PAGE)
            if self._data[byte] or not is_used:
                return 8 * byte + self._rng.randrange(8)

    # --- what is looked at ---

    def _doctor(self, bit: int, *, repair: bool) -> list[str]:
        """The checks with a problem that is left; an error of mmsearch's own counts as one."""
        try:
            with Collection.open(self._copy) as photos:
                return [finding.check for finding in photos.doctor(repair=repair) if not finding.is_well]
        except MMSearchError as error:
            return [type(error).__name__]
        except Exception as error:
            self._crash(bit, f"doctor{' --repair' if repair else ''}", error)
            return ["crash"]

    def _judge(self, bit: int, rows: Rows | None, findings: list[str]) -> None:
        differing = _differing(self._rows, rows)
        self.report.changed += bool(differing)
        if findings:
            self.report.found += 1
            self.report.found_by.update(findings[:1])
        elif differing and all(place in HARMLESS for place in differing):
            self.report.harmless += 1
        elif differing:
            self.report.silent += 1
            self.report.problems.append(f"bit {bit} is silent: {', '.join('.'.join(place) for place in differing)}")

    def _ask(self, bit: int) -> None:
        """`info` and searches answer, or say why not."""
        with Collection.open(self._copy) as photos:
            for name, ask in {
                "info": photos.info,
                "search": lambda: photos.search(like=1, k=100, include_self=True),
                "list": lambda: photos.search(has_gps=False, k=100),
            }.items():
                try:
                    ask()
                except MMSearchError:
                    pass
                except Exception as error:
                    self._crash(bit, name, error)

    def _repair(self, bit: int) -> None:
        left = self._doctor(bit, repair=True) or self._doctor(bit, repair=False)
        self.report.left.update(left[:1])
        if not left:
            self.report.repaired += 1
            self.report.lost += _differing(self._rows, _rows(self._copy), only=("images", "contents")) != []

    def _crash(self, bit: int, what: str, error: Exception) -> None:
        self.report.crashed += 1
        self.report.problems.append(f"bit {bit}: {what} crashes: {type(error).__name__}: {str(error)[:100]}")


def _rows(folder: Path) -> Rows | None:
    """Every row of every table, as SQLite alone reads them; None where it cannot."""
    database = sqlite3.connect(f"file:{folder / CATALOG_NAME}?mode=ro", uri=True)
    database.text_factory = bytes
    database.row_factory = sqlite3.Row
    try:
        names = [name.decode() for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return {name: [dict(row) for row in database.execute(f'SELECT * FROM "{name}"')] for name in names}
    except (sqlite3.Error, UnicodeDecodeError):
        return None
    finally:
        database.close()


def _differing(before: Rows | None, after: Rows | None, only: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    """Tables and columns whose values differ; ("", "") where a catalog cannot be read."""
    if before is None or after is None:
        return [("", "")]
    found: dict[tuple[str, str], None] = {}
    for table in only or sorted(before.keys() | after.keys()):
        ours, theirs = before.get(table), after.get(table)
        if ours is None or theirs is None or len(ours) != len(theirs):
            found[table, "rows"] = None
            continue
        for row, other in zip(ours, theirs, strict=True):
            found.update(dict.fromkeys((table, name) for name in row if row[name] != other.get(name)))
    return list(found)


def flip_bits(folder: Path, *, flips: int, seed: int, images: int) -> Report:
    """Run the harness in an empty folder."""
    return Harness(folder, seed, images).run(flips)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--flips", type=int, default=2_000)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mmsearch-flips-") as folder:
        report = flip_bits(Path(folder), flips=options.flips, seed=options.seed, images=options.images)
    print(report.to_json())
    return int(bool(report.problems))


if __name__ == "__main__":
    sys.exit(main())
