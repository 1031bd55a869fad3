"""The options of `mmsearch query` that say what becomes of the results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
    typer.Option("--thumbnails/--no-thumbnails", help="Show the pictures in the terminal too. [default: no]"),
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
