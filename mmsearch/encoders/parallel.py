"""One model on several devices: each batch goes to a device that is free."""

from __future__ import annotations

import queue
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmsearch.base.records import Encoder, EncoderInfo

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class ParallelEncoder:
    """The same encoder loaded once for each device. Call `encode_images` from `concurrency` threads."""

    def __init__(self, encoders: Sequence[Encoder]) -> None:
        """`encoders` have the same model and precision, and one device each."""
        self._encoders = list(encoders)
        self._free: queue.SimpleQueue[Encoder] = queue.SimpleQueue()
        # Turn by turn, so that the first calls go to different devices.
        for turn in range(max(encoder.concurrency for encoder in self._encoders)):
            for encoder in self._encoders:
                if turn < encoder.concurrency:
                    self._free.put(encoder)

    @property
    def info(self) -> EncoderInfo:
        return self._encoders[0].info

    @property
    def device(self) -> str:
        return ",".join(encoder.device for encoder in self._encoders)

    @property
    def precision(self) -> str:
        return self._encoders[0].precision

    @property
    def batch_size(self) -> int:
        return min(encoder.batch_size for encoder in self._encoders)

    @property
    def concurrency(self) -> int:
        return sum(encoder.concurrency for encoder in self._encoders)

    def encode_images(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed one batch on one device, waiting for one to be free; see `Encoder`."""
        encoder = self._free.get()
        try:
            return encoder.encode_images(pixels)
        finally:
            self._free.put(encoder)

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts on the first device; see `Encoder`."""
        return self._encoders[0].encode_texts(texts)
