"""The last answer of a terminal, so that the next question can refer to its results: `--more 3 --less 7`.

One small file for each terminal session and collection, in the user's cache, readable by the user alone. A terminal is
known by its device and by the session of its shell, so that a window that is opened later starts with nothing; where
there is none (a script, cron), only a session that the user names is kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from mmsearch.base import cache
from mmsearch.base.cleaning import ours, remove_ours
from mmsearch.base.durable import write_private
from mmsearch.base.errors import SourceError

_FOLDER = "answers"

# What `save` writes, and what it leaves when it is killed.
_NAMES = re.compile(r"[0-9a-f]{32}\.json(\.\w+\.tmp)?")

# Seconds after which an answer is forgotten.
_LIFETIME = 7 * 86_400


@dataclass(frozen=True, slots=True)
class LastAnswer:
    """The words of a question, as `parse.from_words` takes them, and the paths of its results, best first."""

    asked_at: float
    label: str
    words: dict[str, Any]
    paths: list[str]

    @property
    def when(self) -> str:
        """When it was asked, in local time."""
        moment = datetime.fromtimestamp(self.asked_at)
        return f"{moment:%H:%M}" if moment.date() == datetime.now().date() else f"{moment:%Y-%m-%d %H:%M}"

    def at(self, rank: int) -> str:
        """The path of a result. Raises `SourceError`."""
        if not 1 <= rank <= len(self.paths):
            raise SourceError(
                f"the last answer, to {self.label}, has no result {rank}", f"it has {len(self.paths)}, counted from 1"
            )
        return self.paths[rank - 1]


def save(collection: Path, session: str | None, label: str, words: Mapping[str, Any], paths: list[str]) -> None:
    """Keep an answer, if there is a terminal or a session; in a cache that cannot be written, nothing is kept.

    Raises `UntrustedError` where others may have written to the cache.
    """
    name = _name(collection, session)
    if name is None:
        return
    with contextlib.suppress(OSError):
        folder = cache.made_folder(_FOLDER)
        _forget_old(folder)
        answer = asdict(LastAnswer(time.time(), label, dict(words), paths))
        write_private(folder / name, json.dumps(answer).encode("ascii"))


def load(collection: Path, session: str | None) -> LastAnswer:
    """The last answer. Raises `SourceError` where there is none, `UntrustedError` where it may be another's."""
    name = _name(collection, session)
    if name is None:
        raise SourceError("without a terminal there is no last answer to refine", "name a session: --session NAME")
    file = cache.folder(_FOLDER) / name
    try:
        answer = LastAnswer(**json.loads(file.read_text("ascii")))
        if 0 <= time.time() - answer.asked_at < _LIFETIME:
            return answer
    except (OSError, ValueError, TypeError):  # there is none, or another version wrote it
        pass
    where = f"the session {session!r}" if session else "this terminal"
    raise SourceError(f"{where} has no earlier answer from this collection", "ask something first")


def _name(collection: Path, session: str | None) -> str | None:
    """The name of the file with an answer; None where there is nothing to tell it from others by."""
    key = f"session {session}" if session else _terminal()
    if key is None:
        return None
    named = "\0".join([key, os.path.realpath(collection)])
    return f"{hashlib.sha256(os.fsencode(named)).hexdigest()[:32]}.json"


def _terminal() -> str | None:
    if not hasattr(os, "ttyname"):  # Windows
        return None
    for descriptor in (0, 2, 1):
        with contextlib.suppress(OSError):
            return f"terminal {os.ttyname(descriptor)} {os.getsid(0)}"
    return None


def _forget_old(folder: Path) -> None:
    for path in ours(folder, _NAMES):
        with contextlib.suppress(OSError):
            if time.time() - path.lstat().st_mtime > _LIFETIME:
                remove_ours(path)
