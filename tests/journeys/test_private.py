"""Photos are private: what mmsearch makes is for the user only, and file names send nothing to a terminal."""

from __future__ import annotations

import io
import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from command import Command

from mmsearch.base import config
from mmsearch.base.events import Notice, Skipped
from mmsearch.base.paths import make_private
from mmsearch.base.records import Hit, ImageFacts, ImageRecord
from mmsearch.cli.console import dumps
from mmsearch.cli.progress import ProgressBar
from mmsearch.rendering import text as render
from mmsearch.rendering.fields import hit_to_json
from mmsearch.rendering.table import table

# Clears the screen, rings, turns the direction of writing, and begins a sequence in one byte (C1).
EVIL = "a\x1b[2J\x07\r\n\u202eb\x9b31m\x7f\udc80"
SENT = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")

# Python code that runs the command line as if stdout and stderr were terminals.
ON_A_TERMINAL = (
    "import sys; sys.stdout.isatty = sys.stderr.isatty = lambda: True; from mmsearch.cli.main import main; main()"
)


def hit(path: str) -> Hit:
    return Hit(1, 0.5, ImageRecord(1, path, 1, 1, 1, "beef", ImageFacts(1, 1, "PNG", None, f"camera {EVIL}")))


def test_what_is_shown_is_harmless() -> None:
    assert not SENT.search(render.printable(EVIL)) and "\n" not in render.printable(EVIL)
    for line in table([hit(f"/photos/{EVIL}")], width=200):
        assert not SENT.search(line) and "\n" not in line
    text = dumps(hit_to_json(hit(f"/photos/{EVIL}")))
    assert not SENT.search(text)
    assert json.loads(text)["camera"] == f"camera {EVIL}".replace("\udc80", "\ufffd"), "but for what is no UTF-8"


def test_lines_beside_the_bar_are_harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with ProgressBar() as bar:
        bar.show(Skipped(f"/photos/{EVIL}", EVIL))
        bar.show(Notice(EVIL))
        bar.say(EVIL)
    assert stream.getvalue().count("\n") == 3
    assert not SENT.search(stream.getvalue())


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not take such names")
def test_evil_names_from_end_to_end(command: Command, photos: Path, tmp_path: Path) -> None:
    evil = os.fsencode(photos) + b"/a\x1b[2J\x07\r\n\xc2\x9b31m\xff"
    os.mkdir(evil)
    os.rename(os.fsencode(photos / "cat.jpg"), evil + b"/cat.jpg")
    Path(os.fsdecode(evil), "broken.jpg").write_bytes(b"\xff\xd8\xff")
    place = tmp_path / "c"
    shown = [command("index", os.fsdecode(evil), photos, "--model", "starter", "-C", place)]
    shown += [command("info", "-C", place), command("info", "-C", place, "--json"), command("doctor", "-C", place)]
    shown += [command("query", "a cat", "-C", place, *options) for options in ((), ("--json",), ("--jsonl",))]
    shown += [
        command("index", os.fsdecode(evil) + "/none", "-C", place),
        command("query", "a\x1b[2Jb", "-C", "\x1b[2J"),
    ]
    shown += [
        command("forget", os.fsdecode(evil) + "/none", "-C", place),
        command("query", EVIL[:-1], "--json", "-C", place),
    ]
    for outcome in shown:
        assert outcome.out + outcome.err
        assert not SENT.search(outcome.out + outcome.err), repr(outcome.out + outcome.err)
    run = [sys.executable, "-c", ON_A_TERMINAL, "query", "a cat", "-C", place, "--paths", "-k", "1"]
    assert not SENT.search(subprocess.run(run, capture_output=True, text=True, check=True).stdout)
    piped = [sys.executable, "-m", "mmsearch", *run[3:]]
    assert subprocess.run(piped, capture_output=True, check=True).stdout == evil + b"/cat.jpg\n"


@pytest.mark.skipif(os.name == "nt", reason="modes are of POSIX")
def test_everything_is_made_for_the_user_only(command: Command, photos: Path, home: Path) -> None:
    before = os.umask(0)
    try:
        assert command("index", photos, "--model", "starter", "-C", "holidays").code == 0
        assert command("index", photos, "-C", "holidays").code == 0
        assert command("query", "a cat", "-C", "holidays").code == 0
        make_private(config.cache_dir() / "exports")
    finally:
        os.umask(before)
    paths = list(home.rglob("*"))
    assert config.collection_path("holidays") in paths and len(paths) > 6
    modes = {str(path): stat.S_IMODE(path.stat().st_mode) for path in paths}
    assert {path: mode for path, mode in modes.items() if mode != (0o700 if os.path.isdir(path) else 0o600)} == {}


def test_a_folder_that_was_there_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    make_private(tmp_path / "a" / "b")
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path, tmp_path / "a", tmp_path / "a" / "b")]
    assert modes == [0o750, 0o700, 0o700] or os.name == "nt"
