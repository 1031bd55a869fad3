"""What `mmsearch query` prints: a table for people, or one of the forms for programs."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mmsearch.cli.render import EXAMPLE, dumps, hit_to_json, printable, say, table, wants_colour, write_bytes
from mmsearch.errors import UsageError
from mmsearch.types import Hit


@dataclass(frozen=True, slots=True)
class Output:
    """The options that choose what is printed; none: the table, without results that are less sure than `likely`."""

    json: bool = False
    jsonl: bool = False
    paths: bool = False
    print0: bool = False
    csv: bool = False
    template: str | None = None
    thumbnails: bool = False
    likely: float | None = None

    def check(self, *, with_batch: bool = False) -> None:
        """Raise `UsageError` for options that exclude each other, and for a template that cannot be meant."""
        forms = (self.json, self.jsonl, self.paths, self.print0, self.csv, self.template is not None)
        if sum(forms) > 1:
            raise UsageError("--json, --jsonl, --csv, --format, --paths and -0 exclude each other", "give one of them")
        if with_batch and (self.thumbnails or (any(forms) and not self.jsonl)):
            raise UsageError("--batch answers in JSON lines", "leave out other outputs")
        if self.thumbnails and any(forms):
            raise UsageError("--thumbnails goes with the table", "leave out the other output")
        if self.template is not None:
            from mmsearch.cli.template import Template

            Template(self.template)

    def shown(self, hits: Sequence[Hit]) -> list[Hit]:
        """The results that are printed: all, but in the table those that are likely or cannot be told to be."""
        forms = (self.json, self.jsonl, self.paths, self.print0, self.csv, self.template is not None)
        if self.likely is None or any(forms):
            return list(hits)
        return [hit for hit in hits if hit.confidence is None or hit.confidence >= self.likely]

    def print(self, hits: Sequence[Hit], asked: dict[str, Any]) -> None:
        """Write the results to stdout; `asked` is echoed by `--json`."""
        if self.json:
            found = [hit_to_json(hit) for hit in hits]
            print(dumps({"query": asked, "count": len(hits), "results": found}, indent=2))
        elif self.jsonl:
            for hit in hits:
                print(dumps(hit_to_json(hit)))
        elif self.csv:
            _print_csv(hits)
        elif self.template is not None:
            from mmsearch.cli.template import Template

            Template(self.template).print(hits)
        elif self.paths or self.print0:
            _print_paths(hits, b"\0" if self.print0 else b"\n")
        else:
            shown = self.shown(hits)
            _print_table(shown, thumbnails=self.thumbnails)
            _say_what_is_missing(len(shown), len(hits) - len(shown))


def _print_csv(hits: Sequence[Hit]) -> None:
    """A first line with the names of the fields, then a line for each result (RFC 4180's quotes; UTF-8, \\n)."""
    import csv
    import io

    text = io.StringIO()
    writer = csv.DictWriter(text, list(hit_to_json(EXAMPLE)), restval="", lineterminator="\n")
    writer.writeheader()
    for hit in hits:
        writer.writerow({name: _cell(value) for name, value in hit_to_json(hit).items()})
    write_bytes(text.getvalue().encode("utf-8", "replace"))


def _cell(value: Any) -> Any:
    """Booleans, lists and objects as JSON writes them; null as nothing."""
    return dumps(value) if isinstance(value, bool | list | dict) else value


def _print_paths(hits: Sequence[Hit], end: bytes) -> None:
    if end == b"\n" and sys.stdout.isatty():
        for hit in hits:
            print(printable(hit.path))
        return
    write_bytes(b"".join(os.fsencode(hit.path) + end for hit in hits))


def _print_table(hits: Sequence[Hit], *, thumbnails: bool) -> None:
    if thumbnails and hits:
        from mmsearch.cli.actions import entries
        from mmsearch.cli.terminal import show

        show(entries(hits))
    for line in table(hits, colour=wants_colour()):
        print(line)


def _say_what_is_missing(shown: int, weak: int) -> None:
    matches = f"{weak} weak {'match' if weak == 1 else 'matches'}"
    if weak and shown:
        say(f"{matches} left out; --all shows them")
    elif weak:
        say(f"nothing found that is likely; {matches} with --all")
    elif not shown:
        say("nothing found")
