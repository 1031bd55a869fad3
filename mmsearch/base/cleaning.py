"""Take away what mmsearch has made and needs no more: files of its own names and this user's, never through a link."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from mmsearch.base.ownership import is_this_users


def is_ours(path: Path) -> bool:
    """Whether a file or folder is this user's, and no link."""
    try:
        status = path.lstat()
    except OSError:
        return False
    return is_this_users(status) and not stat.S_ISLNK(status.st_mode)


def ours(folder: Path, names: re.Pattern[str], *, through_links: bool = False) -> Iterator[Path]:
    """What `is_ours` in `folder` and is called as in `names`, by name.

    Nothing where the folder is itself a link, but `through_links`: for a folder that the user names.
    """
    if not through_links and folder.is_symlink():
        return
    with suppress(OSError), os.scandir(folder) as entries:
        found = sorted(entry.name for entry in entries if names.fullmatch(entry.name))
        yield from (path for path in (folder / name for name in found) if is_ours(path))


def remove_ours(path: Path, *, through_links: bool = False) -> bool:
    """Remove a file, or a folder with all that is in it, if it `is_ours`; whether it was. Raises `OSError`.

    Nothing of a folder that is itself a link, but `through_links`.
    """
    if not is_ours(path) or (not through_links and path.parent.is_symlink()):
        return False
    with suppress(FileNotFoundError):  # somebody else was faster
        if path.is_dir():
            import shutil

            shutil.rmtree(path)
        else:
            path.unlink()
    return True
