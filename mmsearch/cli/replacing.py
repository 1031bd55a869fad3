"""What a file that an option names may replace: nothing that is not mmsearch's own, unless the user says so."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from mmsearch.base.errors import UsageError
from mmsearch.collection.originals import Originals
from mmsearch.rendering import output_file
from mmsearch.store.connection import CATALOG_NAME


def check(option: str, out: Path, is_ours: Callable[[bytes], bool], *, overwrite: bool) -> None:
    """Raise `UsageError` where `out`, which `option` names, must not be written.

    `is_ours` is given the start of a file (`output_file.HEAD_BYTES`) and says whether the option has made it: then it
    is replaced, as is an empty file. Any other is only with `overwrite`, and nothing at all inside a collection.
    """
    if output_file.is_stream(out):
        return
    collection = collection_around(out.parent)
    if collection is not None:
        raise UsageError(f"{option} {out} lies in the collection {collection}", "choose a file outside it")
    if overwrite or not os.path.lexists(out):
        return
    if out.is_symlink():
        raise UsageError(f"{option} {out} is a symbolic link", "name another file, or add --overwrite to replace it")
    if out.is_dir():
        raise UsageError(f"{option} {out} is a folder", "name a file")
    if not is_ours(output_file.head(out)) and not _is_empty(out):
        hint = "name another file, or add --overwrite to replace it"
        raise UsageError(f"{option} {out} exists, and mmsearch has not made it", hint)


def check_originals(option: str, out: Path, originals: Originals) -> None:
    """Raise `UsageError` where `out` is an indexed file: no option replaces one."""
    if not output_file.is_stream(out) and originals.have(out):
        raise UsageError(f"{option} {out} is an indexed picture", "name another file: originals are never replaced")


def collection_around(folder: Path) -> Path | None:
    """The collection that a folder is, or lies in."""
    place = Path(os.path.realpath(folder))
    return next((above for above in (place, *place.parents) if is_collection(above)), None)


def is_collection(folder: Path) -> bool:
    """Whether a folder holds a catalog."""
    return os.path.lexists(folder / CATALOG_NAME)


def _is_empty(path: Path) -> bool:
    try:
        return path.stat().st_size == 0
    except OSError:
        return False
