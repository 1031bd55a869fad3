"""`mmsearch eval --label`: a round in which users name their own pictures."""

from __future__ import annotations

import sys
from itertools import islice
from typing import TYPE_CHECKING

from mmsearch.cli.console import say, tell
from mmsearch.rendering.text import number

if TYPE_CHECKING:
    from mmsearch.base.records import ImageRecord


def name_pictures(collection: str | None, *, count: int, seed: int, show_pictures: bool) -> None:
    """Ask for a caption of each of `count` pictures; what is said is stored at once. All of it goes to stderr.

    An empty line skips a picture; `q`, or the end of the input, ends the round. A terminal shows each picture, unless
    `show_pictures` has the desktop's viewer do so.
    """
    from mmsearch.base import config
    from mmsearch.evaluating import labels
    from mmsearch.store.catalog import Catalog

    folder = config.collection_path(collection)
    stored = shown = 0
    with Catalog(folder, write=False) as catalog:
        for record in islice(labels.unnamed(catalog, seed), count):
            shown += 1
            if shown == 1:
                say("describe each picture as you would search for it; Enter skips one, q ends")
            caption = _ask(f"{shown}/{count}", record, show_pictures)
            if caption is None:
                break
            if caption:
                labels.append(folder, record, caption)
                stored += 1
    if not shown:
        say("every picture has a caption already")
        return
    say(f"stored {number(stored, 'caption')} in {folder / labels.FILE_NAME}; `mmsearch eval` uses them")


def _ask(count: str, record: ImageRecord, show_picture: bool) -> str | None:
    """The caption that the user types, empty for a picture that is skipped, None to end."""
    facts = record.facts
    taken = f", taken {facts.taken_at}" if facts.taken_at else ""
    tell([f"{count}  {record.path}  ({facts.width} x {facts.height}{taken})"], to_stderr=True)
    if show_picture:
        _open(record.path)
    elif sys.stdin.isatty() and sys.stdout.isatty():
        _draw(record.path)
    print("caption> ", end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    caption = " ".join(line.split())
    if not line:
        print(file=sys.stderr)
    return None if not line or caption in ("q", "Q") else caption


def _draw(path: str) -> None:
    """The picture in the terminal itself."""
    from mmsearch.cli.terminal import show
    from mmsearch.rendering.thumbnails import Entry

    show([Entry(path)])


def _open(path: str) -> None:
    from mmsearch.cli.viewer import open_files

    for failed, reason in open_files([path]):
        say(f"{failed}: {reason}")
