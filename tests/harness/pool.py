"""Small distinct images whose embeddings are known, and what a collection's catalog holds: the truth for harnesses."""

from __future__ import annotations

import hashlib
import io
import os
import random
import sqlite3
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmsearch import Collection
from mmsearch.store.connection import CATALOG_NAME

SAMPLE_DATA = Path(__file__).resolve().parents[2] / "sample_data"
SIDE = 72

# Embeddings of one image differ by the batch that it is encoded in, in their last bits, before rounding to float16.
SAME_COSINE = 0.9995


@dataclass(frozen=True)
class Pool:
    """`files` are the bytes of each image by its hash (hex), `embeddings` unit vectors (dim,) by hash."""

    files: dict[str, bytes]
    embeddings: dict[str, NDArray[np.float32]]

    def write(self, path: Path, content: str) -> None:
        """Put an image where a reader sees either the file before or this one, with a time of its own."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}")
        temporary.write_bytes(self.files[content])
        temporary.replace(path)


def make_pool(folder: Path, count: int, seed: int) -> Pool:
    """`count` images, no two alike, encoded with the starter model in one undisturbed run."""
    rng = random.Random(seed)
    sources = [Image.open(path).convert("RGB") for path in sorted(SAMPLE_DATA.glob("*.jpg"))]
    images = folder / "pool"
    images.mkdir(parents=True)
    files: dict[str, bytes] = {}
    while len(files) < count:
        source = rng.choice(sources)
        left, top = rng.randrange(source.width - SIDE), rng.randrange(source.height - SIDE)
        buffer = io.BytesIO()
        source.crop((left, top, left + SIDE, top + SIDE)).save(buffer, "JPEG", quality=80)
        data = buffer.getvalue()
        name = hashlib.blake2b(data, digest_size=16).hexdigest()
        files[name] = data
        (images / f"{name}.jpg").write_bytes(data)
    with Collection.open(folder / "reference") as reference:
        reference.add([images], model="starter")
    return Pool(files, State.read(folder / "reference").embeddings)


@dataclass(frozen=True)
class State:
    """What a catalog holds: the hash of each image by path, and each hash's embedding."""

    images: dict[str, str]
    embeddings: dict[str, NDArray[np.float32]]
    complaints: list[str]
    released: int

    @classmethod
    def read(cls, folder: Path) -> State:
        """Read a catalog with SQLite alone, in one transaction. An empty state where there is no catalog yet."""
        path = folder / CATALOG_NAME
        if not path.exists():
            return cls({}, {}, [], 0)
        database = sqlite3.connect(path, isolation_level=None, timeout=30)
        try:
            database.execute("BEGIN")
            if not database.execute("SELECT 1 FROM sqlite_schema WHERE name = 'images'").fetchone():
                return cls({}, {}, [], 0)
            return cls._read(database)
        finally:
            database.close()

    @classmethod
    def _read(cls, database: sqlite3.Connection) -> State:
        images = {
            os.path.join(os.fsdecode(folder), os.fsdecode(name)): content.hex()
            for folder, name, content in database.execute(
                "SELECT path, name, hash FROM images JOIN folders ON folders.id = folder_id"
                " JOIN contents ON contents.id = content_id"
            )
        }
        embeddings = {}
        if database.execute("SELECT 1 FROM sqlite_schema WHERE name = 'embeddings_1'").fetchone():
            for content, vector in database.execute(
                "SELECT hash, vector FROM contents JOIN embeddings_1 ON content_id = contents.id"
            ):
                embeddings[content.hex()] = np.frombuffer(vector, "<f2").astype(np.float32)
        complaints = [line for (line,) in database.execute("PRAGMA integrity_check") if line != "ok"]
        complaints += [f"foreign key: {row}" for row in database.execute("PRAGMA foreign_key_check")]
        (released,) = database.execute("SELECT count(*) FROM released").fetchone()
        return cls(images, embeddings, complaints, released)

    def problems(self, pool: Pool) -> list[str]:
        """What is wrong with this state, whatever the files on disk are."""
        found = list(self.complaints)
        for path, content in self.images.items():
            vector = self.embeddings.get(content)
            if content not in pool.files:
                found.append(f"{path} has a content that never was")
            elif vector is None:
                found.append(f"{path} has no embedding")
            elif float(vector @ pool.embeddings[content]) < SAME_COSINE:
                found.append(f"{path} has another image's embedding")
        return found
