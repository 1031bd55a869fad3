"""The index flow with encoders that the test controls: order, bounds, interruption, several devices."""

from __future__ import annotations

import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mmsearch.base.events import Event, Finished, Notice, Progress, Skipped, Summary
from mmsearch.base.records import Encoder, EncoderInfo, FileRecord, Preprocess, ScanOptions
from mmsearch.encoders.parallel import ParallelEncoder
from mmsearch.images.pool import Decoded, DecodePool
from mmsearch.indexing.pipeline import Indexer
from mmsearch.indexing.scan_thread import Subtree
from mmsearch.indexing.settings import IndexSettings, RunOptions
from mmsearch.store.catalog import Catalog

HOW = Preprocess(16, 16, "squash")


class FakeEncoder:
    """Embeds an image as the means of its corners, on a device that takes its time."""

    def __init__(self, device: str = "fake:0", concurrency: int = 1, delay: Callable[[], float] = lambda: 0.0) -> None:
        self.info = EncoderInfo("fake", "f" * 64, 12, HOW)
        self.device, self.precision, self.batch_size, self.concurrency = device, "fp32", 4, concurrency
        self.batches: list[int] = []
        self.running = self.most_running = 0
        self._delay = delay
        self._lock = threading.Lock()

    def encode_images(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        with self._lock:
            self.running += 1
            self.most_running = max(self.most_running, self.running)
            self.batches.append(len(pixels))
        time.sleep(self._delay())
        corners = [part.mean(axis=(1, 2)) for part in (pixels[:, :8, :8], pixels[:, :8, 8:], pixels[:, 8:, :8], pixels)]
        found = np.concatenate(corners, axis=1).astype(np.float32) + 1
        with self._lock:
            self.running -= 1
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        raise NotImplementedError


def index(
    folder: Path,
    photos: Path,
    encoder: Encoder | None,
    *,
    stop: threading.Event | None = None,
    settings: IndexSettings | None = None,
    options: ScanOptions | None = None,
    each: Callable[[Event], None] = lambda event: None,
) -> Summary:
    def load() -> Encoder:
        if encoder is None:
            raise AssertionError("the model is not needed")
        return encoder

    subtree = Subtree(str(photos), str(photos), options or ScanOptions())
    notices: deque[Notice] = deque()
    with Catalog(folder, write=True) as catalog:
        how = RunOptions.of({"settings": settings, "stop": stop})
        for event in Indexer(catalog, [subtree], load, lambda: HOW, how, notices, with_model=lambda: None).run():
            each(event)
            if isinstance(event, Finished):
                return event.summary
    raise AssertionError("no summary")


def stored(folder: Path) -> list[tuple[bytes, bytes]]:
    database = sqlite3.connect(folder / "catalog.sqlite3")
    rows = database.execute(
        "SELECT name, vector FROM images JOIN embeddings_1 USING (content_id) ORDER BY content_id, name"
    ).fetchall()
    database.close()
    return rows


def test_several_slow_devices_give_what_one_gives(photos: Path, tmp_path: Path) -> None:
    plain = FakeEncoder()
    index(tmp_path / "one", photos, plain)
    rng = random.Random(0)
    devices = [FakeEncoder(f"fake:{number}", 2, lambda: rng.random() / 20) for number in range(3)]
    summary = index(tmp_path / "many", photos, ParallelEncoder(devices))
    assert stored(tmp_path / "many") == stored(tmp_path / "one")
    assert summary.device == "fake:0,fake:1,fake:2"
    assert sum(sum(device.batches) for device in devices) == sum(plain.batches) == 24
    assert all(device.most_running <= 2 for device in devices)
    assert sum(bool(device.batches) for device in devices) >= 2


@pytest.mark.parametrize("follow", [False, True])
@pytest.mark.parametrize("swapped", ["cat.jpg", "below"])
def test_a_link_swapped_in_after_the_scan_is_not_followed(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swapped: str, follow: bool
) -> None:
    """`cat.jpg` becomes a link to another picture, or its like `below` one to another folder."""
    (photos / "below").mkdir()
    (photos / "dog.jpg").rename(photos / "below" / "dog.jpg")
    private = tmp_path / "private"
    private.mkdir()
    shutil.copy(photos / "coffee.jpg", private / "dog.jpg")
    begin = DecodePool.submit

    def swap_first(self: DecodePool, record: FileRecord) -> Future[Decoded]:
        if not (photos / swapped).is_symlink():
            (photos / swapped).rename(tmp_path / "moved")
            (photos / swapped).symlink_to(private if swapped == "below" else private / "dog.jpg")
        return begin(self, record)

    monkeypatch.setattr(DecodePool, "submit", swap_first)
    skipped: list[Skipped] = []
    summary = index(
        tmp_path / "c",
        photos,
        FakeEncoder(),
        options=ScanOptions(follow_symlinks=follow),
        each=lambda event: skipped.append(event) if isinstance(event, Skipped) else None,
    )
    assert summary.encoded == 23  # what is behind the link is known, or it is not read
    if follow:
        assert skipped == []
        return
    path = photos / ("below/dog.jpg" if swapped == "below" else swapped)
    what = "its folder" if swapped == "below" else "it"
    assert skipped == [Skipped(str(path), f"{what} is a symbolic link now, which is not followed")]


def test_batches_have_the_size_asked_for(photos: Path, tmp_path: Path) -> None:
    encoder = FakeEncoder()
    index(tmp_path / "c", photos, encoder, settings=IndexSettings(batch_size=10))
    assert encoder.batches == [10, 10, 4]
    own_choice = FakeEncoder()
    index(tmp_path / "d", photos, own_choice)
    # The first files are taken before the encoder, and with it its batch size, is there.
    assert sum(own_choice.batches) == 24 and own_choice.batches[-1] <= 32


def test_nothing_to_do_loads_no_model(photos: Path, tmp_path: Path) -> None:
    index(tmp_path / "c", photos, FakeEncoder())
    summary = index(tmp_path / "c", photos, None)
    assert summary.unchanged == 24 and summary.device == "" and summary.breakdown.bottleneck == "scan"


def test_stop_keeps_what_is_done_and_the_next_run_goes_on(photos: Path, tmp_path: Path) -> None:
    stop = threading.Event()

    def after_ten(event: Event) -> None:
        if isinstance(event, Progress) and event.done >= 10:
            stop.set()

    slow = FakeEncoder(delay=lambda: 0.1)
    settings = IndexSettings(batch_size=2)
    summary = index(tmp_path / "c", photos, slow, stop=stop, settings=settings, each=after_ten)
    assert summary.interrupted and 10 <= summary.new < 24
    assert len(stored(tmp_path / "c")) == summary.new == summary.total
    again = index(tmp_path / "c", photos, FakeEncoder(), settings=settings)
    assert again.new == 24 - summary.new and again.unchanged == summary.new
    index(tmp_path / "whole", photos, FakeEncoder(), settings=settings)
    assert stored(tmp_path / "c") == stored(tmp_path / "whole")


def test_a_failing_encoder_costs_only_what_is_in_flight(photos: Path, tmp_path: Path) -> None:
    class Failing(FakeEncoder):
        def encode_images(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
            if len(self.batches) == 3:
                raise RuntimeError("the device fell off the bus")
            return super().encode_images(pixels)

    with pytest.raises(RuntimeError, match="fell off"):
        index(tmp_path / "c", photos, Failing(), settings=IndexSettings(batch_size=4))
    kept = len(stored(tmp_path / "c"))
    assert kept in (8, 12)
    assert index(tmp_path / "c", photos, FakeEncoder()).new == 24 - kept


def test_decoded_images_in_memory_are_bounded(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mmsearch.indexing import settings

    for copy in range(4):
        for path in sorted(photos.glob("*.jpg"))[:15]:
            (photos / f"{copy}-{path.name}").write_bytes(path.read_bytes() + bytes([copy]))
    submitted = 0

    class Counting(settings.DecodePool):
        def submit(self, record):  # type: ignore[no-untyped-def]
            nonlocal submitted
            submitted += 1
            return super().submit(record)

    monkeypatch.setattr(settings, "DecodePool", Counting)
    ahead = []

    class Watching(FakeEncoder):
        def encode_images(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
            time.sleep(0.3)
            ahead.append(submitted - sum(self.batches))
            return super().encode_images(pixels)

    batch = 5
    index(tmp_path / "c", photos, Watching(), settings=IndexSettings(batch_size=batch))
    # Two batches ahead, one being collected, one waiting and one in the encoder.
    assert 0 < max(ahead) <= 5 * batch


def test_summary_says_where_the_time_went(photos: Path, tmp_path: Path) -> None:
    summary = index(tmp_path / "c", photos, FakeEncoder(delay=lambda: 0.3), settings=IndexSettings(batch_size=4))
    fields = summary.to_json()
    assert set(fields["breakdown"]) == {"scan", "decode", "load", "encode", "store"}
    assert fields["bottleneck"] == "encode" and fields["breakdown"]["encode"] >= 1.8


def test_progress_knows_the_total_and_names_a_slow_file(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmsearch.indexing import window

    monkeypatch.setattr(window, "_SLOW_FILE", 0.0)
    seen: list[Progress] = []
    index(tmp_path / "c", photos, FakeEncoder(), each=lambda e: seen.append(e) if isinstance(e, Progress) else None)
    assert seen[-1].done == seen[-1].total == 24 and seen[-1].scanned
    assert any(progress.waiting_for for progress in seen)
    assert [progress.done for progress in seen] == sorted(progress.done for progress in seen)


def test_ctrl_c_keeps_what_is_done(photos: Path, tmp_path: Path) -> None:
    for copy in range(40):
        for path in sorted(photos.glob("*.jpg"))[:15]:
            (photos / f"{copy}-{path.name}").write_bytes(path.read_bytes() + bytes([copy]))
    command = [sys.executable, "-m", "mmsearch", "index", photos, "--model", "starter", "-C", tmp_path / "c", "--json"]
    command += ["--batch-size", "4"]  # the first images are stored long before the last
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    catalog = tmp_path / "c" / "catalog.sqlite3"
    while process.poll() is None and not (catalog.exists() and _count(catalog)):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and '"interrupted": true' in out, err
    kept = _count(catalog)
    assert 0 < kept < 600
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f'"unchanged": {kept}' in again.stdout


def _count(catalog: Path) -> int:
    database = sqlite3.connect(catalog, timeout=30)
    try:
        count: int = database.execute("SELECT count(*) FROM images").fetchone()[0]
    except sqlite3.OperationalError:
        return 0
    finally:
        database.close()
    return count
