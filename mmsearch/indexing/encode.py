"""Encode batches in threads beside the one that collects and stores, so that neither waits for the other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from mmsearch.base.records import Encoder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class EncodingStage:
    """Loads the encoder in the background when it is first wanted, and runs its batches.

    Batches may be in flight `encoder.concurrency` at a time; each result is a future, so the caller keeps their order.
    `load_seconds` and `encode_seconds` (summed over threads) say where the time went.
    """

    def __init__(self, load: Callable[[], Encoder]) -> None:
        self.load_seconds = 0.0
        self.encode_seconds = 0.0
        self._load = load
        self._encoder: Future[Encoder] | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()

    @property
    def loaded(self) -> Encoder | None:
        """The encoder, if it has been loaded."""
        return self._encoder.result() if self._encoder is not None and self._encoder.done() else None

    def start(self) -> None:
        """Begin to load the encoder, if that has not begun."""
        if self._encoder is None:
            self._encoder = Future()
            threading.Thread(target=self._fill, args=(self._encoder,), name="load", daemon=True).start()

    def ready(self, timeout: float) -> bool:
        """Whether the encoder is loaded (or has failed to), waiting up to `timeout` seconds for it."""
        from concurrent.futures import wait

        self.start()
        assert self._encoder is not None
        return bool(wait([self._encoder], timeout).done)

    def get(self) -> Encoder:
        """The encoder. Raises what loading it raised."""
        self.start()
        assert self._encoder is not None
        return self._encoder.result()

    def submit(self, pixels: NDArray[np.uint8]) -> Future[NDArray[np.float32]]:
        """Encode one batch; waits for the encoder to be loaded, not for the result."""
        encoder = self.get()
        if self._threads is None:
            self._threads = ThreadPoolExecutor(encoder.concurrency, thread_name_prefix="encode")
        return self._threads.submit(self._encode, encoder, pixels)

    def close(self) -> None:
        """Wait for what is running; what has not begun is cancelled."""
        if self._threads is not None:
            self._threads.shutdown(wait=True, cancel_futures=True)

    def _encode(self, encoder: Encoder, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        started = time.perf_counter()
        embeddings = encoder.encode_images(pixels)
        with self._lock:
            self.encode_seconds += time.perf_counter() - started
        return embeddings

    def _fill(self, future: Future[Encoder]) -> None:
        started = time.perf_counter()
        try:
            encoder = self._load()
            self.load_seconds = time.perf_counter() - started
            future.set_result(encoder)
        except BaseException as error:  # raised again in the thread that asks
            future.set_exception(error)
