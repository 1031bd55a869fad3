"""Write files so that what was said to be there outlasts a power cut, and so that only the user can read them."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def sync(path: Path) -> None:
    """Have the system write a file's bytes, or a folder's names (which makes a rename last), to the disk.

    Windows does so only for a file that is open for writing; for a folder it has no such call, and needs none.
    """
    is_folder = path.is_dir()
    if is_folder and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_private(path: Path, data: bytes, *, lasts: bool = False) -> None:
    """Write a file that only the user can read, by renaming: nobody ever reads half of it. Raises `OSError`.

    With `lasts` a power cut leaves it, or what was there before; without, it may leave neither.
    """
    descriptor, name = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".tmp", dir=path.parent)  # with mode 0600
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            if lasts:
                os.fsync(descriptor)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def append_private(path: Path, line: str) -> None:
    """Add a line to a file that only the user can read; it is on the disk when this returns. Raises `OSError`.

    A last line that was cut off is ended first. The file is made where it is missing.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
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
