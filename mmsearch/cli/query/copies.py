"""Copies of results and links to them in a folder. Nothing that is there is ever overwritten.

What lies in the user's folders may have been exchanged since it was indexed, by others who may write there: a file for
a link to one that only the user may read. So a file is opened through no link (see `mmsearch.base.beneath`), and a copy
is kept only where it has the bytes that were indexed.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mmsearch.base import beneath
from mmsearch.base.errors import SourceError
from mmsearch.images.content_hash import new_hash

# Bytes that are read, hashed and written at a time.
_PIECE_BYTES = 1 << 20

# What a copy keeps of its original's mode: not that it runs with its owner's rights, nor a folder's sticky bit.
_PERMISSIONS = 0o777

# Where Linux keeps who else may do what with a file. Without it the mode would give its group what the list gives one.
_ACCESS_LIST = "system.posix_acl_access"

_CHANGED = "it has changed since it was indexed, so it is not copied; `mmsearch index` reads it again"
_NO_PATH = "no file can have this path; `mmsearch doctor` checks the collection"


@dataclass(frozen=True, slots=True)
class Original:
    """An indexed file: its path, its size in bytes and its content hash (hex) as they were indexed, and the folder from
    which on no link leads to it (None: links are followed)."""

    path: str
    size: int
    content_hash: str
    beneath: str | None


def put_all(
    files: Sequence[Original], folder: Path, act: Callable[[Original, str], None], *, numbered: bool = False
) -> list[tuple[str, str]]:
    """`act(file, target)` for each file, in the order given; `folder` is made where it is missing.

    A target is the file's own name, or NAME-2.jpg, NAME-3.jpg ... where that is taken; with `numbered` the rank comes
    first, with as many digits as the last one has: 01-NAME.jpg. Returns (path, reason) of those that failed.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise SourceError(f"cannot create the folder {folder}: {reason}", "choose another one") from error
    failures, digits = [], len(str(len(files)))
    names = _Names(os.path.abspath(folder))
    for rank, file in enumerate(files, 1):
        try:
            name = _name(file.path)
            _put(file, names.free(f"{rank:0{digits}}-{name}" if numbered else name), act)
        except OSError as error:
            failures.append((file.path, error.strerror or str(error)))
    return failures


def _name(path: str) -> str:
    """The name of a file. Raises `OSError` for a path that leads elsewhere than it says."""
    if "\0" in path or not os.path.isabs(path) or os.path.normpath(path) != path or not os.path.basename(path):
        raise OSError(errno.EINVAL, _NO_PATH)
    return os.path.basename(path)


class _Names:
    """Targets in a folder. Where many files have the same name, none of its numbers is tried twice."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._next: dict[str, int] = {}

    def free(self, name: str) -> Iterator[str]:
        """Paths for a file of this name, until one is found that is not taken."""
        stem, ending = os.path.splitext(name)
        while True:
            count = self._next.get(name, 1)
            self._next[name] = count + 1
            yield os.path.join(self._folder, name if count == 1 else f"{stem}-{count}{ending}")


def _put(file: Original, targets: Iterator[str], act: Callable[[Original, str], None]) -> None:
    for target in targets:
        try:
            act(file, target)
        except FileExistsError:
            continue
        return


def link(file: Original, target: str) -> None:
    """A symbolic link with the absolute path. Raises `FileExistsError` where `target` is taken, else `OSError`."""
    with _opened(file, getattr(os, "O_PATH", os.O_RDONLY)):
        os.symlink(file.path, target)


def copy(file: Original, target: str) -> None:
    """The file's bytes, times and permissions. Raises `FileExistsError` where `target` is taken, else `OSError`.

    Only its user can read it until it is whole. A copy that fails halfway, on a full disk for example, or turns out not
    to be what was indexed, is taken away again.
    """
    with _opened(file, os.O_RDONLY) as source:
        if os.fstat(source).st_size != file.size:
            raise OSError(_CHANGED)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        descriptor = os.open(target, flags, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as made:
                if _transfer(source, made) != file.content_hash:
                    raise OSError(_CHANGED)
                made.flush()
                _dress(source, descriptor if os.utime in os.supports_fd else target)
        except BaseException:
            os.unlink(target)
            raise


@contextmanager
def _opened(file: Original, access: int) -> Iterator[int]:
    """A descriptor of the regular file that is there. A pipe must not hold us up."""
    flags = access | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
    descriptor = beneath.open_descriptor(file.path, flags, file.beneath)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("not a regular file")
        yield descriptor
    finally:
        os.close(descriptor)


def _transfer(source: int, made: IO[bytes]) -> str:
    """Copy the bytes; returns their hash (hex)."""
    found = new_hash()
    while piece := os.read(source, _PIECE_BYTES):
        found.update(piece)
        made.write(piece)
    return found.hexdigest()


def _dress(source: int, made: int | str) -> None:
    """Give a copy the times and the permissions of its original, and what users' programs have noted of it."""
    status = os.fstat(source)
    with suppress(OSError, AttributeError):  # other systems have no such notes, and some disks none
        for name in os.listxattr(source):
            if name.startswith("user.") or name == _ACCESS_LIST:
                os.setxattr(made, name, os.getxattr(source, name))
    os.utime(made, ns=(status.st_atime_ns, status.st_mtime_ns))
    os.chmod(made, status.st_mode & _PERMISSIONS)
