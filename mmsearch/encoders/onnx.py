"""Encoders that run on ONNX Runtime, on the CPU."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.base import config
from mmsearch.base.errors import ModelError, ModelUnavailableError
from mmsearch.base.machine import available_cpus

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    from mmsearch.base.records import EncoderInfo

# Severity of ONNX Runtime's log: 3 leaves errors only. Its warnings are about graph details that no user can act on.
_LOG_ERRORS_ONLY = 3

# Texts in a forward pass. More at once are no faster, and their lengths differ more.
_TEXT_BATCH = 32

# Texts that are tokenized together, and of which those of about the same length share a pass.
_TEXTS_AT_ONCE = 32 * _TEXT_BATCH


# Images. Of ViT-B/32 at 256 pixels two cores encoded 12.0 a second in batches of 16; 11.1 in batches of 8, 11.7 of 32.
_TRANSFORMER_BATCH = 16


@dataclass(frozen=True, slots=True)
class Tokens:
    """A text graph's `inputs` by name, each int64 (n, tokens), and how many of a row's tokens its embedding depends on:
    `lengths` (n,), None where padding counts too.
    """

    inputs: dict[str, NDArray[np.int64]]
    lengths: NDArray[np.intp] | None

    def passes(self) -> Iterator[tuple[NDArray[np.intp], dict[str, NDArray[np.int64]]]]:
        """The rows (m,) and the inputs of each forward pass. Short texts go together: what pads a text to the longest
        beside it takes as long as words do.
        """
        count = len(next(iter(self.inputs.values())))
        lengths = np.zeros(count, np.intp) if self.lengths is None else self.lengths
        order = np.argsort(lengths, kind="stable")
        for start in range(0, count, _TEXT_BATCH):
            rows = order[start : start + _TEXT_BATCH]
            columns = slice(None) if self.lengths is None else slice(int(lengths[rows[-1]]))
            yield rows, {name: np.ascontiguousarray(values[rows, columns]) for name, values in self.inputs.items()}


class OnnxEncoder:
    """Two ONNX graphs, one for each tower, opened when first used: a text query never opens the image tower.

    The image graph takes `pixels`, uint8 (n, size, size, 3); the text graph takes what `tokenize` gives. Both give
    `embeddings`, float32 (n, dim), L2-normalised, each row independent of the others.
    """

    device = "cpu"
    precision = "fp32"
    concurrency = 1

    def __init__(
        self,
        info: EncoderInfo,
        *,
        image: Path,
        text: Path,
        tokenize: Callable[[Sequence[str]], Tokens],
        optimized: bool = False,
        threads: int = 0,
    ) -> None:
        """Open nothing yet. `threads` 0 takes every CPU that the process may use.

        `optimized` graphs have been through ONNX Runtime's optimizer and keep their weights in files of their own: a
        text, or a single image, then runs on weights that stay mapped from disk, which halves the time to the first
        embedding.
        """
        self.info = info
        self._image_path = image
        self._text_path = text
        self.tokenize = tokenize
        self._optimized = optimized
        self._threads = threads or available_cpus()

    @property
    def batch_size(self) -> int:
        """Images in a pass: transformers (the exports) are some 3 % faster while activations fit the caches."""
        return _TRANSFORMER_BATCH if self._optimized else config.DEFAULT_BATCH_SIZE

    def encode_images(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed uint8 (n, size, size, 3); returns float32 (n, dim), L2-normalised, in the order given."""
        size = self.info.preprocess.size
        if pixels.dtype != np.uint8 or pixels.shape[1:] != (size, size, 3):
            shown = f"{pixels.dtype} {pixels.shape}"
            raise ModelError(f"pixels of {shown} do not fit a model that takes uint8 (n, {size}, {size}, 3)")
        if not len(pixels):
            return np.empty((0, self.info.dim), dtype=np.float32)
        return self._run(self._session_for(len(pixels)), {"pixels": np.ascontiguousarray(pixels)})

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed `texts`, each cut at the context length; returns float32 (n, dim), L2-normalised, in the order given.

        Up to `_TEXT_BATCH` texts are one forward pass.
        """
        embeddings = np.empty((len(texts), self.info.dim), dtype=np.float32)
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            tokens = self.tokenize(texts[start : start + _TEXTS_AT_ONCE])
            for rows, inputs in tokens.passes():
                embeddings[start + rows] = self._run(self._text_session, inputs)
        return embeddings

    def _run(self, session: Any, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        with runtime_errors(f"the model {self.info.spec} failed"):
            embeddings: NDArray[np.float32] = session.run(["embeddings"], inputs)[0]
        return embeddings

    def _session_for(self, count: int) -> Any:
        """A single image is soonest done on mapped weights; batches are worth a copy of them in a faster layout."""
        if count == 1 and self._optimized and "_image_session" not in vars(self):
            return self._mapped_image_session
        return self._image_session

    @functools.cached_property
    def _image_session(self) -> Any:
        return open_session(self._image_path, self._threads)

    @functools.cached_property
    def _mapped_image_session(self) -> Any:
        return open_session(self._image_path, self._threads, as_it_is=True)

    @functools.cached_property
    def _text_session(self) -> Any:
        # In a batch of queries, others are searched meanwhile: spinning threads would cost it a fifth of its rate.
        return open_session(self._text_path, self._threads, as_it_is=self._optimized, spin=False)


class MaskedTokenizer:
    """A `tokenizers` file, opened at the first text, for text graphs that take `input_ids` and `attention_mask`."""

    def __init__(self, path: Path, context_length: int) -> None:
        """Texts are cut at `context_length` tokens."""
        self._path = path
        self._context_length = context_length

    def __call__(self, texts: Sequence[str]) -> Tokens:
        # Bytes on the command line that are not UTF-8 arrive as lone surrogates, which no tokenizer takes.
        encoded = self._tokenizer.encode_batch([text.encode("utf-8", "replace").decode() for text in texts])
        ids = np.array([entry.ids for entry in encoded], dtype=np.int64)
        mask = np.array([entry.attention_mask for entry in encoded], dtype=np.int64)
        return Tokens({"input_ids": ids, "attention_mask": mask}, mask.sum(axis=1))

    @functools.cached_property
    def _tokenizer(self) -> Tokenizer:
        return open_tokenizer(self._path, self._context_length)


def open_tokenizer(path: Path, context_length: int) -> Tokenizer:
    """A `tokenizers` file that cuts a text at `context_length` tokens, and pads to the longest of a batch."""
    from tokenizers import Tokenizer

    if not path.is_file():
        raise ModelUnavailableError(f"the model's file {path} is missing", "reinstall mmsearch")
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.enable_truncation(max_length=context_length)
    tokenizer.enable_padding()
    return tokenizer


@functools.cache
def onnx_runtime() -> Any:
    """ONNX Runtime, which nothing else imports: it would begin to send telemetry, and write files in the user's home.

    One that the caller's program has imported before has begun already; it is told to keep to what it must send.
    """
    with config.NO_ONNXRUNTIME_TELEMETRY:
        import onnxruntime
    onnxruntime.disable_telemetry_events()
    onnxruntime.set_default_logger_severity(_LOG_ERRORS_ONLY)
    return onnxruntime


def open_session(path: Path, threads: int, *, as_it_is: bool = False, spin: bool = True) -> Any:
    """An ONNX Runtime session on the CPU with `threads` threads, which sleep between runs.

    `as_it_is` neither optimizes the graph nor copies its weights to a layout that suits the CPU better: opening is
    several times faster and weights in files of their own stay mapped; each run of a batch is some 20% slower.
    """
    onnxruntime = onnx_runtime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _LOG_ERRORS_ONLY
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    if as_it_is:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.add_session_config_entry("session.disable_prepacking", "1")
    # Threads that spin while they wait for each other in a run save a transformer 8 % of its time. Between runs they
    # would take the CPUs from the processes that decode images.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if not spin:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    with runtime_errors(f"the model's file {path} cannot be opened"):
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@contextmanager
def runtime_errors(what: str) -> Iterator[None]:
    """Turn ONNX Runtime's errors into ours. Its classes share no base but Exception, so they are listed."""
    state = onnx_runtime().capi.onnxruntime_pybind11_state
    missing = (state.NoSuchFile, state.InvalidProtobuf, state.NoModel)
    others = (state.Fail, state.RuntimeException, state.InvalidArgument, state.InvalidGraph, state.EPFail)
    try:
        yield
    except missing as error:
        raise ModelUnavailableError(f"{what}: {error}") from error
    except (*others, state.NotImplemented) as error:
        raise ModelError(f"{what}: {error}") from error
