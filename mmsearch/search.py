"""The query flow: encode -> candidates (filtered) -> exact re-rank -> hits. Prints nothing.

Candidates come from the vector file; what the catalog has beyond it (the delta) is searched exactly, and every
candidate's score is computed again from the catalog's embedding. So a query is right while an index run is under way.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmsearch import config
from mmsearch.errors import CollectionEmptyError, ModelMismatchError, SourceError, StorageError
from mmsearch.query import Query
from mmsearch.store.catalog import Catalog, StoredEncoder, VectorFile
from mmsearch.types import Encoder, Hit, ImageRecord
from mmsearch.vectors import exact

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.vectors.files import VectorIndex

# Candidates for each result asked for, and at least so many: files that are gone or excluded drop out afterwards.
_CANDIDATES_A_RESULT = 4
_LEAST_CANDIDATES = 100


class Searcher:
    """Answers queries over one collection; kept open, it keeps the model and the vector file open."""

    def __init__(
        self,
        catalog: Catalog,
        load_encoder: Callable[[str], Encoder],
        notice: Callable[[str], None],
        *,
        max_pixels: int = config.DEFAULT_MAX_PIXELS,
    ) -> None:
        """`load_encoder` is given the collection's model; `notice` gets one line where something is amiss but
        the answer is still right."""
        self._catalog = catalog
        self._load_encoder = load_encoder
        self._notice = notice
        self._max_pixels = max_pixels
        self._encoder: Encoder | None = None
        self._opened: tuple[str, VectorIndex] | None = None

    def search(self, query: Query) -> list[Hit]:
        """The best matches, best first; equal scores by path.

        Raises `CollectionEmptyError`, `DecodeError`, `ModelError`.
        """
        stored = self._catalog.encoder()
        if stored is None or not self._catalog.count_embeddings(stored.id):
            raise CollectionEmptyError(
                f"the collection at {self._catalog.folder} has no images", "run `mmsearch index DIR` first"
            )
        vector, excluded = self._embed(query, stored)
        with self._catalog.snapshot():
            return self._hits(query, stored, vector, excluded)

    # --- the query's embedding ---

    def _embed(self, query: Query, stored: StoredEncoder) -> tuple[NDArray[np.float32], str | None]:
        """The query's unit vector (dim,), and the hash of the content that must not be among the results."""
        if query.text is not None:
            return self._encoder_for(stored).encode_texts([query.text])[0], None
        assert query.image is not None
        data = query.image if isinstance(query.image, bytes) else _read(query.image)
        vector, content_hash = self._embed_image(data, stored)
        return vector, None if query.include_self else content_hash

    def _embed_image(self, data: bytes, stored: StoredEncoder) -> tuple[NDArray[np.float32], str]:
        from mmsearch import decode, preprocess
        from mmsearch.decode_pool import content_hash

        how = stored.info.preprocess
        image, _ = decode.decode(io.BytesIO(data), max_pixels=self._max_pixels, target=how.resize)
        pixels = preprocess.prepare(image, how)
        vector = self._encoder_for(stored).encode_images(pixels[np.newaxis])[0]
        return vector, content_hash(io.BytesIO(data)).hex()

    def _encoder_for(self, stored: StoredEncoder) -> Encoder:
        if self._encoder is None:
            encoder = self._load_encoder(stored.info.spec)
            if encoder.info.fingerprint != stored.info.fingerprint:
                raise ModelMismatchError(
                    f"the files of model {stored.info.spec} are not those that the collection was built with",
                    "restore them, or index again into another collection with -C",
                )
            self._encoder = encoder
        return self._encoder

    # --- candidates and re-ranking ---

    def _hits(
        self, query: Query, stored: StoredEncoder, vector: NDArray[np.float32], excluded: str | None
    ) -> list[Hit]:
        if query.below is not None:
            ids = self._catalog.content_ids(query.below)
            return self._ranked(query, vector, excluded, *self._scored(stored, ids, vector))
        file = self._catalog.vector_file(stored.id)
        index = self._open_index(file) if file else None
        delta = self._scored_after(stored, file.watermark if file and index else 0, vector)
        if index is None:
            return self._ranked(query, vector, excluded, *delta)
        wanted = max(_LEAST_CANDIDATES, _CANDIDATES_A_RESULT * query.top)
        while True:
            ids, scores = self._scored(stored, index.search(vector, wanted), vector)
            hits = self._ranked(
                query, vector, excluded, np.concatenate([ids, delta[0]]), np.concatenate([scores, delta[1]])
            )
            if len(hits) >= query.top or wanted >= index.count:
                return hits
            wanted *= _CANDIDATES_A_RESULT

    def _scored(
        self, stored: StoredEncoder, ids: NDArray[np.int64], vector: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Those of `ids` that are still in the catalog, and their exact cosines."""
        found, vectors = self._catalog.embeddings(stored, ids.tolist())
        return found, exact.scores(vectors, vector)

    def _scored_after(
        self, stored: StoredEncoder, watermark: int, vector: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """All contents with ids over `watermark`, and their exact cosines."""
        ids, scores = [np.empty(0, np.int64)], [np.empty(0, np.float32)]
        for part, vectors in self._catalog.embeddings_after(stored, watermark):
            ids.append(part)
            scores.append(exact.scores(vectors, vector))
        return np.concatenate(ids), np.concatenate(scores)

    def _ranked(
        self,
        query: Query,
        vector: NDArray[np.float32],
        excluded: str | None,
        ids: NDArray[np.int64],
        scores: NDArray[np.float32],
    ) -> list[Hit]:
        """Turn scored contents into hits: a content with several files gives several, one without files none."""
        if query.min_score is not None:
            kept = scores >= query.min_score
            ids, scores = ids[kept], scores[kept]
        wanted = query.top + 1
        while True:
            best, values = exact.top(ids, scores, wanted)
            images = self._catalog.images_of_contents(best.tolist())
            found = [
                (float(value), record)
                for content, value in zip(best.tolist(), values, strict=True)
                for record in images.get(content, [])
                if record.content_hash != excluded and _is_below(record, query.below)
            ]
            if len(found) >= query.top or len(best) == len(ids):
                break
            wanted *= _CANDIDATES_A_RESULT
        found.sort(key=lambda pair: (-pair[0], os.fsencode(pair[1].path)))
        return [Hit(rank, score, record) for rank, (score, record) in enumerate(found[: query.top], 1)]

    def _open_index(self, file: VectorFile) -> VectorIndex | None:
        """The vector file, opened once. Where it cannot be, the exact search over everything stands in."""
        if self._opened is None or self._opened[0] != file.name:
            from mmsearch.vectors.files import VectorIndex

            try:
                self._opened = (file.name, VectorIndex(self._catalog.folder / file.name))
            except StorageError as error:
                self._notice(f"{error.message}; searching without it, `mmsearch index` will write it again")
                return None
        return self._opened[1]


def _read(path: str | os.PathLike[str]) -> bytes:
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        why = error.strerror or str(error)
        raise SourceError(f"cannot read the query image {os.fspath(path)}: {why}", "check the path") from error


def _is_below(record: ImageRecord, folder: str | None) -> bool:
    return folder is None or record.path.startswith(folder.rstrip(os.sep) + os.sep)
