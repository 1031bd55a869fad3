"""Thumbnails of files, and what a terminal is sent for them."""

from __future__ import annotations

import os
import re
import sys
import termios
import threading
from pathlib import Path

import numpy as np
import pytest
from pictures import CORNERS, corners, quadrants
from PIL import Image
from terminals import block_picture, iterm2_pictures, kitty_pictures, run_in_terminal, sixel_pictures

from mmsearch.cli import terminal
from mmsearch.cli.terminal import _cut, grid
from mmsearch.rendering.terminal_pictures import (
    QUESTIONS,
    Answers,
    Protocol,
    choose,
    keys_in,
    parse_answers,
    picture,
    strip,
)
from mmsearch.rendering.thumbnails import Entry, thumbnails

PLAIN = b"\x1b[?62;22c"
KITTY = b"\x1b_Gi=31;OK\x1b\\\x1bP>|kitty(0.35.2)\x1b\\\x1b[6;18;9t\x1b[?62;c"
SIXEL = b"\x1bP>|foot(1.16)\x1b\\\x1b[6;16;8t\x1b[?62;4;22c"
ITERM = b"\x1bP>|iTerm2 3.5.1\x1b\\\x1b[?62;4c"


@pytest.fixture
def four(tmp_path: Path) -> Entry:
    path = tmp_path / "four.png"
    quadrants(400, 300).save(path)
    return Entry(str(path), "1 · 0.659")


def test_thumbnails_fit_and_keep_their_order(four: Entry, tmp_path: Path) -> None:
    entries = [four]
    for number, size in enumerate([(10, 6), (3000, 200), (50, 1000)]):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", size, (number, 0, 0)).save(path)
        entries.append(Entry(str(path)))
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff nonsense")
    (tmp_path / "text.txt").write_text("no image")
    entries += [Entry(str(tmp_path / name)) for name in ("bad.jpg", "text.txt", "gone.png")]
    found = list(thumbnails(entries, 100))
    assert [thumbnail.entry for thumbnail in found] == entries
    sizes = [thumbnail.image and thumbnail.image.size for thumbnail in found]
    assert sizes == [(100, 75), (10, 6), (100, 7), (5, 100), None, None, None]
    assert found[0].image and np.abs(np.array(corners(found[0].image)) - np.array(CORNERS)).max() <= 2
    edges = [found[0].image.getpixel(place) for place in ((0, 0), (99, 0), (0, 74), (99, 74))]
    assert np.abs(np.array(edges) - np.array(CORNERS)).max() <= 2  # none of the padding is left
    assert all(thumbnail.reason for thumbnail in found[4:]) and "No such file" in found[6].reason
    assert list(thumbnails([], 100)) == []


@pytest.mark.parametrize(
    ("answers", "environment", "protocol"),
    [
        (KITTY, {}, "kitty"),
        (SIXEL, {}, "sixel"),
        (ITERM, {}, "iterm2"),
        (PLAIN, {"LC_TERMINAL": "iTerm2"}, "iterm2"),
        (PLAIN, {"TERM_PROGRAM": "WezTerm", "COLORTERM": "truecolor"}, "iterm2"),
        (PLAIN, {"COLORTERM": "truecolor"}, "blocks"),
        (PLAIN, {}, "blocks256"),
        (b"", {}, "blocks256"),
        (b"\x1b[?64c", {"COLORTERM": "24bit"}, "blocks"),
        (b"keys\x1b[?1;2;40cmore", {}, "blocks256"),
    ],
)
def test_what_the_terminal_answers_decides(answers: bytes, environment: dict[str, str], protocol: str) -> None:
    assert choose(parse_answers(answers), environment) == protocol


def test_answers_are_read() -> None:
    assert parse_answers(KITTY) == Answers(True, False, "kitty(0.35.2)", (9, 18))
    assert parse_answers(b"xx" + SIXEL + b"yy") == Answers(False, True, "foot(1.16)", (8, 16))
    assert parse_answers(b"\x1b_Gi=31;ENOTSUPPORTED:x\x1b\\\x1b[6;0;0t") == Answers()
    assert QUESTIONS.endswith(b"\x1b[c")


