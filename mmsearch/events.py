"""What an index run tells its caller, as it happens."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(slots=True)
class Summary:
    """What an index run did, in files. `new` includes copies of known images; a moved file is neither new nor removed.

    `encoded` counts embeddings computed, `skipped` the files that could not be indexed in this run, `known_failures`
    those passed over since an earlier run. `images_per_s` is encoded images a second of the whole run.
    """

    new: int = 0
    changed: int = 0
    moved: int = 0
    unchanged: int = 0
    removed: int = 0
    skipped: int = 0
    known_failures: int = 0
    encoded: int = 0
    total: int = 0
    seconds: float = 0.0
    images_per_s: float = 0.0
    interrupted: bool = False
    model: str = ""
    device: str = ""
    precision: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, seconds and rates rounded."""
        return {**asdict(self), "seconds": round(self.seconds, 3), "images_per_s": round(self.images_per_s, 2)}


@dataclass(frozen=True, slots=True)
class Progress:
    """Files dealt with, files to deal with as known so far, images encoded, and whether the scan has ended."""

    done: int
    total: int
    encoded: int
    scanned: bool


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file or folder that could not be read, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Notice:
    """One line that the user should see."""

    text: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event of a run."""

    summary: Summary


Event = Progress | Skipped | Notice | Finished
