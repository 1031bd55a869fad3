"""A text that names image files: `mmsearch query holiday/dog.jpg` probably meant the picture."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path


def advice(words: Sequence[str], collection: str | None) -> str | None:
    """One line where all words of a question, or the whole of it, name image files; it has the command to type."""
    whole = " ".join(words)
    files = [whole] if _is_image(whole) else list(words)
    if not files or not all(map(_is_image, files)):
        return None
    said, them = ("is an image file, but was", "it") if len(files) == 1 else ("are image files, but were", "them")
    options = [f"--image {shlex.quote(_option(name))}" for name in files]
    options += [f"-C {shlex.quote(collection)}"] if collection else []
    typed = f"mmsearch query {' '.join(options)}"
    return f"{', '.join(files)} {said} taken as words; to find images like {them}: {typed}"


def _is_image(name: str) -> bool:
    """Whether it is a file that is called an image, or begins as one. Words seldom are: Pillow loads only then."""
    if not os.path.isfile(name):
        return False
    from mmsearch.images import decode

    try:
        with Path(name).open("rb") as file:
            return decode.has_image_extension(name) or decode.has_image_signature(file.read(decode.PREFIX_BYTES))
    except OSError:
        return decode.has_image_extension(name)


def _option(name: str) -> str:
    """A name that is no option, nor standard input."""
    return os.path.join(os.curdir, name) if name.startswith("-") else name
