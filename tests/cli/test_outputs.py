"""What `mmsearch query` prints and does with results: CSV, templates, copies, links, viewers, exit codes."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
import sys
from pathlib import Path

import pytest
from command import Command
from hypothesis import given
from hypothesis import strategies as st
from terminals import run_in_terminal

from mmsearch.base.errors import UsageError
from mmsearch.base.records import Hit, ImageFacts, ImageRecord
from mmsearch.cli.main import _flush
from mmsearch.cli.query.copies import Original, copy, link, put_all
from mmsearch.cli.query.csv_rows import print_csv
from mmsearch.cli.query.template import Template
from mmsearch.images.content_hash import content_hash
from mmsearch.rendering.fields import EXAMPLE, hit_to_json

STRANGE = b"caf\xe9 \x1b[31m\nred.jpg"


def hit(path: str, rank: int = 1, score: float = 0.5) -> Hit:
    return Hit(rank, score, ImageRecord(7, path, 1234, 10**9, 1, "ab", ImageFacts(640, 480, "JPEG", None, 'A, "B"')))


def original(path: Path | str) -> Original:
    """A file as it would be indexed now, in the root that its folder is."""
    data = Path(path).read_bytes()
    return Original(str(path), len(data), content_hash(io.BytesIO(data)).hex(), os.path.dirname(path))


def test_csv_has_the_fields_and_values_of_json(command: Command, indexed: Path) -> None:
    results = command("query", "a cat", "-C", indexed, "-k", 4, "--json").json["results"]
    printed = command("query", "a cat", "-C", indexed, "-k", 4, "--csv")
    rows = list(csv.DictReader(io.StringIO(printed.out)))
    assert "\r" not in printed.out and printed.err == ""
    assert list(rows[0]) == list(hit_to_json(EXAMPLE)) and set(rows[0]) == {*results[0], "path_base64"}
    for row, result in zip(rows, results, strict=True):
        for name, value in result.items():
            kept = "" if value is None else json.dumps(value) if isinstance(value, bool) else str(value)
            assert row[name] == kept
        assert row["path_base64"] == ""


FORMULAS = ["=A1", "+1", "-1", "@A1", "\t=1", "\r=1", "\n1", "  =1", "\uff1d1", "\uff0b1", "\uff0d1", "\uff201"]


def with_camera(camera: str) -> Hit:
    facts = ImageFacts(1, 1, "JPEG", None, camera, -33.8, -1.0)
    return Hit(1, -0.5, ImageRecord(7, "/a.jpg", 1, 10**9, 1, "ab", facts))


@pytest.mark.parametrize("camera", FORMULAS)
def test_formulas_in_csv_are_said_or_made_texts(camera: str, capfd: pytest.CaptureFixture[str]) -> None:
    print_csv([with_camera(camera)], safe=False)
    _flush()
    plain = capfd.readouterr()
    assert plain.err == "mmsearch: 1 cell is a formula to a spreadsheet; --csv-safe makes them texts\n"
    print_csv([with_camera(camera)], safe=True)
    _flush()
    safe = capfd.readouterr()
    assert safe.err == ""
    [before], [after] = (list(csv.DictReader(io.StringIO(text, newline=""))) for text in (plain.out, safe.out))
    assert before["camera"] == camera and after == {**before, "camera": f"'{camera}"}
    assert after["latitude"] == "-33.8" and after["score"] == "-0.5"  # numbers are none


def test_formulas_that_other_separators_would_set_free_are_quoted(capfd: pytest.CaptureFixture[str]) -> None:
    for safe in (False, True):
        print_csv([with_camera("Canon;=1"), with_camera("Canon\t@1"), with_camera("a=b-c")], safe=safe)
    _flush()
    told = capfd.readouterr()
    assert told.err == "mmsearch: 2 cells are formulas to a spreadsheet; --csv-safe makes them texts\n"
    assert '"Canon;=1"' in told.out.partition('"rank"')[2]


def test_csv_safe_is_an_option_of_csv(command: Command, indexed: Path) -> None:
    assert command("query", "a cat", "-C", indexed, "--csv-safe").code == 2
    safe = command("query", "a cat", "-C", indexed, "--csv", "--csv-safe")
    assert safe.code == 0 and safe.err == "" and safe.out.startswith('"rank","score","path"')


def test_csv_of_nothing_is_its_first_line(command: Command, indexed: Path) -> None:
    printed = command("query", "a cat", "-C", indexed, "--min-score", 0.99, "--csv").out
    assert printed == ",".join(hit_to_json(EXAMPLE)) + "\n"


@pytest.mark.parametrize(
    ("template", "line"),
    [
        ("{path}", "/a/b c.jpg\n"),
        ("{rank:>3}|{score:.2f}|{name}|{folder}|{id}|{width}x{height}", "  1|0.50|b c.jpg|/a|7|640x480\n"),
        (r"{path}\0", "/a/b c.jpg\0"),
        (r"{name}\t{size:,}\n", "b c.jpg\t1,234\n"),
        (r"{{{id}}} \\n", "{7} \\n\n"),
        ("{taken_at}|{offline}|{path_base64}", "|false|\n"),
        ("{taken_at:>3}|{taken_at:<2}|{path_base64:*^4}", "   |  |    \n"),
        ("", "\n"),
    ],
)
def test_a_template_is_filled(template: str, line: str) -> None:
    assert Template(template).fill(hit("/a/b c.jpg")) == line.encode()


def test_paths_come_out_byte_for_byte_and_terminals_are_not_sent_codes() -> None:
    strange = hit(os.fsdecode(b"/x/" + STRANGE))
    assert Template(r"{path}\0").fill(strange) == b"/x/" + STRANGE + b"\0"
    assert Template("{name}").fill(strange, show=True) == rb"caf\xe9 \x1b[31m\nred.jpg" + b"\n"


@pytest.mark.parametrize(
    "template",
    ["{", "}", "{nope}", "{}", "{0}", "{path.__class__}", "{path[0]}", "{rank!r}", "{score:.3q}", r"\x", "\\",
     "{rank:{id}}", "{rank:1000000000}", "{path:.3f}", "{rank:>99999}"],
)  # fmt: skip
def test_other_templates_are_refused_in_one_line(command: Command, indexed: Path, template: str) -> None:
    refused = command("query", "a cat", "-C", indexed, "--format", template)
    assert refused.code == 2 and refused.out == ""
    assert refused.err.startswith("mmsearch: --format ") and refused.err.count("\n") == 1


@given(st.text(st.sampled_from("{}[]!:.\\nt0 rank score path_é%>3f,\0\n"), max_size=30))
def test_a_template_is_filled_or_refused(template: str) -> None:
    try:
        line = Template(template).fill(hit("/a/b.jpg"))
    except UsageError:
        return
    assert line.endswith((b"\n", b"\0")) and len(line) < 10_000


def test_outputs_exclude_each_other(command: Command, indexed: Path) -> None:
    for options in (["--csv", "--json"], ["--format", "{id}", "-0"], ["--thumbnails", "--paths"], ["--numbered"]):
        refused = command("query", "a cat", "-C", indexed, *options)
        assert refused.code == 2 and refused.out == "" and refused.err.count("\n") == 1
    for options in (["--csv"], ["--gallery", "x.html"], ["--copy-to", "x"], ["--fail-empty"]):
        assert command("query", "--batch", os.devnull, "-C", indexed, *options).code == 2
    assert not Path("x").exists() and not Path("x.html").exists()


def test_nothing_found_is_an_exit_code_on_request(command: Command, indexed: Path, tmp_path: Path) -> None:
    nothing = ["query", "a cat", "-C", indexed, "--min-score", 0.99]
    assert command(*nothing).code == 0
    empty = command(*nothing, "--fail-empty", "--copy-to", tmp_path / "copies", "--gallery", tmp_path / "page.html")
    assert empty.code == 1 and "nothing found" in empty.err
    assert list(tmp_path.iterdir()) == []
    assert command("query", "a cat", "-C", indexed, "--fail-empty", "--paths").code == 0


def test_copies_keep_bytes_and_times_and_overwrite_nothing(command: Command, indexed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "copies"
    arguments = ("query", "a cat", "-C", indexed, "-k", 3, "--copy-to", folder)
    first = command(*arguments, "--paths")
    sources = [Path(line) for line in first.out.splitlines()]
    assert first.code == 0 and "copied 3 files" in first.err
    for source in sources:
        made = folder / source.name
        assert made.read_bytes() == source.read_bytes()
        assert made.stat().st_mtime_ns == source.stat().st_mtime_ns
    (folder / "cat.jpg").write_bytes(b"mine")
    assert command(*arguments).code == 0 and command(*arguments, "--numbered").code == 0
    assert (folder / "cat.jpg").read_bytes() == b"mine"
    names = {path.name for path in folder.iterdir()}
    assert {"cat.jpg", "cat-2.jpg", "1-cat.jpg"} <= names and len(names) == 9


def test_links_are_absolute(command: Command, indexed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = command("query", "a cat", "-C", indexed, "-k", 1, "--link-to", "links", "--format", "{path}")
    made = tmp_path / "links" / "cat.jpg"
    assert done.code == 0 and os.readlink(made) == done.out.strip() and os.path.isabs(os.readlink(made))


def test_files_that_cannot_be_used_are_named(command: Command, photos: Path, tmp_path: Path) -> None:
    collection = tmp_path / "collection"
    assert command("index", photos, "--model", "starter", "-C", collection).code == 0
    (photos / "cat.jpg").unlink()
    folder, page, sheet = tmp_path / "copies", tmp_path / "page.html", tmp_path / "sheet.png"
    done = command("query", "a cat", "-C", collection, "-k", 3, "--copy-to", folder, "--link-to", folder,
                   "--gallery", page, "--montage", sheet)  # fmt: skip
    assert done.code == 3 and f"mmsearch: {photos / 'cat.jpg'}: No such file or directory\n" in done.err
    assert "copied 2 files" in done.err and "linked 2 files" in done.err
    assert len(list(folder.iterdir())) == 4 and page.is_file() and sheet.is_file()
    assert not any(path.name.startswith("cat") for path in folder.iterdir())


def test_names_are_made_unique_in_order(tmp_path: Path) -> None:
    sources = []
    for number in range(11):
        path = tmp_path / str(number) / "IMG.tar.gz"
        path.parent.mkdir()
        path.write_text(str(number))
        sources.append(original(path))
    assert put_all(sources, tmp_path / "out", copy) == []
    made = {path.name: path.read_text() for path in (tmp_path / "out").iterdir()}
    assert made["IMG.tar.gz"] == "0" and made["IMG.tar-11.gz"] == "10" and len(made) == 11
    assert put_all(sources, tmp_path / "ranked", link, numbered=True) == []
    assert sorted(os.listdir(tmp_path / "ranked"))[::10] == ["01-IMG.tar.gz", "11-IMG.tar.gz"]


def test_special_files_and_bad_bytes_are_copied_or_refused(tmp_path: Path) -> None:
    pipe, strange = tmp_path / "pipe", os.fsencode(tmp_path) + b"/" + STRANGE
    os.mkfifo(pipe)
    Path(os.fsdecode(strange)).write_bytes(b"x")
    failures = put_all([Original(str(pipe), 0, "", None), original(os.fsdecode(strange))], tmp_path / "out", copy)
    assert failures == [(str(pipe), "not a regular file")]
    assert os.listdir(os.fsencode(tmp_path / "out")) == [STRANGE]


def test_a_half_made_copy_is_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "a.jpg"
    source.write_bytes(b"x" * 100)

    def fail(source: int, made: io.BufferedIOBase) -> str:
        made.write(os.read(source, 10))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mmsearch.cli.query.copies._transfer", fail)
    assert put_all([original(source)], tmp_path / "out", copy) == [(str(source), "No space left on device")]
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_that_is_a_file_is_refused(command: Command, indexed: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    refused = command("query", "a cat", "-C", indexed, "--paths", "--copy-to", tmp_path / "taken")
    assert refused.code == 1 and "taken" in refused.err and refused.err.count("\n") == 1


@pytest.fixture
def opener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An `xdg-open` that writes down what it is given; where the name ends with .png it fails."""
    if sys.platform == "win32":
        pytest.skip("Windows starts files by itself")
    folder, log = tmp_path / "bin", tmp_path / "opened"
    folder.mkdir()
    for name in ("xdg-open", "open"):
        (folder / name).write_text(f'#!/bin/sh\necho "$1" >> {log}\ncase "$1" in *.png) exit 4;; esac\n')
        (folder / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return log


def test_the_best_are_opened(command: Command, indexed: Path, opener: Path) -> None:
    paths = command("query", "a cat", "-C", indexed, "-k", 3, "--paths", "--open").out.splitlines()
    assert sorted(opener.read_text().splitlines()) == sorted(paths)
    opener.unlink()
    many = command("query", "a cat", "-C", indexed, "-k", 24, "--paths", "--open")
    opened = opener.read_text().splitlines()
    assert len(opened) == 20 and set(opened) == set(many.out.splitlines()[:20])
    assert "best 20 of 24" in many.err
    failed = [path for path in opened if path.endswith(".png")]
    assert many.code == (3 if failed else 0) and all(path in many.err for path in failed)


def test_a_page_is_opened_in_place_of_its_pictures(
    command: Command, indexed: Path, opener: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    assert command("query", "a cat", "-C", indexed, "-k", 2, "--gallery", page, "--open").code == 0
    assert opener.read_text().splitlines() == [str(page)]


def test_no_viewer_is_one_line(
    command: Command, indexed: Path, opener: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = command("query", "a cat", "-C", indexed, "-k", 1, "--montage", tmp_path / "m.png", "--open")
    assert broken.code == 1 and "cannot open" in broken.err.splitlines()[-1]
    monkeypatch.setenv("PATH", str(tmp_path))
    missing = command("query", "a cat", "-C", indexed, "--paths", "-k", 1, "--open")
    assert missing.code == 1 and missing.err.count("\n") == 1 and "not installed" in missing.err


def test_names_in_a_terminal_send_no_codes(photos: Path, tmp_path: Path, sample_data: Path) -> None:
    from mmsearch import Collection

    folder = tmp_path / "strange"
    folder.mkdir()
    (folder / os.fsdecode(STRANGE)).write_bytes((sample_data / "cat.jpg").read_bytes())
    with Collection.open(tmp_path / "collection") as collection:
        collection.add([folder], model="starter")
    start = [sys.executable, "-m", "mmsearch", "query", "a cat", "-C", str(tmp_path / "collection")]
    code, output = run_in_terminal([*start, "--format", "{name}"], b"")
    assert code == 0 and output == rb"caf\xe9 \x1b[31m\nred.jpg" + b"\n"
    for options in (["--paths"], ["-0"], ["--csv"], ["--csv", "--csv-safe"]):
        code, output = run_in_terminal([*start, *options], b"")
        assert code == 0 and b"\x1b" not in output and rb"\x1b[31m\nred.jpg" in output


def test_json_has_not_changed(command: Command, indexed: Path) -> None:
    printed = command("query", "a cat", "-C", indexed, "-k", 1, "--json", "--fail-empty")
    assert printed.code == 0 and set(json.loads(printed.out)) >= {"query", "count", "results"}
