"""Captions of nothing in particular, and their embeddings: what a question is compared with, and centred by.

The captions are those of `captions.txt`. Embeddings by the built-in model lie beside it; those by any other model are
made once, and kept in the cache.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.base import cache
from mmsearch.base.durable import write_private
from mmsearch.base.errors import UntrustedError
from mmsearch.base.records import Encoder
from mmsearch.vectors.exact import units

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float32]

_SHIPPED = Path(__file__).parent
_FOLDER = "captions"


def caption_vectors(fingerprint: str, dim: int, encoder: Callable[[], Encoder]) -> Matrix:
    """The captions' unit vectors (m, dim) by a model, from the cache directory where they are there already."""
    texts = captions()
    name = _name(fingerprint, texts)
    own = cache.own_folder(_FOLDER)
    for path in (_SHIPPED / name, own / name) if own else (_SHIPPED / name,):
        with contextlib.suppress(OSError, ValueError):
            kept = np.load(path, allow_pickle=False)
            if kept.shape == (len(texts), dim) and kept.dtype == np.float16 and np.isfinite(kept).all():
                return units(kept.astype(np.float32))
    made = encoder().encode_texts(texts).astype(np.float16)
    with contextlib.suppress(OSError, UntrustedError):  # in a cache that cannot be written, they are made again
        _keep(name, made)
    return units(made.astype(np.float32))  # the same as later, when they are read


def captions() -> list[str]:
    """The reference captions, in the order of their file."""
    lines = (_SHIPPED / "captions.txt").read_text("utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _name(fingerprint: str, texts: list[str]) -> str:
    """A file name that no other model and no other captions have."""
    import hashlib

    return hashlib.sha256("\n".join([fingerprint, *texts]).encode()).hexdigest()[:32] + ".npy"


def _keep(name: str, vectors: NDArray[np.float16]) -> None:
    data = io.BytesIO()
    np.save(data, vectors)
    write_private(cache.made_folder(_FOLDER) / name, data.getvalue())
