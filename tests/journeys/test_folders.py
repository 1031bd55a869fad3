"""Folders as they are on disks: with what systems keep in them, one in another, moved, and under several names."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command import Command, Outcome

from mmsearch.cli.commands.index import describe

Run = Callable[..., Outcome]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "collection"


@pytest.fixture
def index(command: Command, place: Path) -> Run:
    def run(*args: object) -> Outcome:
        model = () if place.exists() else ("--model", "starter")
        return command("index", *args, *model, "-C", place, "--json")

    return run


@pytest.fixture
def paths(command: Command, place: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """Paths of all results, relative to the folder of the test."""

    def run(*args: object) -> list[str]:
        found = command("query", *(args or ("--where", "size > 0")), "-k", 1000, "--paths", "-C", place).out
        return sorted(os.path.relpath(path, tmp_path) for path in found.splitlines())

    return run


@pytest.fixture
def put(photos: Path, tmp_path: Path) -> Callable[..., None]:
    """Copy photos, a different one each time."""
    images = iter(sorted(path for path in photos.iterdir() if path.suffix == ".jpg"))

    def copy(*names: str) -> None:
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(next(images), tmp_path / name)

    return copy


def roots(command: Command, place: Path) -> dict[str, dict[str, object]]:
    return {root["path"]: root for root in command("info", "-C", place, "--json").json["roots"]}


# --- what systems keep beside photos ---

SYSTEM = ["2021/@eaDir", "#recycle", "$Recycle.Bin/S-1-5", "System Volume Information", "@Recycle", "RECYCLER"]
HIDDEN = [".Trash-1000/files", ".Trashes", ".thumbnails", ".dtrash", ".photostructure", ".AppleDouble", ".@__thumb"]


def test_thumbnails_and_trash_are_passed_over_and_told(put, index, paths, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    put("p/2021/a.jpg", *(f"p/{folder}/x.jpg" for folder in SYSTEM))
    outcome = index(tmp_path / "p")
    assert outcome.json["passed_over"] == {"system_folder": len(SYSTEM)}
    assert paths() == ["p/2021/a.jpg"]


def test_hidden_ones_are_passed_over_where_hidden_names_are_taken(put, index, paths, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    put("p/.b.jpg", *(f"p/{folder}/x.jpg" for folder in HIDDEN), "p/.trash-can/y.jpg")
    (tmp_path / "p" / "._a.jpg").write_bytes(b"\0\5\x16\7")
    assert index(tmp_path / "p").code == 1, "there is nothing but hidden names"
    outcome = index(tmp_path / "p", "--hidden")
    assert (outcome.code, outcome.json["passed_over"]) == (0, {"system_folder": len(HIDDEN), "apple_double": 1})
    assert paths() == ["p/.b.jpg", "p/.trash-can/y.jpg"]


def test_they_are_taken_on_request_and_that_is_remembered(put, index, paths, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    put("p/a.jpg", "p/@eaDir/x.jpg")
    assert index(tmp_path / "p", "--no-default-excludes").json["passed_over"] == {}
    assert index().json["total"] == 2
    assert index(tmp_path / "p", "--default-excludes").json["removed"] == 1
    assert paths() == ["p/a.jpg"]


def test_a_folder_that_is_named_is_taken_whatever_it_is_called(put, index, paths, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    put("p/a.jpg", "p/#recycle/x.jpg", "p/.hidden/y.jpg")
    index(tmp_path / "p")
    index(tmp_path / "p" / "#recycle", tmp_path / "p" / ".hidden")
    for again in ([], [tmp_path / "p"]):
        assert index(*again).json["removed"] == 0
        assert paths() == ["p/#recycle/x.jpg", "p/.hidden/y.jpg", "p/a.jpg"]


def test_the_line_for_people(tmp_path: Path) -> None:
    from mmsearch.base.events import Summary

    assert describe(Summary(passed_over={"system_folder": 2, "apple_double": 1}))[1] == (
        "passed over: 2 folders of thumbnails or trash, 1 AppleDouble file"
    )


# --- patterns ---


@pytest.mark.parametrize(
    ("pattern", "cwd"),
    [
        ("{p}/a", "."),
        ("{p}/a/", "."),
        ("{p}/A", "."),
        ("{p}/*/thumbs", "."),
        ("./a", "p"),
        ("./a", "."),
        ("./p/a", "."),
        ("p/a", "."),
        ("../a", "p/b"),
        ("/a", "."),
        ("A/", "."),
        ("thumbs", "."),
        ("link/a", "."),
        ("{link}/a", "."),
    ],
)
def test_paths_to_exclude_are_taken_as_paths(  # type: ignore[no-untyped-def]
    put, index, paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, cwd: str
) -> None:
    put("p/a/thumbs/x.jpg", "p/b/y.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "p")
    monkeypatch.chdir(tmp_path / cwd)
    outcome = index(tmp_path / "p", "--exclude", pattern.format(p=tmp_path / "p", link=tmp_path / "link"))
    assert outcome.err == "" and paths() == ["p/b/y.jpg"]
    assert index().json["total"] == 1, "it is remembered"


@pytest.mark.parametrize("pattern", ["{t}/elsewhere", "{t}/elsewhere/*.jpg", "../elsewhere", "~/x", "{t}/p", "!", "."])
def test_a_pattern_that_can_match_nothing_is_refused(  # type: ignore[no-untyped-def]
    put, index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    put("p/a.jpg", "elsewhere/b.jpg")
    monkeypatch.chdir(tmp_path / "p")
    outcome = index(tmp_path / "p", "--exclude", pattern.format(t=tmp_path))
    assert outcome.code == 2 and "--exclude" in outcome.err and outcome.err.count("\n") == 1
    assert not (tmp_path / "collection" / "catalog.sqlite3").exists()


@pytest.mark.parametrize("pattern", ["{t}/p/none", "./none", "/none", "2020/none"])
def test_a_path_where_nothing_is_is_told(put, index, tmp_path: Path, pattern: str) -> None:  # type: ignore[no-untyped-def]
    put("p/a.jpg")
    outcome = index(tmp_path / "p", "--exclude", pattern.format(t=tmp_path))
    assert outcome.code == 0 and "nothing of that name" in outcome.err


def test_nothing_is_told_of_names_and_globs(put, index, paths, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    put("p/a.jpg", "p/#x/b.jpg", "p/~c.jpg")
    outcome = index(tmp_path / "p", "--exclude", "none", "--exclude", "**/x", "--exclude", "*.tmp", "--exclude", "#x")
    assert outcome.err == "" and paths() == ["p/a.jpg", "p/~c.jpg"]
    assert index(tmp_path / "p", "--exclude", "~*").json["total"] == 2


def test_a_path_concerns_the_folder_that_it_lies_in(put, index, paths, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    put("p/a/x.jpg", "q/a/y.jpg", "q/b/z.jpg")
    outcome = index(tmp_path / "p", tmp_path / "q", "--exclude", tmp_path / "q" / "a")
    assert outcome.err == "" and paths() == ["p/a/x.jpg", "q/b/z.jpg"]


def test_patterns_match_in_any_case_and_normal_form(put, index, paths, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    put("p/a.JPG", "p/b.jpg", "p/Zoe\u0308/c.jpg", "p/d.Jpeg")
    index(tmp_path / "p", "--include", "*.jpg", "--exclude", "ZOË")
    assert paths() == ["p/a.JPG", "p/b.jpg"]


# --- roots in roots ---


def test_the_folder_around_it_keeps_the_exclusions_of_an_inner_one(put, index, paths, command, place, tmp_path) -> None:  # type: ignore[no-untyped-def]
    put("p/a/keep.jpg", "p/a/private/x.jpg", "p/c.jpg")
    index(tmp_path / "p" / "a", "--exclude", "/private")
    for source in ([tmp_path / "p"], [], [tmp_path / "p" / "a"], [tmp_path / "p", "--hidden"]):
        index(*source)
        assert paths() == ["p/a/keep.jpg", "p/c.jpg"]
    assert list(roots(command, place)) == [str(tmp_path / "p"), str(tmp_path / "p" / "a")]
    index(tmp_path / "p" / "a", "--exclude", "")
    assert index().json["total"] == 3
    assert list(roots(command, place)) == [str(tmp_path / "p")], "without options of its own it is a part"


def test_options_of_a_folder_hold_in_one_inside_it(put, index, paths, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    put("p/a/keep.jpg", "p/a/x.png", "p/a/private/y.jpg", "p/c.png", "p/d.jpg")
    index(tmp_path / "p" / "a", "--exclude", "private")
    index(tmp_path / "p", "--exclude", "*.png")
    for source in ([], [tmp_path / "p" / "a"]):
        index(*source)
        assert paths() == ["p/a/keep.jpg", "p/d.jpg"]


def test_a_part_of_a_folder_may_get_options_of_its_own(put, index, paths, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    put("p/a/keep.jpg", "p/a/private/y.jpg", "p/c.jpg", "p/private/d.jpg")
    index(tmp_path / "p")
    index(tmp_path / "p" / "a", "--exclude", "/private")
    for _ in range(2):
        assert paths() == ["p/a/keep.jpg", "p/c.jpg", "p/private/d.jpg"]
        index(tmp_path / "p")


def test_an_inner_one_that_takes_in_more_keeps_that(put, index, paths, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    put("p/a/.x.jpg", "p/a/y.png", "p/b.jpg", "p/.c.jpg")
    index(tmp_path / "p" / "a", "--hidden", "--include", "*.png", "--include", ".*")
    index(tmp_path / "p", "--include", "*.jpg")
    assert paths() == ["p/a/.x.jpg", "p/a/y.png", "p/b.jpg"]


# --- roots that have moved ---


@pytest.mark.parametrize(
    ("old", "move", "new", "named"),
    [
        ("old", ("old", "new"), "new", "new"),
        ("box/old", ("box/old", "new"), "new", "new"),  # nothing is left beside it
        ("box/old", ("box", "new"), "new/old", "new"),
        ("old", ("old", "box/old"), "box/old", "box"),
        ("p/old", ("p/old", "p/new"), "p/new", "p"),
        ("old", ("old", "p/new"), "p/new", "p/new"),
    ],
)
def test_a_root_that_was_moved_is_known_again(  # type: ignore[no-untyped-def]
    put, index, paths, command, place, tmp_path: Path, old: str, move: tuple[str, str], new: str, named: str
) -> None:
    put(f"{old}/a.jpg", f"{old}/deep/b.jpg", f"{old}/deep/c.jpg", "other/d.jpg", "p/e.jpg")
    index(tmp_path / old, tmp_path / "other")
    (tmp_path / move[1]).parent.mkdir(exist_ok=True)
    (tmp_path / move[0]).rename(tmp_path / move[1])
    outcome = index(tmp_path / named)
    beside = named.startswith("p") and named != new
    assert (outcome.code, outcome.json["encoded"], outcome.json["removed"]) == (0, int(beside), 0), outcome.err
    found = paths("a photo")
    assert found == sorted(
        [f"{new}/a.jpg", f"{new}/deep/b.jpg", f"{new}/deep/c.jpg", "other/d.jpg", *(["p/e.jpg"] if beside else [])]
    )
    assert all((tmp_path / path).exists() for path in found)
    assert set(roots(command, place)) == {str(tmp_path / named), str(tmp_path / "other")}
    assert index().json["unchanged"] == len(found)


def test_a_root_that_was_moved_is_not_even_read_and_keeps_its_options(  # type: ignore[no-untyped-def]
    put, index, paths, command, place, tmp_path: Path
) -> None:
    put("old/a.jpg", "old/x/b.jpg", "old/x/private/c.jpg")
    index(tmp_path / "old" / "x", "--exclude", "private")
    index(tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "new")
    outcome = index(tmp_path / "new")
    assert (outcome.json["unchanged"], outcome.json["new"], outcome.json["moved"]) == (2, 0, 0)
    assert f"{tmp_path / 'old'} is {tmp_path / 'new'} now" in outcome.err
    assert paths() == ["new/a.jpg", "new/x/b.jpg"]
    assert list(roots(command, place)) == [str(tmp_path / "new"), str(tmp_path / "new" / "x")]
    assert command("doctor", "-C", place).code == 0, "every row has the checksum of its new path"


def test_what_is_gone_from_a_moved_root_is_gone(put, index, paths, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    put("old/a.jpg", "old/b.jpg", "old/c.jpg")
    index(tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "new")
    (tmp_path / "new" / "b.jpg").unlink()
    outcome = index(tmp_path / "new")
    assert (outcome.json["removed"], outcome.json["unchanged"], paths()) == (1, 2, ["new/a.jpg", "new/c.jpg"])


def test_a_copy_is_a_copy(put, index, paths, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    put("old/a.jpg", "old/b.jpg")
    index(tmp_path / "old")
    shutil.copytree(tmp_path / "old", tmp_path / "new")
    outcome = index(tmp_path / "new")
    assert (outcome.json["encoded"], outcome.json["new"]) == (0, 2)
    assert paths() == ["new/a.jpg", "new/b.jpg", "old/a.jpg", "old/b.jpg"]


def test_a_copy_whose_original_is_deleted_has_moved(put, index, paths, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """As by a move to another disk: the files have other inodes, and not even their times need be the same."""
    put("old/a.jpg", "old/b.jpg", "beside/x.jpg")
    index(tmp_path / "old")
    shutil.copytree(tmp_path / "old", tmp_path / "new", copy_function=shutil.copyfile)
    shutil.rmtree(tmp_path / "old")
    assert index(tmp_path / "new").json["encoded"] == 0
    assert paths("a photo") == ["new/a.jpg", "new/b.jpg"]


@pytest.mark.parametrize("how", ["missing with its disk", "an empty mount point"])
def test_a_copy_whose_original_is_on_a_disk_that_is_away_is_a_copy(  # type: ignore[no-untyped-def]
    put, index, paths, command, place, tmp_path: Path, how: str
) -> None:
    put("disk/old/a.jpg", "disk/old/b.jpg")
    index(tmp_path / "disk" / "old")
    shutil.copytree(tmp_path / "disk" / "old", tmp_path / "new")
    away = (tmp_path / "disk").rename(tmp_path / "unplugged")
    (tmp_path / "disk").mkdir()
    if how == "an empty mount point":
        (tmp_path / "disk" / "old").mkdir()
    outcome = index(tmp_path / "new")
    assert (outcome.json["encoded"], paths("a photo")) == (0, ["new/a.jpg", "new/b.jpg"])
    assert roots(command, place)[str(tmp_path / "disk" / "old")]["offline_since"]
    shutil.rmtree(tmp_path / "disk")
    away.rename(tmp_path / "disk")
    index()
    assert len(paths("a photo")) == 4, "both are there"


def test_where_a_part_has_moved_the_rest_stays_and_is_offline(put, index, paths, command, place, tmp_path) -> None:  # type: ignore[no-untyped-def]
    put(*(f"old/{number}.jpg" for number in range(5)))
    index(tmp_path / "old")
    (tmp_path / "new").mkdir()
    (tmp_path / "old" / "1.jpg").rename(tmp_path / "new" / "1.jpg")
    (tmp_path / "old").rename(tmp_path / "elsewhere")
    outcome = index(tmp_path / "new")
    assert (outcome.json["encoded"], outcome.json["moved"], outcome.json["removed"]) == (0, 1, 0)
    assert "5 images are kept" in outcome.err
    assert f"1 image of {tmp_path / 'old'} has been found elsewhere" in outcome.err
    assert paths("a photo") == ["new/1.jpg"]
    assert roots(command, place)[str(tmp_path / "old")]["images"] == 4


# --- one folder, several names ---


@pytest.fixture
def linked(put: Callable[..., None], tmp_path: Path) -> Path:
    """A folder with two photos, and a link to it."""
    put("real/a.jpg", "real/deep/b.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    return tmp_path / "link"


@pytest.mark.parametrize(("first", "second"), [("real", "link"), ("link", "real")])
def test_a_folder_is_indexed_under_its_first_name(  # type: ignore[no-untyped-def]
    linked: Path, index, paths, command, place, tmp_path: Path, first: str, second: str
) -> None:
    index(tmp_path / first)
    outcome = index(tmp_path / second)
    assert outcome.err == f"mmsearch: {tmp_path / second} is {tmp_path / first}, and is indexed under that name\n"
    assert outcome.json["unchanged"] == 2
    assert index(tmp_path / second / "deep").json["unchanged"] == 1
    assert paths("a photo") == [f"{first}/a.jpg", f"{first}/deep/b.jpg"]
    for name in (first, second):
        assert paths("--below", tmp_path / name / "deep") == [f"{first}/deep/b.jpg"]
        best = command("query", "--like", tmp_path / name / "a.jpg", "--include-self", "-k", 1, "--paths", "-C", place)
        assert best.out == f"{tmp_path / first / 'a.jpg'}\n"
    assert paths("--below", tmp_path) == [f"{first}/a.jpg", f"{first}/deep/b.jpg"]
    assert "2 images" in command("forget", tmp_path / second, "-C", place).err


def test_a_folder_named_twice_in_one_command_is_one(linked: Path, index, paths, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    outcome = index(linked, tmp_path / "real")
    assert (outcome.json["total"], paths()) == (2, ["link/a.jpg", "link/deep/b.jpg"])


def test_a_link_around_a_known_folder_leads_to_it(linked: Path, index, paths, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    index(tmp_path / "real" / "deep")
    outcome = index(linked)
    assert str(tmp_path / "real") in outcome.err and paths() == ["real/a.jpg", "real/deep/b.jpg"]
    assert paths("--below", linked) == ["real/a.jpg", "real/deep/b.jpg"]


def test_a_link_to_an_image_finds_it(linked: Path, index, command, place, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    index(tmp_path / "real")
    (tmp_path / "favourite.jpg").symlink_to(linked / "a.jpg")
    found = command("query", "--like", tmp_path / "favourite.jpg", "--include-self", "-k", 1, "--paths", "-C", place)
    assert found.out == f"{tmp_path / 'real' / 'a.jpg'}\n"


def test_a_folder_that_a_link_in_a_root_leads_to_is_known(linked: Path, index, paths, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    index(tmp_path / "real")
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "inside").symlink_to(tmp_path / "real" / "deep")
    shutil.copy(tmp_path / "real" / "a.jpg", tmp_path / "p" / "c.jpg")
    index(tmp_path / "p")
    index(tmp_path / "p" / "inside")
    assert paths() == ["p/c.jpg", "real/a.jpg", "real/deep/b.jpg"]


@pytest.fixture
def bind(tmp_path: Path) -> Iterator[Callable[[str, str], Path]]:
    """Mount a folder at a second place."""
    made: list[Path] = []

    def mount(source: str, target: str) -> Path:
        place = tmp_path / target
        place.mkdir(parents=True)
        done = subprocess.run(["mount", "--bind", tmp_path / source, place], capture_output=True, check=False)
        if done.returncode:
            pytest.skip("only root may mount folders, and not everywhere")
        made.append(place)
        return place

    yield mount
    for place in reversed(made):
        subprocess.run(["umount", place], check=True)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="folders are mounted twice on Linux")
def test_a_folder_that_is_mounted_twice_is_one(put, bind, index, paths, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    put("real/a.jpg", "real/deep/er/b.jpg")
    index(tmp_path / "real")
    whole, part = bind("real", "whole"), bind("real/deep", "part")
    for place, expected in ((whole, 2), (part, 1), (whole / "deep", 1), (part / "er", 1)):
        outcome = index(place)
        assert (outcome.json["unchanged"], outcome.json["new"], outcome.json["total"]) == (expected, 0, 2), place
    assert paths() == paths("--below", whole) == ["real/a.jpg", "real/deep/er/b.jpg"]
    assert paths("--below", part) == paths("--below", part / "er") == ["real/deep/er/b.jpg"]
    assert paths("--like", part / "er" / "b.jpg") == ["real/a.jpg"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="folders are mounted twice on Linux")
def test_a_folder_that_is_mounted_in_its_own_root_is_walked_once(put, bind, index, paths, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    put("real/a.jpg", "real/deep/b.jpg")
    bind("real/deep", "real/other")
    outcome = index(tmp_path / "real")
    assert outcome.json["passed_over"] == {"same_folder": 1}
    assert paths() == ["real/a.jpg", "real/deep/b.jpg"]
