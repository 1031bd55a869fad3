"""`mmsearch forget`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmsearch.cli.options import CollectionOption, WaitOption


def forget(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", readable=False, help="A folder that was indexed, or one below it.")
    ],
    wait: WaitOption = 0.0,
    collection: CollectionOption = None,
) -> None:
    """Drop a folder's images from the collection.

    The files themselves are not touched.
    """
    from mmsearch.cli.console import say
    from mmsearch.collection.collection import Collection
    from mmsearch.rendering.text import number

    with Collection.open(collection, notice=say) as photos:
        removed = photos.forget(folder, wait=wait)
    typer.echo(f"forgot {number(removed, 'image')}", err=True)
