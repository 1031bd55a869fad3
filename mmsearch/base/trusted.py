"""Folders that the user has said to trust: one absolute path a line, a list for each purpose, in the user's settings.

A folder stands for all that lies in it. Paths are kept with links resolved, so that a link which is turned elsewhere is
not trusted with what it leads to then.
"""

from __future__ import annotations

import os

from mmsearch.base.errors import StorageError, UsageError
from mmsearch.base.lines import Lines
from mmsearch.base.paths import absolute, is_within


class TrustedFolders:
    """The list for one purpose, `trusted-PURPOSE` among the user's settings."""

    def __init__(self, purpose: str) -> None:
        self._lines = Lines(f"trusted-{purpose}")

    def all(self) -> list[str]:
        """The folders, in the order in which they were added."""
        return [os.fsdecode(line) for line in self._lines.all()]

    def covers(self, path: str | os.PathLike[str]) -> bool:
        """Whether `path` is one of the folders, or lies in one."""
        folders = self.all()
        return bool(folders) and any(is_within(os.path.realpath(path), folder) for folder in folders)

    def add(self, folder: str | os.PathLike[str]) -> str:
        """Trust a folder from now on; returns its path as it is kept. Raises `UsageError`, `StorageError`."""
        path = _resolved(folder)
        if "\n" in path:
            raise UsageError(f"the name of {path} has a line break", "rename the folder")
        try:
            self._lines.add(os.fsencode(path))
        except OSError as error:
            raise _unwritable(self._lines, error) from error
        return path

    def remove(self, folder: str | os.PathLike[str]) -> bool:
        """Trust a folder no longer; whether it was on the list. Raises `UsageError`, `StorageError`."""
        try:
            removed = [self._lines.remove(os.fsencode(path)) for path in {absolute(folder), _resolved(folder)}]
        except OSError as error:
            raise _unwritable(self._lines, error) from error
        return any(removed)


def _resolved(folder: str | os.PathLike[str]) -> str:
    return os.path.realpath(absolute(folder))


def _unwritable(lines: Lines, error: OSError) -> StorageError:
    return StorageError(f"{lines.path} cannot be written: {error.strerror or error}", "check its permissions")
