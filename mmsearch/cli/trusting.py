"""Whether to load a model that somebody's collection names: asked once, on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable

from mmsearch.rendering.text import printable


def answer(trust: bool) -> bool | Callable[[str], bool]:
    """What `Collection.open` takes as `trust_model`: `--trust-model`, or on a terminal the user's own answer."""
    return trust or (_ask if sys.stdin.isatty() and sys.stderr.isatty() else False)


def _ask(spec: str) -> bool:
    what = f"the collection names the model {printable(spec)}, which you have not used before"
    print(f"mmsearch: {what}. Load it? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
