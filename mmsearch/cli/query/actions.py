"""What `mmsearch query` does with results beside printing them: pages, contact sheets, copies, links, a viewer."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmsearch.base.errors import UsageError
from mmsearch.base.records import Hit
from mmsearch.cli import replacing
from mmsearch.cli.console import say
from mmsearch.rendering import marks
from mmsearch.rendering.table import date
from mmsearch.rendering.text import number, printable

if TYPE_CHECKING:
    from mmsearch.collection.originals import Originals
    from mmsearch.rendering.thumbnails import Entry

# Viewers started by one `--open`: each may be a window.
MOST_OPENED = 20

_SOME_FAILED = 3
_NOTHING_FOUND = 1


@dataclass(frozen=True, slots=True)
class Actions:
    """The options of `mmsearch query` that act on results."""

    gallery: Path | None = None
    montage: Path | None = None
    copy_to: Path | None = None
    link_to: Path | None = None
    numbered: bool = False
    overwrite: bool = False
    open_best: bool = False
    fail_empty: bool = False

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Actions:
        """The actions that the options of `mmsearch query` ask for."""
        return cls(**{field.name: given[field.name] for field in fields(cls) if given.get(field.name) is not None})

    def check(self, top: int, *, with_batch: bool = False) -> None:
        """Raise `UsageError`, before the search, for what could only fail after it."""
        if with_batch and self != Actions():
            raise UsageError("--batch always prints JSON lines", "leave out --gallery, --copy-to and the like")
        if self.numbered and self.copy_to is None and self.link_to is None:
            raise UsageError("--numbered only works with copies and links", "add --copy-to DIR or --link-to DIR")
        if self.overwrite and self.gallery is None and self.montage is None:
            raise UsageError("--overwrite only works with --gallery and --montage", "copies never overwrite anything")
        self._check_files(top)
        for option, folder in (("--copy-to", self.copy_to), ("--link-to", self.link_to)):
            if folder is not None and replacing.is_collection(folder):
                raise UsageError(f"{option} {folder} is a collection", "choose another folder")

    def _check_files(self, top: int) -> None:
        if self.gallery is not None:
            from mmsearch.rendering.gallery import is_page

            replacing.check("--gallery", self.gallery, is_page, overwrite=self.overwrite)
        if self.montage is not None:
            from mmsearch.rendering.montage import check, is_sheet

            check(self.montage, top)
            replacing.check("--montage", self.montage, is_sheet, overwrite=self.overwrite)

    def check_originals(self, originals: Originals) -> None:
        """Raise `UsageError`, before the search, where an indexed file would be replaced."""
        for option, out in (("--gallery", self.gallery), ("--montage", self.montage)):
            if out is not None:
                replacing.check_originals(option, out, originals)

    def run(self, hits: Sequence[Hit], title: str, originals: Originals) -> int:
        """Do all of it with the hits, which are those shown. Files that cannot be used are named on stderr.

        Returns the exit code.
        """
        if not hits:
            return _NOTHING_FOUND if self.fail_empty else 0
        failures: list[tuple[str, str]] = []
        if self.gallery is not None:
            from mmsearch.rendering.gallery import write_gallery

            failures += write_gallery(self.gallery, title, entries(hits, originals))
            say(f"wrote {self.gallery}, {number(len(hits), 'image')}")
        if self.montage is not None:
            from mmsearch.rendering.montage import write_montage

            failures += write_montage(self.montage, entries(hits, originals))
            say(f"wrote {self.montage}, {number(len(hits), 'image')}")
        if self.copy_to is not None or self.link_to is not None:
            failures += self._put(hits, originals)
        if self.open_best:
            failures += self._open(hits)
        for path, reason in dict(failures).items():
            say(f"{path}: {reason}")
        return _SOME_FAILED if failures else 0

    def _put(self, hits: Sequence[Hit], originals: Originals) -> list[tuple[str, str]]:
        from mmsearch.cli.query.copies import Original, copy, link, put_all

        failures = []
        images = [hit.image for hit in hits]
        files = [Original(one.path, one.size, one.content_hash, originals.beneath(one.path)) for one in images]
        jobs: list[tuple[Path | None, Callable[[Original, str], None], str]] = [
            (self.copy_to, copy, "copied"), (self.link_to, link, "linked")
        ]  # fmt: skip
        for folder, act, done in jobs:
            if folder is not None:
                failed = put_all(files, folder, act, numbered=self.numbered)
                say(f"{done} {number(len(hits) - len(failed), 'file')} to {folder}")
                failures += failed
        return failures

    def _open(self, hits: Sequence[Hit]) -> list[tuple[str, str]]:
        from mmsearch.cli.viewer import open_files

        made = [os.path.abspath(path) for path in (self.gallery, self.montage) if path is not None]
        if not made and len(hits) > MOST_OPENED:
            say(f"opening the best {MOST_OPENED} of {len(hits)}; --gallery OUT.html --open shows all on one page")
        return open_files(made or [hit.path for hit in hits[:MOST_OPENED]])


def entries(hits: Sequence[Hit], originals: Originals | None = None) -> list[Entry]:
    """What a page or a contact sheet says of each result; with `originals` its picture is read as these say."""
    from mmsearch.rendering.thumbnails import Entry

    weaker = marks.weaker(hits)
    told = zip(hits, weaker, strict=True)
    if originals is None:
        return [Entry(hit.path, _heading(hit), tuple(_notes(hit)), weak) for hit, weak in told]
    formats = originals.formats
    return [
        Entry(hit.path, _heading(hit), tuple(_notes(hit)), weak, formats, originals.beneath(hit.path))
        for hit, weak in told
    ]


def _heading(hit: Hit) -> str:
    measure = date(hit) if hit.score is None else f"{hit.score:.3f}"
    sure = "" if hit.confidence is None else f" · {marks.mark(hit.confidence)}"
    return f"{hit.rank} · {measure}{sure}"


def _notes(hit: Hit) -> list[str]:
    from mmsearch.rendering.text import size

    facts = hit.image.facts
    notes = [f"{facts.width} × {facts.height} · {facts.format} · {size(hit.image.size)}"]
    if facts.taken_at:
        notes.append(printable(facts.taken_at).replace("T", " "))
    if facts.camera:
        notes.append(printable(facts.camera))
    if facts.latitude is not None and facts.longitude is not None:
        notes.append(f"{facts.latitude:.5f}, {facts.longitude:.5f}")
    if hit.confidence is not None:
        notes.append(marks.in_words(hit.confidence))
    if hit.duplicates:
        notes.append(f"and {number(hit.duplicates, 'near-duplicate')}")
    return notes
