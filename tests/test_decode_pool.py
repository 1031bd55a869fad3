"""Worker processes that hash, decode and preprocess, and that may die of a file."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from formats import CRAFTED
from long_folders import deep_folder
from pictures import file_bytes, quadrants

import mmsearch
from mmsearch import decode, decode_pool, preprocess, stalls
from mmsearch.decode_pool import Decoded, DecodePool
from mmsearch.decode_worker import memory_limit
from mmsearch.types import FileRecord, ImageFacts, Preprocess

HOW = Preprocess(size=32, resize=36)
PNG = file_bytes(quadrants(), "PNG")

# Seconds within which a worker starts and reads a small file, on a busy machine too.
PATIENCE = 60.0

# Runs in every worker before mmsearch: files that start with a command do to their decoder what they say.
SHIM = """
import os, signal, sys, time
sys.path.insert(0, {package!r})
import mmsearch.decode as decode
with open(os.path.join({folder!r}, "pids"), "a") as log:
    log.write(f"{{os.getpid()}}\\n")
real = decode.decode
hoard, broken = [], False
def shim(file, **options):
    command = file.read(20)
    file.seek(0)
    if command == b"crash":
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGSEGV)
    if command == b"killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if command == b"exit":
        os._exit(7)
    if command == b"hang":
        time.sleep(600)
    if command.startswith(b"break next"):
        global broken
        broken = True
    elif command.startswith(b"leak"):
        hoard.append(bytes(300 << 20))
    elif broken:
        os.abort()
    if command == b"swallow":
        bytearray(1 << 40)
    if command == b"disk error":
        raise OSError(5, "Input/output error")
    if command == b"raise":
        raise RuntimeError("not foreseen")
    if b"PNG" in command:
        print("noise")
        os.write(1, b'{{"noise": 1}}\\n')
        os.write(2, b"more noise")
    return real(file, **options)
decode.decode = shim
"""


def no(content_hash: bytes) -> bool:
    """No content is known."""
    return False


def pool(*, workers: int = 1, known: Callable[[bytes], bool] = no, time_limit: float = PATIENCE) -> DecodePool:
    return DecodePool(HOW, workers=workers, max_pixels=10_000_000, known=known, time_limit=time_limit)


def record_of(path: Path | str) -> FileRecord:
    status = os.stat(path)
    return FileRecord(str(path), status.st_size, status.st_mtime_ns)


def put(path: Path, data: bytes = PNG) -> FileRecord:
    path.write_bytes(data)
    return record_of(path)


def decode_all(files: list[FileRecord], **options: object) -> list[Decoded]:
    with pool(**options) as running:  # type: ignore[arg-type]
        return [future.result(PATIENCE) for future in [running.submit(file) for file in files]]


@pytest.fixture
def shim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let workers obey files that name a mishap; the file `pids` here lists the workers that started."""
    folder = tmp_path / "shim"
    folder.mkdir()
    package = str(Path(mmsearch.__file__).parents[1])
    (folder / "sitecustomize.py").write_text(SHIM.format(package=package, folder=str(folder)))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return folder


