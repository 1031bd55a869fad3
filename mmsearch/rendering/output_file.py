"""Write a file that the user named: whole or not at all, for the user only, and never through a link."""

from __future__ import annotations

import os
import re
import stat
import tempfile
from pathlib import Path

from mmsearch.base.errors import StorageError

# Bytes at the start of a file in which pages and contact sheets have their mark: a page's stands before its pictures.
HEAD_BYTES = 4096

# The names of a program's own streams, which are links to whatever they lead to.
_STREAMS = re.compile(r"/dev/(stdout|stderr|fd/\d+)|/proc/(self|\d+)/fd/\d+")


def write(out: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` beside `out` and give it that name (mode 0600): what was there is replaced, a link too.

    Pipes and devices, /dev/stdout among them, are written to. Raises `StorageError`.
    """
    path = Path(out)
    try:
        if _is_own_stream(path):
            path.write_bytes(data)
        elif is_stream(path):
            with os.fdopen(os.open(path, os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0)), "wb") as stream:
                stream.write(data)
        else:
            _replace(path, data)
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(f"cannot write {path}: {reason}", "choose another file") from error


def is_stream(path: Path) -> bool:
    """Whether what is there is written to, not replaced: a pipe, a device, a stream that the program was given."""
    if _is_own_stream(path):
        return True
    try:
        kind = path.lstat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(kind) or stat.S_ISDIR(kind) or stat.S_ISLNK(kind))


def _is_own_stream(path: Path) -> bool:
    return _STREAMS.fullmatch(os.path.abspath(path)) is not None


def head(path: Path) -> bytes:
    """The first `HEAD_BYTES` bytes of a regular file; nothing of anything else, and of one that cannot be read."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    try:
        with os.fdopen(os.open(path, flags), "rb") as file:
            return file.read(HEAD_BYTES) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""
    except OSError:
        return b""


def _replace(path: Path, data: bytes) -> None:
    if path.is_dir() and not path.is_symlink():
        raise IsADirectoryError(f"{path} is a folder")
    descriptor, temporary = tempfile.mkstemp(prefix=".mmsearch-", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
