"""What an index run passes over is counted by kind, told in a line where it matters, and remembered."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from command import Command

from mmsearch.images.decode import EXTENSIONS
from mmsearch.indexing.passed_over import _ENDINGS, _NAMES, kind_of_file, ordered, told


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where the collection is."""
    return tmp_path / "collection"


@pytest.fixture
def folder(tmp_path: Path, sample_data: Path) -> Path:
    """A folder with one photo."""
    made = tmp_path / "photos"
    made.mkdir()
    shutil.copy(sample_data / "cat.jpg", made)
    return made


def write(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"no image")


def counted(command: Command, place: Path, *arguments: object) -> dict[str, int]:
    """What a run says that it has passed over."""
    outcome = command("index", *arguments, "--model", "starter", "-C", place, "--json")
    assert outcome.code == 0, outcome.err
    found: dict[str, int] = outcome.json["passed_over"]
    return found


# --- kinds and words ---


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (b"logo.svg", "svg"),
        (b"MVI_0042.MOV", "video"),
        (b"IMG_1.CR3", "raw"),
        (b"scan.pdf", "pdf"),
        (b"draft.2.xcf", "picture"),
        (b"cat.jpg.xmp", "other"),
        (b"mp4", "other"),
        (b".mp4", "other"),
        (b"", "other"),
        (b"/films.mp4/readme", "other"),
        (b"\xff.mkv", "video"),
    ],
)
def test_the_ending_tells_the_kind(name: bytes, kind: str) -> None:
    assert kind_of_file(name) == kind


def test_each_ending_has_one_kind_and_is_none_of_an_image() -> None:
    endings = [ending for text in _ENDINGS.values() for ending in text.split()]
    assert len(endings) == len(set(endings))
    assert not {f".{ending}" for ending in endings} & EXTENSIONS
    assert _ENDINGS.keys() < _NAMES.keys()


def test_the_most_frequent_first_and_what_is_no_picture_last() -> None:
    counts = ordered({"other": 118, "symbolic_link": 1, "special": 2, "video": 3, "svg": 1200})
    assert list(counts) == ["svg", "video", "symbolic_link", "other", "special"]
    line = "passed over: 1,200 SVG, 3 videos, 1 symbolic link, 118 other files, 2 special files"
    assert told(counts) == line


def test_files_that_nobody_takes_for_pictures_are_no_line_of_their_own() -> None:
    assert told({"other": 5, "special": 1}) is None
    assert told({}) is None


def test_the_line_has_room_for_every_kind() -> None:
    line = told(dict.fromkeys(_NAMES, 1_000_000))
    assert line is not None and len(line) < 310
    assert line.count("1,000,000") == len(_NAMES)
    assert told({"svg": 1, "of a later version": 2}) == "passed over: 1 SVG"


# --- runs ---


@pytest.mark.skipif(os.name == "nt", reason="links and pipes of POSIX")
def test_it_is_told_by_the_first_run_and_by_those_after_it(
    command: Command, place: Path, folder: Path, sample_data: Path
) -> None:
    write(folder, "a.svg", "b.SVG", "clip.mp4", "notes.txt", "raw/1.cr3", "raw/1.xmp", "films/1.mov")
    shutil.copy(sample_data / "dog.jpg", folder / "films")
    (folder / "link.jpg").symlink_to(folder / "cat.jpg")
    (folder / "films" / "back").symlink_to(folder)
    os.mkfifo(folder / "pipe")
    expected = {"svg": 2, "symbolic_link": 2, "video": 2, "raw": 1, "other": 2, "special": 1}
    line = "passed over: 2 SVG, 2 symbolic links, 2 videos, 1 RAW photo, 2 other files, 1 special file"
    assert counted(command, place, folder) == expected
    assert list(counted(command, place)) == list(expected), "most frequent first"
    assert command("index", "-C", place).err.splitlines()[1:] == [line]
    assert command("info", "-C", place, "--json").json["last_run"]["passed_over"] == expected
    assert counted(command, place, folder / "films") == {"symbolic_link": 1, "video": 1}, "only what was looked at"
    assert counted(command, place, folder, "--follow-symlinks")["special"] == 1


def test_it_follows_the_files(command: Command, place: Path, folder: Path, sample_data: Path) -> None:
    write(folder, "a.svg", "b.svg", "c.mp4")
    assert counted(command, place, folder) == {"svg": 2, "video": 1}
    (folder / "a.svg").write_bytes(b"still no image")
    (folder / "b.svg").unlink()
    shutil.copy(sample_data / "dog.jpg", folder / "c.mp4")
    assert counted(command, place, folder) == {"svg": 1}, "c.mp4 is an image now"
    (folder / "a.svg").unlink()
    assert counted(command, place, folder) == {}


def test_what_the_user_left_out_is_not_passed_over(command: Command, place: Path, folder: Path) -> None:
    write(folder, "a.svg", ".b.svg", "films/c.mp4", ".later/d.mp4")
    (folder / "link.svg").symlink_to(folder / "a.svg")
    assert counted(command, place, folder, "--exclude", "*.svg") == {"video": 1}
    assert counted(command, place, folder, "--exclude", "films/", "--exclude", "link.*") == {"svg": 1}
    assert counted(command, place, folder, "--include", "*.jpg") == {}
    assert counted(command, place, folder, "--hidden") == {"svg": 2, "video": 2, "symbolic_link": 1}


def test_a_broken_image_is_skipped_and_not_passed_over(command: Command, place: Path, folder: Path) -> None:
    write(folder, "broken.jpg", "a.txt")
    outcome = command("index", folder, "--model", "starter", "-C", place, "--json")
    assert (outcome.code, outcome.json["skipped"], outcome.json["passed_over"]) == (3, 1, {"other": 1})
    assert counted(command, place) == {"other": 1}


def test_notes_beside_photos_are_in_the_json_alone(command: Command, place: Path, folder: Path) -> None:
    write(folder, "cat.xmp", "notes.txt")
    outcome = command("index", folder, "--model", "starter", "-C", place)
    assert outcome.code == 0 and len(outcome.err.splitlines()) == 1
    assert counted(command, place) == {"other": 2}


def test_a_folder_of_nothing_else_says_what_it_holds(command: Command, place: Path, tmp_path: Path) -> None:
    films = tmp_path / "films"
    write(films, "a.mp4", "b.mp4", "a.srt")
    outcome = command("index", films, "--model", "starter", "-C", place)
    assert outcome.code == 1
    assert f"no images found in {films} (passed over: 2 videos, 1 other file)" in outcome.err
    write(tmp_path / "texts", "a.txt")
    assert "passed over" not in command("index", tmp_path / "texts", "--model", "starter", "-C", place).err
