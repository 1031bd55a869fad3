"""Embeddings of the images that captions name: found in a collection, or made in a scratch collection.

A scratch collection is an ordinary one in the cache directory, one for each model, so that decoding, preprocessing and
encoding are the product's own, and a second evaluation of the same images costs nothing. It is fed a folder of symbolic
links to exactly the images that are named, which may be a few among many in their own folders.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.base import cache
from mmsearch.base.cleaning import remove_ours
from mmsearch.base.errors import SourceError, StorageError
from mmsearch.base.events import Event, Finished, Skipped
from mmsearch.base.file_state import state_of
from mmsearch.base.paths import make_private
from mmsearch.base.records import EncoderInfo, ScanOptions
from mmsearch.collection.collection import Collection
from mmsearch.evaluating.captions import CaptionedImage
from mmsearch.images.content_hash import content_hash
from mmsearch.store.catalog import Catalog, StoredEncoder

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Below the cache directory. All of it can be deleted at any time.
_SCRATCH = "eval"


@dataclass(frozen=True, slots=True)
class EmbeddedImages:
    """Embeddings `vectors`, float32 (n, dim), by the model `info`; `rows` has the row of each content, by its hex hash.

    `contents` has the content of each path that could be read; files of the same content share one. `content_ids`
    (n,) are the catalog's numbers of the rows. `failed` has paths of images that could not be decoded, with reasons.
    """

    info: EncoderInfo
    contents: dict[str, str]
    rows: dict[str, int]
    vectors: NDArray[np.float32]
    content_ids: NDArray[np.int64]
    failed: dict[str, str]


def stored(catalog: Catalog, encoder: StoredEncoder, images: Sequence[CaptionedImage]) -> EmbeddedImages:
    """The embeddings of those images whose content the collection has, wherever its own files lie."""
    contents = {}
    for image in images:
        content = _content_of(catalog, image)
        if content is not None and catalog.contents.id_of(bytes.fromhex(content)) is not None:
            contents[image.path] = content
    return _gathered(catalog, encoder, contents, {})


def rest(
    catalog: Catalog, encoder: StoredEncoder, images: EmbeddedImages
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Content ids (b,) and embeddings (b, dim) of all that the collection has beside `images`, in blocks."""
    for ids, vectors in catalog.embeddings.after(encoder, 0):
        others = ~np.isin(ids, images.content_ids)
        yield ids[others], vectors[others]


def encoded(
    images: Sequence[CaptionedImage],
    spec: str,
    *,
    device: str,
    show: Callable[[Event], None],
    stop: threading.Event,
) -> EmbeddedImages:
    """Embeddings of the images by the model `spec`, made in its scratch collection where they are not there yet.

    `show` is given the events of the index run. Raises `SourceError` where none is an image, `KeyboardInterrupt` where
    `stop` was set (what is done is kept), `ModelMismatchError` where its scratch collection is of other weights,
    `ModelError`, `StorageError`.
    """
    home = _home(spec)
    paths = [image.path for image in images]
    root = home / "links" / _digest(sorted(paths))
    links = _link(root, paths)
    folder = home / "collection"
    _index(folder, root, spec, device, show, stop)
    with Catalog(folder, write=False) as catalog:
        encoder = catalog.encoders.current()
        if encoder is None:
            raise SourceError("none of the files is an image that can be read", "check the captions' paths")
        found = {path: catalog.files.at(link) for path, link in links.items()}
        contents = {path: record.content_hash for path, record in found.items() if record is not None}
        reasons = dict(catalog.files.failures())
        failed = {path: reasons[link] for path, link in links.items() if link in reasons}
        return _gathered(catalog, encoder, contents, failed)


def forget(spec: str) -> None:
    """Drop the scratch collection of a model, whose files have been replaced since it was made."""
    with suppress(OSError):
        remove_ours(_home(spec))


def _home(spec: str) -> Path:
    """Where a model's scratch collection is; files of the user's own that have changed make another model."""
    from mmsearch.encoders import resolve

    path = resolve(spec).path
    states = []
    for file in (sorted(Path(path).glob("*")) or [Path(path)]) if path else ():
        with suppress(OSError):
            status = file.stat()
            states.append(f"{file.name} {status.st_size} {status.st_mtime_ns}")
    return cache.folder(_SCRATCH) / _digest([spec, *states])[:16]


def _index(
    folder: Path, root: Path, spec: str, device: str, show: Callable[[Event], None], stop: threading.Event
) -> None:
    options = ScanOptions(follow_symlinks=True)
    with Collection.open(folder) as scratch:
        events = scratch.add_events([root], model=spec, device=device, options=options, wait=math.inf, stop=stop)
        try:
            for event in events:
                if not isinstance(event, Skipped | Finished):
                    show(event)
        except SourceError as error:
            raise SourceError("none of the files is an image that can be read", "check the captions' paths") from error
    if stop.is_set():
        raise KeyboardInterrupt


def _content_of(catalog: Catalog, image: CaptionedImage) -> str | None:
    """The hash of an image file; read only where the catalog does not know the file as it is."""
    if image.content_hash is not None:
        return image.content_hash
    known = catalog.files.at(image.path)
    try:
        if known is not None and catalog.files.state_at(image.path) == state_of(os.stat(image.path)):
            return known.content_hash
        with open(image.path, "rb") as file:  # noqa: PTH123  (a path of any bytes)
            return content_hash(file).hex()
    except OSError:
        return None


def _gathered(
    catalog: Catalog, encoder: StoredEncoder, contents: dict[str, str], failed: dict[str, str]
) -> EmbeddedImages:
    numbers = {}
    for content in set(contents.values()):
        number = catalog.contents.id_of(bytes.fromhex(content))
        if number is not None:
            numbers[number] = content
    ids, vectors = catalog.embeddings.of(encoder, list(numbers))
    rows = {numbers[number]: row for row, number in enumerate(ids.tolist())}
    contents = {path: content for path, content in contents.items() if content in rows}
    return EmbeddedImages(encoder.info, contents, rows, vectors, ids, failed)


def _link(folder: Path, paths: Sequence[str]) -> dict[str, str]:
    """Fill a folder with a link to each path; returns the links' paths."""
    links = {path: folder / (_digest([path]) + os.path.splitext(path)[1]) for path in paths}
    try:
        cache.made_folder(_SCRATCH)
        make_private(folder)
        for path, link in links.items():
            _put_link(path, link)
    except OSError as error:
        raise StorageError(f"{folder} cannot be written: {error.strerror or error}", "set MMSEARCH_CACHE") from error
    return {path: str(link) for path, link in links.items()}


def _put_link(path: str, link: Path) -> None:
    """A symbolic link to a file; a copy of it, made anew each time, where the system has none to give."""
    if link.is_symlink() and os.readlink(link) == path:
        return
    try:
        link.unlink(missing_ok=True)
        link.symlink_to(path)
    except OSError:
        with suppress(FileNotFoundError):
            shutil.copy2(path, link)


def _digest(texts: Sequence[str]) -> str:
    return hashlib.blake2b(b"\0".join(os.fsencode(text) for text in texts), digest_size=16).hexdigest()
