"""Folders and files that systems, file servers and programs keep beside photos: thumbnails, waste, snapshots.

Their pictures are copies of others, small ones or deleted ones, so a scan passes them over unless it is told not to.
"""

from __future__ import annotations

import re
from typing import Literal

from mmsearch.base import names

Kind = Literal["system_folder", "apple_double"]

_FOLDERS = (
    *("@eaDir", "#recycle", "#snapshot", "@tmp", "@sharebin"),  # Synology
    *("@Recycle", "@Recently-Snapshot", "@__thumb", ".@__thumb", ".@upload_cache"),  # QNAP
    *("$RECYCLE.BIN", "RECYCLER", "RECYCLED", "System Volume Information"),  # Windows
    *(".Trash", ".Trashes", ".fseventsd", ".Spotlight-V100", ".DocumentRevisions-V100", ".TemporaryItems"),  # macOS
    *(".AppleDouble", ".AppleDesktop", ".AppleDB", "Network Trash Folder", "Temporary Items"),  # Apple's file servers
    *(".thumbnails", ".dtrash", ".photostructure"),  # Linux desktops, digiKam, PhotoStructure
    *(".stversions", ".zfs", ".snapshot", ".snapshots"),  # earlier states of files: Syncthing, ZFS, NetApp, Btrfs
)
_KEYS = frozenset(names.key(name.encode()) for name in _FOLDERS)

# .Trash-1000: of one user, on a disk that several have.
_TRASH_OF_A_USER = re.compile(rb"\.trash-\d+")


def kind_of_folder(name: bytes) -> Kind | None:
    """What a folder is passed over as, by its name, which may be in any case; None for all others."""
    key = names.key(name)
    return "system_folder" if key in _KEYS or _TRASH_OF_A_USER.fullmatch(key) else None


def kind_of_file(name: bytes) -> Kind | None:
    """The same for a file: `._x.jpg` has what macOS knows of x.jpg, on disks that cannot hold it otherwise."""
    return "apple_double" if name.startswith(b"._") else None
