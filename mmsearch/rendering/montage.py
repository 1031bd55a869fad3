"""Pictures on one contact sheet: rows of thumbnails, each with a line for its heading and one for its file's name."""

from __future__ import annotations

import io
import math
import os
import unicodedata
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from mmsearch.base.errors import UsageError
from mmsearch.rendering import output_file
from mmsearch.rendering.thumbnails import Entry, thumbnails

# Pictures on one sheet: 20 rows of 20 are 5,600 x 6,500 pixels, 110 MB while they are drawn.
MOST = 400

_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
_JPEG_QUALITY = 90

# What a sheet says near its start, as a text of PNG or a comment of JPEG; and how both begin.
_MARK = b"mmsearch contact sheet"
_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")

# Pixels. A tile is the room of one picture; labels stand below it.
_TILE, _GAP, _MARGIN = 256, 20, 28
_TEXT, _LINE, _LABEL = 16, 22, 56

_PAPER, _FRAME, _INK, _QUIET = (247, 246, 243), (236, 234, 228), (29, 28, 26), (106, 103, 96)

# What stands for a character that the font lacks: the full mark of results, and by Unicode category dashes and
# combining accents.
_STAND_INS = {"●": "*", "Pd": "-", "Mn": ""}

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def check(out: str | os.PathLike[str], count: int) -> None:
    """Raise `UsageError` where `out` has no ending of an image file, or `count` pictures are too many for a sheet."""
    if os.path.splitext(out)[1].lower() not in _FORMATS:
        raise UsageError(f"--montage cannot write {os.fspath(out)}", f"its name must end in {', '.join(_FORMATS)}")
    if count > MOST:
        raise UsageError(f"{count:,} images are too many for one montage", f"use -k {MOST} or less, or --gallery")


def write_montage(out: str | os.PathLike[str], entries: Sequence[Entry]) -> list[tuple[str, str]]:
    """Write the sheet of `entries`, in their order, to `out` (.png, .jpg or .jpeg), replacing it.

    Only the user can read it. Returns (path, reason) of the pictures that could not be read; their tile shows the
    reason. Raises as `check` does, and `StorageError` where `out` cannot be written.
    """
    check(out, len(entries))
    sheet, failures = montage(entries)
    output_file.write(out, _encoded(sheet, _FORMATS[os.path.splitext(out)[1].lower()]))
    return failures


def is_sheet(head: bytes) -> bool:
    """Whether a file that starts so is a sheet of `write_montage`."""
    return head.startswith(_SIGNATURES) and _MARK in head


def _encoded(sheet: Image.Image, format_name: str) -> bytes:
    """The bytes of a file that is known for a sheet again by the mark near its start."""
    buffer = io.BytesIO()
    if format_name == "PNG":
        notes = PngImagePlugin.PngInfo()
        notes.add_text("Software", _MARK.decode("ascii"))
        sheet.save(buffer, format_name, pnginfo=notes)
    else:
        sheet.save(buffer, format_name, quality=_JPEG_QUALITY, comment=_MARK)
    return buffer.getvalue()


def montage(entries: Sequence[Entry]) -> tuple[Image.Image, list[tuple[str, str]]]:
    """The sheet as an RGB image, and (path, reason) of the pictures that could not be read."""
    columns = min(len(entries), math.ceil(math.sqrt(len(entries) * 1.2))) or 1
    rows = math.ceil(len(entries) / columns)
    width = 2 * _MARGIN + columns * (_TILE + _GAP) - _GAP
    height = 2 * _MARGIN + rows * (_TILE + _LABEL + _GAP) - _GAP
    sheet, failures = Image.new("RGB", (width, max(1, height)), _PAPER), []
    font = ImageFont.load_default(_TEXT)
    draw = ImageDraw.Draw(sheet)
    for index, thumbnail in enumerate(thumbnails(entries, _TILE)):
        row, column = divmod(index, columns)
        left, top = _MARGIN + column * (_TILE + _GAP), _MARGIN + row * (_TILE + _LABEL + _GAP)
        if thumbnail.image is None:
            failures.append((thumbnail.entry.path, thumbnail.reason))
            _draw_missing(draw, font, left, top, thumbnail.reason)
        else:
            across, down = _TILE - thumbnail.image.width, _TILE - thumbnail.image.height
            sheet.paste(thumbnail.image, (left + across // 2, top + down))  # all stand on their label
        _draw_label(draw, font, left, top + _TILE + 8, thumbnail.entry)
    return sheet, failures


def _draw_missing(draw: ImageDraw.ImageDraw, font: _Font, left: int, top: int, reason: str) -> None:
    draw.rounded_rectangle((left, top, left + _TILE - 1, top + _TILE - 1), 8, fill=_FRAME)
    text = _fitted(draw, font, reason, _TILE - 16)
    draw.text((left + _TILE / 2, top + _TILE / 2), text, fill=_QUIET, font=font, anchor="mm")


def _draw_label(draw: ImageDraw.ImageDraw, font: _Font, left: int, top: int, entry: Entry) -> None:
    middle = left + _TILE / 2
    draw.text((middle, top), _fitted(draw, font, entry.name, _TILE), fill=_INK, font=font, anchor="ma")
    heading = _fitted(draw, font, entry.heading, _TILE)
    draw.text((middle, top + _LINE), heading, fill=_QUIET, font=font, anchor="ma")


def _fitted(draw: ImageDraw.ImageDraw, font: _Font, words: str, width: int) -> str:
    """The words as the font can show them, cut in the middle to `width` pixels; a name's end is kept longest."""
    text = _drawable(font, words)
    if draw.textlength(text, font) <= width:
        return text
    for length in range(len(text) - 1, 1, -1):
        head = length // 3
        cut = f"{text[:head]}…{text[len(text) - (length - head) :]}"
        if draw.textlength(cut, font) <= width:
            return cut
    return "…"


def _drawable(font: _Font, words: str) -> str:
    """Letters that Pillow's own font lacks lose their accents, or become a question mark."""
    missing = bytes(font.getmask("\U0010ffff"))
    shown = []
    for mark in words:
        plain = unicodedata.normalize("NFKD", mark)
        kept = mark if _has(font, mark, missing) else "".join(part for part in plain if _has(font, part, missing))
        shown.append(kept or _STAND_INS.get(mark, _STAND_INS.get(unicodedata.category(mark), "?")))
    return "".join(shown)


def _has(font: _Font, mark: str, missing: bytes) -> bool:
    return mark.isprintable() and (mark == " " or bytes(font.getmask(mark)) != missing)
