"""The files that a collection was made of, for those who read them again, or write beside them."""

from __future__ import annotations

import os

from mmsearch.base.paths import is_within
from mmsearch.store.catalog import Catalog


class Originals:
    """How indexed files may be opened, and which files are indexed ones.

    `formats` are those that the collection opens, as `index --formats` lists them.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._roots = catalog.roots.links_followed()
        self.formats = catalog.formats()

    def beneath(self, path: str) -> str | None:
        """The folder from which on no link leads to an indexed file, None where links are followed: as its root and
        those around that were indexed.

        A file in no root, which only a damaged catalog has, is reached through no link at all.
        """
        above = [root for root in self._roots if is_within(path, root)]
        if not above:
            return os.path.splitdrive(path)[0] + os.sep
        return None if any(self._roots[root] for root in above) else max(above, key=len)

    def have(self, path: str | os.PathLike[str]) -> bool:
        """Whether there is a file at a path that is an indexed one, by whatever way the path leads there.

        A link is not what it leads to; other names of an indexed file (hard links) are other files.
        """
        try:
            status = os.lstat(path)
        except (OSError, ValueError):
            return False
        return any(_is(other, status) for other in self._catalog.files.named(os.path.basename(os.path.abspath(path))))


def _is(path: str, status: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.lstat(path), status)
    except (OSError, ValueError):
        return False
