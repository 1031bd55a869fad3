"""Progress on stderr while an index run or a reindex goes on."""

from __future__ import annotations

import sys
from typing import Self

from tqdm import tqdm

from mmsearch.base.events import Event, Notice, Progress, Skipped
from mmsearch.cli.console import say
from mmsearch.rendering.text import printable, shortened


class ProgressBar:
    """Shows events of a run: a bar on a terminal, plain lines for what needs a word everywhere."""

    def __init__(self, doing: str = "indexing") -> None:
        """`doing` is what the bar says while nothing else is to be told."""
        self._doing = doing
        self._bar = tqdm(
            total=0,
            unit="img",
            desc=doing,
            file=sys.stderr,
            disable=not sys.stderr.isatty(),
            dynamic_ncols=True,
            leave=False,
            smoothing=0.1,  # tqdm's share of the newest step: a rate of the last seconds, not of the whole run
            bar_format="{desc}: {n_fmt}/{total_fmt} |{bar}| {rate_fmt}, {remaining} left",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def show(self, event: Event) -> None:
        if isinstance(event, Progress):
            self._advance(event)
        elif isinstance(event, Skipped):
            self.say(f"skipped {event.path}: {event.reason}")
        elif isinstance(event, Notice):
            self.say(event.text)

    def say(self, line: str) -> None:
        """A line of its own, above the bar."""
        with tqdm.external_write_mode(file=sys.stderr):
            say(line)

    def _advance(self, event: Progress) -> None:
        if self._bar.total != event.total:
            self._bar.total = event.total
        self._bar.set_description_str(_doing(event, self._doing), refresh=False)
        self._bar.update(event.done - self._bar.n)


def _doing(event: Progress, doing: str) -> str:
    if event.waiting_for:
        return f"waiting for {shortened(printable(event.waiting_for), 40)}"
    if event.loading:
        return "loading the model"
    return doing if event.scanned else "scanning"
