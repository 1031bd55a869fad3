"""JSON Schemas (draft 2020-12) of what `--json` prints, a file each. Fields may be added, so none forbids others."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent


def names() -> list[str]:
    """The names of all schemas, as `mmsearch help schema NAME` takes them."""
    return sorted(path.stem for path in _FOLDER.glob("*.json"))


def text(name: str) -> str:
    """The schema of that name, as JSON."""
    return (_FOLDER / f"{name}.json").read_text("utf-8")
