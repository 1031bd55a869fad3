"""Pictures as what a terminal draws: Kitty's, iTerm2's and the Sixel protocol, and half blocks for all others.

Pillow scales, reduces colours and encodes; what is left here is the framing of each protocol. (Of the libraries that
speak them, none with a permissive licence has all four and takes a current Pillow.) Sources: Kitty's "Terminal graphics
protocol", iTerm2's "Inline Images Protocol", and the VT330/VT340 Programmer Reference Manual, chapter 14, for Sixel.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from PIL import Image, ImageOps

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Protocol = Literal["kitty", "iterm2", "sixel", "blocks", "blocks256"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)

# Pixels of a character cell where the terminal does not tell: those of a VT340.
DEFAULT_CELL = (10, 20)

# Pixels of the widest and the highest cell that is believed: three times those of a dense screen.
_LARGEST_CELL = (64, 128)

# Bytes of Base64 in one escape sequence of Kitty's.
_KITTY_CHUNK = 4096

_SIXEL_COLOURS = 255
_SAVE, _RESTORE = "\x1b7", "\x1b8"

# Asked of the terminal in one go: does it know Kitty's graphics, its name and version, the pixels of a cell, and last
# what it can do (primary device attributes). Every terminal answers the last, so what has not come before never will.
QUESTIONS = b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\\x1b[>0q\x1b[16t\x1b[c"
LAST_ANSWER = re.compile(rb"\x1b\[\?([\d;]*)c")

# Strings (APC, DCS, OSC, PM, SOS), which may have been cut off, and control sequences with the mark of an answer or the
# final byte of one. Keys send none of these, but for Alt with five of them, which begins as a string does.
_ANSWERS = re.compile(rb"\x1b[P_\]^X].*?(?:\x1b\\|\x07|\Z)|\x1b\[[?>=][\d;:$]*(?:[@-~]|\Z)|\x1b\[[\d;]*[ct]", re.DOTALL)

_TRUE_COLOUR = {"truecolor", "24bit"}


@dataclass(frozen=True, slots=True)
class Answers:
    """What a terminal said of itself. `cell` is the width and height of a character in pixels, None where unknown."""

    kitty: bool = False
    sixel: bool = False
    name: str = ""
    cell: tuple[int, int] | None = None


def parse_answers(data: bytes) -> Answers:
    """The answers to `QUESTIONS` in what a terminal has sent, which may hold other bytes, such as keys pressed."""
    attributes, name = LAST_ANSWER.search(data), re.search(rb"\x1bP>\|([^\x1b]*)\x1b\\", data)
    cell = re.search(rb"\x1b\[6;(\d{1,4});(\d{1,4})t", data)
    return Answers(
        kitty=re.search(rb"\x1b_Gi=31;OK\x1b\\", data) is not None,
        sixel=attributes is not None and b"4" in attributes[1].split(b";"),
        name=name[1].decode("utf-8", "replace") if name else "",
        cell=believed_cell(int(cell[2]), int(cell[1])) if cell else None,
    )


def believed_cell(width: int, height: int) -> tuple[int, int] | None:
    """The pixels of a cell as they were told, None where no terminal has such: pictures would be as large as they say.

    Cells are as high as wide at least, and four times at most.
    """
    return (width, height) if 0 < width <= _LARGEST_CELL[0] and width <= height <= 4 * width else None


def keys_in(data: bytes) -> bytes:
    """What a user has typed, among a terminal's answers: all but sequences that only terminals send."""
    return _ANSWERS.sub(b"", data)


def choose(answers: Answers, environment: Mapping[str, str]) -> Protocol:
    """The best protocol of a terminal that gave these answers and set these variables.

    iTerm2's for the two whose own it is and that do it better than the others (iTerm2 and WezTerm), then Kitty's, then
    Sixel, which has 256 colours; else half blocks, in 256 colours where the terminal does not say that it has them all.
    """
    program = f"{answers.name} {environment.get('LC_TERMINAL', '')} {environment.get('TERM_PROGRAM', '')}".lower()
    if "iterm" in program or "wezterm" in program:
        return "iterm2"
    if answers.kitty:
        return "kitty"
    if answers.sixel:
        return "sixel"
    return "blocks" if environment.get("COLORTERM", "").lower() in _TRUE_COLOUR else "blocks256"


def strip(images: Sequence[Image.Image | None], tile: tuple[int, int], gap: int) -> Image.Image:
    """The pictures side by side on a transparent ground, `gap` pixels apart: an RGBA image.

    Each is scaled to fit its tile of that width and height, at the bottom left; for None there is nothing.
    """
    whole = Image.new("RGBA", (len(images) * (tile[0] + gap) - gap, tile[1]))
    for at, image in enumerate(images):
        if image is not None:
            fitted = ImageOps.contain(image, tile, Image.Resampling.LANCZOS)
            whole.paste(fitted, (at * (tile[0] + gap), tile[1] - fitted.height))
    return whole


