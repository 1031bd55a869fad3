"""The command line, with vector files that are written often: what the harnesses start and kill.

`python tests/harness/victim.py index DIR ...` takes the arguments of `mmsearch`. With `DIE_AT_STEP=N` in the
environment the process kills itself just before the Nth step that changes what is on disk: an SQL statement of the
writer (`COMMIT` among them), an fsync, a rename, a removal. `DIE_AT_FILE_STEP=N` counts the last three only.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmsearch.indexing import refresh
from mmsearch.store import connection


def write_vectors_often() -> None:
    """A new vector file after some ten images, rather than a thousand, and a merge after some tens."""
    refresh.MOST_DELTA = 8
    refresh.MOST_RECENT_COUNT = 30
    refresh.MOST_REMOVED_COUNT = 20


def die_at(step: int, *, count_sql: bool) -> None:
    """Have this process killed, as `kill -9` does, just before its `step`th step."""
    steps = 0

    def count(*_: object) -> None:
        nonlocal steps
        steps += 1
        if steps == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            count()
            return real(*arguments, **options)

        return call

    real_connect = connection.connect

    def connect(folder: Path, *, write: bool) -> sqlite3.Connection:
        opened = real_connect(folder, write=write)
        if write and count_sql:
            opened.set_trace_callback(count)
        return opened

    connection.connect = connect
    os.fsync = counted(os.fsync)
    os.replace = counted(os.replace)
    shutil.rmtree = counted(shutil.rmtree)
    Path.replace = counted(Path.replace)  # type: ignore[method-assign]
    Path.unlink = counted(Path.unlink)  # type: ignore[method-assign]


if __name__ == "__main__":
    from mmsearch.cli.main import main

    write_vectors_often()
    for name in ("DIE_AT_STEP", "DIE_AT_FILE_STEP"):
        if name in os.environ:
            die_at(int(os.environ[name]), count_sql=name == "DIE_AT_STEP")
    main()
