"""Defaults, and what the environment says. Nothing heavy is imported here."""

from __future__ import annotations

import os
from pathlib import Path

from mmsearch.base.switched import Switched

DEFAULT_COLLECTION = "default"
DEFAULT_TOP = 10

# The confidence from which on a result counts as likely (see confidence.py): others are shown as weaker, and left out
# where the user asks for it.
LIKELY = 0.9

# The cosine of two images from which on they are near-duplicates. With the built-in model, of 144 photos 96 % or more
# were as near to their own copies (JPEG at quality 85, 3 to 5 % cropped, brighter), 88 % to copies 256 pixels wide, and
# 6 of 7,140 pairs of different photos to each other: another sunflower, another cup of coffee.
NEAR_DUPLICATE = 0.97

# Images a forward pass takes on the CPU: past 32 the rate of ViT-B/32 no longer grows, memory does.
DEFAULT_BATCH_SIZE = 32

# Pixels. A 100-megapixel camera passes; a decoded image of this size is 536 MB of RGB.
DEFAULT_MAX_PIXELS = 178_956_970

# Seconds for one file, reading included. A 100-megapixel PNG takes about 5 s on one slow core.
DEFAULT_TIME_LIMIT = 60.0

# Within it, ONNX Runtime is not allowed to report to its maker, whatever the user's environment says. It asks for that
# once, when it is imported, and keeps to the answer (1.29 to 1.32; earlier versions report nothing on Linux and macOS).
NO_ONNXRUNTIME_TELEMETRY = Switched(lambda: os.environ, {"ORT_DISABLE_TELEMETRY": "1"})

# Seconds that `auto` waits for the model hub before it settles for the built-in model.
HUB_PROBE_SECONDS = 3.0


def data_dir() -> Path:
    """Where collections given by name live: the platform's user data directory, `mmsearch` below it."""
    import platformdirs

    return Path(platformdirs.user_data_dir("mmsearch", appauthor=False))


def cache_dir() -> Path:
    """Where derived files that can be made again live (`MMSEARCH_CACHE` or the platform's user cache directory)."""
    chosen = os.environ.get("MMSEARCH_CACHE")
    if chosen:
        return Path(chosen)
    import platformdirs

    return Path(platformdirs.user_cache_dir("mmsearch", appauthor=False))


def settings_dir() -> Path:
    """Where what the user has decided is kept: the platform's user configuration directory, `mmsearch` below it."""
    import platformdirs

    return Path(platformdirs.user_config_dir("mmsearch", appauthor=False))


def trusted_folders() -> list[str]:
    """Folders that are trusted although others may write there, beside those that the user has listed
    (`MMSEARCH_TRUSTED`, with the system's separator): for containers, whose user has no settings that last.
    """
    return [path for path in os.environ.get("MMSEARCH_TRUSTED", "").split(os.pathsep) if path]


def collection_path(name_or_path: str | None = None) -> Path:
    """The folder of a collection: `name_or_path`, else `MMSEARCH_COLLECTION`, else the default one.

    A text with a path separator, or that starts with a dot, is a path; any other is a name in `data_dir()`.
    """
    chosen = name_or_path or os.environ.get("MMSEARCH_COLLECTION") or DEFAULT_COLLECTION
    separators = {os.sep, os.altsep or os.sep}
    if chosen.startswith((".", "~")) or any(mark in chosen for mark in separators):
        return Path(chosen).expanduser().absolute()
    return data_dir() / chosen


def collection_option(folder: Path) -> str:
    """` -C NAME_OR_PATH` for a command line to mean the collection in `folder`; nothing where it does anyway."""
    if folder == collection_path():
        return ""
    import shlex

    name = folder.name if folder.parent == data_dir() else str(folder)
    return f" -C {shlex.quote(name)}"


def hub_offline() -> bool:
    """Whether the user has forbidden the model hub (`HF_HUB_OFFLINE`, the hub library's own switch)."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def hub_endpoint() -> str:
    """Where models are downloaded from (`HF_ENDPOINT`, the hub library's own setting)."""
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