def shown(text: str, protocol: Protocol) -> Image.Image:
    """The picture that a terminal would show."""
    if protocol == "kitty":
        [(keys, image)] = kitty_pictures(text)
        assert (keys["a"], keys["f"], keys["c"], keys["r"]) == ("T", "100", "30", "10")
        assert (keys["q"], keys["C"]) == ("2", "1")  # neither an answer nor a moved cursor
        return image
    if protocol == "iterm2":
        [(fields, image)] = iterm2_pictures(text)
        assert (fields["inline"], fields["width"], fields["height"]) == ("1", "30", "10")
        return image
    return sixel_pictures(text)[0] if protocol == "sixel" else block_picture(text)


@pytest.mark.parametrize(
    ("protocol", "size", "off"),
    [("kitty", (240, 170), 0), ("iterm2", (240, 170), 0), ("sixel", (240, 170), 4), ("blocks", (30, 20), 1),
     ("blocks256", (30, 20), 40)],
)  # fmt: skip
def test_every_protocol_shows_the_picture(protocol: Protocol, size: tuple[int, int], off: int) -> None:
    whole = strip([quadrants(240, 170), None], (120, 170), 0)  # half of it is left as the terminal has it
    whole.paste(quadrants(120, 170), (0, 0))
    text = picture(whole, 30, 10, protocol, (8, 17))
    image = shown(text, protocol).convert("RGBA")
    assert image.size == size
    left = image.crop((0, 0, size[0] // 2, size[1])).convert("RGB")
    if protocol == "blocks256":  # dithered: the mean of a quadrant is what counts
        left = left.resize((2, 2), Image.Resampling.BOX).resize((12, 12), Image.Resampling.NEAREST)
    assert np.abs(np.array(corners(left)) - np.array(CORNERS)).max() <= off
    assert not np.asarray(image)[:, size[0] // 2 + 1 :, 3].any()
    assert text.count("\n") == 10  # as many lines as rows: what follows stands below


def test_noise_survives_sixel() -> None:
    noise = np.random.default_rng(7).choice(np.array([0, 51, 102, 204, 255], np.uint8), (37, 53, 3))
    whole = Image.fromarray(noise).convert("RGBA")
    [found] = sixel_pictures(picture(whole, 53, 37, "sixel", (1, 1)))
    difference = np.abs(np.asarray(found.convert("RGB"), int) - noise)
    assert difference.max() <= 2  # 125 colours fit the palette, and each is given in percents


@pytest.mark.parametrize(("width", "across"), [(20, 1), (47, 2), (80, 3), (100, 4)])
def test_the_grid_fills_the_terminal(four: Entry, width: int, across: int) -> None:
    rows = list(grid([four] * 5, "blocks", (10, 20), width, colour=False))
    assert len(rows) == -(-5 // across)
    for row in rows:
        *drawn, heading, name, blank, end = row.split("\n")
        assert blank == end == "" and heading.startswith("1 · 0.659") and name.startswith("four.png")
        assert len(heading) <= width and 1 <= len(drawn) <= width
        assert block_picture("\n".join(drawn)).width <= width


def test_labels_have_the_width_of_their_picture() -> None:
    assert _cut("cat.jpg", 10) == "cat.jpg   "
    for text in ("日本の写真写真写真.jpg", "e\u0301te\u0301.jpg", "x" * 50):
        columns = sum(2 if "\u3000" < mark < "\ua000" else 0 if mark == "\u0301" else 1 for mark in _cut(text, 12))
        assert columns == 12


def in_terminal(indexed: Path, answer: bytes, *options: str, **environment: str) -> tuple[int, str]:
    start = [sys.executable, "-m", "mmsearch", "query", "a dog", "-C", str(indexed), "-k", "2", *options]
    plain = {"TERM": "xterm-256color", "TERM_PROGRAM": "", "LC_TERMINAL": "", "COLORTERM": "", "NO_COLOR": "1"}
    code, output = run_in_terminal(start, answer, env=plain | environment)
    return code, output.decode()


def test_a_terminal_gets_what_it_says_it_knows(indexed: Path) -> None:
    code, text = in_terminal(indexed, KITTY, "--thumbnails")
    assert code == 0 and text.startswith(QUESTIONS.decode())
    [(keys, image)] = kitty_pictures(text)
    assert int(keys["c"]) < 80
    assert image.size == (int(keys["c"]) * 9, int(keys["r"]) * 18)
    assert "1 · 0." in text and "   1  0." in text  # the labels, and then the table


def test_a_terminal_without_graphics_gets_blocks(indexed: Path) -> None:
    code, text = in_terminal(indexed, PLAIN, "--thumbnails", COLORTERM="truecolor")
    assert code == 0 and ";38;2;" in text and "\x1bP" not in text and "1337" not in text
    code, text = in_terminal(indexed, PLAIN, "--thumbnails", MMSEARCH_PICTURES="sixel")
    assert code == 0 and len(sixel_pictures(text)) == 1
    code, text = in_terminal(indexed, b"", "--thumbnails", MMSEARCH_PICTURES="gif")
    assert code == 2 and "MMSEARCH_PICTURES=gif" in text
    code, text = in_terminal(indexed, b"", "--thumbnails", TERM="dumb")
    assert code == 0 and "\x1b" not in text and "no thumbnails" in text


def test_without_the_option_a_terminal_is_asked_nothing(indexed: Path) -> None:
    code, text = in_terminal(indexed, b"")
    assert code == 0 and "\x1b" not in text


def test_pipes_get_no_pictures(indexed: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from command import Command

    command = Command(capfd)
    plain = command("query", "a dog", "-C", indexed)
    piped = command("query", "a dog", "-C", indexed, "--thumbnails")
    assert piped.out == plain.out and "no thumbnails" in piped.err and piped.code == 0


# --- terminals that lie or flood, and keys typed meanwhile ---


@pytest.mark.parametrize(
    "told",
    [b"\x1b[6;60000;60000t", b"\x1b[6;%s;9t" % (b"9" * 5000), b"\x1b[6;1;9999t", b"\x1b[6;9;64t", b"\x1b[6;0;0t",
     b"\x1b[6;128;9t"],
)  # fmt: skip
def test_cells_that_no_terminal_has_are_not_believed(told: bytes) -> None:
    assert parse_answers(KITTY.replace(b"\x1b[6;18;9t", told)) == Answers(kitty=True, name="kitty(0.35.2)")


def test_the_largest_cells_cost_bounded_memory(four: Entry) -> None:
    for cell, width in (((64, 128), 65_535), ((64, 64), 80), ((1, 4), 65_535), (None, 65_535)):
        [row, *_] = grid([four] * 30, "kitty", cell, width, colour=False)
        [(keys, image)] = kitty_pictures(row)
        assert image.width * image.height <= 16_000_000 and int(keys["c"]) <= 500 and int(keys["r"]) <= 44


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured as Linux counts it")
@pytest.mark.parametrize(
    ("answer", "pixels"),
    [
        (b"\x1b[6;60000;60000t" + PLAIN, (0, 0)),
        (b"\x1b[6;%s;9t" % (b"9" * 3000) + PLAIN, (0, 0)),
        (PLAIN, (65_535, 65_535)),
        (b"x" * 200_000, (0, 0)),
        (b"\x1bP>|" + b"kitty" * 40_000, (0, 0)),
        (b"\x1b[?" + b"1;" * 100_000, (0, 0)),
    ],
    ids=["cells", "digits", "window", "flood", "name", "attributes"],
)
def test_a_terminal_that_lies_or_floods_costs_its_patience(
    indexed: Path, answer: bytes, pixels: tuple[int, int]
) -> None:
    """The process tells how long it asked, and how much memory it took to draw."""
    code = (
        "import resource, time, sys\n"
        "from mmsearch.cli import terminal; from mmsearch.rendering.thumbnails import Entry\n"
        "started = time.monotonic(); answers = terminal.ask(); asked = time.monotonic() - started\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "[row] = terminal.grid([Entry(sys.argv[1])], 'sixel', answers.cell, 80, colour=False)\n"
        "grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before\n"
        "print(f'asked {asked:.3f} grown {grown} drawn {len(row)}')"
    )
    photo = str(Path(__file__).parents[2] / "sample_data" / "cat.jpg")
    start = [sys.executable, "-c", code, photo]
    status, output = run_in_terminal(start, answer, pixels=pixels, env={"TERM": "xterm"})
    told = re.search(rb"asked ([\d.]+) grown (\d+) drawn (\d+)", output)
    assert status == 0 and told, output[-2000:]
    assert float(told[1]) < 5 and int(told[2]) < 200_000 and int(told[3]) < 5_000_000


def test_a_terminal_that_trickles_is_given_up() -> None:
    """It would go on for twenty seconds."""
    reading, writing = os.pipe()
    ended = threading.Event()

    def trickle() -> None:
        while not ended.wait(0.2) and os.write(writing, b"1"):
            pass

    thread = threading.Thread(target=trickle)
    thread.start()
    timer = threading.Timer(20, ended.set)
    timer.start()
    try:
        data = terminal._read_answers(reading)
    finally:
        was_left = not ended.is_set()
        ended.set()
        timer.cancel()
        thread.join()
        os.close(reading)
        os.close(writing)
    assert was_left and 0 < len(data) < 50


@pytest.mark.skipif(not hasattr(termios, "TIOCSTI"), reason="keys cannot be given back")
@pytest.mark.parametrize("answer", [KITTY, b"ls\x1b[A" + KITTY + b" -l", b""])
def test_keys_that_were_typed_are_given_back(indexed: Path, answer: bytes) -> None:
    query = f"{sys.executable} -m mmsearch query 'a dog' -C {indexed} -k 1 --thumbnails"
    script = f"{query}; stty raw -echo; printf 'keys:'; timeout --foreground 1 cat"
    plain = {"TERM": "xterm-256color", "TERM_PROGRAM": "", "LC_TERMINAL": "", "COLORTERM": "", "NO_COLOR": "1"}
    _, output = run_in_terminal(["sh", "-c", script], answer, typed=b"echo one\rtwo", env=plain)
    _, _, keys = output.partition(b"keys:")
    typed = b"ls\x1b[A -l" if answer.startswith(b"ls") else b""
    assert keys.replace(b"\r", b"\n") == b"echo one\ntwo" + typed
    if answer:
        assert kitty_pictures(output.decode().partition("keys:")[0])  # and the terminal was understood


def test_a_terminal_that_takes_no_keys_back_is_not_asked(indexed: Path) -> None:
    """Linux from 6.2 on may refuse it (dev.tty.legacy_tiocsti): then what was typed stays where it is."""
    refuse = (
        "import fcntl, sys, termios; real = fcntl.ioctl\n"
        "def ioctl(file, request, *rest):\n"
        "    if request == termios.TIOCSTI: raise OSError(5, 'Input/output error')\n"
        "    return real(file, request, *rest)\n"
        "fcntl.ioctl = ioctl\n"
        "from mmsearch.cli import terminal; print(terminal.ask()); print(repr(input()))"
    )
    _, output = run_in_terminal([sys.executable, "-c", refuse], KITTY, typed=b"echo one\r", env={"TERM": "xterm"})
    assert QUESTIONS not in output and b"kitty=False" in output and b"'echo one'" in output
    _, output = run_in_terminal([sys.executable, "-c", refuse], KITTY + b"later\r", env={"TERM": "xterm"})
    assert b"kitty=True" in output and b"'later'" in output  # what comes after the answers is not taken at all


def test_answers_are_no_keys() -> None:
    for answers in (KITTY, SIXEL, ITERM, PLAIN):
        assert keys_in(b"a\x1b[D" + answers + b"\x1b[1;5Cb") == b"a\x1b[D\x1b[1;5Cb"
    assert keys_in(b"a\x1b]52;c;cut off") == keys_in(b"\x1bPx\x07a") == b"a"
