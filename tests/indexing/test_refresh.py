"""The vector file follows the catalog."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mmsearch.base.errors import StorageError
from mmsearch.base.records import EncoderInfo, FileRecord, ImageFacts, Preprocess
from mmsearch.indexing import refresh
from mmsearch.store.catalog import Catalog, StoredEncoder
from mmsearch.vectors import faiss_file, on_disk

DIM = 8


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog(tmp_path, write=True) as opened:
        yield opened


@pytest.fixture
def encoder(catalog: Catalog) -> StoredEncoder:
    with catalog.transaction():
        return catalog.encoders.start_with(EncoderInfo("starter", "f00d", DIM, Preprocess(size=32, resize=32)))


def add(catalog: Catalog, encoder: StoredEncoder, count: int) -> list[int]:
    """New images with embeddings; returns their content ids."""
    ids = []
    with catalog.transaction():
        for _ in range(count):
            number = catalog.files.count() + 1
            vector = np.random.default_rng(number).normal(size=DIM).astype(np.float32)
            ids.append(catalog.contents.add(f"{number} {count}".encode(), ImageFacts(1, 1, "PNG")))
            catalog.embeddings.put(encoder.id, ids[-1], vector / np.linalg.norm(vector))
            catalog.files.put_image(FileRecord(f"/p/{ids[-1]}", 1, 1), ids[-1])
    return ids


def remove(catalog: Catalog, ids: list[int]) -> None:
    with catalog.transaction():
        for number in ids:
            catalog.files.remove(f"/p/{number}")
        catalog.contents.drop_released()


def vector_files(catalog: Catalog) -> set[str]:
    return {path.name for path in catalog.folder.glob(f"{on_disk.PREFIX}*")}


def found_in_files(catalog: Catalog, encoder: StoredEncoder) -> dict[str, set[int]]:
    """All ids of each file that the catalog names; there must be no others."""
    found = {}
    current = catalog.vector_files.of(encoder.id)
    assert vector_files(catalog) == {file.name for file in current}
    for file in current:
        index = faiss_file.VectorIndex(catalog.folder / file.name)
        assert index.count == file.count
        found[file.part] = set(index.search(np.ones((1, DIM), np.float32), index.count)[0].tolist())
    return found


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refresh, "MOST_DELTA", 10)
    monkeypatch.setattr(refresh, "MOST_RECENT_COUNT", 20)
    monkeypatch.setattr(refresh, "MOST_REMOVED_COUNT", 10)


def test_a_first_file_covers_everything(catalog: Catalog, encoder: StoredEncoder) -> None:
    ids = add(catalog, encoder, 20)
    assert refresh.refresh_vectors(catalog, encoder)
    (file,) = catalog.vector_files.of(encoder.id)
    assert (file.part, file.first, file.watermark, file.count, file.kind) == ("main", 0, max(ids), 20, "flat")
    assert found_in_files(catalog, encoder) == {"main": set(ids)}


def test_the_file_holds_the_embeddings_of_the_catalog(catalog: Catalog, encoder: StoredEncoder) -> None:
    ids = add(catalog, encoder, 20)
    refresh.refresh_vectors(catalog, encoder)
    (file,) = catalog.vector_files.of(encoder.id)
    _, vectors = catalog.embeddings.of(encoder, ids)
    assert faiss_file.VectorIndex(catalog.folder / file.name).search(vectors, 1)[:, 0].tolist() == ids


def test_the_catalog_can_tell_whether_the_file_is_whole(catalog: Catalog, encoder: StoredEncoder) -> None:
    add(catalog, encoder, 20)
    refresh.refresh_vectors(catalog, encoder)
    (file,) = catalog.vector_files.of(encoder.id)
    path = catalog.folder / file.name
    assert path.stat().st_size == file.bytes
    assert (on_disk.digest(path, file.head_bytes), on_disk.digest(path)) == (file.head_digest, file.digest)


def test_nothing_to_do_leaves_the_file(catalog: Catalog, encoder: StoredEncoder) -> None:
    assert not refresh.refresh_vectors(catalog, encoder), "there is nothing yet"
    add(catalog, encoder, 5)
    assert refresh.refresh_vectors(catalog, encoder)
    before = catalog.vector_files.of(encoder.id)
    assert not refresh.refresh_vectors(catalog, encoder)
    assert catalog.vector_files.of(encoder.id) == before


@pytest.mark.usefixtures("small_limits")
def test_new_embeddings_go_to_a_small_file_until_it_is_large(catalog: Catalog, encoder: StoredEncoder) -> None:
    old = add(catalog, encoder, 30)
    refresh.refresh_vectors(catalog, encoder)
    (main,) = catalog.vector_files.of(encoder.id)
    new = add(catalog, encoder, 10)
    assert not refresh.refresh_vectors(catalog, encoder), "queries read so few from the catalog"
    new += add(catalog, encoder, 1)
    assert refresh.refresh_vectors(catalog, encoder)
    assert found_in_files(catalog, encoder) == {"main": set(old), "recent": set(new)}
    assert catalog.vector_files.of(encoder.id)[0] == main
    assert not refresh.refresh_vectors(catalog, encoder)
    new += add(catalog, encoder, 10)
    assert not refresh.refresh_vectors(catalog, encoder)
    new += add(catalog, encoder, 1)
    assert refresh.refresh_vectors(catalog, encoder)
    assert found_in_files(catalog, encoder) == {"main": {*old, *new}}


@pytest.mark.usefixtures("small_limits")
def test_a_file_that_lost_much_is_written_anew(catalog: Catalog, encoder: StoredEncoder) -> None:
    ids = add(catalog, encoder, 30)
    refresh.refresh_vectors(catalog, encoder)
    remove(catalog, ids[:10])
    assert not refresh.refresh_vectors(catalog, encoder)
    remove(catalog, ids[10:11])
    assert refresh.refresh_vectors(catalog, encoder)
    assert found_in_files(catalog, encoder) == {"main": set(ids[11:])}


@pytest.mark.usefixtures("small_limits")
def test_removed_and_added_again_is_seen(catalog: Catalog, encoder: StoredEncoder) -> None:
    """The number of embeddings is the same; the embeddings are not."""
    ids = add(catalog, encoder, 30)
    refresh.refresh_vectors(catalog, encoder)
    remove(catalog, ids[-12:])
    added = add(catalog, encoder, 12)
    assert refresh.refresh_vectors(catalog, encoder)
    assert found_in_files(catalog, encoder) == {"main": {*ids[:-12], *added}}


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize("part", ["main", "recent"])
def test_a_file_that_is_gone_is_made_good(catalog: Catalog, encoder: StoredEncoder, part: str) -> None:
    ids = add(catalog, encoder, 30)
    refresh.refresh_vectors(catalog, encoder)
    ids += add(catalog, encoder, 15)
    refresh.refresh_vectors(catalog, encoder)
    (lost,) = (file.name for file in catalog.vector_files.of(encoder.id) if file.part == part)
    (catalog.folder / lost).unlink()
    assert refresh.refresh_vectors(catalog, encoder)
    assert found_in_files(catalog, encoder) == {"main": set(ids)}


def test_force_writes_a_new_file(catalog: Catalog, encoder: StoredEncoder) -> None:
    ids = add(catalog, encoder, 5)
    refresh.refresh_vectors(catalog, encoder)
    before = vector_files(catalog)
    assert refresh.refresh_vectors(catalog, encoder, force=True)
    assert vector_files(catalog).isdisjoint(before)
    assert found_in_files(catalog, encoder) == {"main": set(ids)}


def test_a_kind_may_be_asked_for(catalog: Catalog, encoder: StoredEncoder) -> None:
    ids = add(catalog, encoder, 400)
    assert refresh.refresh_vectors(catalog, encoder, kind="ivf-sq8")
    (file,) = catalog.vector_files.of(encoder.id)
    assert file.kind == "ivf-sq8"
    assert 0 < file.probes <= file.lists
    index = faiss_file.VectorIndex(catalog.folder / file.name)
    found = index.search(np.ones((1, DIM), np.float32), 400, probes=file.lists)[0]
    assert set(found.tolist()) == set(ids)


@pytest.mark.usefixtures("small_limits")
def test_a_collection_that_lost_everything_starts_again(catalog: Catalog, encoder: StoredEncoder) -> None:
    ids = add(catalog, encoder, 15)
    refresh.refresh_vectors(catalog, encoder)
    remove(catalog, ids)
    refresh.refresh_vectors(catalog, encoder)
    new = add(catalog, encoder, 3)
    refresh.refresh_vectors(catalog, encoder)
    assert found_in_files(catalog, encoder) == {"main": set(new)}


def test_a_failure_keeps_the_old_file_and_its_record(
    catalog: Catalog, encoder: StoredEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = add(catalog, encoder, 5)
    refresh.refresh_vectors(catalog, encoder)
    before = catalog.vector_files.of(encoder.id)
    add(catalog, encoder, 3)

    def fail(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(StorageError, match="No space left"):
        refresh.refresh_vectors(catalog, encoder, force=True)
    assert catalog.vector_files.of(encoder.id) == before
    assert found_in_files(catalog, encoder) == {"main": set(ids)}


def test_the_catalog_names_the_new_file_before_the_old_one_goes(
    catalog: Catalog, encoder: StoredEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(catalog, encoder, 5)
    refresh.refresh_vectors(catalog, encoder)
    (old,) = vector_files(catalog)
    seen: list[tuple[bool, bool]] = []
    real = on_disk.remove_others

    def watched(folder: Path, keep: list[str]) -> None:
        with Catalog(folder, write=False) as reader:
            (current,) = reader.vector_files.of(encoder.id)
        seen.append(([current.name] == list(keep) != [old], (folder / old).exists()))
        real(folder, keep)

    monkeypatch.setattr(on_disk, "remove_others", watched)
    refresh.refresh_vectors(catalog, encoder, force=True)
    assert seen == [(True, True)]
