"""The guide: chapters in Markdown, a file each, in the order in which they are read."""

from __future__ import annotations

import re
from pathlib import Path

_FOLDER = Path(__file__).parent

CHAPTERS = (
    "indexing",
    "asking",
    "filters",
    "answering",
    "models",
    "scripts",
    "pipelines",
    "python",
    "evaluating",
    "storing",
    "reliability",
    "speed",
    "privacy",
    "troubleshooting",
    "reference",
)

_COMMENT = re.compile(r"<!--.*?-->\n*", re.DOTALL)
_LINK_IN_REPOSITORY = re.compile(r"\[([^\]]+)\]\((?!https?:)([^)#]*)[^)]*\)")


def text(name: str) -> str:
    """A chapter as it is in its file."""
    return (_FOLDER / f"{name}.md").read_text("utf-8")


def subject(name: str) -> str:
    """What a chapter is about: its first line, `# Name: subject`."""
    with (_FOLDER / f"{name}.md").open(encoding="utf-8") as file:
        return file.readline().partition(": ")[2].strip()


def readable(name: str) -> str:
    """A chapter as Markdown for a terminal: without comments, and with commands in place of links to other chapters."""
    return _LINK_IN_REPOSITORY.sub(_see, _COMMENT.sub("", text(name))).strip()


def _see(link: re.Match[str]) -> str:
    words, target = link.groups()
    chapter = target.removesuffix(".md")
    return f"{words} (`mmsearch help {chapter}`)" if chapter in CHAPTERS else words
