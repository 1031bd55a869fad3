"""What identifies the bytes of a file."""

from __future__ import annotations

from typing import IO


def content_hash(file: IO[bytes]) -> bytes:
    """BLAKE2b-128 of all of a binary file, which is read in pieces from where it stands."""
    import hashlib

    return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()  # type: ignore[arg-type]
