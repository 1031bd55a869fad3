"""The options of `mmsearch query`: the words of a question, and what becomes of the results.

The words are declared in `mmsearch.query.words`; what only the command line has is declared here.
"""

# Annotations are evaluated here (no `from __future__`): Typer reads them in every process.

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypedDict, get_origin

import typer

from mmsearch.cli.options import CollectionOption, TrustModelOption
from mmsearch.query import words
from mmsearch.query.value_types import kinds_of, members

# The section of the help that an option is in follows from the class in which it is declared.


class Asking(words.Text, words.Terms, words.Reading, total=False):
    """What to look for."""

    session: Annotated[
        str | None,
        typer.Option(
            "--session", metavar="NAME", help="Name this answer so that --more and --less can refine it later."
        ),
    ]
    batch: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Answer the query on each line of FILE (text or a JSON object) with a line of JSON; - is stdin.",
        ),
    ]


class Filtering(words.Filtering, total=False):
    """Which images may be results."""

    # An earlier word, see `words.EARLIER`.
    in_: Annotated[list[str] | None, typer.Option("--in", hidden=True)]


class Results(words.Results, total=False):
    """How many, and how good."""

    # Weak matches were once left out of the table without it; scripts that give it go on working.
    show_all: Annotated[bool, typer.Option("--all", hidden=True)]


class Outputs(TypedDict, total=False):
    """What is printed."""

    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
    jsonl: Annotated[bool, typer.Option("--jsonl", help="Print one JSON object per line.")]
    paths: Annotated[bool, typer.Option("--paths", help="Print only paths, one per line.")]
    print0: Annotated[bool, typer.Option("--print0", "-0", help="Print only paths, each followed by a NUL byte.")]
    csv_output: Annotated[
        bool, typer.Option("--csv", help="Print CSV: a header with the JSON's field names, then one line per result.")
    ]
    csv_safe: Annotated[
        bool,
        typer.Option(
            "--csv-safe",
            help="With --csv: quote texts, and put ' before those that a spreadsheet would take for a formula.",
        ),
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
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Let --gallery and --montage replace any file; without it, only pages and contact sheets of mmsearch.",
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
    """Where, and whether its model is trusted."""

    collection: CollectionOption
    trust_model: TrustModelOption


# The titles of the sections, by the group.
SECTIONS = {
    "Asking": Asking,
    "Filters": Filtering,
    "Results": Results,
    "Output": Outputs,
    "Actions": Acting,
    "Other": Others,
}

# Flags that are not the word with -- before it.
FLAGS = {
    "top": ("--top", "-k"),
    "templates": ("--templates/--raw",),
    "centring": ("--centring/--no-centring",),
    "has_gps": ("--has-gps/--no-gps",),
}

# What the command line reads in another way than Python and batch lines do.
OWN: dict[str, Any] = {
    "text": Annotated[
        list[str] | None, typer.Argument(metavar="TEXT...", help="What to look for, in words; quotes are not needed.")
    ],
    "image": Annotated[
        list[str] | None,
        typer.Option(
            "--image",
            metavar="PATH[:WEIGHT]",
            help="Find images like this file or http(s) URL (- reads standard input); repeatable.",
        ),
    ],
    "more": Annotated[
        list[str] | None,
        typer.Option(
            "--more",
            metavar="RANKS",
            help="Ask the last question again, for more images like its results 3,5 (or #ID); repeatable.",
        ),
    ],
    "less": Annotated[
        list[str] | None,
        typer.Option(
            "--less",
            metavar="RANKS",
            help="Ask the last question again, for fewer images like these; combines with --more.",
        ),
    ],
}


def options() -> dict[str, Any]:
    """Every option's name and its type as Typer reads it, in the order of the sections."""
    hints = {name: hint for group in SECTIONS.values() for name, hint in group.__annotations__.items()}
    found = {name: OWN.get(name) or _option(name, hint) for name, hint in hints.items()}
    return {name: hint for name, hint in found.items() if get_origin(hint) is Annotated}


def _option(name: str, hint: Any) -> Any:
    """What Typer reads of a word; anything else stays as it is."""
    word = next((one for one in getattr(hint, "__metadata__", ()) if isinstance(one, words.Word)), None)
    if word is None:
        return hint
    is_repeatable = any(get_origin(member) is Sequence for member in members(hint))
    option = typer.Option(
        *FLAGS.get(name, (f"--{name.replace('_', '-')}",)),
        metavar=word.value or None,
        help=f"{word.help.removesuffix('.')}; repeatable." if is_repeatable else word.help,
        show_default=word.default or False,
    )
    kind = list[str] if is_repeatable else next(kind for kind in _KINDS if kind in kinds_of(hint))
    return Annotated[kind | None, option]


# The first of these that a word's value may be is what its option reads.
_KINDS = (str, float, int, bool)
