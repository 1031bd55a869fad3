"""Encoders that run on torch with open_clip: the only file that imports open_clip.

torch is imported here; by `export/make.py`, which works on a model that is loaded here; and by `starter/build.py`,
which nobody runs but to remake the starter model. Importing it takes some 10 s, so the front door does it last, when
all files of a model are on this disk.
"""

from __future__ import annotations

import copy
import functools
import json
import logging
import pickle
import re
import tempfile
import threading
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.base import config
from mmsearch.base.errors import DeviceError, ModelError, ModelUnavailableError, UsageError
from mmsearch.base.records import EncoderInfo
from mmsearch.base.text import first_line
from mmsearch.encoders import fingerprints, hub, openclip_preprocess, text_tower, tokens

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import open_clip
    import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.encoders.names import ModelSource
    from mmsearch.encoders.weights import ModelFiles

# What open_clip builds its towers of, for those that look into one.
layers = open_clip.transformer

# Texts in a forward pass. Queries come one by one; this serves evaluations, and keeps a pass below 1 GB on a CPU.
_TEXT_BATCH = 64

# Images in a pass on CUDA: past 256, public figures for ViT-B/32 in half precision show no more images a second.
_CUDA_BATCH = 256

# Bytes in memory for each in a file. torch writes weights as they are; compression saves a tenth of random digits.
_MOST_SHRUNK = 4


