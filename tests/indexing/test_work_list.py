"""The list of work between the scanner and the encoder."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.base.records import FileRecord
from mmsearch.indexing import work_list
from mmsearch.indexing.work_list import Work, WorkList

NAMES = st.text(st.characters(codec="utf-8") | st.sampled_from('\udc80\udcff\n"\\'), max_size=20)
WORK = st.builds(
    Work,
    st.sampled_from(["file", "gone"]),
    st.builds(FileRecord, NAMES, st.integers(0, 2**63 - 1), st.integers(-(2**63), 2**63 - 1)),
)


def entry(number: int) -> Work:
    return Work("file", FileRecord(f"/photos/{number}", number, number))


def drain(work: WorkList) -> list[Work]:
    found = []
    while (item := work.get(0)) is not None:
        found.append(item)
    return found


@given(st.lists(WORK, max_size=30))
def test_what_is_put_comes_out_in_order(items: list[Work]) -> None:
    work = WorkList()
    for item in items:
        work.put(item)
    assert drain(work) == items
    work.discard()


@given(st.lists(st.one_of(WORK, st.none()), max_size=40))
def test_reading_and_writing_in_any_order_is_a_queue(steps: list[Work | None]) -> None:
    """None stands for a `get`."""
    work, model = WorkList(), deque[Work]()
    for step in steps:
        if step is None:
            assert work.get(0) == (model.popleft() if model else None)
        else:
            work.put(step)
            model.append(step)
        assert not work.finished
    work.close()
    assert work.finished == (not model)
    assert drain(work) == list(model)
    assert work.finished
    work.discard()


def test_a_list_longer_than_a_read_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work_list, "_READ_BYTES", 70)  # less than two entries: most are cut by a read
    work = WorkList()
    items = [entry(number) for number in range(200)]
    for item in items:
        work.put(item)
    work.close()
    found = []
    while not work.finished:
        item = work.get(0)
        found += [item] if item else []
    assert found == items
    work.discard()


def test_an_entry_longer_than_a_read_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work_list, "_READ_BYTES", 10)
    work = WorkList()
    work.put(entry(1))
    work.close()
    found = []
    while not work.finished:
        item = work.get(0)
        found += [item] if item else []
    assert found == [entry(1)]
    work.discard()


def test_getting_from_an_empty_list_waits_no_longer_than_told() -> None:
    work = WorkList()
    assert work.get(0.01) is None
    assert not work.finished
    work.discard()


@pytest.mark.parametrize(
    ("wake", "expected"), [(lambda work: work.put(entry(1)), entry(1)), (lambda work: work.close(), None)]
)
def test_a_waiting_reader_is_woken(wake: Callable[[WorkList], None], expected: Work | None) -> None:
    work = WorkList()
    found: list[Work | None] = []
    reader = threading.Thread(target=lambda: found.append(work.get(60)))
    reader.start()
    wake(work)
    reader.join(30)
    assert not reader.is_alive(), "the reader still waits for its timeout"
    assert found == [expected]
    work.discard()


def test_one_thread_writes_while_another_reads() -> None:
    work = WorkList()
    items = [entry(number) for number in range(5000)]

    def write() -> None:
        for item in items:
            work.put(item)
        work.close()

    writer = threading.Thread(target=write)
    writer.start()
    found = []
    while not work.finished:
        item = work.get(1)
        found += [item] if item else []
    writer.join()
    assert found == items
    work.discard()


def test_the_list_is_on_disk_not_in_memory() -> None:
    work = WorkList()
    for number in range(20_000):
        work.put(entry(number))
    assert work.get(0) == entry(0)
    assert len(work._ready) < 5000
    work.discard()
