"""Folders whose path is longer than the system takes in one call."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

NAME = "folder" * 40
DEPTH = 20


@contextlib.contextmanager
def deep_folder(above: Path) -> Iterator[tuple[str, int]]:
    """A folder of some 4,900 bytes' path below `above`, and a descriptor of it. It is removed at the end."""
    top = above / NAME
    top.mkdir()
    descriptor, path = os.open(top, os.O_RDONLY), str(top)
    try:
        for _ in range(DEPTH - 1):
            os.mkdir(NAME, dir_fd=descriptor)
            below = os.open(NAME, os.O_RDONLY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor, path = below, f"{path}/{NAME}"
        assert len(path) > 4200
        yield path, descriptor
    finally:
        os.close(descriptor)
        shutil.rmtree(top)
