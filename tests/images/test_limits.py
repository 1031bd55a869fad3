"""What a worker may take, what becomes of one that takes more, and files that are none."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from formats import CRAFTED
from long_folders import deep_folder
from mishaps import HOW, PATIENCE, PNG, decode_all, is_running, pids, pool, put, record_of, wait_until_gone

from mmsearch.base.records import FileRecord, ImageFacts
from mmsearch.images import memory as memory_module
from mmsearch.images import pool as decode_pool
from mmsearch.images import stalled_disks
from mmsearch.images.memory import Shares, memory_limit, shares
from mmsearch.images.pool import Decoded, DecodePool

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process")


@linux
def test_a_file_that_takes_too_much_memory_costs_one_file(shim: Path, tmp_path: Path) -> None:
    files = [put(tmp_path / "1.png"), put(tmp_path / "2.png", b"swallow"), put(tmp_path / "3.png")]
    results = decode_all(files)
    megabytes = memory_limit(10_000_000) >> 20
    assert [result.reason for result in results] == ["", f"needs more memory than the limit of {megabytes:,} MB", ""]
    assert not results[1].retry
    assert len(pids(shim, 3)) == 3, "it is tried again in a fresh worker, and the next file has one of its own"


@linux
def test_a_worker_that_others_have_filled_does_not_cost_a_file(shim: Path, tmp_path: Path) -> None:
    leaks = [put(tmp_path / f"{number}.png", b"leak") for number in range(4)]
    results = decode_all([*leaks, put(tmp_path / "good.png")])
    assert {result.reason for result in results[:-1]} == {"not in a known image format"}
    assert results[-1].pixels is not None
    assert len(pids(shim, 2)) > 1


@pytest.mark.skipif(os.name == "nt", reason="signals are of POSIX")
def test_a_file_is_not_blamed_for_what_another_one_broke(shim: Path, tmp_path: Path) -> None:
    results = decode_all([put(tmp_path / "1.png", b"break next"), put(tmp_path / "2.png")])
    assert results[1].pixels is not None
    assert len(pids(shim, 2)) == 2


def test_an_error_of_the_disk_is_no_damage(shim: Path, tmp_path: Path) -> None:
    (result,) = decode_all([put(tmp_path / "1.png", b"disk error")])
    assert (result.reason, result.retry) == ("Input/output error", True)


def test_a_worker_that_cannot_be_ended_is_left_behind(
    shim: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that waits for a disk that does not answer: the kernel keeps it until the disk does."""
    monkeypatch.setattr(subprocess.Popen, "kill", lambda process: None)
    monkeypatch.setattr(decode_pool, "_GRACE", 0.2)
    with pool(time_limit=3) as running:
        stuck = running.submit(put(tmp_path / "1.png", b"hang"))
        good = running.submit(put(tmp_path / "2.png"))
        assert stuck.result(PATIENCE).reason == "took longer than 3 s to read"
        assert stuck.result().retry
        assert good.result(PATIENCE).pixels is not None
    first, *others = pids(shim, 2)
    assert is_running(first)
    for pid in (first, *others):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_until_gone(first)


def test_a_pool_with_a_worker_that_cannot_be_ended_closes(
    shim: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = pool(time_limit=600)
    stuck = running.submit(put(tmp_path / "1.png", b"hang"))
    (pid,) = pids(shim, 1)
    with monkeypatch.context() as patch:
        patch.setattr(subprocess.Popen, "kill", lambda process: None)
        patch.setattr(decode_pool, "_GRACE", 0.2)
        running.close()
    assert stuck.result(0).pixels is None
    os.kill(pid, signal.SIGKILL)
    wait_until_gone(pid)


def test_a_disk_that_does_not_answer_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def converse(self: DecodePool, worker: object, record: FileRecord) -> Decoded:
        tried.append(record.path)
        raise TimeoutError

    monkeypatch.setattr(DecodePool, "_converse", converse)
    monkeypatch.setattr(stalled_disks, "disk_of", lambda path: "/mnt/a" if "/a/" in path else "/mnt/b")
    files = [FileRecord(f"/x/{disk}/{number}.png", 1, 1) for number in range(6) for disk in "aab"]
    results = decode_all(files, time_limit=2)
    assert len(tried) == 2 * stalled_disks.MOST_IN_A_ROW
    assert results[0].reason == "took longer than 2 s to read"
    assert results[-2].reason == "not tried: 4 files on the disk at /mnt/a took longer than 2 s to read"
    assert all(result.retry for result in results)


def test_a_decoder_may_close_the_file(tmp_path: Path) -> None:
    (result,) = decode_all([put(tmp_path / "a.ftc", CRAFTED["FTEX"]())], formats="ftex")
    assert result.facts == ImageFacts(64, 48, "FTEX")


# --- special files ---


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no such sockets on Windows")
def test_a_socket_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the address of a socket has room for some 100 bytes
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.png")
        (result,) = decode_all([record_of(tmp_path / "socket.png")])
    assert result.reason
    assert result.retry
    assert result.reason.isprintable()


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="devices of POSIX")
@pytest.mark.parametrize("device", ["zero", "null", "tty"])
def test_a_device_is_not_read(device: str) -> None:
    (result,) = decode_all([FileRecord(f"/dev/{device}", 0, 0)])
    assert result.reason in {"not a regular file", "No such device or address"}
    assert result.retry


@pytest.mark.skipif(os.name == "nt", reason="needs links")
def test_a_link_to_itself_is_not_followed_for_ever(tmp_path: Path) -> None:
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    (result,) = decode_all([FileRecord(str(tmp_path / "loop.png"), 0, 0)])
    assert result.reason == os.strerror(errno.ELOOP)