def picture(image: Image.Image, columns: int, rows: int, protocol: Protocol, cell: tuple[int, int] | None) -> str:
    """Text that draws an RGBA `image`, stretched to `columns` x `rows` characters, and ends on the line below it.

    Pixels whose alpha is under 128 are left as the terminal has them. `cell` is a character's size in pixels.
    """
    if protocol in {"blocks", "blocks256"}:
        return _blocks(image.resize((columns, 2 * rows), Image.Resampling.LANCZOS), true_colour=protocol == "blocks")
    width, height = cell or DEFAULT_CELL
    scaled = image.resize((columns * width, rows * height), Image.Resampling.LANCZOS)
    if protocol == "kitty":
        drawn = _kitty(_png(scaled), columns, rows)
    elif protocol == "iterm2":
        drawn = _iterm2(_png(scaled), columns, rows)
    else:
        drawn = _sixel(scaled)
    # Terminals differ in where an image leaves the cursor. So room is made first, by as many line ends as may scroll,
    # and the cursor is put where it is wanted.
    return "\n" * rows + f"\x1b[{rows}A{_SAVE}{drawn}{_RESTORE}\x1b[{rows}B"


def _png(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _kitty(data: str, columns: int, rows: int) -> str:
    chunks = [data[start : start + _KITTY_CHUNK] for start in range(0, len(data), _KITTY_CHUNK)]
    first = f"a=T,f=100,q=2,C=1,c={columns},r={rows},"  # q=2: no answers, which would land in the shell
    return "".join(
        f"\x1b_G{first if at == 0 else ''}m={int(at + 1 < len(chunks))};{chunk}\x1b\\"
        for at, chunk in enumerate(chunks)
    )


def _iterm2(data: str, columns: int, rows: int) -> str:
    size = len(data) // 4 * 3 - data[-2:].count("=")
    where = f"width={columns};height={rows};preserveAspectRatio=0"
    return f"\x1b]1337;File=inline=1;size={size};{where}:{data}\x07"


def _sixel(image: Image.Image) -> str:
    """Sixel data: bands of six rows, in each band one line for each of its colours."""
    import numpy as np

    paletted = image.convert("RGB").quantize(_SIXEL_COLOURS, dither=Image.Dither.FLOYDSTEINBERG)
    palette = np.asarray(paletted.getpalette() or [0, 0, 0], np.uint16).reshape(-1, 3)
    indices = np.where(np.asarray(image.getchannel("A")) >= 128, np.asarray(paletted, np.int16), -1)
    colours = "".join(
        f"#{at};2;{red};{green};{blue}" for at, (red, green, blue) in enumerate((palette * 100 + 127) // 255)
    )
    bands = (_band(indices[top : top + 6]) for top in range(0, image.height, 6))
    # 1: what is not drawn stays as it is. The raster attributes give square pixels and the size.
    return f'\x1bP0;1;0q"1;1;{image.width};{image.height}{colours}{"-".join(bands)}\x1b\\'


def _band(rows: NDArray[np.int16]) -> str:
    import numpy as np

    weights = (1 << np.arange(rows.shape[0], dtype=np.uint8))[:, None]
    lines = []
    for colour in np.unique(rows[rows >= 0]):
        bits = ((rows == colour) * weights).sum(axis=0, dtype=np.uint8)
        lines.append(f"#{colour}{_run_lengths((bits + 63).tobytes().decode('ascii'))}")
    return "$".join(lines)


def _run_lengths(line: str) -> str:
    return re.sub(r"(.)\1{3,}", lambda run: f"!{len(run[0])}{run[1]}", line.rstrip("?"))


def _blocks(image: Image.Image, *, true_colour: bool) -> str:
    """Two pixels to a character: the upper in the foreground colour, the lower in the background's."""
    colours = _true_colours(image) if true_colour else _palette_colours(image)
    lines = []
    for uppers, lowers in zip(colours[::2], colours[1::2], strict=True):
        line, before = [], ""
        for upper, lower in zip(uppers, lowers, strict=True):
            style, mark = _half_blocks(upper, lower)
            line.append(mark if style == before else f"\x1b[0{style}m{mark}")
            before = style
        lines.append("".join(line) + "\x1b[0m\n")
    return "".join(lines)


def _half_blocks(above: str, below: str) -> tuple[str, str]:
    """The style and the character for two colours, of which empty ones are transparent."""
    if above and below:
        return f";38;{above};48;{below}", "▀"
    if above or below:
        return f";38;{above or below}", "▀" if above else "▄"
    return "", " "


def _true_colours(image: Image.Image) -> list[list[str]]:
    """Each pixel's colour as SGR names it; empty for transparent ones."""
    import numpy as np

    rows = np.asarray(image).tolist()
    return [[f"2;{red};{green};{blue}" if alpha >= 128 else "" for red, green, blue, alpha in row] for row in rows]


def _palette_colours(image: Image.Image) -> list[list[str]]:
    """The same in xterm's 256 colours: a cube of 6 x 6 x 6 and 24 greys. The first 16 are the user's own."""
    import numpy as np

    levels = (0, 95, 135, 175, 215, 255)
    cube = [level for red in levels for green in levels for blue in levels for level in (red, green, blue)]
    greys = [level for grey in range(8, 248, 10) for level in (grey, grey, grey)]
    palette = Image.new("P", (1, 1))
    palette.putpalette(cube + greys)
    found = image.convert("RGB").quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
    indices = np.where(np.asarray(image.getchannel("A")) >= 128, np.asarray(found, np.int16) + 16, -1)
    return [[f"5;{index}" if index >= 0 else "" for index in row] for row in indices.tolist()]
