"""Small pictures of files, for pages, contact sheets and terminals.

The files are decoded in the worker processes of an index run, within the same limits of pixels, memory and time.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import islice

from PIL import Image

from mmsearch.base import config
from mmsearch.base.machine import available_cpus
from mmsearch.base.records import FileRecord, ImageFacts, Preprocess
from mmsearch.images.formats import DEFAULT
from mmsearch.images.pool import Decoded, DecodePool

# Files in work for each worker, so that none waits: a thumbnail that is done and not yet taken is memory.
_AHEAD = 2


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture to show: the path of its file, a short heading such as a score, and lines of notes about it.

    `weak` says that it is less worth a look than others beside it; `formats` are those that its collection opens.
    `beneath` is as in `FileRecord`.
    """

    path: str
    heading: str = ""
    notes: tuple[str, ...] = ()
    weak: bool = False
    formats: str = DEFAULT
    beneath: str | None = None

    @property
    def name(self) -> str:
        """The file's name without its folder."""
        return os.path.basename(self.path)


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """What became of an entry: `image` (upright RGB), or None and the `reason` why there is none."""

    entry: Entry
    image: Image.Image | None
    reason: str = ""


def thumbnails(entries: Sequence[Entry], side: int) -> Iterator[Thumbnail]:
    """A thumbnail for each entry, in their order, neither side over `side` pixels; smaller pictures keep their size.

    All entries are of one collection.
    Never raises for a file: one that is gone or damaged has a reason in place of an image.
    """
    if not entries:
        return
    how = Preprocess(side, side, "longest", "lanczos")
    workers = min(available_cpus(), len(entries))
    with DecodePool(
        how,
        workers=workers,
        max_pixels=config.DEFAULT_MAX_PIXELS,
        known=lambda _: False,
        formats=entries[0].formats,
    ) as pool:
        left = iter(entries)
        waiting: deque[tuple[Entry, Future[Decoded]]] = deque()
        while True:
            for entry in islice(left, _AHEAD * workers - len(waiting)):
                waiting.append((entry, pool.submit(FileRecord(entry.path, 0, 0, beneath=entry.beneath))))
            if not waiting:
                return
            entry, decoded = waiting.popleft()
            yield _thumbnail(entry, decoded.result())


def _thumbnail(entry: Entry, decoded: Decoded) -> Thumbnail:
    if decoded.pixels is None or decoded.facts is None:
        return Thumbnail(entry, None, decoded.reason or "not in a known image format")
    image = Image.fromarray(decoded.pixels).crop(_inside(decoded.pixels.shape[0], decoded.facts))
    if image.width > decoded.facts.width:  # the pool has enlarged a small picture
        image = image.resize((decoded.facts.width, decoded.facts.height), Image.Resampling.LANCZOS)
    return Thumbnail(entry, image)


def _inside(side: int, facts: ImageFacts) -> tuple[int, int, int, int]:
    """Where in the padded square of `preprocess` the picture lies: left, top, right, bottom."""
    ratio = max(facts.width, facts.height) / side
    width, height = max(1, round(facts.width / ratio)), max(1, round(facts.height / ratio))
    left, top = (side - width) // 2, (side - height) // 2
    return left, top, left + width, top + height
