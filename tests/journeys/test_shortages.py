"""A machine that runs out of something: the collection stays as it was, and the program says what it was short of."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from command import Command

from mmsearch import Collection
from mmsearch.store import lock

linux = pytest.mark.skipif(sys.platform != "linux", reason="limits as Linux has them")


@pytest.fixture
def place(photos: Path, tmp_path: Path) -> Path:
    """A collection of the sample photos."""
    with Collection.open(tmp_path / "c") as collection:
        collection.add([photos], model="starter")
    return tmp_path / "c"


def touch(photos: Path) -> None:
    """Give all files a new time, and nothing else."""
    for path in photos.iterdir():
        os.utime(path, (1, 1))


def limited(limit: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """A command below one of the shell's limits."""
    command = ["sh", "-c", f'ulimit {limit} && exec "$@"', "sh", sys.executable, "-m", "mmsearch"]
    return subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, timeout=120)


def is_whole(command: Command, place: Path) -> None:
    """All photos are found, and the next run has nothing to do but to read them."""
    assert len(command("query", "a cat", "-C", place, "-k", 100, "--paths").out.splitlines()) == 24
    again = command("index", "-C", place, "--json")
    assert (again.code, again.json["unchanged"], again.json["encoded"], again.json["total"]) == (0, 24, 0, 24)
    assert command("info", "-C", place, "--json").json["failures"] == []


# --- what is short ---


@linux
@pytest.mark.parametrize("files", [5, 9, 13, 16, 22])
def test_open_files(files: int, command: Command, photos: Path, place: Path) -> None:
    """Too few for the catalog, for a folder, for any worker, for all workers."""
    touch(photos)
    outcome = limited(f"-n {files}", "index", "-C", place)
    if files == 22 and outcome.returncode == 0:  # a slow machine needs few at a time
        assert "24 unchanged" in outcome.stderr
        return
    assert outcome.returncode in {1, 3}, outcome.stderr
    assert "oo many open files" in outcome.stderr
    assert "permission" not in outcome.stderr and "Traceback" not in outcome.stderr
    assert command("query", "a cat", "-C", place, "-k", 100, "--paths").out.count("\n") == 24
    if files == 16:
        assert "24 of the skipped files stay in the collection as they were last indexed" in outcome.stderr
    is_whole(command, place)


@linux
@pytest.mark.parametrize("megabytes", [60, 100, 200, 400, 700])
def test_address_space(megabytes: int, command: Command, photos: Path, place: Path) -> None:
    """Whatever library gets no memory: a line that says so, and nothing is lost."""
    touch(photos)
    for arguments in (("query", "a cat", "-C", place), ("index", "-C", place)):
        outcome = limited(f"-v {megabytes << 10}", *arguments)
        assert outcome.returncode in {0, 1, 3}, outcome
        if outcome.returncode == 3:
            assert "stay in the collection as they were last indexed" in outcome.stderr
        elif outcome.returncode == 1:
            assert "emory" in outcome.stderr or "ulimit" in outcome.stderr
        assert "Traceback" not in outcome.stderr
    is_whole(command, place)


TROUBLES = [errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EACCES, errno.ETIMEDOUT]


