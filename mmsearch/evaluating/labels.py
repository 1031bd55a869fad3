"""Captions that a user gives to pictures of their own collection: kept beside the catalog, as JSON Lines.

A line has the picture's path and content hash, so that it is found after a move, and in every later version of the
collection. The file is the user's: mmsearch only appends to it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mmsearch.base.durable import append_private
from mmsearch.base.errors import SourceError, StorageError
from mmsearch.base.records import ImageRecord
from mmsearch.evaluating import captions
from mmsearch.evaluating.captions import CaptionedImage, CaptionSet
from mmsearch.store import trust
from mmsearch.store.catalog import Catalog
from mmsearch.store.selection import Selection

FILE_NAME = "captions.jsonl"


def load(catalog: Catalog) -> CaptionSet:
    """The captions of a collection's pictures, with their paths of today; pictures that it no longer has are `missing`.

    Raises `SourceError` where there are none.
    """
    path = catalog.folder / FILE_NAME
    if not path.exists():
        raise SourceError(
            f"the collection at {catalog.folder} has no captions yet",
            "name a file of captions, or make some with `mmsearch eval --label`",
        )
    said = captions.read(path)
    found: dict[str, CaptionedImage] = {}
    missing = list(said.missing)
    for image in said.images:
        record = _current(catalog, image)
        if record is None:
            missing.append(image.path)
            continue
        before = found.get(record.content_hash)
        texts = dict.fromkeys([*(before.captions if before else ()), *image.captions])
        found[record.content_hash] = CaptionedImage(record.path, tuple(texts), record.content_hash)
    if not found:
        raise SourceError(f"none of the pictures that {path} names is in the collection", "see `mmsearch index`")
    return CaptionSet(said.source, tuple(found.values()), tuple(missing))


def unnamed(catalog: Catalog, seed: int = 0) -> Iterator[ImageRecord]:
    """Pictures of the collection that have no caption yet and are there, in an order that `seed` decides.

    The order is the same in every round, so that together the rounds are one random sample.
    """
    path = catalog.folder / FILE_NAME
    named = {image.content_hash for image in captions.read(path).images} if path.exists() else set()
    contents = catalog.contents.ids(Selection(outside=catalog.roots.offline()))
    for content in np.random.default_rng(seed).permutation(contents).tolist():
        records = catalog.files.of_contents([content]).get(content, [])
        record = next((record for record in records if os.path.isfile(record.path)), None)
        if record is not None and record.content_hash not in named:
            yield record


def append(folder: Path, record: ImageRecord, caption: str) -> None:
    """Add a caption to those of the collection in `folder`; it is on the disk when this returns.

    Raises `StorageError`, `UntrustedError`.
    """
    trust.require(folder)
    line = captions.to_line(CaptionedImage(record.path, (caption,), record.content_hash))
    path = folder / FILE_NAME
    try:
        append_private(path, line)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}", "check its permissions") from error


def _current(catalog: Catalog, image: CaptionedImage) -> ImageRecord | None:
    if image.content_hash is None:
        return catalog.files.at(image.path)
    content = catalog.contents.id_of(bytes.fromhex(image.content_hash))
    records = catalog.files.of_contents([content]).get(content, []) if content is not None else []
    return next((record for record in records if record.path == image.path), records[0] if records else None)
