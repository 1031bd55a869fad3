"""`mmsearch index`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict, Unpack, get_type_hints

import typer

from mmsearch.cli.declared import takes
from mmsearch.cli.options import RUN_DEFAULTS, Running

if TYPE_CHECKING:
    from mmsearch.base.events import Event, Summary
    from mmsearch.base.records import ScanOptions
    from mmsearch.collection.collection import Collection
    from mmsearch.indexing.settings import RunWords


class Indexing(TypedDict, total=False):
    """What to index."""

    dirs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="DIR...", readable=False, help="Folders to index; omit to refresh all known ones."),
    ]
    model: Annotated[
        str,
        typer.Option(
            metavar="MODEL",
            help="Model for a new collection: an alias from `mmsearch models`, ARCH/TAG of open_clip, "
            "hf-hub:ORG/REPO, local-dir:PATH or ARCH:CHECKPOINT. An existing collection keeps its own.",
        ),
    ]
    include: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB",
            help="Only index files that match (gitignore syntax, in any case: '*.jpg' takes X.JPG); repeatable.",
        ),
    ]
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB",
            help="Skip files and folders that match (gitignore syntax, in any case), or a path; repeatable.",
        ),
    ]
    hidden: Annotated[
        bool | None,
        typer.Option(
            "--hidden/--no-hidden",
            help="Include files and folders whose names begin with a dot.",
            show_default="no",
        ),
    ]
    follow_symlinks: Annotated[
        bool | None,
        typer.Option("--follow-symlinks/--no-follow-symlinks", help="Follow symbolic links.", show_default="no"),
    ]
    ignore_inode: Annotated[
        bool | None,
        typer.Option(
            "--ignore-inode/--no-ignore-inode",
            help="Do not read files again whose size and mtime are as before, for file systems that give files a new "
            "ctime or inode at each mount.",
            show_default="no",
        ),
    ]
    default_excludes: Annotated[
        bool | None,
        typer.Option(
            "--default-excludes/--no-default-excludes",
            help="Skip folders of thumbnails and trash (@eaDir, #recycle, $RECYCLE.BIN, .thumbnails and the like) and "
            "AppleDouble files.",
            show_default="yes",
        ),
    ]
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every file again, to find those that have changed unnoticed.")
    ]
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try files again that could not be indexed and have not changed.")
    ]
    force: Annotated[
        bool, typer.Option("--force", help="Read and encode every file again, with its date, camera and position.")
    ]
    formats: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Image formats to open, from now on: default, all, or names; -NAME closes one: `default,fits,-psd`. "
            "`mmsearch help indexing` lists them.",
            show_default="as before",
        ),
    ]


class IndexOptions(Indexing, Running, total=False):
    """The options of `mmsearch index`."""


@takes(get_type_hints(IndexOptions, include_extras=True), RUN_DEFAULTS | {"model": "auto", "verify": False})
def index(**given: Unpack[IndexOptions]) -> None:
    """Index folders: encode what changed, forget what is gone.

    The options --include, --exclude, --hidden, --follow-symlinks, --ignore-inode and --default-excludes are remembered
    for each folder; giving any of them again replaces all six. Those of a folder around it hold as well. --formats is
    remembered for the collection. Ctrl-C keeps what is done; the same command resumes there.
    """
    from mmsearch.base.events import Finished
    from mmsearch.cli.running import finish, run

    options = _options(given)

    def start(photos: Collection, how: RunWords) -> Iterator[Event]:
        dirs, model = given["dirs"] or None, given["model"]
        again = {name: given[name] for name in ("verify", "retry_failed", "force")}
        return photos.add_events(dirs, model=model, options=options, formats=given["formats"], **again, **how)

    last = run(given, start)
    assert isinstance(last, Finished)
    finish(last.summary, describe(last.summary), last.summary.skipped, given["json_output"])


def describe(summary: Summary) -> list[str]:
    """The closing lines of a run."""
    from mmsearch.indexing import passed_over
    from mmsearch.rendering.text import number

    counts = ("new", "changed", "moved", "unchanged", "removed", "skipped")
    line = ", ".join(f"{getattr(summary, name):,} {name}" for name in counts)
    pace = f" ({summary.images_per_s:.1f} images/s)" if summary.encoded else ""
    lines = [f"{line} in {summary.seconds:.1f} s{pace}; {number(summary.total, 'image')} in the collection"]
    if summary.kept:
        lines.append(f"{summary.kept:,} of the skipped files stay in the collection as they were last indexed")
    if summary.remarked:
        are = "image is" if summary.remarked == 1 else "images are"
        lines.append(
            f"{summary.remarked:,} {are} incomplete or the preview of a RAW photo;"
            ' `mmsearch query --where "remark is not null"` lists them'
        )
    seen = passed_over.told(summary.passed_over)
    if seen:
        lines.append(seen)
    if summary.known_failures:
        lines.append(f"{number(summary.known_failures, 'file')} could not be read earlier; `mmsearch info` lists them")
    if summary.interrupted:
        kept = (
            "what is done is kept, and the same command resumes from here" if summary.total else "nothing was done yet"
        )
        lines.insert(0, f"interrupted; {kept}")
    return lines


def _options(given: Indexing) -> ScanOptions | None:
    """What the options of the command say of a scan; None where none of them is given."""
    flags = ("hidden", "follow_symlinks", "ignore_inode", "default_excludes")
    if not given["include"] and not given["exclude"] and all(given[flag] is None for flag in flags):  # type: ignore[literal-required]
        return None
    from mmsearch.base.records import ScanOptions

    return ScanOptions(
        include=tuple(filter(None, given["include"] or ())),
        exclude=tuple(filter(None, given["exclude"] or ())),
        hidden=bool(given["hidden"]),
        follow_symlinks=bool(given["follow_symlinks"]),
        ignore_inode=bool(given["ignore_inode"]),
        default_excludes=given["default_excludes"] is not False,
    )
