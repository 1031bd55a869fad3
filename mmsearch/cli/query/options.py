"""The options of `mmsearch query`: what is asked, and what becomes of the results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypedDict

import typer

from mmsearch.base import config
from mmsearch.cli.options import CollectionOption

# Every option of `mmsearch query` is declared once: its place here gives its section of the help.


class Asking(TypedDict, total=False):
    """What to look for."""

    text: Annotated[
        list[str] | None, typer.Argument(metavar="TEXT...", help="What to look for, in words; quotes are not needed.")
    ]
    plus: Annotated[
        list[str] | None,
        typer.Option(
            "--plus", metavar="TEXT[:WEIGHT]", help="Also look for this (append :WEIGHT, default 1); repeatable."
        ),
    ]
    minus: Annotated[
        list[str] | None,
        typer.Option(
            "--minus", metavar="TEXT[:WEIGHT]", help="Rank images like this lower (append :WEIGHT); repeatable."
        ),
    ]
    image: Annotated[
        list[str] | None,
        typer.Option(
            "--image",
            metavar="PATH[:WEIGHT]",
            help="Find images like this file or http(s) URL (- reads standard input); repeatable.",
        ),
    ]
    like: Annotated[
        list[str] | None,
        typer.Option(
            "--like",
            metavar="PATH_OR_ID[:WEIGHT]",
            help="Find images like this indexed one, without loading the model; repeatable.",
        ),
    ]
    expr: Annotated[
        str | None,
        typer.Option(
            "--expr", metavar="EXPRESSION", help="All terms in one expression: '2*beach + 0.5*sunset - people'."
        ),
    ]
    more: Annotated[
        list[str] | None,
        typer.Option(
            "--more",
            metavar="RANKS",
            help="Ask the last question again, for more images like its results 3,5 (or #ID); repeatable.",
        ),
    ]
    less: Annotated[
        list[str] | None,
        typer.Option(
            "--less",
            metavar="RANKS",
            help="Ask the last question again, for fewer images like these; combines with --more.",
        ),
    ]
    session: Annotated[
        str | None,
        typer.Option(
            "--session", metavar="NAME", help="Name this answer so that --more and --less can refine it later."
        ),
    ]
    templates: Annotated[
        bool | None,
        typer.Option(
            "--templates/--raw",
            help="Put texts of up to three words into prompt templates, or use them exactly as given, not centred.",
            show_default="whichever measured best for the model",
        ),
    ]
    centring: Annotated[
        bool | None,
        typer.Option(
            "--centring/--no-centring",
            help="Subtract what all short texts have in common from texts of up to five words, or never do.",
            show_default="whichever measured best for the model; off with --raw",
        ),
    ]
    allow_private_urls: Annotated[
        bool,
        typer.Option("--allow-private-urls", help="Also fetch --image from this machine and from private networks."),
    ]
    batch: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Answer the query on each line of FILE (text or a JSON object) with a line of JSON; - is stdin.",
        ),
    ]


class Filtering(TypedDict, total=False):
    """Which images may be results."""

    below: Annotated[
        list[Path] | None,
        typer.Option("--in", metavar="DIR", readable=False, help="Only images in this folder; repeatable."),
    ]
    glob: Annotated[
        list[str] | None,
        typer.Option(
            "--glob", metavar="PATTERN", help="Only files that match 'IMG_*', '2021/*.jpg' or the like; repeatable."
        ),
    ]
    after: Annotated[
        str | None,
        typer.Option(
            "--after", metavar="DATE", help="Only images from this date on: 2021-07, yesterday, 'last summer', ..."
        ),
    ]
    before: Annotated[str | None, typer.Option("--before", metavar="DATE", help="Only images from before this date.")]
    min_size: Annotated[
        str | None,
        typer.Option("--min-size", metavar="SIZE", help="Only files of at least this size: 500k, 10MB, 1.5GiB."),
    ]
    max_size: Annotated[str | None, typer.Option("--max-size", metavar="SIZE", help="Only files of at most this size.")]
    min_width: Annotated[
        int | None, typer.Option("--min-width", metavar="PIXELS", help="Only images at least this many pixels wide.")
    ]
    min_height: Annotated[
        int | None, typer.Option("--min-height", metavar="PIXELS", help="Only images at least this many pixels high.")
    ]
    orientation: Annotated[
        str | None, typer.Option("--orientation", metavar="SHAPE", help="Only landscape, portrait or square images.")
    ]
    image_format: Annotated[
        list[str] | None,
        typer.Option(
            "--image-format", metavar="FORMAT", help="Only images in this format: jpeg, png, heic, ...; repeatable."
        ),
    ]
    camera: Annotated[
        str | None, typer.Option("--camera", metavar="TEXT", help="Only photos from cameras with this in their name.")
    ]
    near: Annotated[
        str | None,
        typer.Option("--near", metavar="LAT,LON,KM", help="Only photos taken within KM kilometres of a place."),
    ]
    has_gps: Annotated[
        bool | None,
        typer.Option(
            "--has-gps/--no-gps", help="Only photos with a GPS location, or only those without.", show_default=False
        ),
    ]
    where: Annotated[
        str | None,
        typer.Option(
            "--where", metavar="CONDITION", help="Only images that satisfy \"width > 2000 and camera like '%Canon%'\"."
        ),
    ]


class Results(TypedDict, total=False):
    """How many, and how good."""

    top: Annotated[int, typer.Option("--top", "-k", metavar="N", help="Number of results.")]
    likely: Annotated[
        bool, typer.Option("--likely", help=f"Only results with a confidence of {config.LIKELY:g} or more.")
    ]
    min_confidence: Annotated[
        float | None,
        typer.Option(metavar="P", help="Only results with at least this confidence (0 to 1)."),
    ]
    min_score: Annotated[float | None, typer.Option(metavar="COSINE", help="Only results with at least this cosine.")]
    # Weak matches were once left out of the table without it; scripts that give it go on working.
    show_all: Annotated[bool, typer.Option("--all", hidden=True)]
    diverse: Annotated[
        bool,
        typer.Option(
            "--diverse", help="Show near-duplicates once, with their number, and other images in their place."
        ),
    ]
    diverse_at: Annotated[
        float | None,
        typer.Option(
            metavar="COSINE",
            help=f"Like --diverse, with near-duplicates from this cosine on. [default: {config.NEAR_DUPLICATE:g}]",
        ),
    ]
    include_self: Annotated[bool, typer.Option("--include-self", help="Also show the query image itself.")]
    exact: Annotated[bool, typer.Option("--exact", help="Compare with every image, however many there are.")]
    offline: Annotated[bool, typer.Option("--offline", help="Also show images in folders that are offline.")]


class Outputs(TypedDict, total=False):
    """What is printed."""

    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
    jsonl: Annotated[bool, typer.Option("--jsonl", help="Print one JSON object per line.")]
    paths: Annotated[bool, typer.Option("--paths", help="Print only paths, one per line.")]
    print0: Annotated[bool, typer.Option("--print0", "-0", help="Print only paths, each followed by a NUL byte.")]
    csv_output: Annotated[
        bool, typer.Option("--csv", help="Print CSV: a header with the JSON's field names, then one line per result.")
    ]
    template: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="TEMPLATE",
            help="Print each result like '{score:.3f} {path}'; with the JSON's fields, name, folder, \\n, \\t, \\0.",
        ),
    ]
    thumbnails: Annotated[
        bool,
        typer.Option("--thumbnails/--no-thumbnails", help="Also show the pictures in the terminal."),
    ]


class Acting(TypedDict, total=False):
    """What is done with the results."""

    gallery: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT.html",
            readable=False,
            help="Also write a self-contained web page with the pictures.",
        ),
    ]
    montage: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT.png|jpg", readable=False, help="Also write a contact sheet with rank, score and name."
        ),
    ]
    open_best: Annotated[
        bool,
        typer.Option(
            "--open", help="Open the results (at most 20), or the gallery or montage, in the desktop's viewer."
        ),
    ]
    copy_to: Annotated[
        Path | None,
        typer.Option(metavar="DIR", readable=False, help="Copy the files into this folder; nothing is overwritten."),
    ]
    link_to: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            readable=False,
            help="Put symbolic links to the files into this folder; nothing is overwritten.",
        ),
    ]
    numbered: Annotated[
        bool, typer.Option("--numbered", help="Start the names of copies and links with the rank: 01-cat.jpg.")
    ]
    fail_empty: Annotated[
        bool, typer.Option("--fail-empty", help="Exit with code 1 when nothing is found, as grep does.")
    ]


class Others(TypedDict, total=False):
    """Where."""

    collection: CollectionOption


class QueryOptions(Asking, Filtering, Results, Outputs, Acting, Others, total=False):
    """All of them, by the names of the words that they are in Python and in batch lines, where they are any."""


# The titles of the sections, by the group.
SECTIONS = {
    "Asking": Asking,
    "Filters": Filtering,
    "Results": Results,
    "Output": Outputs,
    "Actions": Acting,
    "Other": Others,
}

# What an option is that is not given, where that is neither None nor False.
DEFAULTS = {"top": config.DEFAULT_TOP}
