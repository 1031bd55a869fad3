"""Terminals to run a program in: a pseudo-terminal that answers as a given one does, and what its picture data show."""

from __future__ import annotations

import base64
import fcntl
import io
import os
import pty
import re
import select
import struct
import termios
import time
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

QUESTION = b"\x1b[c"  # the last one, which every terminal answers

Pixels = NDArray[np.uint8]


def run_in_terminal(
    arguments: Sequence[str],
    answer: bytes,
    *,
    columns: int = 80,
    rows: int = 24,
    pixels: tuple[int, int] = (0, 0),
    typed: bytes = b"",
    env: Mapping[str, str] | None = None,
) -> tuple[int, bytes]:
    """Run a program in a terminal that sends `answer` when it is asked what it is; its exit code and its output.

    `typed` are keys that are typed before the program starts, `pixels` the window's, as the kernel is told.
    """
    reading, writing = os.pipe()
    pid, terminal = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, *pixels))  # before the program looks
        os.close(writing)
        os.read(reading, 1)  # ends when the keys are there
        os.close(reading)
        os.execvpe(arguments[0], list(arguments), {**os.environ, **(env or {})})
    os.close(reading)
    os.write(terminal, typed)
    os.close(writing)
    output, answered, end = b"", False, time.monotonic() + 120
    while time.monotonic() < end:
        ready, _, _ = select.select([terminal], [], [], 1.0)
        try:
            data = os.read(terminal, 1 << 16) if ready else b"\0"
        except OSError:  # Linux: the other side is closed
            data = b""
        if not data:
            break
        output += data if ready else b""
        if not answered and QUESTION in output:
            answered = True
            _send(terminal, answer)
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), output.replace(b"\r\n", b"\n")


def _send(terminal: int, answer: bytes) -> None:
    """An answer, as far as the terminal's input takes it: it keeps 4 kB until somebody reads."""
    for start in range(0, len(answer), 1024):
        if not select.select([], [terminal], [], 5.0)[1]:
            return
        os.write(terminal, answer[start : start + 1024])


def kitty_pictures(output: str) -> list[tuple[dict[str, str], Image.Image]]:
    """The pictures that Kitty's protocol sends, with the keys of each one's first chunk."""
    found, data, keys = [], "", {}
    for control, chunk in re.findall(r"\x1b_G([^;]*);([A-Za-z0-9+/=]*)\x1b\\", output):
        fields = dict(pair.split("=") for pair in control.split(","))
        if fields.get("a") == "q":
            continue
        assert len(chunk) <= 4096 and (fields["m"] == "0" or len(chunk) % 4 == 0)
        keys, data = keys or fields, data + chunk
        if fields["m"] == "0":
            found.append((keys, Image.open(io.BytesIO(base64.b64decode(data, validate=True)))))
            data, keys = "", {}
    assert not data
    return found


def iterm2_pictures(output: str) -> list[tuple[dict[str, str], Image.Image]]:
    """The pictures that iTerm2's protocol sends, with their arguments."""
    found = []
    for control, data in re.findall(r"\x1b\]1337;File=([^:]*):([^\x07]*)\x07", output):
        decoded = base64.b64decode(data, validate=True)
        fields = dict(pair.split("=") for pair in control.split(";"))
        assert int(fields["size"]) == len(decoded)
        found.append((fields, Image.open(io.BytesIO(decoded))))
    return found


def sixel_pictures(output: str) -> list[Image.Image]:
    """The pictures in Sixel data, RGBA; what is not drawn is transparent. Written from the VT340's manual."""
    return [_sixel(data) for data in re.findall(r"\x1bP0;1;0q([^\x1b]*)\x1b\\", output)]


def _sixel(data: str) -> Image.Image:
    size = re.match(r'"1;1;(\d+);(\d+)', data)
    assert size
    width, height = int(size[1]), int(size[2])
    canvas: Pixels = np.zeros((height + 5, width, 4), np.uint8)
    colours: dict[int, tuple[int, int, int]] = {}
    x, y, colour = 0, 0, -1
    tokens = re.findall(r"#\d+;2;\d+;\d+;\d+|#\d+|!\d+[?-~]|[?-~]|[$-]", data[size.end() :])
    assert "".join(tokens) == data[size.end() :]
    for token in tokens:
        if token.startswith("#"):
            numbers = [int(part) for part in token[1:].split(";")]
            colour = numbers[0]
            if len(numbers) > 1:
                assert max(numbers[2:]) <= 100
                colours[colour] = tuple(round(part * 2.55) for part in numbers[2:])  # type: ignore[assignment]
        elif token == "$":
            x = 0
        elif token == "-":
            x, y = 0, y + 6
        else:
            count, bits = (int(token[1:-1]) if token[0] == "!" else 1), ord(token[-1]) - 63
            for bit in range(6):
                if bits >> bit & 1:
                    canvas[y + bit, x : x + count] = (*colours[colour], 255)
            x += count
            assert x <= width
    assert not canvas[height:].any()
    return Image.fromarray(canvas[:height])


def block_picture(output: str) -> Image.Image:
    """What half blocks show, two pixels a character, RGBA; characters other than blocks are left out as transparent."""
    rows: list[list[tuple[tuple[int, ...], tuple[int, ...]]]] = []
    for line in output.splitlines():
        row, fore, back = [], (0, 0, 0, 0), (0, 0, 0, 0)
        for style, mark in re.findall(r"\x1b\[([\d;]*)m|(.)", line):
            if mark:
                upper, lower = {"▀": (fore, back), "▄": (back, fore)}.get(mark, ((0, 0, 0, 0), (0, 0, 0, 0)))
                row.append((upper, lower))
                continue
            codes = [int(code or 0) for code in style.split(";")]
            while codes:
                code = codes.pop(0)
                if code == 0:
                    fore = back = (0, 0, 0, 0)
                elif code in {38, 48}:
                    found = _sgr_colour(codes)
                    fore, back = (found, back) if code == 38 else (fore, found)
        rows.append(row)
    width = max(map(len, rows))
    canvas: Pixels = np.zeros((2 * len(rows), width, 4), np.uint8)
    for y, row in enumerate(rows):
        for x, (upper, lower) in enumerate(row):
            canvas[2 * y, x], canvas[2 * y + 1, x] = upper, lower
    return Image.fromarray(canvas)


def _sgr_colour(codes: list[int]) -> tuple[int, ...]:
    if codes.pop(0) == 2:
        return (codes.pop(0), codes.pop(0), codes.pop(0), 255)
    index, levels = codes.pop(0) - 16, (0, 95, 135, 175, 215, 255)
    if index >= 216:
        return (*[8 + 10 * (index - 216)] * 3, 255)
    return (levels[index // 36], levels[index // 6 % 6], levels[index % 6], 255)
