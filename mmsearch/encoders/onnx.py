"""Encoders that run on ONNX Runtime, on the CPU."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch import config
from mmsearch.errors import ModelError, ModelUnavailableError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    from mmsearch.types import EncoderInfo

# Severity of ONNX Runtime's log: 3 leaves errors only. Its warnings are about graph details that no user can act on.
_LOG_ERRORS_ONLY = 3


class OnnxEncoder:
    """Two ONNX graphs, one for each tower, opened when first used: a text query never opens the image tower.

    The image graph takes `pixels`, uint8 (n, size, size, 3); the text graph takes `input_ids` and `attention_mask`,
    int64 (n, tokens). Both give `embeddings`, float32 (n, dim), L2-normalised.
    """

    device = "cpu"
    batch_size = config.DEFAULT_BATCH_SIZE
    concurrency = 1

    def __init__(
        self,
        info: EncoderInfo,
        *,
        image: Path,
        text: Path,
        tokenizer: Path,
        context_length: int,
        precision: str = "fp32",
        threads: int = 0,
    ) -> None:
        """Open nothing yet. `context_length` is in tokens; `threads` 0 takes every CPU that the process may use."""
        self.info = info
        self.precision = precision
        self._image_path = image
        self._text_path = text
        self._tokenizer_path = tokenizer
        self._context_length = context_length
        self._threads = threads or available_cpus()

    def encode_images(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed uint8 (n, size, size, 3); returns float32 (n, dim), L2-normalised, in the order given."""
        size = self.info.preprocess.size
        if pixels.shape[1:] != (size, size, 3):
            raise ModelError(f"pixels of shape {pixels.shape} do not fit a model that takes (n, {size}, {size}, 3)")
        if not len(pixels):
            return self._nothing()
        return self._run(self._image_session, {"pixels": np.ascontiguousarray(pixels)})

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed `texts`, each cut at the context length; returns float32 (n, dim), L2-normalised, in the order given.

        One text runs at a time: a graph with dynamic int8 quantisation takes its scales from the whole batch, so that
        a text's embedding would depend on its neighbours.
        """
        if not texts:
            return self._nothing()
        return np.concatenate([self._run(self._text_session, self._tokens(text)) for text in texts])

    def _nothing(self) -> NDArray[np.float32]:
        return np.empty((0, self.info.dim), dtype=np.float32)

    def _tokens(self, text: str) -> dict[str, NDArray[np.int64]]:
        # Bytes on the command line that are not UTF-8 arrive as lone surrogates, which no tokenizer takes.
        encoded = self._tokenizer.encode(text.encode("utf-8", "replace").decode())
        return {
            "input_ids": np.array([encoded.ids], dtype=np.int64),
            "attention_mask": np.array([encoded.attention_mask], dtype=np.int64),
        }

    def _run(self, session: Any, inputs: dict[str, Any]) -> NDArray[np.float32]:
        with runtime_errors(f"the model {self.info.spec} failed"):
            embeddings: NDArray[np.float32] = session.run(["embeddings"], inputs)[0]
        return embeddings

    @functools.cached_property
    def _image_session(self) -> Any:
        return open_session(self._image_path, self._threads)

    @functools.cached_property
    def _text_session(self) -> Any:
        return open_session(self._text_path, self._threads)

    @functools.cached_property
    def _tokenizer(self) -> Tokenizer:
        return open_tokenizer(self._tokenizer_path, self._context_length)


def available_cpus() -> int:
    """CPUs that this process may run on, which a container or `taskset` can make fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def open_tokenizer(path: Path, context_length: int) -> Tokenizer:
    """A `tokenizers` file that cuts a text at `context_length` tokens and pads nothing."""
    from tokenizers import Tokenizer

    if not path.is_file():
        raise ModelUnavailableError(f"the model's file {path} is missing", "install mmsearch again")
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.enable_truncation(max_length=context_length)
    tokenizer.no_padding()
    return tokenizer


def open_session(path: Path, threads: int) -> Any:
    """An ONNX Runtime session on the CPU with `threads` threads, which sleep rather than spin between runs."""
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    onnxruntime.set_default_logger_severity(_LOG_ERRORS_ONLY)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _LOG_ERRORS_ONLY
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning threads would take the CPUs from the processes that decode images.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    with runtime_errors(f"the model's file {path} cannot be opened"):
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@contextmanager
def runtime_errors(what: str) -> Iterator[None]:
    """Turn ONNX Runtime's errors into ours. Its classes share no base but Exception, so they are listed."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    missing = (state.NoSuchFile, state.InvalidProtobuf, state.NoModel)
    others = (state.Fail, state.RuntimeException, state.InvalidArgument, state.InvalidGraph, state.EPFail)
    try:
        yield
    except missing as error:
        raise ModelUnavailableError(f"{what}: {error}") from error
    except (*others, state.NotImplemented) as error:
        raise ModelError(f"{what}: {error}") from error
