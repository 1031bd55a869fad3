"""Bring files to the disk itself, so that what was said to be there outlasts a power cut."""

from __future__ import annotations

import os
from pathlib import Path


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
