"""Exports: a model's two towers as ONNX graphs in the cache folder, which answer queries without torch.

An export is a folder named after the model's fingerprint. It holds all that a query needs, so that it works without the
model's own files, and a manifest that says what its files were when they were written. A folder that is anything else
than whole, and made for this machine and this ONNX Runtime, counts as none, and is made again by `make.py`.
"""

from __future__ import annotations

import hashlib
import platform
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.base import cache, config
from mmsearch.base.cleaning import ours
from mmsearch.base.durable import read_json, write_json
from mmsearch.base.errors import ModelError, StorageError
from mmsearch.base.records import EncoderInfo, Preprocess
from mmsearch.base.version import __version__
from mmsearch.encoders.onnx import OnnxEncoder, Tokens, onnx_runtime

if TYPE_CHECKING:
    from mmsearch.encoders.tokens import TextTokenizer

# Below the cache directory.
FOLDER = "exports"

# Raised whenever an older export could not be used, or would give other embeddings.
FORMAT = 1

MANIFEST = "export.json"
IMAGE_GRAPH, TEXT_GRAPH = "image.onnx", "text.onnx"
VOCABULARY = "vocabulary.txt.gz"

# What lies in the folder of exports: exports, unfinished ones, and what is noted beside them.
NAMES = re.compile(r"(\.making-)?[0-9a-f]{64}-v\d+([.-][\w.]+)?")

# Bytes. Graphs and tokenizers below this are checked in full at each start, which takes about a millisecond.
_ALWAYS_CHECKED = 1_000_000

# What an export depends on: with another version of any of these, one that failed is worth another try.
_MAKERS = ("torch", "open_clip_torch", "onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an export is.

    `text_config` is the part of the model's configuration that its tokenizer needs; `clip_tokenizer` says that it is
    CLIP's own. With `short_texts` the text graph takes texts without their padding. `files` are the size in bytes,
    modification time in nanoseconds and SHA-256 of each file, by name.
    """

    info: EncoderInfo
    text_config: Mapping[str, Any]
    clip_tokenizer: bool
    short_texts: bool
    files: Mapping[str, Mapping[str, Any]]
    runtime: str
    machine: str

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, for `export.json`."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        info = {name: getattr(self.info, name) for name in self.info.__slots__}
        return {"format": FORMAT, **fields, "info": {**info, "preprocess": self.info.preprocess.to_json()}}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Manifest:
        """The inverse of `to_json`. Raises ValueError, KeyError or TypeError for anything else."""
        fields = dict(fields)
        if fields.pop("format") != FORMAT:
            raise ValueError("another format")
        info = fields.pop("info")
        return cls(EncoderInfo(**{**info, "preprocess": Preprocess.from_json(info["preprocess"])}), **fields)


class ExportTokenizer:
    """The tokenizer in an export, opened at the first text."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._folder = folder
        self._manifest = manifest
        self._opened: TextTokenizer | None = None

    def __call__(self, texts: Sequence[str]) -> Tokens:
        """Token ids, int64 (n, context length), and with `short_texts` their lengths.

        Such a model reads a text's embedding off its end token, and no token sees those behind it.
        """
        ids = self._tokenizer(texts)
        # At least two, because graphs are exported for no fewer.
        lengths = np.maximum(2, ids.argmax(axis=1) + 1) if self._manifest.short_texts else None
        return Tokens({"input_ids": ids}, lengths)

    def unknown_share(self, text: str) -> float:
        """The share of a text's tokens that stand for what the vocabulary does not have; see `TextTokenizer`."""
        return self._tokenizer.unknown_share(text)

    @property
    def _tokenizer(self) -> TextTokenizer:
        if self._opened is None:
            self._opened = self._open()
        return self._opened

    def _open(self) -> TextTokenizer:
        from mmsearch.encoders import tokens

        if self._manifest.clip_tokenizer:
            return tokens.open_tokenizer(self._manifest.text_config, None, self._folder / VOCABULARY)
        return tokens.open_tokenizer(self._manifest.text_config, self._folder, is_ours=True)


def find(fingerprint: str) -> OnnxEncoder | None:
    """The encoder of the model with this fingerprint, where there is an export of it that can be used."""
    folder = folder_of(fingerprint)
    if cache.own_folder(FOLDER) is None:  # anybody may have put anything there
        return None
    manifest = read_manifest(folder)
    if manifest is None or manifest.info.fingerprint != fingerprint:
        return None
    if manifest.machine != machine() or not _can_run(manifest.runtime) or not _is_whole(folder, manifest):
        return None
    return open_export(folder, manifest)


def open_export(folder: Path, manifest: Manifest) -> OnnxEncoder:
    """The encoder in `folder`. Opens no file yet."""
    return OnnxEncoder(
        manifest.info,
        image=folder / IMAGE_GRAPH,
        text=folder / TEXT_GRAPH,
        tokenize=ExportTokenizer(folder, manifest),
        optimized=True,
    )


def folder_of(fingerprint: str) -> Path:
    """The folder of a model's export, which need not exist. Raises ModelError for what is no fingerprint."""
    if not re.fullmatch(r"[0-9a-f]+", fingerprint):
        raise ModelError(f"invalid model fingerprint {fingerprint!r}", "the collection may be damaged")
    return _exports() / f"{fingerprint}-v{FORMAT}"


def unfinished_prefix(folder: Path) -> str:
    """How the names of folders begin in which the export that is to be `folder` is made."""
    return f".making-{folder.name}-"


def unfinished(folder: Path) -> list[Path]:
    """Folders that are not, or no longer, on the way to be `folder`."""
    return list(ours(folder.parent, re.compile(rf"{re.escape(unfinished_prefix(folder))}\w+")))


@contextmanager
def turn(info: EncoderInfo, notice: Callable[[str], None]) -> Iterator[None]:
    """Be the only one that makes an export of this model, after whoever is at it.

    Raises StorageError where the cache folder cannot be written, or is not to be.
    """
    from filelock import FileLock, Timeout

    path = lock_path(info)
    try:
        cache.made_folder(FOLDER)
        lock = FileLock(path, mode=0o600)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            notice(f"waiting for another mmsearch that is preparing {info.spec} for fast queries")
            lock.acquire()
    except OSError as error:
        raise StorageError(f"{path.parent} cannot be written: {error.strerror or error}") from error
    try:
        yield
    finally:
        lock.release()


def lock_path(info: EncoderInfo) -> Path:
    """The lock of those that make an export of this model."""
    return _beside(info, ".lock")


def failure(info: EncoderInfo) -> str | None:
    """Why this model could not be exported when it was last tried with the versions that are installed now."""
    note = read_json(_beside(info, ".failed.json"))
    return str(note.get("reason")) if note.get("versions") == _versions() else None


def remember_failure(info: EncoderInfo, reason: str) -> None:
    """Keep `failure` for later processes. A cache that cannot be written remembers nothing."""
    with suppress(OSError):
        write_json(_beside(info, ".failed.json"), {"versions": _versions(), "reason": reason})


def describe(path: Path) -> dict[str, Any]:
    """What a manifest says about a file."""
    state = path.stat()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"size": state.st_size, "mtime_ns": state.st_mtime_ns, "sha256": digest}


