"""`mmsearch index` on folders that hold everything that can go wrong with a file."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
from command import Command
from long_folders import deep_folder

import mmsearch
from mmsearch.base.records import FileRecord
from mmsearch.images.pool import Decoded, DecodePool

pytestmark = pytest.mark.skipif(os.name == "nt", reason="files of POSIX")

# Names that trip programs: not UTF-8, line ends, escapes of terminals, quotes, dashes, blanks, and of 255 bytes.
NAMES = [
    b"caf\xe9.jpg",
    b"a\nb.jpg",
    b"a\x1b[31mred.jpg",
    b"a\xc2\x9b31mred.jpg",
    b"a'b\"c`$(d).jpg",
    b"-rf.jpg",
    b"--model.jpg",
    b" .jpg",
    b"a\\nb.jpg",
    b"n" * 251 + b".jpg",
]

# Runs in every worker before mmsearch: a file that starts with "hang" does.
SHIM = """
import sys, time
sys.path.insert(0, {package!r})
import mmsearch.images.decode as decode
real = decode.decode
def shim(file, **options):
    if file.read(4) == b"hang":
        time.sleep(600)
    file.seek(0)
    return real(file, **options)
decode.decode = shim
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where the collection is."""
    return tmp_path / "collection"


@pytest.fixture
def folder(tmp_path: Path, sample_data: Path) -> Path:
    """A folder with one good photo."""
    made = tmp_path / "photos"
    made.mkdir()
    shutil.copy(sample_data / "cat.jpg", made)
    return made


def index(command: Command, place: Path, *arguments: object, code: int) -> tuple[dict[str, int], list[str]]:
    """The counts of a run, and its lines on stderr."""
    outcome = command("index", *arguments, "--model", "starter", "-C", place, "--json")
    assert outcome.code == code, outcome.err
    return outcome.json, outcome.err.splitlines()


def test_names_of_all_kinds_are_indexed_and_found(
    command: Command, place: Path, folder: Path, sample_data: Path
) -> None:
    for name in NAMES:
        shutil.copy(os.fsencode(sample_data / "dog.jpg"), os.path.join(os.fsencode(folder), name))
    counts, lines = index(command, place, folder, code=0)
    assert counts["new"] == len(NAMES) + 1
    assert lines == []
    assert index(command, place, code=0)[0]["unchanged"] == len(NAMES) + 1
    table = command("query", "a dog", "-C", place, "-k", 20).out
    assert len(table.splitlines()) == len(NAMES) + 1
    assert all(line.isprintable() for line in table.splitlines())
    for line in command("query", "a dog", "-C", place, "-k", 20, "--jsonl").out.splitlines():
        assert line.isprintable()


def test_damaged_files_of_all_names_are_told_in_a_line_each(command: Command, place: Path, folder: Path) -> None:
    for name in NAMES:
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:  # noqa: PTH123
            file.write(b"\xff\xd8\xff\xe0damaged")
    counts, lines = index(command, place, folder, code=3)
    assert (counts["new"], counts["skipped"]) == (1, len(NAMES))
    assert len(lines) == len(NAMES)
    assert all(line.startswith("mmsearch: skipped /") and line.isprintable() for line in lines)
    info = command("info", "-C", place).out
    assert all(line.isprintable() for line in info.splitlines())
    assert info.count("damaged image") == len(NAMES)


@contextlib.contextmanager
def special_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    os.mkfifo(folder / "pipe.jpg")
    (folder / "zeros.jpg").symlink_to("/dev/zero")
    (folder / "itself.jpg").symlink_to(folder / "itself.jpg")
    (folder / "lost.jpg").symlink_to(folder / "nothing.jpg")
    (folder / "again").symlink_to(folder)
    monkeypatch.chdir(folder)  # the address of a socket has room for some 100 bytes
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.jpg")
        yield


def test_special_files_are_passed_over(
    command: Command, place: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with special_files(folder, monkeypatch):
        counts, lines = index(command, place, folder, code=0)
        assert (counts["new"], counts["skipped"], lines) == (1, 0, [])
        counts, lines = index(command, place, folder, "--follow-symlinks", code=3)
    assert (counts["unchanged"], counts["skipped"]) == (1, 1)
    assert lines == [f"mmsearch: skipped {folder}/itself.jpg: Too many levels of symbolic links"]


def test_a_path_of_over_4096_bytes_is_indexed_and_found(
    command: Command, place: Path, tmp_path: Path, sample_data: Path
) -> None:
    above = tmp_path / "deep"
    above.mkdir()
    with deep_folder(above) as (path, descriptor):
        file = os.open("cat.jpg", os.O_CREAT | os.O_WRONLY, dir_fd=descriptor)
        os.write(file, (sample_data / "cat.jpg").read_bytes())
        os.close(file)
        assert index(command, place, above, code=0)[0]["new"] == 1
        assert index(command, place, above, code=0)[0]["unchanged"] == 1
        assert command("query", "a cat", "-C", place, "-0").out == f"{path}/cat.jpg\0"


def test_the_time_limit_is_the_users(
    command: Command, place: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shim").mkdir()
    package = str(Path(mmsearch.__file__).parents[1])
    (tmp_path / "shim" / "sitecustomize.py").write_text(SHIM.format(package=package))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "shim"))
    (folder / "slow.jpg").write_bytes(b"hang")
    counts, lines = index(command, place, folder, "--time-limit", "4.5", code=3)
    assert (counts["new"], counts["skipped"]) == (1, 1)
    assert lines == [f"mmsearch: skipped {folder}/slow.jpg: took longer than 4.5 s to decode"]


@pytest.mark.parametrize("limit", ["0", "-1", "soon"])
def test_a_time_limit_must_make_sense(command: Command, place: Path, folder: Path, limit: str) -> None:
    outcome = command("index", folder, "--time-limit", limit, "-C", place)
    assert outcome.code == 2
    assert "--time-limit" in outcome.err


def test_files_that_vanish_during_a_run_cost_nothing_else(
    command: Command, place: Path, folder: Path, sample_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        shutil.copy(sample_data / "dog.jpg", folder / f"{number}.jpg")
    submit = DecodePool.submit

    def late(self: DecodePool, record: FileRecord) -> Future[Decoded]:
        if record.path.endswith("1.jpg"):
            Path(record.path).unlink()
        return submit(self, record)

    monkeypatch.setattr(DecodePool, "submit", late)
    counts, lines = index(command, place, folder, code=3)
    assert (counts["new"], counts["skipped"]) == (3, 1)
    assert lines == [f"mmsearch: skipped {folder}/1.jpg: No such file or directory"]
    counts, lines = index(command, place, folder, code=0)
    assert (counts["unchanged"], counts["skipped"], lines) == (3, 0, [])
