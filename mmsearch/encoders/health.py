"""Whether the files of a model on this machine are those that made a collection's embeddings."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from mmsearch.base.cleaning import remove_ours
from mmsearch.base.errors import MMSearchError
from mmsearch.base.records import EncoderInfo
from mmsearch.encoders import names as model_names
from mmsearch.encoders import starter
from mmsearch.encoders.export import folder as export_folder

# Whether all is well, what was found, and what can be done about it, which says in a few words what it did.
Verdict = tuple[bool, str, Callable[[], str] | None]


def of(stored: EncoderInfo) -> Verdict:
    """Look at the built-in model's files, or at the export of another one. Uses no network, loads no model."""
    try:
        return _of_starter(stored) if stored.spec == model_names.STARTER else _of_export(stored)
    except MMSearchError as error:  # a fingerprint that is none
        return False, str(error), None


def known(spec: str, fingerprint: str, dim: int) -> EncoderInfo | None:
    """What a model is, as far as this machine knows without loading it: the one of this fingerprint, else of this name.

    None for one that is not known. `fingerprint` and `dim` are believed where only the model's own files could tell
    them. Uses no network.
    """
    from mmsearch.encoders import expected_preprocess

    with suppress(MMSearchError):  # no fingerprint
        manifest = export_folder.read_manifest(export_folder.folder_of(fingerprint))
        if manifest is not None:
            return manifest.info
    with suppress(MMSearchError):  # no name of a model
        built_in = starter.info()
        if spec == model_names.STARTER or built_in.fingerprint == fingerprint:
            return built_in
        how = expected_preprocess(spec)
        return EncoderInfo(spec, fingerprint, dim, how) if how else None
    return None


def _of_starter(stored: EncoderInfo) -> Verdict:
    try:
        info, facts = starter.info(), starter.facts()
    except MMSearchError as error:
        return False, str(error), None
    for name, told in facts["files"].items():
        if not _is_whole(starter.FOLDER / name, told["sha256"]):
            return False, f"{starter.FOLDER / name} is damaged or missing; reinstall mmsearch", None
    if info.fingerprint != stored.fingerprint:
        problem = f"this mmsearch has a different {stored.spec} model from the one that made the embeddings"
        cure = f"`mmsearch reindex --model {model_names.STARTER}`, or install the mmsearch that made this one"
        return False, f"{problem}; {cure}", None
    return True, f"{stored.spec} is intact, and is the model that made the embeddings", None


def _of_export(stored: EncoderInfo) -> Verdict:
    folder = export_folder.folder_of(stored.fingerprint)
    left = export_folder.unfinished(folder)
    lock = FileLock(export_folder.lock_path(stored), mode=0o600)

    def remove() -> str:
        for path in [folder, *left]:
            if not remove_ours(path) and path.exists():
                raise OSError(f"{path} is a link, lies behind one, or is another user's")
        return "removed; the next query makes it again"

    if export_folder.find(stored.fingerprint) is None and folder.exists():
        return False, f"the export of {stored.spec} is damaged, or made for another ONNX Runtime", remove
    if left:
        try:
            with lock.acquire(timeout=0):
                return False, f"an interrupted export of {stored.spec} has left files behind", remove
        except Timeout:
            return True, f"{stored.spec} is being exported by another mmsearch", None
    if not folder.exists():
        return True, f"{stored.spec} has no export yet; the next query makes it", None
    return True, f"the export of {stored.spec} is intact, and of the model that made the embeddings", None


def _is_whole(path: Path, sha256: str) -> bool:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except OSError:
        return False
