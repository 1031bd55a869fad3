"""What tells one model from another: a digest over its configuration, its preprocessing and its weights."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmsearch import config
from mmsearch.types import Preprocess

_SHA256 = re.compile(r"[0-9a-f]{64}")


def fingerprint(model_config: Mapping[str, Any], preprocess: Preprocess, weights: Path) -> str:
    """SHA-256, in hex, over the model's configuration, its preprocessing and the content of its weights file."""
    parts = {"model": model_config, "preprocess": preprocess.to_json(), "weights": digest(weights)}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def digest(path: Path) -> str:
    """SHA-256 of a file, in hex; remembered for as long as its real path, size and modification time stay the same.

    The hub's cache names large files by their SHA-256, checked when they were fetched: those are not read at all.
    """
    real = path.resolve()
    if real.parent.name == "blobs" and _SHA256.fullmatch(real.name):
        return real.name
    state = real.stat()
    key = {"path": str(real), "size": state.st_size, "mtime_ns": state.st_mtime_ns}
    note = config.cache_dir() / "digests" / hashlib.sha256(os.fsencode(real)).hexdigest()[:32]
    remembered = _read(note)
    if {name: remembered.get(name) for name in key} == key:
        return str(remembered["sha256"])
    with real.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    _write(note, {**key, "sha256": found})
    return found


def _read(note: Path) -> dict[str, Any]:
    try:
        content = json.loads(note.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) and "sha256" in content else {}


def _write(note: Path, content: Mapping[str, Any]) -> None:
    """Write by renaming, so that another process never reads half a note. A cache that cannot be written is none."""
    try:
        config.make_private(note.parent)
        with tempfile.NamedTemporaryFile("w", dir=note.parent, delete=False, encoding="utf-8") as file:
            json.dump(content, file)
        os.replace(file.name, note)
    except OSError:
        return
