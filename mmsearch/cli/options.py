"""Options that several commands share, so that they read the same everywhere."""

from __future__ import annotations

from typing import Annotated

import typer

CollectionOption = Annotated[
    str | None,
    typer.Option(
        "--collection",
        "-C",
        metavar="NAME_OR_PATH",
        help="The collection: a name, or the path of a folder. [default: $MMSEARCH_COLLECTION, else `default`]",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
DeviceOption = Annotated[
    str, typer.Option("--device", help="Where the model runs: auto, cpu, cuda, cuda:N or mps.", metavar="DEVICE")
]
