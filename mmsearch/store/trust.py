"""Whether a collection may be written to: see `mmsearch.base.ownership`.

Reading is allowed from everybody's, without leaving anything in the folder. The catalog's own files must be files: a
link in their place would have SQLite write to what it leads to, whoever is trusted.
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path

from mmsearch.base import ownership
from mmsearch.base.errors import StorageError
from mmsearch.base.ownership import Doubt

CATALOG_NAME = "catalog.sqlite3"

LOCK_NAME = "writer.lock"

# The database and what SQLite keeps beside it; what is in a log or journal becomes part of the database.
CATALOG_FILES = tuple(f"{CATALOG_NAME}{ending}" for ending in ("", "-wal", "-shm", "-journal"))


def doubt(folder: Path) -> Doubt | None:
    """Why nothing is written to the collection in `folder`; None where it may be written to."""
    doubts = (ownership.doubt(path) for path in (folder, *(folder / name for name in CATALOG_FILES)))
    found = next(filter(None, doubts), None)
    return found if found and not ownership.is_trusted(folder) else None


def require(folder: Path) -> None:
    """Raise `UntrustedError` where the collection in `folder` may not be written to, `StorageError` as `require_files`
    does."""
    why = doubt(folder)
    if why:
        raise ownership.untrusted(f"nothing is written to the collection at {folder}", folder, why)
    require_files(folder, (*CATALOG_FILES, LOCK_NAME))


def require_files(folder: Path, names: Sequence[str] = CATALOG_FILES) -> None:
    """Raise `StorageError` where one of the catalog's files is something else than a file: a link, a pipe."""
    for path in (folder / name for name in names):
        try:
            mode = path.lstat().st_mode
        except OSError:
            continue
        if not stat.S_ISREG(mode):
            kind = "a link" if stat.S_ISLNK(mode) else "not a file"
            raise StorageError(f"{path} is {kind}, and is not opened", "remove it, or put the file itself there")
