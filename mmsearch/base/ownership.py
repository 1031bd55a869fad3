"""Whose files these are: mmsearch writes to nothing that somebody else owns or may write to, unless it is trusted.

Who may write to a folder can put links into it that lead our writes to the user's own files, and tell us lies about
which folders to read. The rule is that of git's `safe.directory`: another owner is doubted, and so are modes that let
others write; the user can list folders to be trusted all the same (a shared one, a disk without owners). What belongs
to root is not doubted: root needs no trick. Where the system has no such owners (Windows), its own permissions apply.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from mmsearch.base import config
from mmsearch.base.errors import UntrustedError
from mmsearch.base.paths import is_within
from mmsearch.base.trusted import TrustedFolders

TRUSTED = TrustedFolders("folders")

HAS_OWNERS = hasattr(os, "geteuid")

_ROOT = 0
_GROUP_OR_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def is_this_users(status: os.stat_result) -> bool:
    """Whether a file is of the user who runs this process."""
    return not HAS_OWNERS or status.st_uid == os.geteuid()


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why others may have had their hands in the folder or file `path`, in words; `can_be_closed` by its owner."""

    path: Path
    why: str
    can_be_closed: bool = False

    def __str__(self) -> str:
        return self.why


def doubt(path: Path) -> Doubt | None:
    """Why others may have had their hands in a folder or file; None where not, or nothing is there.

    Of a link both count: who made it, and who owns what it leads to.
    """
    if not HAS_OWNERS:
        return None
    try:
        link, status = path.lstat(), path.stat()
    except OSError:
        return None
    for owner in (link.st_uid, status.st_uid):
        if owner not in (os.geteuid(), _ROOT):
            return Doubt(path, f"{path} belongs to {name_of(owner)}")
    if status.st_mode & _GROUP_OR_OTHERS_WRITE:
        why = f"others can write to {path} (mode {stat.S_IMODE(status.st_mode):04o})"
        return Doubt(path, why, can_be_closed=is_this_users(status))
    return None


def is_trusted(folder: Path) -> bool:
    """Whether the user trusts a folder, or one above it: by `mmsearch trust`, or by `MMSEARCH_TRUSTED`."""
    real = os.path.realpath(folder)
    by_environment = any(is_within(real, os.path.realpath(path)) for path in config.trusted_folders())
    return by_environment or TRUSTED.covers(real)


def untrusted(what: str, folder: Path, found: Doubt) -> UntrustedError:
    """The error for what is not done to `folder`, `what`: why, and how to trust it."""
    import shlex

    close = f"`chmod go-w {shlex.quote(str(found.path))}` closes it; " if found.can_be_closed else ""
    trust = f"if you trust all who can write there, `mmsearch trust {shlex.quote(str(folder))}`"
    return UntrustedError(f"{what}: {found}", close + trust)


def name_of(owner: int) -> str:
    """A user's name, by number; `user 1234` where the system knows none."""
    import pwd

    try:
        return pwd.getpwuid(owner).pw_name
    except KeyError:
        return f"user {owner}"
