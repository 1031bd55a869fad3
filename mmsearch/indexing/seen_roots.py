"""The folders of a collection that the user has not chosen are named before a refresh reads them.

A collection that came from somewhere else says itself which folders a refresh reads: it may say one that its maker
would like to know more of. So it is kept, in the user's cache, which folders each collection had when this user chose
them or was told. What a collection says of itself does not count; where the cache is emptied they are named once more.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress

from mmsearch.base import cache, ownership
from mmsearch.base.durable import open_to_write
from mmsearch.base.errors import UntrustedError
from mmsearch.store.catalog import Catalog
from mmsearch.store.trust import CATALOG_NAME

# Below the cache directory: an empty file for each collection and its folders, named after a digest of both.
_FOLDER = "roots"


def is_seen(catalog: Catalog) -> bool:
    """Whether the folders are those that this user has chosen, or been told of; so it is where there are none."""
    seen = cache.own_folder(_FOLDER)
    return not catalog.roots.stored() or (seen is not None and (seen / _digest(catalog)).exists())


def remember(catalog: Catalog) -> None:
    """The folders are seen from now on. Where that cannot be kept, they are named again."""
    if catalog.roots.stored() and not is_seen(catalog):
        with suppress(OSError, UntrustedError):
            os.close(open_to_write(cache.made_folder(_FOLDER) / _digest(catalog), os.O_WRONLY | os.O_CREAT))


def warning(catalog: Catalog) -> str | None:
    """A line that names all folders of a collection that somebody else made, or changed; None for the user's own."""
    maker = _other_owner(catalog)
    if not catalog.roots.stored() or (maker is None and is_seen(catalog)):
        return None
    made = f"that {maker} has made" if maker else "that was made or changed elsewhere"
    folders = ", ".join(os.fsdecode(path) for path, _ in catalog.roots.stored())
    return f"refreshing a collection {made}; its folders: {folders}"


def _other_owner(catalog: Catalog) -> str | None:
    """Who owns the collection, where that is somebody else."""
    for path in (catalog.folder, catalog.folder / CATALOG_NAME):
        status = path.stat()
        if not ownership.is_this_users(status):
            return ownership.name_of(status.st_uid)
    return None


def _digest(catalog: Catalog) -> str:
    parts = [os.fsencode(os.path.realpath(catalog.folder))]
    parts += [part for path, options in catalog.roots.stored() for part in (path, options.encode())]
    return hashlib.blake2b(b"\0".join(parts), digest_size=16).hexdigest()
