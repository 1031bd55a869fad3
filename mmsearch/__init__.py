"""mmsearch finds images on your own disks by meaning.

from mmsearch import Collection

with Collection.open("~/photos.mmsearch") as photos:
    photos.add(["~/Pictures"])
    for hit in photos.search(text="a cat", top=5):
        print(hit.score, hit.path)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmsearch.base.errors import (
    CollectionBusyError,
    CollectionEmptyError,
    CollectionError,
    CollectionNotFoundError,
    CollectionVersionError,
    DecodeError,
    DeviceError,
    ImageTooLargeError,
    MMSearchError,
    ModelError,
    ModelMismatchError,
    ModelUnavailableError,
    NotAnImageError,
    ReindexError,
    SourceError,
    StorageError,
    UnknownModelError,
    UntrustedError,
    UsageError,
)
from mmsearch.base.version import __version__

if TYPE_CHECKING:
    from mmsearch.base.records import Hit
    from mmsearch.collection.collection import Collection

__all__ = [
    "Collection",
    "CollectionBusyError",
    "CollectionEmptyError",
    "CollectionError",
    "CollectionNotFoundError",
    "CollectionVersionError",
    "DecodeError",
    "DeviceError",
    "Hit",
    "ImageTooLargeError",
    "MMSearchError",
    "ModelError",
    "ModelMismatchError",
    "ModelUnavailableError",
    "NotAnImageError",
    "ReindexError",
    "SourceError",
    "StorageError",
    "UnknownModelError",
    "UntrustedError",
    "UsageError",
    "__version__",
]

# Names that are imported when they are first used, so that `import mmsearch` costs nothing.
_LATER = {"Collection": "mmsearch.collection.collection", "Hit": "mmsearch.base.records"}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        from importlib import import_module

        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
