"""mmsearch finds images on your own disks by meaning.

from mmsearch import Collection

with Collection.open("~/photos.mmsearch") as photos:
    photos.add(["~/Pictures"])
    for hit in photos.search(text="a cat", k=5):
        print(hit.score, hit.path)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmsearch.collection import Collection as Collection
    from mmsearch.errors import MMSearchError as MMSearchError
    from mmsearch.types import Hit as Hit

__version__ = "0.1.0"
__all__ = ["Collection", "Hit", "MMSearchError", "__version__"]

_HOMES = {"Collection": "mmsearch.collection", "Hit": "mmsearch.types", "MMSearchError": "mmsearch.errors"}


def __getattr__(name: str) -> Any:
    """Import public names when they are first used, so that `import mmsearch` costs nothing."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
