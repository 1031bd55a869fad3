"""Files of a model folder, opened as plain files only: a pipe would be waited for, a device has no end."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from mmsearch.base.errors import ModelError, ModelUnavailableError

# Bytes. open_clip's longest configurations have 2 kB; a tokenizer's settings with thousands of added tokens have 1 MB.
MOST_SETTINGS = 16_000_000

# Bytes. XLM-V, with 900,000 tokens, has the largest tokenizer among open_clip's: 62 MB.
MOST_TOKENIZER = 128_000_000

# Bytes. The largest model that open_clip knows (EVA02-E-14-plus, 5 * 10**9 parameters) has 20 GB.
MOST_WEIGHTS = 40_000_000_000


def check(path: Path, most: int) -> None:
    """Raise ModelError for what is no plain file, or has more than `most` bytes; a link to a plain file is one.

    Raises ModelUnavailableError for one that is missing, or cannot be read.
    """
    try:
        _check_state(path, path.stat(), most)
    except OSError as error:
        raise _unreadable(path, error) from error


def read(path: Path, most: int) -> bytes:
    """The content of a plain file of at most `most` bytes; raises as `check` does."""
    try:
        # Without O_NONBLOCK, opening a pipe would wait for somebody who writes to it.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        try:
            _check_state(path, os.fstat(descriptor), most)
            with open(descriptor, "rb", closefd=False) as file:
                content = file.read(most + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _unreadable(path, error) from error
    if len(content) > most:  # it has grown meanwhile
        raise _too_large(path, len(content), most)
    return content


def read_json(path: Path, most: int = MOST_SETTINGS) -> dict[str, Any]:
    """The JSON object in a plain file. Raises ValueError for anything else, and as `check` does."""
    try:
        found = json.loads(read(path, most))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")
    return found


def _check_state(path: Path, state: os.stat_result, most: int) -> None:
    if not stat.S_ISREG(state.st_mode):
        raise ModelError(f"{path} is not a plain file", "use a model that you trust")
    if state.st_size > most:
        raise _too_large(path, state.st_size, most)


def _too_large(path: Path, size: int, most: int) -> ModelError:
    return ModelError(f"{path} has {size:,} bytes, more than the {most:,} that such a file may have")


def _unreadable(path: Path, error: OSError) -> ModelUnavailableError:
    if isinstance(error, FileNotFoundError):
        return ModelUnavailableError(f"{path} is missing", "a model folder needs it beside the weights")
    return ModelUnavailableError(f"{path} cannot be read: {error.strerror or error}", "check its permissions")
