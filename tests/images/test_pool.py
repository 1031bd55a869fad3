"""Worker processes that hash, decode and preprocess, and that may die of a file."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mishaps import HOW, PATIENCE, PNG, decode_all, is_running, pids, pool, put, record_of, wait_until_gone
from pictures import file_bytes, quadrants

from mmsearch.images import decode, preprocess

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
    assert (result.reason, result.retry) == ("it changed while it was being read", True)
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
        (b"raise", "mmsearch failed over it, please report this: RuntimeError: not foreseen", True),
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
from mmsearch.images.pool import DecodePool
from mmsearch.base.records import FileRecord, Preprocess
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
