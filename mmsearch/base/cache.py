"""The folders of the cache, which are used only where nobody but the user can have put anything into them."""

from __future__ import annotations

from pathlib import Path

from mmsearch.base import config, ownership
from mmsearch.base.errors import UntrustedError
from mmsearch.base.paths import make_private


def folder(name: str) -> Path:
    """The folder of this name, which need not exist. Raises `UntrustedError` where others may have written to it."""
    top = config.cache_dir()
    found = top / name
    why = ownership.doubt(top) or ownership.doubt(found)
    if why and not ownership.is_trusted(top):
        raise ownership.untrusted("the cache is not used", top, why)
    return found


def own_folder(name: str) -> Path | None:
    """`folder`, or None where it raises: for what can be done without."""
    try:
        return folder(name)
    except UntrustedError:
        return None


def made_folder(name: str) -> Path:
    """`folder`, made where it is missing. Raises `OSError` where that cannot be."""
    make_private(folder(name))
    return folder(name)  # asked again: what was missing may have been made by somebody else
