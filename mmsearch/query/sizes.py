"""Sizes of files as people write them: 500k, 10MB, 1.5GiB."""

from __future__ import annotations

import re

from mmsearch.base.errors import UsageError
from mmsearch.base.text import shown

_SIZE = re.compile(r"([+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)

# SQLite's integers.
_LARGEST = 2**63 - 1


def parse_size(text: str) -> int:
    """Bytes. k, M, G and T stand for powers of 1000, Ki, Mi, Gi and Ti of 1024; a B after them is allowed.

    Raises `UsageError`.
    """
    found = _SIZE.fullmatch(text.strip())
    hint = "write 500k, 10MB or 1.5GiB"
    if not found or (found[3] and not found[2]):
        raise UsageError(f"cannot read {shown(text)} as a size", hint)
    factor: int = (1024 if found[3] else 1000) ** " kmgt".index(found[2].lower() or " ")
    number = float(found[1]) * factor
    if not 0 <= number <= _LARGEST:
        raise UsageError(f"cannot read {shown(text)} as a size", hint)
    return min(round(number), _LARGEST)
