"""How an index run or a reindex works: where the model runs, batches, workers, the limits of a file, patience."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypedDict

from mmsearch.base import config
from mmsearch.base.machine import available_cpus
from mmsearch.base.records import Encoder, Preprocess
from mmsearch.images.pool import DecodePool


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """How to index. 0 lets mmsearch choose: `workers` one a core, `batch_size` (in images) what suits the device.

    `decode_memory` is in bytes, for all workers together; None is half of what is free when the run begins.
    At most `2 x batch_size x (1 + devices)` decoded images (0.2 MB each at 256 pixels) are held at a time.
    """

    batch_size: int = 0
    workers: int = 0
    max_pixels: int = config.DEFAULT_MAX_PIXELS
    time_limit: float = config.DEFAULT_TIME_LIMIT
    decode_memory: int | None = None

    @property
    def processes(self) -> int:
        """How many worker processes are wanted."""
        return self.workers or available_cpus()

    def images_in_a_batch(self, encoder: Encoder | None) -> int:
        """How many images are encoded together, where this encoder is loaded or none is yet."""
        return self.batch_size or (encoder.batch_size if encoder else config.DEFAULT_BATCH_SIZE)

    @property
    def limits(self) -> dict[str, float]:
        """What a file may be refused by, as `mmsearch.images.pool.Decoded.refused_by` names it."""
        memory = self.decode_memory or math.inf
        return {"max_pixels": self.max_pixels, "time_limit": self.time_limit, "decode_memory": memory}

    def open_pool(self, how: Preprocess, known: Callable[[bytes], bool], formats: str) -> DecodePool:
        """The workers that decode images and prepare them as `how` says; `known` and `formats` as `DecodePool` takes
        them."""
        return DecodePool(
            how,
            workers=self.processes,
            max_pixels=self.max_pixels,
            known=known,
            time_limit=self.time_limit,
            memory=self.decode_memory,
            formats=formats,
        )


class RunWords(TypedDict, total=False):
    """The keywords of a run, as `RunOptions` explains them."""

    device: str
    precision: str
    settings: IndexSettings | None
    wait: float
    stop: threading.Event | None


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What a run is told beside what it is to do.

    `device` and `precision` are of the model, as `mmsearch.encoders.load_encoder` takes them; `wait` is how many
    seconds to wait for another process that writes; setting `stop` ends the run early, losing nothing.
    """

    device: str = "auto"
    precision: str = "auto"
    settings: IndexSettings = field(default_factory=IndexSettings)
    wait: float = 0.0
    stop: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def of(cls, words: RunWords) -> RunOptions:
        """The options that these keywords give; those that are None count as not given."""
        return cls(**{name: value for name, value in words.items() if value is not None})  # type: ignore[arg-type]
