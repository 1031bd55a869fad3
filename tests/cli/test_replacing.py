"""What `--gallery` and `--montage` may replace: pages and sheets; with --overwrite other files, never originals."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from command import Command
from PIL import Image

from mmsearch.rendering.gallery import is_page
from mmsearch.rendering.montage import is_sheet
from mmsearch.rendering.output_file import HEAD_BYTES

OUTPUTS = [("--gallery", "page.html"), ("--montage", "sheet.png"), ("--montage", "sheet.jpg")]
each_output = pytest.mark.parametrize(("option", "name"), OUTPUTS)


@pytest.fixture
def collection(command: Command, photos: Path, tmp_path: Path) -> Path:
    """A collection of `photos` that may be changed."""
    assert command("index", photos, "--model", "starter", "-C", tmp_path / "c").code == 0
    return tmp_path / "c"


def ask(command: Command, collection: Path, *options: object):  # type: ignore[no-untyped-def]
    return command("query", "a cat", "-C", collection, "-k", 2, "--paths", *options)


@each_output
def test_its_own_files_are_replaced_and_are_private(
    command: Command, indexed: Path, tmp_path: Path, option: str, name: str
) -> None:
    out = tmp_path / name
    out.touch(0o644)  # an empty file loses nothing
    before = os.umask(0)
    try:
        for _ in range(2):
            assert ask(command, indexed, option, out).code == 0
            assert out.stat().st_size > 1000
            assert os.name == "nt" or stat.S_IMODE(out.stat().st_mode) == 0o600
    finally:
        os.umask(before)
    assert os.listdir(tmp_path) == [name]


@each_output
def test_a_file_of_others_is_replaced_only_on_request(
    command: Command, indexed: Path, tmp_path: Path, sample_data: Path, option: str, name: str
) -> None:
    out = tmp_path / name
    for data in (
        b"<!DOCTYPE html><title>Mine</title>",
        (sample_data / "cat.jpg").read_bytes(),
        b"mmsearch contact sheet",
    ):
        out.write_bytes(data)
        refused = ask(command, indexed, option, out)
        assert refused.code == 2 and refused.out == "" and refused.err.count("\n") == 1
        assert str(out) in refused.err and "--overwrite" in refused.err
        assert out.read_bytes() == data
    assert ask(command, indexed, option, out, "--overwrite").code == 0
    assert out.read_bytes() != data and os.listdir(tmp_path) == [name]


@each_output
def test_an_original_is_never_replaced(
    command: Command, collection: Path, photos: Path, tmp_path: Path, option: str, name: str
) -> None:
    """Not even a sheet or page-like picture of our own that was indexed, by whatever way its path leads there."""
    original = photos / "cat.png" if name.endswith("png") else photos / "cat.jpg"
    if name.endswith("png"):
        assert ask(command, collection, "--montage", original).code == 0
        assert command("index", "-C", collection).code == 0
    (tmp_path / "way").symlink_to(photos)
    data = original.read_bytes()
    for out in (original, tmp_path / "way" / original.name, photos / "x" / ".." / original.name):
        (photos / "x").mkdir(exist_ok=True)
        for options in ([], ["--overwrite"]):
            refused = ask(command, collection, option, out, *options)
            assert refused.code == 2 and refused.out == "" and refused.err.count("\n") == 1
            assert original.read_bytes() == data
        assert "originals are never replaced" in refused.err


@each_output
def test_nothing_in_a_collection_is_written(
    command: Command, indexed: Path, collection: Path, tmp_path: Path, option: str, name: str
) -> None:
    (tmp_path / "way").symlink_to(collection)
    catalog = (collection / "catalog.sqlite3").read_bytes()
    names = [name] if option == "--montage" else [name, "catalog.sqlite3", "captions.jsonl", "new.faiss"]
    for folder in (collection, tmp_path / "way"):  # also of another collection than the one that is asked
        for out in names:
            for options in ([], ["--overwrite"]):
                refused = ask(command, indexed, option, folder / out, *options)
                assert refused.code == 2 and "lies in the collection" in refused.err and refused.err.count("\n") == 1
    assert (collection / "catalog.sqlite3").read_bytes() == catalog and not (collection / name).exists()


@pytest.mark.skipif(sys.platform == "win32", reason="links are of POSIX")
@each_output
def test_a_link_is_replaced_itself_and_only_on_request(
    command: Command, indexed: Path, tmp_path: Path, option: str, name: str
) -> None:
    (tmp_path / "target").write_text("mine")
    out = tmp_path / name
    for target in ("target", "nothing"):
        out.unlink(missing_ok=True)
        out.symlink_to(target)
        refused = ask(command, indexed, option, out)
        assert refused.code == 2 and "symbolic link" in refused.err and out.is_symlink()
        assert ask(command, indexed, option, out, "--overwrite").code == 0 and not out.is_symlink()
    assert (tmp_path / "target").read_text() == "mine" and not (tmp_path / "nothing").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no /dev")
@pytest.mark.parametrize("options", [[], ["--overwrite"]])
def test_streams_are_written_to(indexed: Path, tmp_path: Path, options: list[str]) -> None:
    start = [sys.executable, "-m", "mmsearch", "query", "a cat", "-C", str(indexed), "-k", "1", "--format", ""]
    done = subprocess.run([*start, "--gallery", "/dev/stdout", *options], capture_output=True, check=True)
    assert is_page(done.stdout.lstrip()[:HEAD_BYTES])
    with (tmp_path / "page.html").open("wb") as file:
        subprocess.run([*start, "--gallery", "/dev/stdout", *options], stdout=file, check=True)
    assert b"<!DOCTYPE html>" in (tmp_path / "page.html").read_bytes()
    assert os.path.islink("/dev/stdout")


@pytest.mark.skipif(sys.platform == "win32", reason="there are no named pipes")
def test_pipes_are_written_to_and_links_to_them_are_not(command: Command, indexed: Path, tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe.html", tmp_path / "link.html"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    assert "symbolic link" in ask(command, indexed, "--gallery", link).err
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE) as reader:
        assert ask(command, indexed, "--gallery", pipe).code == 0
        assert is_page(reader.communicate()[0][:HEAD_BYTES])


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="this system has no disk there")
def test_a_disk_among_the_devices_is_a_disk(command: Command, indexed: Path, tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        out, folder = Path(name, "page.html"), Path(name)
        out.write_text("mine")
        (folder / "link.html").symlink_to(out)
        for path in (out, folder / "link.html"):
            assert ask(command, indexed, "--gallery", path).code == 2 and out.read_text() == "mine"


def test_a_file_that_cannot_be_written_leaves_what_was_there(
    command: Command, indexed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "page.html"
    assert ask(command, indexed, "--gallery", out).code == 0
    before = out.read_bytes()

    def fail(source: str, target: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    refused = ask(command, indexed, "--gallery", out, "--copy-to", tmp_path / "copies")
    assert refused.code == 1 and "No space left" in refused.err
    assert out.read_bytes() == before and os.listdir(tmp_path) == ["page.html"]


def test_folders_and_words_alone_are_refused(command: Command, indexed: Path, tmp_path: Path) -> None:
    assert "is a folder" in ask(command, indexed, "--gallery", tmp_path).err
    assert ask(command, indexed, "--overwrite").code == 2
    assert command("eval", "--overwrite").code == 2


def test_an_evaluation_replaces_no_more(command: Command, indexed: Path, sample_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "worst.html"
    asked = ("eval", sample_data / "captions.jsonl", "-C", indexed, "--gallery", out)
    out.write_text("mine")
    refused = command(*asked)
    assert refused.code == 2 and refused.out == "" and "--overwrite" in refused.err and out.read_text() == "mine"
    assert command(*asked, "--overwrite").code == 0 and is_page(out.read_bytes()[:HEAD_BYTES])
    assert command(*asked).code == 0


def test_marks_are_only_in_what_was_made_here(tmp_path: Path) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    assert not is_sheet((tmp_path / "a.png").read_bytes()) and not is_page(b"mmsearch") and not is_sheet(b"")
