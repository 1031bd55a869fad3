"""One writer at a time: who comes second is told who is first, or waits."""

from __future__ import annotations

import json
import os
import platform
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command import Command

from mmsearch import Collection
from mmsearch.base.errors import CollectionBusyError
from mmsearch.store import lock

HOLD = """
import pathlib, sys
from mmsearch.store import lock
with lock.writer(pathlib.Path(sys.argv[1]), sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held(folder: Path, by: str = "index", code: str = HOLD) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that holds the lock until its standard input ends."""
    arguments = [sys.executable, "-c", code, str(folder), by]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        try:
            yield holder
        finally:
            holder.kill()


@pytest.mark.parametrize("arguments", [["index"], ["index", "photos"], ["forget", "photos"], ["optimize"], ["doctor"]])
def test_every_writer_refuses_at_once_and_names_the_holder(
    command: Command, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command("index", photos, "--model", "starter", "-C", tmp_path / "c").code == 0
    with held(tmp_path / "c", "forget") as holder:
        outcome = command(*arguments, "-C", tmp_path / "c")
        assert command("query", "a cat", "-C", tmp_path / "c").code == 0, "readers go on"
    assert (outcome.code, outcome.out) == (1, "")
    (line,) = outcome.err.splitlines()
    assert f"mmsearch forget (process {holder.pid}, since 20" in line
    assert "--wait" in line
    assert command(*arguments, "-C", tmp_path / "c").code == 0


def test_waiting_ends_with_the_holder(photos: Path, tmp_path: Path) -> None:
    said: list[str] = []

    def release(line: str) -> None:
        said.append(line)
        holder.kill()

    with held(tmp_path / "c") as holder, Collection.open(tmp_path / "c", notice=release) as collection:
        summary = collection.add([photos], model="starter", wait=60)
    assert summary.new > 20
    assert said == [line for line in said if f"waiting for mmsearch index (process {holder.pid}" in line]
    assert len(said) == 1


def test_waiting_outlasts_a_first_run_that_leaves_nothing(photos: Path, tmp_path: Path) -> None:
    """The folder, and the lock in it, go while another process waits for them."""
    place = tmp_path / "c"
    discard = HOLD.replace("sys.stdin.read()", "sys.stdin.read(); taken.discard()").replace("[2]):", "[2]) as taken:")

    def release(line: str) -> None:
        assert holder.stdin is not None
        holder.stdin.close()

    with held(place, code=discard) as holder, Collection.open(place, notice=release) as collection:
        assert collection.add([photos], model="starter", wait=60).new > 20
    assert stat.S_IMODE(place.stat().st_mode) == 0o700 and (place / lock.LOCK_NAME).exists()


def test_waiting_gives_up(tmp_path: Path) -> None:
    started = time.monotonic()
    with (
        held(tmp_path),
        pytest.raises(CollectionBusyError, match="being written to by mmsearch index"),
        lock.writer(tmp_path, "index", lock.Patience(0.5)),
    ):
        pass
    assert time.monotonic() - started >= 0.5


def test_a_request_to_stop_ends_the_wait(tmp_path: Path) -> None:
    stop = threading.Event()
    with (
        held(tmp_path),
        pytest.raises(CollectionBusyError),
        lock.writer(tmp_path, "index", lock.Patience(float("inf"), stop, lambda line: stop.set())),
    ):
        pass


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT")
def test_ctrl_c_ends_the_wait(photos: Path, tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "mmsearch", "index", str(photos), "-C", str(tmp_path / "c"), "--wait", "inf"]
    with held(tmp_path / "c"), subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as waiting:
        assert waiting.stderr is not None
        assert "waiting for mmsearch index" in waiting.stderr.readline()
        waiting.send_signal(signal.SIGINT)
        _, errors = waiting.communicate(timeout=60)
    assert waiting.returncode == 130
    assert errors == "mmsearch: interrupted\n"


def test_half_a_note_goes_with_the_next_writer(tmp_path: Path) -> None:
    for name in (f"{lock.HOLDER_NAME}.{'0' * 16}.tmp", f"{lock.HOLDER_NAME}.mine.tmp"):
        (tmp_path / name).touch()
    with lock.writer(tmp_path):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {lock.LOCK_NAME, f"{lock.HOLDER_NAME}.mine.tmp"}


def test_the_note_of_a_dead_holder_stops_nobody(tmp_path: Path) -> None:
    with held(tmp_path):
        pass
    assert lock.holder(tmp_path) is not None
    with lock.writer(tmp_path, "forget"):
        note = lock.holder(tmp_path)
        assert note is not None
        assert (note.command, note.pid, note.host) == ("forget", os.getpid(), platform.node())
        if os.name != "nt":
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
            assert modes == {lock.LOCK_NAME: 0o600, lock.HOLDER_NAME: 0o600}
    assert lock.holder(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"pid": 1}', "\xff"])
def test_a_note_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / lock.HOLDER_NAME).write_text(text, "latin-1")
    assert lock.holder(tmp_path) is None


@pytest.mark.skipif(os.name == "nt", reason="there are no pipes with a name")
def test_a_note_that_is_not_a_file_is_none(tmp_path: Path) -> None:
    note, elsewhere = tmp_path / lock.HOLDER_NAME, tmp_path / "elsewhere"
    os.mkfifo(note)
    assert lock.holder(tmp_path) is None
    note.unlink()
    elsewhere.write_text('{"command": "index", "pid": 7, "since": "", "host": ""}')
    note.symlink_to(elsewhere)
    assert lock.holder(tmp_path) is None


def test_a_holder_elsewhere_is_told_with_its_machine(tmp_path: Path) -> None:
    fields = {"command": "index", "pid": 7, "since": "2024-01-01T00:00:00+00:00", "host": "attic"}
    (tmp_path / lock.HOLDER_NAME).write_text(json.dumps(fields))
    assert str(lock.holder(tmp_path)) == "mmsearch index (process 7 on attic, since 2024-01-01T00:00:00+00:00)"


def test_a_full_disk_keeps_nobody_from_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(lock, "write_private", full)
    with lock.writer(tmp_path):
        assert lock.holder(tmp_path) is None
