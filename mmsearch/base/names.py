"""Names as people compare them: in one Unicode normal form, and in any case. What is printed stays as it is.

A Mac writes "é" as two characters, a keyboard types one; no one means a difference by that. Case is folded in full, as
section 3.13 of the Unicode Standard says ("ß" becomes "ss"), and letters are composed, so that the `?` of a pattern
stands for one.
"""

from __future__ import annotations

import os
import unicodedata


def key(raw: bytes) -> bytes:
    """What two names, as bytes of UTF-8, have in common where they are the same to people.

    Bytes that are not UTF-8 stay as they are.
    """
    if raw.isascii():  # most are, and this takes a tenth of the time
        return raw.lower()
    text = raw.decode("utf-8", "surrogateescape")
    return unicodedata.normalize("NFC", text.casefold()).encode("utf-8", "surrogateescape")


def folded(text: str) -> str:
    """`key` for a name, path or pattern as text."""
    return text.lower() if text.isascii() else os.fsdecode(key(os.fsencode(text)))


def composed(text: str) -> str:
    """A name or path in normal form, its case as it is."""
    if text.isascii():
        return text
    normal = unicodedata.normalize("NFC", os.fsencode(text).decode("utf-8", "surrogateescape"))
    return os.fsdecode(normal.encode("utf-8", "surrogateescape"))
