"""What tells one model from another: a digest over its configuration, its preprocessing and its weights."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mmsearch.base import cache
from mmsearch.base.durable import read_json, write_json
from mmsearch.base.errors import UntrustedError
from mmsearch.base.records import Preprocess
from mmsearch.encoders import hub

# Below the cache directory: a file with the digest of each weights file, named after its path.
FOLDER = "digests"
NAMES = re.compile(r"[0-9a-f]{32}(\.\w+\.tmp)?")

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
    if _SHA256.fullmatch(real.name) and hub.is_blob(real):  # a name that anybody can give says nothing elsewhere
        return real.name
    state = real.stat()
    key = {"path": str(real), "size": state.st_size, "mtime_ns": state.st_mtime_ns}
    folder, name = cache.own_folder(FOLDER), hashlib.sha256(os.fsencode(real)).hexdigest()[:32]
    remembered = read_json(folder / name) if folder else {}
    if {name: remembered.get(name) for name in key} == key and "sha256" in remembered:
        return str(remembered["sha256"])
    with real.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    with suppress(OSError, UntrustedError):  # a cache that cannot be written, or is not to be, remembers nothing
        write_json(cache.made_folder(FOLDER) / name, {**key, "sha256": found})
    return found
