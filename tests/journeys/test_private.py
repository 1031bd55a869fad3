"""Photos are private: what mmsearch makes is for the user only, and file names send nothing to a terminal."""

from __future__ import annotations

import io
import json
import os
import re
import sqlite3
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

# Clears the screen, sets the clipboard, rings, turns the direction of writing, begins a sequence in one byte (C1); and
# has characters that nobody sees: without width, a tag, a selector of variants, a letter without ink.
EVIL = "a\x1b[2J\x1b]52;c;ZXZpbA==\x07\r\n\u202eb\x9b31m\x7f\udc80\u200b\u2063\U000e0041\ufe0f\u3164"
SENT = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\U000e0000-\U000e01ef]"
)

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
    evil = (
        os.fsencode(photos) + b"/a\x1b]52;c;ZXZpbA==\x07\x1b[2J\r\n\xc2\x9b31m\xff" + "\u200b\u202e\U000e0041".encode()
    )
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
    for options, end in ((["--paths"], b"\n"), (["-0"], b"\0"), (["--csv"], None), (["--format", "{path}"], b"\n")):
        asked = ["query", "a cat", "-C", place, "-k", "1", *options]
        shown_there = run([sys.executable, "-c", ON_A_TERMINAL, *asked]).stdout
        assert not SENT.search(shown_there.decode().replace("\0", "")) and rb"\x1b]52;c;ZXZpbA==\x07" in shown_there
        piped = run([sys.executable, "-m", "mmsearch", *asked]).stdout
        assert piped == evil + b"/cat.jpg" + end if end else evil.replace(b"\xff", b"\xef\xbf\xbd") in piped


def run(arguments: list[object]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(list(map(str, arguments)), capture_output=True, check=False)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not take such names")
def test_tracebacks_are_harmless_on_a_terminal(tmp_path: Path) -> None:
    """Of errors of ours, of bugs, and of threads."""
    asked = ["--debug", "query", "a cat", "-C", f"{tmp_path}/{EVIL}"]
    shown = run([sys.executable, "-c", ON_A_TERMINAL, *asked])
    assert shown.returncode == 1 and b"Traceback" in shown.stderr and rb"\x1b[2J" in shown.stderr
    assert not SENT.search(shown.stderr.decode())
    assert b"\x1b[2J" in run([sys.executable, "-m", "mmsearch", *asked]).stderr
    thread = (
        "import sys, threading, time; sys.stderr.isatty = lambda: True\n"
        "from mmsearch.cli import main\n"
        "def fail(): raise OSError(sys.argv[1])\n"
        "main._run = lambda *_: [thread.start() or thread.join() for thread in [threading.Thread(target=fail)]] and 0\n"
        "main.main()"
    )
    shown = run([sys.executable, "-c", thread, EVIL[:-5]])
    assert b"OSError: a" in shown.stderr and not SENT.search(shown.stderr.decode())


@pytest.mark.parametrize("column", ["taken_at", "format", "camera"])
def test_what_a_tampered_catalog_holds_is_harmless(command: Command, photos: Path, tmp_path: Path, column: str) -> None:
    assert command("index", photos, "--model", "starter", "-C", tmp_path / "c").code == 0
    database = sqlite3.connect(tmp_path / "c" / "catalog.sqlite3")
    with database:
        database.execute(
            f"UPDATE contents SET {column} = ?", ("2021-\x1b[2J\u202e" if column == "taken_at" else EVIL[:12],)
        )
        database.execute("UPDATE roots SET offline_since = ?", ("\x1b[2J",))
        database.execute("UPDATE runs SET summary = replace(summary, 'fp32', ?)", ("\x9b2J",))
    database.close()
    for arguments in (["query", "--glob", "*", "--offline"], ["query", "--offline", "a cat"], ["info"], ["doctor"]):
        outcome = command(*arguments, "-C", tmp_path / "c")
        assert outcome.out and not SENT.search(outcome.out + outcome.err)


def test_unseen_characters_are_shown_and_letters_stay() -> None:
    for mark in "\u00ad\u034f\u115f\u17b4\u180e\u200b\u200d\u2060\u2066\u2800\u3164\ufeff\uffa0\U000e0020\U000e0100":
        assert render.printable(f"a{mark}b").isascii()
        text = dumps(f"a{mark}b")
        assert text.isascii() and json.loads(text) == f"a{mark}b"
    for name in ("Zürich.jpg", "e\u0301te\u0301.jpg", "写真.jpg", "ภาพ.jpg", "❤ 🐈.jpg", "تصویر.jpg"):
        assert render.printable(name) == name and json.loads(dumps(name)) == name


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
