"""mmsearch finds images on your own disks by meaning.

from mmsearch import Collection

with Collection.open("~/photos.mmsearch") as photos:
    photos.add(["~/Pictures"])
    for hit in photos.search(text="a cat", top=5):
        print(hit.score, hit.path)
"""

# Every name is imported when it is first used: the command begins here, and until it has set its handlers, Ctrl-C is
# Python's own, with a traceback. So nothing at all is imported first.
TYPE_CHECKING = False  # that of `typing`
if TYPE_CHECKING:
    from typing import Any

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
    from mmsearch.base.records import Hit
    from mmsearch.base.version import __version__
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

# Where names are that are no errors.
_HOMES = {
    "Collection": "mmsearch.collection.collection",
    "Hit": "mmsearch.base.records",
    "__version__": "mmsearch.base.version",
}


def __getattr__(name: str) -> "Any":
    if name in __all__:
        from importlib import import_module

        return getattr(import_module(_HOMES.get(name, "mmsearch.base.errors")), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
