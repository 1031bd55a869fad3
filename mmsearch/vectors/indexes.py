"""The indexes of a collection: which backend has them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmsearch.vectors.backend import Backend


def of(folder: Path) -> Backend:
    """The backend of the collection in `folder`: FAISS files beside its catalog."""
    from mmsearch.vectors.faiss_file import FaissFiles

    return FaissFiles(folder)
