"""A collection of made-up embeddings, as large as is wanted: clusters within clusters, as photos form.

A vector is the sum of one of 1,000 coarse directions, one of rows / 50 fine ones and noise, normalised.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch.base.records import EncoderInfo, ScanOptions
from mmsearch.indexing.refresh import refresh_vectors
from mmsearch.store import checksums
from mmsearch.store.catalog import Catalog
from mmsearch.store.schema import embeddings_table

_COARSE = 1_000
_ROWS_A_FINE = 50
_BLOCK = 20_000
_FILES_A_FOLDER = 1_000
ROOT = "/synthetic"


class Space:
    """Where the vectors of a collection of `rows` rows come from; the same numbers give the same vectors."""

    def __init__(self, rows: int, dim: int) -> None:
        rng = np.random.default_rng(1)
        self._dim = dim
        self._coarse = rng.standard_normal((_COARSE, dim), np.float32)
        self._fine = rng.standard_normal((max(1, min(rows // _ROWS_A_FINE, 100_000)), dim), np.float32)

    def vectors(self, block: int, count: int) -> NDArray[np.float32]:
        """`count` unit vectors (count, dim) of one block; negative blocks are for queries."""
        rng = np.random.default_rng([2, abs(block), int(block < 0)])
        found = self._coarse[rng.integers(0, len(self._coarse), count)]
        found += np.float32(0.7) * self._fine[rng.integers(0, len(self._fine), count)]
        found += np.float32(0.5) * rng.standard_normal((count, self._dim), np.float32)
        found /= np.linalg.norm(found, axis=1, keepdims=True)
        return found

    def blocks(self, rows: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """The first row's number and the vectors of each block."""
        for first in range(0, rows, _BLOCK):
            yield first, self.vectors(first // _BLOCK, min(_BLOCK, rows - first))


def path_of(row: int) -> str:
    return f"{ROOT}/{_folder(row):05d}/{row:08d}.jpg"


def fill(folder: Path, info: EncoderInfo, space: Space, rows: int) -> None:
    """Write the rows into a new collection in `folder`, as index runs would have left them, without the vector file.

    The rows go in through SQL in bulk: one at a time, 10 million would take an hour.
    """
    with Catalog(folder, write=True) as catalog, catalog.transaction():
        encoder = catalog.encoders.start_with(info)
        catalog.roots.put(ROOT, ScanOptions())
    connection = sqlite3.connect(folder / "catalog.sqlite3", isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    for first, vectors in space.blocks(rows):
        connection.execute("BEGIN")
        numbers = range(first + 1, first + 1 + len(vectors))
        folders = [(number, f"{ROOT}/{number:05d}".encode()) for number in {_folder(row) for row in numbers}]
        connection.executemany(
            "INSERT OR IGNORE INTO folders (id, path, checksum) VALUES (?, ?, ?)",
            ((number, path, checksums.of_row(path)) for number, path in folders),
        )
        facts = (500, 375, "JPEG", None, None, None, None)
        connection.executemany(
            "INSERT INTO contents (id, hash, width, height, format, checksum) VALUES (?, ?, 500, 375, 'JPEG', ?)",
            ((row, key, checksums.of_row(key, *facts)) for row in numbers if (key := row.to_bytes(16, "big"))),
        )
        columns = "id, size, mtime_ns, folder_id, name, content_id, checksum"
        names = ((row, (_folder(row), f"{row:08d}.jpg".encode(), row)) for row in numbers)
        connection.executemany(
            f"INSERT INTO images ({columns}) VALUES (?, 50000, 1, ?, ?, ?, ?)",
            ((row, *place, checksums.of_row(*place)) for row, place in names),
        )
        data = ((row, vector.tobytes()) for row, vector in zip(numbers, vectors.astype("<f2"), strict=True))
        connection.executemany(
            f"INSERT INTO {embeddings_table(encoder.id)} (content_id, vector, checksum) VALUES (?, ?, ?)",
            ((row, vector, checksums.of_vector(row, vector)) for row, vector in data),
        )
        connection.execute("COMMIT")
    connection.close()


def _folder(row: int) -> int:
    return row // _FILES_A_FOLDER + 1


def build(folder: Path) -> str:
    """Make the vector file, as the end of an index run does; returns its kind."""
    with Catalog(folder, write=True) as catalog:
        encoder = catalog.encoders.current()
        assert encoder is not None
        refresh_vectors(catalog, encoder)
        return catalog.vector_files.of(encoder.id)[0].kind


def fill_rclip(data: Path, space: Space, rows: int) -> None:
    """The same rows in a database that rclip has made."""
    connection = sqlite3.connect(data / "db.sqlite3")
    with connection:
        connection.execute("DELETE FROM images")
        for first, vectors in space.blocks(rows):
            connection.executemany(
                "INSERT INTO images (filepath, modified_at, size, vector, hash) VALUES (?, 1, 50000, ?, ?)",
                ((path_of(row), vector.tobytes(), f"{row:064x}") for row, vector in enumerate(vectors, first)),
            )
    connection.close()
