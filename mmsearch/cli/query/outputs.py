"""What `mmsearch query` prints: a table for people, or one of the forms for programs."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmsearch.base.errors import UsageError
from mmsearch.base.records import Hit
from mmsearch.cli.console import can_print, dumps, say, terminal_width, wants_colour, write_bytes
from mmsearch.rendering import marks
from mmsearch.rendering.fields import hit_to_json
from mmsearch.rendering.table import DRAWN_WITH, table
from mmsearch.rendering.text import printable

if TYPE_CHECKING:
    from mmsearch.cli.query.question import Question
    from mmsearch.collection.originals import Originals


@dataclass(frozen=True, slots=True)
class Output:
    """The options that choose what is printed; none: the table."""

    json: bool = False
    jsonl: bool = False
    paths: bool = False
    print0: bool = False
    csv: bool = False
    csv_safe: bool = False
    template: str | None = None
    thumbnails: bool = False

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Output:
        """The output that the options of `mmsearch query` ask for."""
        switches = {name: bool(given.get(name)) for name in ("jsonl", "paths", "print0", "thumbnails", "csv_safe")}
        shapes = {"json": bool(given.get("json_output")), "csv": bool(given.get("csv_output"))}
        return cls(**switches, **shapes, template=given.get("template"))

    def check(self, *, with_batch: bool = False) -> None:
        """Raise `UsageError` for options that exclude each other, and for a template that cannot be meant."""
        forms = (self.json, self.jsonl, self.paths, self.print0, self.csv, self.template is not None)
        if sum(forms) > 1:
            raise UsageError(
                "--json, --jsonl, --csv, --format, --paths and -0 exclude each other", "choose one of them"
            )
        if with_batch and (self.thumbnails or (any(forms) and not self.jsonl)):
            raise UsageError("--batch always prints JSON lines", "leave out the other output options")
        if self.csv_safe and not self.csv:
            raise UsageError("--csv-safe only works with --csv", "add --csv, or leave it out")
        if self.thumbnails and any(forms):
            raise UsageError("--thumbnails only works with the table", "leave out the other output option")
        if self.template is not None:
            from mmsearch.cli.query.template import Template

            Template(self.template)

    def print(self, hits: Sequence[Hit], asked: Question, left_out: int, originals: Originals) -> None:
        """Write the results to stdout; `left_out` more were not as sure as was asked for."""
        if self.json:
            found = [hit_to_json(hit) for hit in hits]
            print(dumps({"query": asked.echo, "count": len(hits), "results": found}, indent=2))
        elif self.jsonl:
            for hit in hits:
                print(dumps(hit_to_json(hit)))
        elif self.csv:
            from mmsearch.cli.query.csv_rows import print_csv

            print_csv(hits, safe=self.csv_safe)
        elif self.template is not None:
            from mmsearch.cli.query.template import Template

            Template(self.template).print(hits)
        elif self.paths or self.print0:
            _print_paths(hits, b"\0" if self.print0 else b"\n")
        else:
            if self.thumbnails and hits:
                _show_thumbnails(hits, originals)
            _print_table(hits)
            remark = _remark(hits, asked, left_out)
            if remark:
                say(remark)


def _print_paths(hits: Sequence[Hit], end: bytes) -> None:
    """Paths as they are on disk; a terminal is shown what it would act on."""
    if sys.stdout.isatty():
        for hit in hits:
            print(printable(hit.path), end=end.decode("ascii"))
        return
    write_bytes(b"".join(os.fsencode(hit.path) + end for hit in hits))


def _show_thumbnails(hits: Sequence[Hit], originals: Originals) -> None:
    from mmsearch.cli.query.actions import entries
    from mmsearch.cli.terminal import show

    show(entries(hits, originals))


def _print_table(hits: Sequence[Hit]) -> None:
    width = terminal_width() if sys.stdout.isatty() else None
    for line in table(hits, width=width, colour=wants_colour(), plain=not can_print(DRAWN_WITH)):
        print(line)


def _remark(hits: Sequence[Hit], asked: Question, left_out: int) -> str | None:
    """One line about a table in which nothing is likely; a cut of the user's own says by itself what is enough."""
    least, score = asked.query.min_confidence, asked.query.min_score
    if hits:
        if least is not None or score is not None or not all(map(marks.is_weak, hits)):
            return None
        return f"nothing stands out; {'this is' if len(hits) == 1 else 'these are'} the nearest"
    if left_out and asked.words.get("likely"):
        return f"no confident match; {left_out} weaker without --likely"
    if left_out:
        return f"no match with a confidence of {least:g} or more; {left_out} weaker without --min-confidence"
    return "nothing found" if score is None else f"nothing found with a score of {score:g} or more"