class OpenClipEncoder:
    """An open_clip model that embeds images and texts on one device."""

    def __init__(
        self,
        model: torch.nn.Module,
        info: EncoderInfo,
        tokenize: Callable[[Sequence[str]], NDArray[np.int64]],
        device: torch.device,
        precision: str,
    ) -> None:
        """Wrap a loaded model whose weights already have `precision` (`fp32`, `bf16` or `fp16`) on `device`."""
        self.info = info
        self.device = str(device)
        self.precision = precision
        self._model = model
        self.tokenize = tokenize
        self._device = device
        self._dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
        self._mean = torch.tensor(info.preprocess.mean, device=device)
        self._std = torch.tensor(info.preprocess.std, device=device)
        self._image_parts = FittingParts(self.device)
        self._streams = threading.local()
        self._text_parts = FittingParts(self.device, _TEXT_BATCH)

    @property
    def model(self) -> torch.nn.Module:
        """The open_clip model that runs, in evaluation mode."""
        return self._model

    @property
    def batch_size(self) -> int:
        """Images in a pass: enough to fill the device; what does not fit its memory is halved on the way."""
        return _CUDA_BATCH if self._device.type == "cuda" else config.DEFAULT_BATCH_SIZE

    @property
    def concurrency(self) -> int:
        """On CUDA two threads, each on a stream of its own: one copies its batch while the other's is computed."""
        return 2 if self._device.type == "cuda" else 1

    def encode_images(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed uint8 (n, size, size, 3); returns float32 (n, dim), L2-normalised, in the order given.

        The whole batch is one forward pass, in parts only where the device's memory does not suffice.
        """
        size = self.info.preprocess.size
        if pixels.dtype != np.uint8 or pixels.shape[1:] != (size, size, 3):
            shown = f"{pixels.dtype} {pixels.shape}"
            raise ModelError(f"pixels of {shown} do not fit a model that takes uint8 (n, {size}, {size}, 3)")
        with self._own_stream():
            return self._finished(self._image_parts(self._embed_images, pixels))

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed `texts`, each cut at the context length.

        Returns float32 (n, dim), L2-normalised, in the order given.
        """
        ids = self.tokenize(texts) if texts else np.empty((0, 1), np.int64)
        return self._finished(self._text_parts(self._embed_texts, ids))

    @contextmanager
    def _own_stream(self) -> Iterator[None]:
        """On CUDA, a stream for each thread; elsewhere there are none."""
        if self._device.type != "cuda":
            yield
            return
        stream = getattr(self._streams, "stream", None)
        if stream is None:
            stream = self._streams.stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
            # The weights were put on the device by the default stream.
            stream.wait_stream(torch.cuda.default_stream(self._device))
        with torch.cuda.stream(stream):
            yield

    def _embed_images(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        batch = self._on_device(pixels).permute(0, 3, 1, 2).to(torch.float32).div(255)
        batch = batch.sub_(self._mean[:, None, None]).div_(self._std[:, None, None]).to(self._dtype)
        return _normalised(self._model.encode_image(batch))  # type: ignore[operator]

    def _embed_texts(self, ids: NDArray[Any]) -> NDArray[np.float32]:
        return _normalised(self._model.encode_text(self._on_device(ids)))  # type: ignore[operator]

    def _on_device(self, values: NDArray[Any]) -> torch.Tensor:
        """Copy to the device; from pinned memory on CUDA, where the copy then overlaps with what runs before it."""
        writable = values if values.flags.writeable and values.flags.c_contiguous else values.copy()
        tensor = torch.from_numpy(writable)
        if self._device.type == "cuda":
            return tensor.pin_memory().to(self._device, non_blocking=True)
        return tensor.to(self._device)

    def _finished(self, parts: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        embeddings = np.concatenate(parts) if parts else np.empty((0, self.info.dim), np.float32)
        if not np.isfinite(embeddings).all():
            raise ModelError(f"{self.info.spec} overflows in {self.precision}", "use --precision fp32")
        return embeddings


@dataclass(slots=True)
class FittingParts:
    """Runs a batch in parts that fit the device's memory.

    A part that does not fit is halved and tried again, down to a single item; `limit`, the largest part that was found
    to fit, holds for later batches too. None is no limit.
    """

    device: str
    limit: int | None = None

    def __call__(
        self, run: Callable[[NDArray[Any]], NDArray[np.float32]], batch: NDArray[Any]
    ) -> list[NDArray[np.float32]]:
        """The results of `run` on consecutive parts of `batch`, in order; none for an empty batch."""
        done: list[NDArray[np.float32]] = []
        start = 0
        while start < len(batch):
            part = batch[start : start + (self.limit or len(batch))]
            result = self._attempt(run, part)
            if result is None:
                self._halve(len(part))
                continue
            done.append(result)
            start += len(part)
        return done

    def _attempt(
        self, run: Callable[[NDArray[Any]], NDArray[np.float32]], part: NDArray[Any]
    ) -> NDArray[np.float32] | None:
        """The result, or None where memory ran out. The error is dropped here: it keeps the tensors alive."""
        try:
            with torch.inference_mode():
                return run(part)
        except torch.OutOfMemoryError:
            return None
        except RuntimeError as error:
            raise DeviceError(f"{self.device} failed: {first_line(error)}", "try --device cpu") from error

    def _halve(self, size: int) -> None:
        if size == 1:
            raise DeviceError(f"{self.device} has too little free memory for one item", "try --device cpu")
        self.limit = size // 2
        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()


def load(source: ModelSource, files: ModelFiles, *, device: str = "auto", precision: str = "auto") -> OpenClipEncoder:
    """Build the model in `files`, put its weights on `device` and make it ready to encode.

    Raises DeviceError for a device that is not there, ModelError for files that do not make a model.
    """
    chosen_device = choose_device(device)
    chosen_precision = choose_precision(precision, chosen_device)
    model_config = files.build_config
    with quiet(), hub.no_network():
        model = _build(source, files, chosen_device, chosen_precision)
        _load_weights(model, source, files)
        tokenize = _tokenizer(source, files)
    preprocess = openclip_preprocess.to_preprocess(open_clip.get_model_preprocess_cfg(model), source.spec)
    fingerprint = fingerprints.fingerprint(model_config, preprocess, files.weights)
    info = EncoderInfo(source.spec, fingerprint, int(model_config["embed_dim"]), preprocess)
    return OpenClipEncoder(model.eval(), info, tokenize, chosen_device, chosen_precision)


def device_names(name: str) -> list[str]:
    """The single devices in `cuda:all` or a list such as `cuda:0,1`; any other name stands for itself."""
    if name == "cuda:all":
        return [f"cuda:{number}" for number in range(torch.cuda.device_count())] or ["cuda"]
    if re.fullmatch(r"cuda:\d+(,\d+)+", name):
        return [f"cuda:{number}" for number in dict.fromkeys(name.removeprefix("cuda:").split(","))]
    return [name]


def choose_device(name: str) -> torch.device:
    """The device called `name`; `auto` is CUDA, else MPS, else the CPU."""
    kind, _, index = name.partition(":")
    if not re.fullmatch(r"auto|cpu|mps|cuda(:[0-9]+)?", name):
        raise UsageError(f"unknown device {name!r}", "choose auto, cpu, cuda, cuda:N, cuda:N,M, cuda:all or mps")
    has_mps = torch.backends.mps.is_available()
    if kind == "cuda":
        return _cuda(name, index)
    if kind == "mps" and not has_mps:
        raise DeviceError("no Apple GPU (mps) found", "use --device cpu")
    if kind == "auto" and torch.cuda.is_available():
        return _cuda("cuda", "")
    return torch.device("mps" if kind == "mps" or (kind == "auto" and has_mps) else "cpu")


def _cuda(name: str, index: str) -> torch.device:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        built = "torch finds none" if torch.version.cuda else "this torch is built without CUDA"
        raise DeviceError(f"no CUDA device for {name!r}: {built}", "use --device cpu")
    if index and int(index) >= count:
        raise DeviceError(f"no device {name!r}: the last CUDA device is cuda:{count - 1}", "use --device cuda")
    return torch.device("cuda", int(index) if index else torch.cuda.current_device())


def choose_precision(name: str, device: torch.device) -> str:
    """The floating-point type to run in: `name`, or for `auto` fp16 on CUDA, bf16 on CPUs made for it, else fp32."""
    if name not in ("auto", "fp32", "bf16", "fp16"):
        raise UsageError(f"unknown precision {name!r}", "choose auto, fp32, bf16 or fp16")
    if name != "auto":
        return name
    if device.type == "cuda":
        return "fp16"
    return "bf16" if device.type == "cpu" and _cpu_multiplies_bf16() else "fp32"


def _cpu_multiplies_bf16() -> bool:
    """Whether the CPU has matrix or dot-product units for bf16: without them it is slower than fp32."""
    if not hasattr(torch.cpu, "get_capabilities"):
        return False
    able: Mapping[str, Any] = torch.cpu.get_capabilities()
    return bool(able.get("amx_bf16") or able.get("avx512_bf16"))


def _build(source: ModelSource, files: ModelFiles, device: torch.device, precision: str) -> torch.nn.Module:
    """The architecture, with random weights in the given precision.

    On CUDA, open_clip's `fp16` and `bf16` keep layer norms in fp32, as OpenAI's CLIP does; elsewhere all is cast,
    because mixed types are slow there.
    """
    if files.tower and not _has_transformers():
        raise ModelError("this model's text tower needs the transformers package", "pip install transformers")
    prefix = "" if precision == "fp32" or device.type == "cuda" else "pure_"
    with _configured(files) as name, _model_errors(f"open_clip cannot build {source.spec}"):
        if not files.architecture:
            _check_size(name, files.weights)
        model: torch.nn.Module = open_clip.create_model(
            name,
            load_weights=False,
            precision=prefix + precision,
            device=device,
            force_quick_gelu=files.quick_gelu,
            force_preprocess_cfg=dict(files.settings) if files.architecture else None,
            pretrained_text=False,
        )
    return model


@contextmanager
def _configured(files: ModelFiles) -> Iterator[str]:
    """What open_clip's `create_model` is to build: an architecture of its own, or a folder with no more than what has
    been checked. A text tower from transformers is named by the path of such a folder, never by a name that a folder
    beside the user may have.
    """
    if files.architecture and not files.tower:
        yield files.architecture
        return
    with tempfile.TemporaryDirectory(prefix="mmsearch-model-") as folder:
        config = copy.deepcopy(dict(files.config))
        if files.tower:
            text_tower.write(files.tower, None, Path(folder))
            config["text_cfg"]["hf_model_name"] = folder
        settings = {} if files.architecture else dict(files.settings)
        content = json.dumps({"model_cfg": config, "preprocess_cfg": settings})
        Path(folder, "open_clip_config.json").write_text(content, "utf-8")
        yield f"local-dir:{folder}"


def _check_size(name: str, weights: Path) -> None:
    """Raise ModelError for a model with more parameters than its weights have bytes, before memory is taken for them.

    Counting them takes some tenths of a second: on torch's device `meta`, tensors are shapes without content.
    """
    with torch.device("meta"):
        model = open_clip.create_model(name, load_weights=False, pretrained_text=False, device="meta")
    count, size = sum(parameter.numel() for parameter in model.parameters()), weights.stat().st_size
    if count > size:
        _refuse_damaged(weights)
        what = f"{weights} has {size:,} bytes, too few for the {count:,} parameters of the model's configuration"
        raise ModelError(what, "use a model that you trust")


def _load_weights(model: torch.nn.Module, source: ModelSource, files: ModelFiles) -> None:
    """Read the weights, and nothing but weights: a file that would run code when opened is refused."""
    path = files.weights
    hint = "convert it to safetensors where it came from, if you trust it"
    try:
        with _model_errors(f"the weights in {path} do not fit {source.spec}"):
            _check_archive(path)
            open_clip.load_checkpoint(model, str(path), strict=True, weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(f"{path} holds more than weights, so it was not opened", hint) from error
    except ModelError:
        _refuse_damaged(path)
        raise


def _refuse_damaged(weights: Path) -> None:
    """Raise ModelUnavailableError for a download that is not what its checksum says, which is then thrown away."""
    if hub.discard_if_damaged(weights):
        raise ModelUnavailableError(f"the downloaded {weights.name} was damaged", "run again to fetch it")


def _check_archive(path: Path) -> None:
    """Raise ModelError for an archive that would take much more memory than it has bytes: weights do not shrink."""
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            total = sum(entry.file_size for entry in archive.infolist())
    except zipfile.BadZipFile as error:
        raise ModelError(f"{path} is damaged: {first_line(error)}") from error
    if total > _MOST_SHRUNK * path.stat().st_size:
        raise ModelError(f"{path} unpacks to {total:,} bytes, more than weights do", "use a model that you trust")


def _tokenizer(source: ModelSource, files: ModelFiles) -> Callable[[Sequence[str]], NDArray[np.int64]]:
    """The tokenizer; ours is opened at the first text, because indexing images needs none."""
    if files.tower:
        theirs = transformers_tokenizer(source, files)
        return lambda texts: _tokenized(theirs, texts)
    opened = functools.cache(lambda: tokens.open_tokenizer(files.text_config, files.tokenizer))
    return lambda texts: opened()(texts)


def _tokenized(theirs: Any, texts: Sequence[str]) -> NDArray[np.int64]:
    with tokens.library_errors("the model's tokenizer cannot take this text"):
        return np.asarray(theirs(list(texts)).numpy(), dtype=np.int64)


def transformers_tokenizer(source: ModelSource, files: ModelFiles) -> Any:
    """open_clip's tokenizer for a text tower from transformers, whose own tokenizer is its attribute `tokenizer`.

    It reads a folder with no more than what has been checked.
    """
    if files.tower is None or files.tokenizer is None:
        raise ValueError(f"{source.spec} has no text tower from transformers")
    text = files.text_config
    what = f"the tokenizer of {source.spec} cannot be opened"
    with (
        tempfile.TemporaryDirectory(prefix="mmsearch-tokenizer-") as folder,
        _model_errors(what),
        tokens.library_errors(what),
    ):
        text_tower.write(files.tower, files.tokenizer, Path(folder))
        return open_clip.tokenizer.HFTokenizer(
            folder,
            context_length=text.get("context_length", tokens.CONTEXT_LENGTH),
            tokenizer_mode=text.get("tokenizer_mode"),
            trust_remote_code=False,
            local_files_only=True,
            **(text.get("tokenizer_kwargs") or {}),
        )


def _normalised(features: torch.Tensor) -> NDArray[np.float32]:
    normalised = torch.nn.functional.normalize(features.float(), dim=-1)
    result: NDArray[np.float32] = normalised.cpu().numpy()
    return result


def _has_transformers() -> bool:
    from importlib.util import find_spec

    return find_spec("transformers") is not None


@contextmanager
def _model_errors(what: str) -> Iterator[None]:
    """Turn what torch, timm and open_clip raise on files that do not fit into ModelError; pickled code passes."""
    from safetensors import SafetensorError

    of_python = (RuntimeError, TypeError, ValueError, LookupError, AttributeError, OSError, EOFError, MemoryError)
    try:
        yield
    except (pickle.UnpicklingError, ModelError):
        raise
    except torch.OutOfMemoryError as error:
        raise DeviceError("the device has too little free memory for this model", "try --device cpu") from error
    except (*of_python, SafetensorError) as error:
        raise ModelError(f"{what}: {first_line(error)}") from error
    except (AssertionError, StopIteration) as error:
        raise ModelError(what) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keep open_clip's and timm's remarks off the terminal: what matters of them is checked here."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
