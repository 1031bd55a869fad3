"""A result as the fields of JSON, and one that has them all."""

from __future__ import annotations

import base64
import os
from typing import Any

from mmsearch.base.records import Hit, ImageFacts, ImageRecord

# A result that has every field of the contract (its path is not UTF-8) and a value of each type: from it other outputs
# know the names, and try formats before a search.
_EXAMPLE_FACTS = ImageFacts(1, 1, "JPEG", "2000-01-01T00:00:00", "camera", 0.5, 0.5, "remark")
EXAMPLE = Hit(1, 0.5, ImageRecord(1, "/\udcff", 1, 1, 1, "00", _EXAMPLE_FACTS), confidence=0.5)


def hit_to_json(hit: Hit) -> dict[str, Any]:
    """The JSON contract of one result; fields may be added, never renamed.

    `path_base64` is there only for names that are not valid UTF-8; `path` then shows U+FFFD for the stray bytes.
    """
    facts, raw = hit.image.facts, os.fsencode(hit.path)
    path = raw.decode("utf-8", "replace")
    score = None if hit.score is None else round(hit.score, 6)
    fields: dict[str, Any] = {"rank": hit.rank, "score": score, "path": path}
    if path != hit.path:
        fields["path_base64"] = base64.b64encode(raw).decode("ascii")
    return fields | {
        "id": hit.image.id,
        "width": facts.width,
        "height": facts.height,
        "format": facts.format,
        "size": hit.image.size,
        "mtime": hit.image.mtime_ns / 1e9,
        "taken_at": facts.taken_at,
        "camera": facts.camera,
        "latitude": facts.latitude,
        "longitude": facts.longitude,
        "remark": facts.remark,
        "hash": hit.image.content_hash,
        "offline": hit.offline,
        "confidence": None if hit.confidence is None else round(hit.confidence, 4),
        "duplicates": hit.duplicates,
    }
