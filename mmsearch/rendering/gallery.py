"""Pictures on one self-contained page: nothing is loaded from anywhere, it works offline and from a mail."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import os
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from urllib.parse import quote

from mmsearch.rendering import output_file
from mmsearch.rendering.thumbnails import Entry, Thumbnail, thumbnails

# Pixels of the longer side of embedded pictures: some 50 kB each at first, 15 kB on pages of many.
_SIDE, _SMALL_SIDE = 640, 320
_MANY = 200
_QUALITY = 80

_TEMPLATE = "gallery.html"

# How a page tells, near its start, what has made it.
_MARK = b'<meta name="generator" content="mmsearch">'
_SLOT = re.compile(r"<!--slot: (\w+)-->")


def write_gallery(out: str | os.PathLike[str], title: str, entries: Sequence[Entry]) -> list[tuple[str, str]]:
    """Write the page of `entries`, in their order, to the file `out`, replacing it; only its user can read it.

    Returns (path, reason) of the pictures that could not be read; the page shows the reason in their place. Raises
    `StorageError` where `out` cannot be written.
    """
    page, failures = gallery_page(title, entries)
    output_file.write(out, page.encode("utf-8"))
    return failures


def is_page(head: bytes) -> bool:
    """Whether a file that starts so is a page of `write_gallery`."""
    return head.startswith(b"<!DOCTYPE html>") and _MARK in head


def gallery_page(title: str, entries: Sequence[Entry]) -> tuple[str, list[tuple[str, str]]]:
    """The HTML of the page, the same for the same pictures, and (path, reason) of those that could not be read."""
    side = _SIDE if len(entries) <= _MANY else _SMALL_SIDE
    figures, failures = [], []
    for thumbnail in thumbnails(entries, side):
        figures.append(_figure(thumbnail))
        if thumbnail.image is None:
            failures.append((thumbnail.entry.path, thumbnail.reason))
    count = "1 image" if len(entries) == 1 else f"{len(entries):,} images"
    slots = {
        "policy": _policy(),
        "title": _text(title),
        "count": count,
        "figures": "\n".join(figures),
    }
    return _SLOT.sub(lambda slot: slots[slot[1]], _template()), failures


def _figure(thumbnail: Thumbnail) -> str:
    entry = thumbnail.entry
    name, notes = _text(entry.name), "".join(f"<li>{_text(note)}</li>" for note in entry.notes)
    kind, told = (' class="weak"', ", a weaker match") if entry.weak else ("", "")
    return f"""<li{kind}><figure>
<button type="button" aria-label="Enlarge {name}{told}">{_picture(thumbnail)}</button>
<figcaption><span class="name">{name}</span> <span class="heading">{_text(entry.heading)}</span></figcaption>
<div class="more"><ul>{notes}</ul><a href="{_link(entry.path)}">{_text(entry.path)}</a></div>
</figure></li>"""


def _picture(thumbnail: Thumbnail) -> str:
    image, name = thumbnail.image, _text(thumbnail.entry.name)
    if image is None:
        return f'<span class="missing">{_text(thumbnail.reason)}</span>'
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY, optimize=True, progressive=True)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    size = f'width="{image.width}" height="{image.height}"'
    return f'<img src="data:image/jpeg;base64,{data}" {size} alt="{name}" decoding="async">'


def _text(words: str) -> str:
    """Words as HTML shows them. Undecodable bytes, and marks that would turn the line's direction, are replaced."""
    shown = "".join(mark if mark.isprintable() else "\ufffd" for mark in words)
    return html.escape(shown)


def _link(path: str) -> str:
    """A `file:` address for the exact bytes of an absolute path (RFC 8089)."""
    if os.name == "nt":
        return html.escape(Path(path).as_uri())
    return "file://" + quote(os.fsencode(path))


@cache
def _template() -> str:
    return Path(__file__).with_name(_TEMPLATE).read_text("utf-8")


def _policy() -> str:
    """What the browser lets the page do: show embedded pictures, and use the one style and the one script in it."""
    parts = {name: _digest(name) for name in ("style", "script")}
    return (
        f"default-src 'none'; img-src data:; style-src {parts['style']}; script-src {parts['script']}; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(element: str) -> str:
    """The hash of an inline element's text, as a Content-Security-Policy names it."""
    found = re.search(rf"<{element}>(.*?)</{element}>", _template(), re.DOTALL)
    text = found[1] if found else ""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}'"
