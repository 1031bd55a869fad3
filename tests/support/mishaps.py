"""Workers that crash, hang and swallow memory on command, and what to see of them from outside."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pictures import file_bytes, quadrants

import mmsearch
from mmsearch.base.file_state import state_of
from mmsearch.base.records import FileRecord, Preprocess
from mmsearch.images.pool import Decoded, DecodePool

HOW = Preprocess(size=32, resize=36)
PNG = file_bytes(quadrants(), "PNG")

# Seconds within which a worker starts and reads a small file, on a busy machine too.
PATIENCE = 60.0

# Runs in every worker before mmsearch: files that start with a command do to their decoder what they say.
SHIM = """
import os, signal, sys, time
sys.path.insert(0, {package!r})
import mmsearch.images.decode as decode
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
    if command == b"fill":
        bytearray(500 << 20)
    if command == b"swallow":
        bytearray(2 << 30)
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


def pool(
    *,
    workers: int = 1,
    known: Callable[[bytes], bool] = no,
    time_limit: float = PATIENCE,
    formats: str = "default",
) -> DecodePool:
    return DecodePool(HOW, workers=workers, max_pixels=10_000_000, known=known, time_limit=time_limit, formats=formats)


def record_of(path: Path | str) -> FileRecord:
    """The file as a scan sees it."""
    return FileRecord(str(path), *state_of(os.stat(path)))


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
