"""Make files somebody else's: as root by giving them away, else by having this process believe that it is another."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# A user that no system has.
STRANGER = 54_321

posix = pytest.mark.skipif(os.name == "nt", reason="owners and modes are of POSIX")
as_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")


def give_away(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a file or folder, with all that is in it, a stranger's; for another user than root it is this process that
    becomes one, to which all of the user's files are strange."""
    if os.geteuid() != 0:
        monkeypatch.setattr(os, "geteuid", lambda: STRANGER)
        return
    for path in (top, *top.rglob("*")) if top.is_dir() and not top.is_symlink() else (top,):
        os.chown(path, STRANGER, STRANGER, follow_symlinks=False)
