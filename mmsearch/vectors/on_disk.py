"""Whether a vector file is as it was written, and which files nobody names any more. Needs no library."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from mmsearch.base.cleaning import ours, remove_ours
from mmsearch.base.errors import StorageError

PREFIX = "vectors-"
SUFFIX = ".faiss"

# What mmsearch itself writes: a file of another name is the user's, whatever it begins with.
_OURS = re.compile(rf"{PREFIX}[0-9a-f]{{32}}{re.escape(SUFFIX)}(\.tmp)?")


def is_ours(name: str) -> bool:
    """Whether a name is one that mmsearch gives to an index file: it has no folder in it."""
    return _OURS.fullmatch(name) is not None


def digest(path: Path, count: int | None = None) -> str:
    """BLAKE2b-128 (hex) of a file's first `count` bytes, or of all of it."""
    state = hashlib.blake2b(digest_size=16)
    left = path.stat().st_size if count is None else count
    with path.open("rb") as file:
        while left > 0 and (part := file.read(min(left, 1 << 20))):
            state.update(part)
            left -= len(part)
    return state.hexdigest()


def check(path: Path, size: int | None, head_bytes: int | None, head_digest: str | None) -> None:
    """Raise `StorageError` where a file is missing, has another size, or its first `head_bytes` another digest."""
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise StorageError(f"the vector file {path} is not a plain file")
        if size is not None and path.stat().st_size != size:
            raise StorageError(f"the vector file {path} is incomplete: {path.stat().st_size:,} of {size:,} bytes")
        if head_digest is not None and digest(path, head_bytes) != head_digest:
            raise StorageError(f"the vector file {path} is damaged")
    except OSError as error:
        raise StorageError(f"cannot open the vector file {path} ({error.strerror or error})") from error


def others(folder: Path, keep: Iterable[str]) -> list[Path]:
    """Index files that are not to be kept, finished or not, by name."""
    kept = set(keep)
    return [path for path in ours(folder, _OURS, through_links=True) if path.name not in kept]


def remove_others(folder: Path, keep: Iterable[str]) -> None:
    """Delete index files that the catalog no longer names, and unfinished ones. A reader that has one open keeps it."""
    for path in others(folder, keep):
        with suppress(PermissionError):  # Windows keeps a file that a reader has open; the next run removes it
            remove_ours(path, through_links=True)
