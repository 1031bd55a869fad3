"""Open files in the desktop's own viewer."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence

from mmsearch.base.errors import SourceError

# Seconds that a viewer is watched for failing at once. One that is still running then is showing its file.
_WATCHED = 2.0


def open_files(paths: Sequence[str]) -> list[tuple[str, str]]:
    """Start the viewer of each absolute path and leave it running. Returns (path, reason) of those that failed.

    Raises `SourceError` where there is no way to open anything.
    """
    if sys.platform == "win32":
        return [failure for path in paths for failure in _start_file(path)]
    opener = shutil.which("open" if sys.platform == "darwin" else "xdg-open")
    if opener is None:
        raise SourceError(
            "cannot open files: xdg-open is not installed",
            "install xdg-utils, or pass the output of --paths to a viewer of your own",
        )
    started = [(path, _start(opener, path)) for path in paths]
    end = time.monotonic() + _WATCHED
    failed = [path for path, viewer in started if _failed(viewer, end)]
    program = os.path.basename(opener)
    if failed and len(failed) == len(paths):
        raise SourceError(f"{program} cannot open {failed[0]}", "it needs a desktop with a viewer for such files")
    return [(path, f"{program} could not open it") for path in failed]


def _start(opener: str, path: str) -> subprocess.Popen[bytes]:
    quiet = subprocess.DEVNULL
    return subprocess.Popen([opener, path], stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)


def _failed(viewer: subprocess.Popen[bytes], end: float) -> bool:
    try:
        return viewer.wait(max(0.0, end - time.monotonic())) != 0
    except subprocess.TimeoutExpired:
        return False


def _start_file(path: str) -> list[tuple[str, str]]:
    try:
        getattr(os, "startfile")(path)  # noqa: B009  (Windows only: type checkers elsewhere do not know it)
    except OSError as error:
        return [(path, error.strerror or str(error))]
    return []
