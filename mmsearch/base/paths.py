"""Paths as the user means them, and folders for the user only."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from mmsearch.base.errors import UsageError

AnyPath = str | os.PathLike[str]


def absolute(path: AnyPath) -> str:
    """A path as an absolute one, `~` resolved; symbolic links stay. Raises `UsageError` for a NUL character."""
    text = os.path.abspath(os.path.expanduser(os.fspath(path)))
    if "\0" in text:
        raise UsageError("a path contains a NUL character", "check the path")
    return text


def make_private(folder: Path) -> None:
    """Make a folder and what is missing above it, for the user only. One that is there keeps its mode."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for made in reversed(missing):
        made.mkdir(mode=0o700, exist_ok=True)


def is_within(path: str, folder: str) -> bool:
    """Whether an absolute path is a folder's own or lies below it."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def nearest(path: str, folders: Collection[str]) -> str | None:
    """The one of `folders` (best a set) that an absolute path is, or lies in most closely; None where there is none.

    As quick for very many folders as for few.
    """
    while path not in folders:
        above = os.path.dirname(path)
        if above == path:
            return None
        path = above
    return path
