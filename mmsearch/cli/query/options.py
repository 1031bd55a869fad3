"""The options of `mmsearch query`: what is asked, and what becomes of the results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmsearch.base import config

TextArgument = Annotated[
    list[str] | None, typer.Argument(metavar="TEXT...", help="What to look for, in words; quotes are not needed.")
]
PlusOption = Annotated[
    list[str] | None,
    typer.Option(
        "--plus", metavar="TEXT[:WEIGHT]", help="Also look for this (append :WEIGHT; 1 by default); repeatable."
    ),
]
MinusOption = Annotated[
    list[str] | None,
    typer.Option("--minus", metavar="TEXT[:WEIGHT]", help="Rank images like this lower (append :WEIGHT); repeatable."),
]
ImageOption = Annotated[
    list[str] | None,
    typer.Option(
        "--image",
        metavar="PATH[:WEIGHT]",
        help="Look for images like this file or http(s) address; - reads standard input; repeatable.",
    ),
]
LikeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--like",
        metavar="PATH_OR_ID[:WEIGHT]",
        help="Look for images like an indexed one; loads no model; repeatable.",
    ),
]
ExprOption = Annotated[
    str | None, typer.Option("--expr", metavar="EXPRESSION", help="All terms in one: '2*beach + 0.5*sunset - people'.")
]
MoreOption = Annotated[
    list[str] | None,
    typer.Option(
        "--more",
        metavar="RANKS",
        help="Ask the last question again, for more images like its results 3,5 (or #ID); repeatable.",
    ),
]
LessOption = Annotated[
    list[str] | None,
    typer.Option("--less", metavar="RANKS", help="Ask it again, for fewer images like these; goes with --more."),
]
SessionOption = Annotated[
    str | None,
    typer.Option("--session", metavar="NAME", help="Name this answer so that --more and --less can refine it later."),
]
TemplatesOption = Annotated[
    bool | None,
    typer.Option(
        "--templates/--raw",
        help="Put texts of up to three words in templates, or take them as they are (then not centred either).",
        show_default="what measured best for the model",
    ),
]
CentringOption = Annotated[
    bool | None,
    typer.Option(
        "--centring/--no-centring",
        help="Take off texts of up to five words what all short texts have in common, or never.",
        show_default="what measured best for the model; not with --raw",
    ),
]
LikelyOption = Annotated[bool, typer.Option("--likely", help=f"Only results of confidence {config.LIKELY:g} or more.")]
MinScoreOption = Annotated[float | None, typer.Option(metavar="COSINE", help="Only results with at least this cosine.")]
MinConfidenceOption = Annotated[
    float | None,
    typer.Option(metavar="P", help="Only results with at least this confidence, 0 to 1."),
]
DiverseOption = Annotated[
    bool, typer.Option("--diverse", help="Show near-duplicates once, with their number, and other images instead.")
]
DiverseAtOption = Annotated[
    float | None,
    typer.Option(
        metavar="COSINE",
        help=f"Like --diverse, from this cosine between images on. [default: {config.NEAR_DUPLICATE:g}]",
    ),
]
PrivateOption = Annotated[
    bool,
    typer.Option("--allow-private-urls", help="Fetch --image from this machine and private networks too."),
]
BelowOption = Annotated[
    list[Path] | None,
    typer.Option("--in", metavar="DIR", readable=False, help="Only images in this folder; repeatable."),
]
GlobOption = Annotated[
    list[str] | None,
    typer.Option("--glob", metavar="PATTERN", help="Only files such as 'IMG_*' or '2021/*.jpg'; repeatable."),
]
AfterOption = Annotated[
    str | None,
    typer.Option("--after", metavar="DATE", help="Only images from the start of 2021-07, yesterday, 'last summer' on."),
]
BeforeOption = Annotated[
    str | None, typer.Option("--before", metavar="DATE", help="Only images from before the start of a date.")
]
MinSizeOption = Annotated[
    str | None, typer.Option("--min-size", metavar="SIZE", help="Only files of at least 500k, 10MB, 1.5GiB.")
]
MaxSizeOption = Annotated[
    str | None, typer.Option("--max-size", metavar="SIZE", help="Only files of at most this size.")
]
MinWidthOption = Annotated[
    int | None, typer.Option("--min-width", metavar="PIXELS", help="Only images at least this many pixels wide.")
]
MinHeightOption = Annotated[
    int | None, typer.Option("--min-height", metavar="PIXELS", help="Only images at least this many pixels high.")
]
OrientationOption = Annotated[
    str | None, typer.Option("--orientation", metavar="SHAPE", help="Only landscape, portrait or square images.")
]
ImageFormatOption = Annotated[
    list[str] | None,
    typer.Option("--image-format", metavar="FORMAT", help="Only jpeg, png, heic, ...; repeatable."),
]
CameraOption = Annotated[
    str | None, typer.Option("--camera", metavar="TEXT", help="Only photos by a camera with this in its name.")
]
NearOption = Annotated[
    str | None,
    typer.Option("--near", metavar="LAT,LON,KM", help="Only photos taken within this many kilometres of a place."),
]
HasGpsOption = Annotated[
    bool | None,
    typer.Option("--has-gps/--no-gps", help="Only photos with a location, or only those without.", show_default=False),
]
WhereOption = Annotated[
    str | None,
    typer.Option("--where", metavar="CONDITION", help="Only where \"width > 2000 and camera like '%Canon%'\" holds."),
]


# Weak matches were once left out of the table without it; scripts that give it go on working.
AllOption = Annotated[bool, typer.Option("--all", hidden=True)]
CsvOption = Annotated[bool, typer.Option("--csv", help="Print CSV: the JSON's field names, then a line a result.")]
TemplateOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="TEMPLATE",
        help="Print each result so: '{score:.3f} {path}'; the JSON's fields, name and folder; \\n, \\t, \\0.",
    ),
]
ThumbnailsOption = Annotated[
    bool,
    typer.Option("--thumbnails/--no-thumbnails", help="Show the pictures in the terminal too."),
]
GalleryOption = Annotated[
    Path | None,
    typer.Option(
        metavar="OUT.html", readable=False, help="Also write one web page that holds the pictures and works offline."
    ),
]
MontageOption = Annotated[
    Path | None,
    typer.Option(metavar="OUT.png|jpg", readable=False, help="Also write a contact sheet with rank, score and name."),
]
OpenOption = Annotated[
    bool,
    typer.Option("--open", help="Open the results, at most 20, or the gallery or montage, in the desktop's viewer."),
]
CopyOption = Annotated[
    Path | None,
    typer.Option(metavar="DIR", readable=False, help="Copy the files into this folder; nothing is overwritten."),
]
LinkOption = Annotated[
    Path | None,
    typer.Option(metavar="DIR", readable=False, help="Make symbolic links to the files in this folder."),
]
NumberedOption = Annotated[
    bool, typer.Option("--numbered", help="Put the rank before the names of copies and links: 01-cat.jpg.")
]
FailEmptyOption = Annotated[bool, typer.Option("--fail-empty", help="Exit code 1 when nothing is found, as grep does.")]
