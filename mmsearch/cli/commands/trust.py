"""`mmsearch trust`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def trust(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="DIR", readable=False, help="Folder of a collection or cache, or one above it."),
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Trust the folder no longer.")] = False,
) -> None:
    """Trust a shared folder; list those that are trusted.

    Nothing is written to collections and caches that belong to other users, or that others may write to, unless you
    trust all who can: they decide what your index runs read, and what your questions find.
    """
    from mmsearch.base.errors import SourceError, UsageError
    from mmsearch.base.ownership import TRUSTED
    from mmsearch.rendering.text import printable

    if folder is None:
        if remove:
            raise UsageError("--remove needs a folder", "`mmsearch trust` lists those that are trusted")
        for path in TRUSTED.all():
            typer.echo(printable(path))
    elif remove:
        if not TRUSTED.remove(folder):
            raise SourceError(f"{folder} is not trusted", "`mmsearch trust` lists the folders that are")
        typer.echo(f"{printable(str(folder))} is trusted no longer", err=True)
    else:
        from mmsearch.indexing.roots import existing_folder

        added = TRUSTED.add(existing_folder(folder))
        typer.echo(f"trusting {printable(added)} and what lies in it", err=True)
