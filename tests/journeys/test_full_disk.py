"""A disk that fills up during a run: a clear error, a collection that can be read and is right, and a next run that
ends what was begun."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import faiss
import pytest
from command import Command

from mmsearch import Collection
from mmsearch.store import connection
from mmsearch.store.catalog import Catalog

# Frees what fills the disk.
Free = Callable[[], None]


@contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[Free]:
    """Make `folder` a disk with so much room. Where nothing may be mounted, SQLite alone is told so."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k,mode=700", "tmpfs", str(folder)]
    if sys.platform == "linux" and os.geteuid() == 0 and subprocess.run(mount, capture_output=True).returncode == 0:
        try:
            yield lambda: subprocess.run(["mount", "-o", "remount,size=64m", str(folder)], check=True) and None
        finally:
            subprocess.run(["umount", str(folder)], check=True)
        return
    real = connection._prepared_for_writing
    with pytest.MonkeyPatch.context() as patch:

        def prepared(*arguments: Any) -> Any:
            opened = real(*arguments)
            opened.execute(f"PRAGMA max_page_count = {kilobytes // 12}")  # the log takes room too
            return opened

        patch.setattr(connection, "_prepared_for_writing", prepared)
        yield patch.undo


@pytest.mark.parametrize("kilobytes", [4, 60, 150, 220, 260, 320])
def test_a_run_on_a_small_disk(command: Command, photos: Path, tmp_path: Path, kilobytes: int) -> None:
    disk = tmp_path / "disk"
    run = ("index", photos, "--model", "starter", "--batch-size", 4, "-C", disk / "c", "--json")
    with small_disk(disk, kilobytes) as free:
        first = command(*run)
        assert (first.code, first.out) == (1, "")
        (line,) = first.err.splitlines()
        assert "is full" in line or "cannot write the vector file" in line, line
        assert "run the command again" in line
        stored = _check_readable(command, disk / "c")
        free()
        second = command(*run)
        assert second.code == 0, second.err
        assert (second.json["encoded"], second.json["total"]) == (24 - stored, 24)
        assert command("doctor", "-C", disk / "c").code == 0


def _check_readable(command: Command, place: Path) -> int:
    """The collection says how many images it has, and finds all of them; returns how many."""
    info = command("info", "-C", place, "--json")
    if info.code:  # not even the first table had room
        assert info.err.count("\n") == 1 and "Traceback" not in info.err
        return 0
    images: int = info.json["images"]
    answer = command("query", "a cat", "-C", place, "-k", 100, "--paths")
    assert answer.code == (0 if images else 1)
    assert len(answer.out.splitlines()) == images
    return images


def full(*_: Any) -> None:
    raise OSError(28, "No space left on device")


def missing() -> None:
    raise FileNotFoundError(2, "No usable temporary directory found")


def full_in_faiss(index: Any, name: str) -> None:
    Path(name).write_bytes(b"half")
    raise RuntimeError("Error in void faiss::write() at /io.cpp:99: Error: 'ret == size' failed: write error: full")


@pytest.mark.parametrize(
    ("target", "name", "failure"),
    [(faiss, "write_index", full_in_faiss), (os, "fsync", full), (Path, "replace", full)],
)
def test_no_room_for_the_vector_file(
    command: Command, photos: Path, tmp_path: Path, target: object, name: str, failure: Callable[..., None]
) -> None:
    place = tmp_path / "c"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(target, name, failure)
        outcome = command("index", photos, "--model", "starter", "-C", place)
    assert outcome.code == 1 and "cannot write the vector file" in outcome.err
    assert _check_readable(command, place) == 24
    assert not [path for path in place.iterdir() if path.suffix == ".tmp"]
    assert command("index", "-C", place, "--json").json["encoded"] == 0
    assert command("doctor", "-C", place).code == 0


class FullFile(io.BytesIO):
    """A temporary file for which there is no room."""

    def write(self, _: Any) -> int:
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize(("stand_in", "words"), [(FullFile, "is full"), (missing, "No usable temporary directory")])
def test_no_room_for_the_list_of_what_is_to_do(
    command: Command, photos: Path, tmp_path: Path, stand_in: Any, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lies in the folder for temporary files, which may be another disk."""
    monkeypatch.setattr(tempfile, "TemporaryFile", stand_in)
    outcome = command("index", photos, "--model", "starter", "-C", tmp_path / "c")
    assert outcome.code == 1
    (line,) = outcome.err.splitlines()
    assert "temporary files" in line and words in line and "TMPDIR" in line


def test_a_disk_that_fills_up_while_old_images_are_there(photos: Path, tmp_path: Path) -> None:
    """Those keep being found while and after new ones do not fit."""
    new = tmp_path / "new"
    new.mkdir()
    for path in sorted(photos.iterdir())[:12]:
        path.rename(new / path.name)
    with ExitStack() as stack, Collection.open(tmp_path / "disk" / "c") as collection:
        stack.enter_context(small_disk(tmp_path / "disk", 280))
        collection.add([photos], model="starter")
        before = [hit.path for hit in collection.search(text="a cat", k=100)]
        assert len(before) == 12
        for _ in range(3):
            with pytest.raises(Exception, match=r"is full|cannot write the vector file"):
                collection.add([new])
            assert set(before) <= {hit.path for hit in collection.search(text="a cat", k=100)}
        with Catalog(tmp_path / "disk" / "c", write=False) as catalog:
            assert catalog.database.all("PRAGMA integrity_check") == [("ok",)]
        collection.close()