def pids(folder: Path, count: int) -> list[int]:
    """The first `count` workers, once they have started."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        log = folder / "pids"
        if log.exists() and len(found := log.read_text().split()) >= count:
            return [int(pid) for pid in found]
        time.sleep(0.02)
    raise AssertionError("no worker has started")


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:  # a process whose parent has not asked for its status yet
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return sys.platform != "linux"


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while is_running(pid):
        assert time.monotonic() < deadline, f"process {pid} is still running"
        time.sleep(0.02)


# --- what it gives ---


def test_pixels_facts_and_hash_are_those_of_the_file(photos: Path) -> None:
    files = [record_of(path) for path in sorted(photos.iterdir())][::3]
    for file, result in zip(files, decode_all(files, workers=2), strict=True):
        with Path(file.path).open("rb") as opened:
            image, facts = decode.decode(opened, max_pixels=10_000_000, target=HOW.resize)
        assert result.record == file, "results come in the order of the files"
        assert result.facts == facts
        assert result.content_hash == hashlib.blake2b(Path(file.path).read_bytes(), digest_size=16).digest()
        assert result.pixels is not None
        assert np.array_equal(result.pixels, preprocess.prepare(image, HOW))
        assert (result.reason, result.ignored, result.retry) == ("", False, False)
        assert result.seconds > 0


def test_a_known_content_is_not_decoded(tmp_path: Path) -> None:
    asked: list[bytes] = []

    def known(content_hash: bytes) -> bool:
        asked.append(content_hash)
        return len(asked) == 1

    first, second = put(tmp_path / "1.png"), put(tmp_path / "2.png")
    results = decode_all([first, second], known=known)
    digest = hashlib.blake2b(PNG, digest_size=16).digest()
    assert asked == [digest, digest]
    assert [result.content_hash for result in results] == [digest, digest]
    assert results[0].pixels is None
    assert results[0].facts is None
    assert results[1].pixels is not None


@pytest.mark.skipif(os.name == "nt", reason="file systems of Windows do not take such names")
@pytest.mark.parametrize("name", [b"caf\xe9.png", b"a\nb.png", b"-n", b'"\\u0041', b" "])
def test_files_of_any_name(name: bytes, tmp_path: Path) -> None:
    path = os.path.join(tmp_path, os.fsdecode(name))
    with open(path, "wb") as file:  # noqa: PTH123
        file.write(PNG)
    (result,) = decode_all([record_of(path)])
    assert result.pixels is not None
    assert result.record.path == path


def test_output_of_decoders_does_not_get_into_the_answers(shim: Path, tmp_path: Path) -> None:
    first, second = decode_all([put(tmp_path / "1.png"), put(tmp_path / "2.png")])
    assert first.pixels is not None
    assert second.pixels is not None


# --- files that cannot be used ---


def test_files_that_are_no_images(tmp_path: Path) -> None:
    text, claim, empty = (
        put(tmp_path / "a.txt", b"text"),
        put(tmp_path / "a.jpg", b"text"),
        put(tmp_path / "b.jpg", b""),
    )
    nothing, hidden_png = put(tmp_path / "nothing", b""), put(tmp_path / "photo", PNG)
    results = decode_all([text, claim, empty, nothing, hidden_png])
    assert [(result.reason, result.ignored, result.retry) for result in results] == [
        ("not an image", True, False),
        ("not in a known image format", False, False),
        ("the file is empty", False, False),
        ("not an image", True, False),
        ("", False, False),
    ]


def test_files_that_cannot_be_opened_are_tried_again_next_time(tmp_path: Path) -> None:
    vanished = put(tmp_path / "vanished.png")
    Path(vanished.path).unlink()
    (tmp_path / "folder.png").mkdir()
    results = decode_all([vanished, record_of(tmp_path / "folder.png"), put(tmp_path / "good.png")])
    assert [result.reason for result in results] == ["No such file or directory", "not a regular file", ""]
    assert [result.retry for result in results] == [True, True, False]
    assert not any(result.ignored for result in results)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on Windows")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (result,) = decode_all([record_of(tmp_path / "pipe.png")])
    assert (result.reason, result.retry) == ("not a regular file", True)


def test_a_file_that_changes_while_it_is_read_is_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "growing.png"
    before = put(path)

    def known(content_hash: bytes) -> bool:
        with path.open("ab") as file:
            file.write(b"more")
        return False

    (result,) = decode_all([before], known=known)
    assert (result.reason, result.retry) == ("it changed while it was read", True)
    assert result.pixels is None


def test_a_file_that_is_replaced_while_it_is_read_is_recorded_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "replaced.png"
    before = put(path)

    def known(content_hash: bytes) -> bool:
        put(tmp_path / "new", PNG + b"new")
        (tmp_path / "new").replace(path)
        return False

    (result,) = decode_all([before], known=known)
    assert result.pixels is not None
    assert result.record == before != record_of(path), "the next scan sees that it has changed"


def test_the_record_is_of_the_file_as_it_was_read(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    stale = put(path, b"old")
    fresh = put(path, PNG)
    (result,) = decode_all([stale])
    assert result.record == fresh


def test_too_many_pixels_cost_only_that_file(tmp_path: Path) -> None:
    large = put(tmp_path / "large.png", file_bytes(quadrants(4000, 3000), "PNG"))
    results = decode_all([large, put(tmp_path / "small.png")])
    assert results[0].reason == "12,000,000 pixels is over the limit of 10,000,000"
    assert results[1].pixels is not None


# --- workers that die ---


@pytest.mark.parametrize(
    ("command", "reason", "retry"),
    [
        (b"crash", "its decoder crashed (SIGSEGV)", False),
        (b"killed", "its decoder was killed (SIGKILL), perhaps because memory ran out", True),
        (b"exit", "its decoder ended early (status 7)", True),
        (b"raise", "its decoder ended early (status 1)", True),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="signals are of POSIX")
def test_a_worker_that_dies_costs_one_file(
    command: bytes, reason: str, retry: bool, shim: Path, tmp_path: Path
) -> None:
    files = [put(tmp_path / "1.png"), put(tmp_path / "2.png", command), put(tmp_path / "3.png")]
    results = decode_all(files)
    assert [result.reason for result in results] == ["", reason, ""]
    assert [result.retry for result in results] == [False, retry, False]
    assert results[1].record == files[1]
    assert results[2].pixels is not None


def test_a_file_that_takes_too_long_costs_one_file(shim: Path, tmp_path: Path) -> None:
    files = [put(tmp_path / "1.png", b"hang"), put(tmp_path / "2.png", PNG)]
    results = decode_all(files, time_limit=4)
    assert [result.reason for result in results] == ["took longer than 4 s to decode", ""]
    assert not results[0].retry


@pytest.mark.skipif(not hasattr(os, "waitid"), reason="needs to wait for a process without reaping it")
def test_a_worker_that_is_killed_between_files_costs_nothing(shim: Path, tmp_path: Path) -> None:
    with pool() as running:
        assert running.submit(put(tmp_path / "1.png")).result(PATIENCE).pixels is not None
        (pid,) = pids(shim, 1)
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert running.submit(put(tmp_path / "2.png")).result(PATIENCE).pixels is not None


def test_a_worker_that_cannot_start_costs_a_file_not_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text("import os; os._exit(3)")
    monkeypatch.setenv("PYTHONPATH", str(broken))
    with pool() as running:
        results = [running.submit(put(tmp_path / f"{number}.png")).result(PATIENCE) for number in range(3)]
    assert [result.reason for result in results] == ["its decoder ended early (status 3)"] * 3
    assert all(result.retry for result in results)


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
            os.kill(pid, signal.SIGTERM)
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
    os.kill(pid, signal.SIGTERM)
    wait_until_gone(pid)


def test_a_disk_that_does_not_answer_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def converse(self: DecodePool, worker: object, record: FileRecord) -> Decoded:
        tried.append(record.path)
        raise TimeoutError

    monkeypatch.setattr(DecodePool, "_converse", converse)
    monkeypatch.setattr(stalls, "disk_of", lambda path: "/mnt/a" if "/a/" in path else "/mnt/b")
    files = [FileRecord(f"/x/{disk}/{number}.png", 1, 1) for number in range(6) for disk in "aab"]
    results = decode_all(files, time_limit=2)
    assert len(tried) == 2 * stalls.MOST_IN_A_ROW
    assert results[0].reason == "took longer than 2 s to read"
    assert results[-2].reason == "not tried: 4 files on the disk at /mnt/a took longer than 2 s to read"
    assert all(result.retry for result in results)


def test_a_decoder_may_close_the_file(tmp_path: Path) -> None:
    (result,) = decode_all([put(tmp_path / "a.ftc", CRAFTED["FTEX"]())])
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


# --- the end ---


@pytest.mark.skipif(os.name == "nt", reason="signals are of POSIX")
def test_workers_end_when_the_pool_closes(shim: Path, tmp_path: Path) -> None:
    running = pool(workers=2)
    for number in range(2):
        running.submit(put(tmp_path / f"{number}.png", b"hang"))
    queued = running.submit(put(tmp_path / "queued.png"))
    started = pids(shim, 2)
    running.close()
    assert queued.cancelled()
    for pid in started:
        with pytest.raises(ProcessLookupError):  # not even a zombie
            os.kill(pid, 0)
    running.close()


def test_an_unused_pool_starts_no_process(shim: Path) -> None:
    with pool(workers=4):
        pass
    assert not (shim / "pids").exists()


@pytest.mark.skipif(os.name == "nt", reason="signals are of POSIX")
def test_workers_end_when_their_parent_is_killed(shim: Path, tmp_path: Path) -> None:
    photo = put(tmp_path / "photo.png")
    script = f"""
import sys, time
from mmsearch.decode_pool import DecodePool
from mmsearch.types import FileRecord, Preprocess
pool = DecodePool(Preprocess(size=32, resize=32), workers=1, max_pixels=10**6, known=lambda _: False)
print(bool(pool.submit(FileRecord({photo.path!r}, 0, 0)).result().facts), flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as parent:
        try:
            assert parent.stdout is not None
            assert parent.stdout.readline() == b"True\n"
            workers = [pid for pid in pids(shim, 2) if pid != parent.pid]
            assert len(workers) == 1
            assert is_running(workers[0])
        finally:
            parent.kill()
    wait_until_gone(workers[0])


@pytest.mark.skipif(os.name == "nt", reason="signals are of POSIX")
def test_an_interrupt_of_the_terminal_does_not_reach_the_workers(shim: Path, tmp_path: Path) -> None:
    with pool() as running:
        assert running.submit(put(tmp_path / "1.png")).result(PATIENCE).pixels is not None
        (pid,) = pids(shim, 1)
        assert os.getpgid(pid) != os.getpgid(0)