@pytest.mark.parametrize("number", TROUBLES)
def test_a_disk_that_lists_no_folder(
    number: int, command: Command, photos: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not offline: its images are found, and the exit code says that something was not read."""
    scandir = os.scandir

    def fail(path: Any) -> Any:
        if not isinstance(path, int) and os.fsencode(path).startswith(bytes(photos)):
            raise OSError(number, os.strerror(number))
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", fail)
        outcome = command("index", "-C", place, "--json")
    assert (outcome.code, outcome.json["total"], outcome.json["removed"]) == (3, 24, 0), outcome.err
    assert os.strerror(number) in outcome.err and "offline" not in outcome.err
    is_whole(command, place)


SHIM = """
import os, sys
sys.path.insert(0, {package!r})
from mmsearch.base import long_paths
def fail(*_):
    raise OSError({number}, os.strerror({number}))
if len(sys.argv) == 1 and sys.argv[0] == "-c":
    long_paths.open_descriptor = fail
"""


@pytest.mark.parametrize("number", TROUBLES)
def test_a_disk_that_opens_no_file(
    number: int, command: Command, photos: Path, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shim").mkdir()
    package = str(Path(lock.__file__).parents[2])
    (tmp_path / "shim" / "sitecustomize.py").write_text(SHIM.format(package=package, number=number))
    touch(photos)
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path / "shim"))
        outcome = command("index", photos, "-C", place)
    assert outcome.code == 3
    assert f"skipped {photos}/cat.jpg: {os.strerror(number)}" in outcome.err
    assert "24 of the skipped files stay in the collection as they were last indexed" in outcome.err
    is_whole(command, place)


def test_content_that_has_changed_does_not_stay(command: Command, photos: Path, place: Path) -> None:
    (photos / "cat.jpg").write_bytes(b"\xff\xd8\xff\xe0damaged")
    outcome = command("index", "-C", place, "--json")
    assert (outcome.code, outcome.json["skipped"], outcome.json["kept"], outcome.json["total"]) == (3, 1, 0, 23)


@linux
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may mount")
@pytest.mark.parametrize("inodes", [3, 4, 5, 6])
def test_a_disk_without_inodes(inodes: int, command: Command, photos: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"nr_inodes={inodes}", "tmpfs", disk]).returncode:
        pytest.skip("nothing may be mounted here")
    try:
        outcome = command("index", photos, "--model", "starter", "-C", disk / "c")
        assert outcome.code == 1
        (line,) = outcome.err.splitlines()
        assert f"takes no more files (all {inodes} inodes are in use)" in line, line
        subprocess.run(["mount", "-o", "remount,nr_inodes=100", disk], check=True)
        assert command("index", photos, "--model", "starter", "-C", disk / "c", "--json").json["total"] == 24
    finally:
        subprocess.run(["umount", disk], check=True)


# --- signals ---


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no such signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("everyone", [False, True], ids=["alone", "with its workers"])
def test_a_signal_ends_a_run_in_good_order(number: int, everyone: bool, photos: Path, tmp_path: Path) -> None:
    for copy in range(30):
        for path in sorted(photos.glob("*.jpg"))[:15]:
            (photos / f"{copy}-{path.name}").write_bytes(path.read_bytes() + bytes([copy]))
    command = [sys.executable, "-m", "mmsearch", "index", photos, "--model", "starter", "-C", tmp_path / "c"]
    process = subprocess.Popen([*command, "--batch-size", "4"], stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not _count(tmp_path / "c"):
        time.sleep(0.02)
    for pid in _children(process.pid) if everyone else []:  # as systemd does
        with suppress(ProcessLookupError):
            os.kill(pid, number)
    process.send_signal(number)
    if number != signal.SIGINT:  # as `timeout` does, which tells the process and its group
        process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, err
    assert err.startswith("interrupted; what is done is kept, and the same command resumes from here\n"), err
    assert "skipped /" not in err and not (tmp_path / "c" / lock.HOLDER_NAME).exists()
    kept = _count(tmp_path / "c")
    with Collection.open(tmp_path / "c") as collection:
        assert 0 < collection.add([photos]).unchanged == kept


def _count(folder: Path) -> int:
    with suppress(Exception), Collection.open(folder) as collection:
        return collection.info().images
    return 0


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in tasks.read_text().split()] if tasks.exists() else []


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no such signals")
def test_a_signal_ends_what_is_no_run(place: Path) -> None:
    """It waits for its input."""
    command = [sys.executable, "-m", "mmsearch", "query", "--batch", "-", "--jsonl", "-C", place]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("a cat\n")
    process.stdin.flush()
    process.stdout.readline()
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in err and err.count("\n") <= 1