@pytest.mark.skipif(os.open not in os.supports_dir_fd, reason="long paths are opened in pieces")
def test_a_path_longer_than_the_system_takes_is_read(tmp_path: Path) -> None:
    with deep_folder(tmp_path) as (path, folder):
        name = os.open("a.png", os.O_CREAT | os.O_WRONLY, dir_fd=folder)
        os.write(name, PNG)
        os.close(name)
        long, missing = decode_all([FileRecord(f"{path}/a.png", 0, 0), FileRecord(f"{path}/b.png", 0, 0)])
    assert long.pixels is not None
    assert long.record.size == len(PNG)
    assert missing.reason == "No such file or directory"


def test_a_name_that_is_too_long_is_told(tmp_path: Path) -> None:
    (result,) = decode_all([FileRecord(str(tmp_path / ("a" * 300 + ".png")), 0, 0)])
    assert result.reason == os.strerror(errno.ENAMETOOLONG)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no alarm")
def test_a_worker_whose_pool_was_killed_does_not_work_on_for_good(shim: Path, tmp_path: Path) -> None:
    """In a decoder it sees no end of its input; the system ends it soon after the file's time limit."""
    file = put(tmp_path / "1.png", b"hang")
    code = (
        f"import sys; sys.path[:] = {sys.path!r}; from mmsearch.images import worker;worker._GRACE = 0.5;worker.work()"
    )
    worker = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert worker.stdin is not None
    assert worker.stdout is not None
    settings = {"preprocess": HOW.to_json(), "max_pixels": 1000, "time_limit": 1.0, "memory": 1 << 30}
    for message in (settings, {"path": file.path}, {"pixels": True}):
        worker.stdin.write(json.dumps(message).encode() + b"\n")
    worker.stdin.flush()
    assert worker.wait(PATIENCE) == -signal.SIGALRM
    worker.stdin.close()
    worker.stdout.close()


@pytest.mark.parametrize("memory", [None, 20, 8])
def test_every_worker_may_decode_any_image_where_there_is_memory_enough(memory: int | None) -> None:
    full = memory_limit(1_000_000)
    assert shares(None if memory is None else memory * full, 8, 1_000_000) == Shares(8, full)


def test_one_worker_has_all_the_memory() -> None:
    assert shares(5 << 30, 1, 10**8) == Shares(1, memory_limit(10**8))
    assert shares(1 << 30, 1, 10**8) == Shares(1, 1 << 30)
    assert shares(700 << 20, 8, 10**8) == Shares(1, 700 << 20)


@pytest.mark.parametrize("megabytes", [1024, 1500, 2048, 5000, 10_000, 40_000])
@pytest.mark.parametrize("workers", [2, 3, 8, 64])
def test_shares_keep_to_the_memory(megabytes: int, workers: int) -> None:
    """No worker has less than a photo takes, one at a time has much more, and all together no more than there is."""
    memory, full = megabytes << 20, memory_limit(100_000_000)
    dealt = shares(memory, workers, 100_000_000)
    assert 2 <= dealt.workers <= workers
    assert dealt.each >= 256 << 20
    assert dealt.most >= min(full, memory // 2)
    assert dealt.workers * dealt.each + dealt.large <= memory


@linux
def test_a_large_image_gets_what_the_others_leave(shim: Path, tmp_path: Path) -> None:
    """One that takes more than its worker may have is decoded in a process that has more; one at a time."""
    memory = 1400 << 20  # 350 MB for each of two, 700 MB for one at a time: `fill` takes 500 MB, `swallow` 2,000
    with DecodePool(HOW, workers=2, max_pixels=100_000_000, known=lambda _: False, memory=memory) as running:
        commands = [b"fill", PNG, b"swallow", PNG, b"fill"]
        files = [put(tmp_path / f"{number}.png", command) for number, command in enumerate(commands)]
        results = [future.result(PATIENCE) for future in [running.submit(file) for file in files]]
    filled, refused = "not in a known image format", "needs more memory than the limit of 700 MB"
    assert [result.reason for result in results] == [filled, "", refused, "", filled]
    assert not results[2].retry, "the user has set the limit"


@linux
@pytest.mark.parametrize("free", [600 << 20, 1 << 20])
def test_half_of_what_is_free_is_the_limit(
    free: int, shim: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_module, "free_memory", lambda: free)
    with DecodePool(HOW, workers=4, max_pixels=100_000_000, known=lambda _: False) as running:
        files = [put(tmp_path / "1.png"), put(tmp_path / "2.png", b"swallow")]
        good, large = (future.result(PATIENCE) for future in [running.submit(file) for file in files])
    assert good.pixels is not None
    assert large.reason == f"needs more memory than the limit of {max(256, free >> 21)} MB"
    assert large.retry and large.short, "more may be free another time"


@linux
def test_all_workers_together_keep_to_the_memory(shim: Path, tmp_path: Path) -> None:
    with DecodePool(HOW, workers=4, max_pixels=10_000_000, known=lambda _: False, memory=400 << 20) as running:
        files = [put(tmp_path / "1.png", b"swallow"), *(put(tmp_path / f"{number}.png") for number in range(2, 6))]
        results = [future.result(PATIENCE) for future in [running.submit(file) for file in files]]
    assert [result.reason for result in results] == ["needs more memory than the limit of 400 MB", "", "", "", ""]
    assert len((shim / "pids").read_text().split()) == 2, "one at a time, of which the first was replaced"
