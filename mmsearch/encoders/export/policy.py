"""When an export is used, made or done without."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mmsearch.base.errors import ModelError, StorageError, UntrustedError
from mmsearch.encoders.export import folder as export_folder
from mmsearch.encoders.onnx import OnnxEncoder

if TYPE_CHECKING:
    from mmsearch.base.records import Encoder, EncoderInfo

Notice = Callable[[str], None]


class LoadWithTorch(Protocol):
    """Loads a model with torch, on `device` in `precision`."""

    def __call__(self, *, notice: Notice, device: str = "auto", precision: str = "auto") -> Encoder: ...


def load(
    stored: EncoderInfo, notice: Notice, load_with_torch: LoadWithTorch, allow: Callable[[], None] = lambda: None
) -> Encoder:
    """The export of the model `stored`, made first where there is none; the model on torch where it cannot be.

    `allow` is called before the model's own files are read, and may raise.
    """
    found = _find(stored)
    if found is not None:
        return found
    allow()
    if export_folder.failure(stored):
        return load_with_torch(notice=notice)
    try:
        with export_folder.turn(stored, notice):
            found = _find(stored)
            if found is not None:
                return found
            _announce(stored, notice)
            encoder = load_with_torch(notice=notice, device="cpu", precision="fp32")
            is_same = encoder.info.fingerprint == stored.fingerprint
            return (_export(encoder, notice) if is_same else None) or encoder
    except StorageError as error:
        _excuse(error, notice)
        return load_with_torch(notice=notice)


def load_export(stored: EncoderInfo, device: str, precision: str) -> Encoder | None:
    """The export of `stored`, if there is one, and `device` and `precision` are not better served by torch."""
    wanted = device in ("auto", "cpu") and precision in ("auto", "fp32")
    forced = device == "cpu" and precision == "fp32"
    if not wanted or not (forced or not _torch_runs_faster(device)):
        return None
    return _find(stored)


def ensure(encoder: Encoder, notice: Notice) -> None:
    """Export the model of an encoder on torch, if that has neither been done nor failed before."""
    info = encoder.info
    if isinstance(encoder, OnnxEncoder) or export_folder.failure(info) or export_folder.find(info.fingerprint):
        return
    try:
        with export_folder.turn(info, notice):
            if not export_folder.find(info.fingerprint):
                _announce(info, notice)
                _export(encoder, notice)
    except (ModelError, StorageError) as error:
        _excuse(error, notice)


def _find(stored: EncoderInfo) -> Encoder | None:
    """The export of a model under the name by which the caller knows it: its files may have been moved since."""
    found = export_folder.find(stored.fingerprint)
    if found is not None:
        found.info = stored
    return found


def _export(encoder: Encoder, notice: Notice) -> Encoder | None:
    """Export a model that is loaded with torch, in the caller's turn; None where that cannot be done."""
    from mmsearch.encoders import names as model_names
    from mmsearch.encoders import openclip
    from mmsearch.encoders import weights as weight_files
    from mmsearch.encoders.export import make as export_make

    source = model_names.parse(encoder.info.spec)
    model_files = weight_files.locate(source, notice=notice, progress=False)
    if not isinstance(encoder, openclip.OpenClipEncoder) or (encoder.device, encoder.precision) != ("cpu", "fp32"):
        encoder = openclip.load(source, model_files, device="cpu", precision="fp32")
    try:
        return export_make.export(encoder, source, model_files)
    except ModelError as error:
        export_folder.remember_failure(encoder.info, error.message)
        _excuse(error, notice)
    except StorageError as error:
        _excuse(error, notice)
    return None


def _announce(info: EncoderInfo, notice: Notice) -> None:
    notice(f"preparing {info.spec} for fast queries; this takes about a minute, once")


def _excuse(error: ModelError | StorageError, notice: Notice) -> None:
    told = str(error) if isinstance(error, UntrustedError) else error.message
    notice(f"{told}; queries run on torch, which takes a few seconds longer to start")


def _torch_runs_faster(device: str) -> bool:
    """Whether this machine has what torch is several times faster on than an export: found without importing torch."""
    if device == "auto":
        has_mps = sys.platform == "darwin" and platform.machine() == "arm64"
        has_gpu = Path("/proc/driver/nvidia").exists() or Path("/dev/kfd").exists() or shutil.which("nvidia-smi")
        if has_mps or has_gpu:
            return True
    processor = Path("/proc/cpuinfo")
    flags = processor.read_text("utf-8", "replace") if processor.exists() else ""
    return "amx_bf16" in flags or "avx512_bf16" in flags
