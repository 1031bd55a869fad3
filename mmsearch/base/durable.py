"""Write files so that what was said to be there outlasts a power cut, and so that only the user can read them."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

# What systems say of a link that is not to be followed: FreeBSD says the second.
_IS_LINK = {errno.ELOOP, getattr(errno, "EMLINK", errno.ELOOP)}


# Of a file that is opened for writing. Windows has none of them but the last.
_CAREFULLY = (
    getattr(os, "O_NOFOLLOW", 0)  # a link in its place is an error
    | getattr(os, "O_NONBLOCK", 0)  # a pipe in its place must not hold us up
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)


def open_to_write(path: str | os.PathLike[str], flags: int, mode: int = 0o600) -> int:
    """A descriptor of a file to write to, made with `mode` where it is missing: every file of ours is opened here.

    Raises `OSError` where anything but a file is in its place; a link is never followed. `O_TRUNC` acts only after that
    has been looked at.
    """
    try:
        descriptor = os.open(path, (flags & ~os.O_TRUNC) | _CAREFULLY, mode)
    except OSError as error:
        if error.errno in _IS_LINK and os.path.islink(path):
            raise OSError(error.errno, "a link is in its place, which is not followed; remove it") from error
        raise
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "what is in its place is not a file; remove it")
        if flags & os.O_TRUNC:
            os.ftruncate(descriptor, 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A new file for the user only that takes the name `path` at the end, in place of a file or link that has it.

    Nobody ever reads half of it. It is not brought to the disk: see `sync`. Raises `OSError`.
    """
    temporary = path.with_name(f"{path.name}.{os.urandom(8).hex()}.tmp")
    descriptor = open_to_write(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sync(path: Path) -> None:
    """Have the system write a file's bytes, or a folder's names (which makes a rename last), to the disk.

    Windows does so only for a file that is open for writing; for a folder it has no such call, and needs none.
    """
    is_folder = path.is_dir()
    if is_folder and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY) if is_folder else open_to_write(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_private(path: Path, data: bytes, *, lasts: bool = False) -> None:
    """Write a file that only the user can read, by renaming: nobody ever reads half of it. Raises `OSError`.

    With `lasts` a power cut leaves it, or what was there before; without, it may leave neither.
    """
    with replacing(path) as file:
        file.write(data)
        if lasts:
            file.flush()
            os.fsync(file.fileno())


def append_private(path: Path, line: str) -> None:
    """Add a line to a file that only the user can read; it is on the disk when this returns. Raises `OSError`.

    A last line that was cut off is ended first. The file is made where it is missing.
    """
    descriptor = open_to_write(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
    with os.fdopen(descriptor, "r+b") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - 1))
        is_whole = file.read(1) in (b"", b"\n")
        file.write((("" if is_whole else "\n") + line + "\n").encode("utf-8"))
        file.flush()
        os.fsync(descriptor)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write an object as `write_private` does, so that it lasts. Raises `OSError`."""
    write_private(path, json.dumps(content).encode("ascii"), lasts=True)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file; an empty one where there is none, or it is anything else."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
