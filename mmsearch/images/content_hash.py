"""What identifies the bytes of a file."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    import hashlib


def new_hash() -> hashlib.blake2b:
    """An empty BLAKE2b-128, for who has the bytes already."""
    import hashlib

    return hashlib.blake2b(digest_size=16)


def content_hash(file: IO[bytes]) -> bytes:
    """BLAKE2b-128 of all of a binary file, which is read in pieces from where it stands."""
    import hashlib

    return hashlib.file_digest(file, new_hash).digest()  # type: ignore[arg-type]