def machine() -> str:
    """The system and processor that an export is made for."""
    return f"{sys.platform}-{platform.machine()}"


def _exports() -> Path:
    return config.cache_dir() / FOLDER


def _beside(info: EncoderInfo, ending: str) -> Path:
    folder = folder_of(info.fingerprint)
    return folder.with_name(folder.name + ending)


def _versions() -> dict[str, str]:
    from importlib import metadata  # takes 0.03 s, and is needed where an export is not

    found = {"mmsearch": __version__}
    for name in _MAKERS:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def read_manifest(folder: Path) -> Manifest | None:
    """What the export in a folder says of itself; None for what this version cannot read."""
    try:
        return Manifest.from_json(read_json(folder / MANIFEST))
    except (ValueError, KeyError, TypeError):
        return None


def _can_run(version: str) -> bool:
    """Whether the ONNX Runtime that is installed runs a graph that `version` optimized: it is no older."""
    made, installed = _release(version), _release(onnx_runtime().__version__)
    return made[0] == installed[0] and made <= installed


def _release(version: str) -> tuple[int, int]:
    """`1.31.1` is (1, 31); a text that is no version is (0, 0)."""
    found = re.match(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _is_whole(folder: Path, manifest: Manifest) -> bool:
    """Whether all files are as they were written. Large ones that look untouched are not read."""
    moved: dict[str, dict[str, Any]] = {}
    try:
        for name, written in manifest.files.items():
            state = (folder / name).stat()
            if state.st_size != written["size"]:
                return False
            if state.st_mtime_ns == written["mtime_ns"] and state.st_size > _ALWAYS_CHECKED:
                continue
            found = describe(folder / name)
            if found["sha256"] != written["sha256"]:
                return False
            if found != written:
                moved[name] = found
    except (OSError, KeyError, TypeError):
        return False
    if moved:  # a copy, as a backup brings it back
        content = manifest.to_json()
        with suppress(OSError):
            write_json(folder / MANIFEST, {**content, "files": {**content["files"], **moved}})
    return True
