"""What an index run or a reindex tells its caller as it happens."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Breakdown:
    """Seconds that each stage of an index run was busy; they overlap.

    `scan` walking and comparing; `decode` reading, decoding and resizing, a mean over the worker processes; `load`
    loading the model; `encode` in the model, a mean over devices; `store` in the catalog.
    """

    scan: float = 0.0
    decode: float = 0.0
    load: float = 0.0
    encode: float = 0.0
    store: float = 0.0

    @property
    def bottleneck(self) -> str:
        """The stage that was busiest."""
        seconds = asdict(self)
        return max(seconds, key=lambda stage: float(seconds[stage]))


@dataclass(slots=True)
class Summary:
    """What an index run did, in files. `new` includes copies of known images; a moved file is neither new nor removed.

    `encoded` counts embeddings computed, `skipped` the files that could not be indexed in this run, `kept` those of
    them that stay in the collection as they were last indexed, since nobody knows whether their content has changed;
    `remarked` counts images with a `remark`: incomplete ones, and previews of RAW photos;
    `known_failures` those that could not be indexed in an earlier run and have not changed. `passed_over` counts what
    was seen but is not an image, by its kind (see `mmsearch.indexing.passed_over`), the most frequent first.
    `images_per_s` is encoded images per second over the whole run.
    """

    new: int = 0
    changed: int = 0
    moved: int = 0
    unchanged: int = 0
    removed: int = 0
    skipped: int = 0
    kept: int = 0
    known_failures: int = 0
    remarked: int = 0
    passed_over: dict[str, int] = field(default_factory=dict)
    encoded: int = 0
    total: int = 0
    seconds: float = 0.0
    images_per_s: float = 0.0
    interrupted: bool = False
    model: str = ""
    device: str = ""
    precision: str = ""
    breakdown: Breakdown = field(default_factory=Breakdown)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, seconds and rates rounded."""
        seconds = {stage: round(value, 3) for stage, value in asdict(self.breakdown).items()}
        return {
            **asdict(self),
            "seconds": round(self.seconds, 3),
            "images_per_s": round(self.images_per_s, 2),
            "breakdown": seconds,
            "bottleneck": self.breakdown.bottleneck if self.encoded else None,
        }


@dataclass(slots=True)
class ReindexSummary:
    """What a reindex did, in images (different contents). `model` is the one it was for, `before` the one it replaces.

    `encoded` counts the embeddings of this run, `total` all images. Images that could not be read have no new
    embedding: the files of `gone` are not there, those of `changed` hold something else than when they were indexed,
    those of `unreadable` cannot be read. `switched` says that queries use `model` now; `dropped` are the models whose
    embeddings were removed.
    """

    model: str = ""
    before: str = ""
    total: int = 0
    encoded: int = 0
    gone: int = 0
    changed: int = 0
    unreadable: int = 0
    switched: bool = False
    interrupted: bool = False
    dropped: list[str] = field(default_factory=list)
    seconds: float = 0.0
    images_per_s: float = 0.0
    device: str = ""
    precision: str = ""

    @property
    def missing(self) -> int:
        """How many images have no embedding by the new model."""
        return self.gone + self.changed + self.unreadable

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, seconds and rates rounded."""
        rounded = {"seconds": round(self.seconds, 3), "images_per_s": round(self.images_per_s, 2)}
        return {**asdict(self), "missing": self.missing, **rounded}


@dataclass(frozen=True, slots=True)
class Progress:
    """Files dealt with and files to deal with as known so far; `scanned` says that this is all.

    `loading` is set while images wait for the model to be loaded; `waiting_for` is a file that takes long.
    """

    done: int
    total: int
    scanned: bool
    loading: bool = False
    waiting_for: str | None = None


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


@dataclass(frozen=True, slots=True)
class Reindexed:
    """The last event of a reindex."""

    summary: ReindexSummary


Event = Progress | Skipped | Notice | Finished | Reindexed
