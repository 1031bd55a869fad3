"""Mistakes that users make: one line that says what is wrong and what to do, the right exit code, nothing lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command import Command, Outcome

import mmsearch


def check(outcome: Outcome, code: int, *words: str) -> None:
    assert outcome.code == code
    assert outcome.out == ""
    lines = outcome.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("mmsearch: ")
    for word in words:
        assert word in lines[0]


def test_no_such_folder(command: Command, tmp_path: Path) -> None:
    check(command("index", tmp_path / "nowhere", "-C", tmp_path / "c"), 1, "no such folder", "nowhere")
    assert not (tmp_path / "c").exists()


def test_folder_is_a_file(command: Command, photos: Path, tmp_path: Path) -> None:
    check(command("index", photos / "cat.jpg", "-C", tmp_path / "c"), 1, "is a file")


def test_folder_without_images(command: Command, tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("hello")
    outcome = command("index", tmp_path / "texts", "-C", tmp_path / "c", "--model", "starter")
    check(outcome, 1, "no images found", "texts")


def test_no_collection_yet(command: Command, tmp_path: Path) -> None:
    for arguments in (["query", "a cat"], ["info"], ["forget", tmp_path], ["index"]):
        check(command(*arguments, "-C", tmp_path / "none"), 1, "no collection at", "mmsearch index DIR")
    assert not (tmp_path / "none").exists()


def test_empty_collection(command: Command, photos: Path, tmp_path: Path) -> None:
    assert command("index", photos, "--model", "starter", "-C", tmp_path / "c").code == 0
    assert command("forget", photos, "-C", tmp_path / "c").code == 0
    check(command("query", "a cat", "-C", tmp_path / "c"), 1, "has no images", "mmsearch index DIR")


def test_unknown_model(command: Command, photos: Path, tmp_path: Path) -> None:
    check(command("index", photos, "--model", "startr", "-C", tmp_path / "c"), 2, "startr", "starter")
    check(command("index", photos, "--model", "ViT-B-23/openai", "-C", tmp_path / "c"), 2, "ViT-B-23", "ViT-B-32")


def test_other_model(command: Command, photos: Path, indexed: Path) -> None:
    outcome = command("index", photos, "--model", "clip", "-C", indexed)
    check(outcome, 1, "was built with starter", "mmsearch reindex")


def test_query_image_is_no_image(command: Command, tmp_path: Path, indexed: Path) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("not a picture")
    check(command("query", "--image", text, "-C", indexed), 1, "not in a known image format")
    check(command("query", "--image", tmp_path / "gone.jpg", "-C", indexed), 1, "gone.jpg")


@pytest.mark.parametrize(
    "arguments", [[], ["a cat", "--plus", "x:0"], ["  "], ["a cat", "-k", "0"], ["x", "-k", "two"]]
)
def test_wrong_usage(command: Command, arguments: list[str], indexed: Path) -> None:
    check(command("query", *arguments, "-C", indexed), 2)


def test_unknown_option_and_command(command: Command) -> None:
    check(command("query", "--frobnicate"), 2, "--frobnicate")
    check(command("serch", "a cat"), 2, "serch")


def test_cuda_without_cuda(command: Command, photos: Path, tmp_path: Path) -> None:
    outcome = command("index", photos, "--model", "starter", "--device", "cuda", "-C", tmp_path / "c")
    check(outcome, 1, "CPU", "--device")


def test_no_permission(command: Command, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != str(photos) and real(path, mode))
    check(command("index", photos, "-C", tmp_path / "c"), 1, "no permission", str(photos))


def test_collection_in_a_place_that_cannot_be_written(command: Command, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    outcome = command("index", photos, "--model", "starter", "-C", tmp_path / "file" / "collection")
    check(outcome, 1, str(tmp_path / "file"), "-C")


def test_read_only_disk(command: Command, photos: Path) -> None:
    check(command("index", photos, "--model", "starter", "-C", "/proc/mmsearch"), 1, "/proc/mmsearch")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_below_the_output(indexed: Path, unbuffered: str) -> None:
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    for arguments in (["help"], ["query", "a cat", "--json", "-C", indexed], ["query", "a cat", "-0", "-C", indexed]):
        with Path("/dev/full").open("w") as full:
            run = [sys.executable, "-m", "mmsearch", *arguments]
            outcome = subprocess.run(run, stdout=full, stderr=subprocess.PIPE, text=True, env=environment)
        assert outcome.returncode == 1 and outcome.stderr.count("\n") == 1, outcome.stderr
        assert "No space left" in outcome.stderr and "unexpected" not in outcome.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell")
@pytest.mark.parametrize(
    ("arguments", "code"), [("query 'a cat' >&-", 0), ("query --batch - <&-", 0), ("help 2>&-", 0)]
)
def test_closed_streams(indexed: Path, arguments: str, code: int) -> None:
    line = f"{sys.executable} -m mmsearch {arguments}"
    environment = {**os.environ, "MMSEARCH_COLLECTION": str(indexed)}
    outcome = subprocess.run(["sh", "-c", line], capture_output=True, text=True, env=environment)
    assert outcome.returncode == code and "Error" not in outcome.stderr


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    run = [sys.executable, "-m", "mmsearch", "info", "-C", str(tmp_path / "none")]
    quiet = subprocess.run(run, capture_output=True, text=True)
    loud = subprocess.run([*run, "--debug"], capture_output=True, text=True)
    assert "Traceback" not in quiet.stderr and "Traceback" in loud.stderr
    assert quiet.returncode == loud.returncode == 1


def test_version_and_help(command: Command) -> None:
    assert command("--version").out == f"mmsearch {mmsearch.__version__}\n"
    assert "query" in command("--help").out


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8"])
def test_any_name_can_be_printed_in_any_locale(sample_data: Path, tmp_path: Path, encoding: str) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "犬🐶.jpg").write_bytes((sample_data / "dog.jpg").read_bytes())
    environment = {**os.environ, "PYTHONIOENCODING": encoding}

    def run(*arguments: object) -> bytes:
        command = [sys.executable, "-m", "mmsearch", *map(str, arguments), "-C", str(tmp_path / "c")]
        return subprocess.run(command, env=environment, capture_output=True, check=True).stdout

    run("index", folder, "--model", "starter")
    assert json.loads(run("query", "a dog", "--json"))["results"][0]["path"].endswith("犬🐶.jpg")
    table = run("query", "a dog").decode(encoding)
    assert ("犬🐶.jpg" if encoding == "utf-8" else r"\u72ac\U0001f436.jpg") in table
