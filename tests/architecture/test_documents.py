"""Files that the documents name are where they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted({*ROOT.glob("*.md"), *(ROOT / "mmsearch" / "cli" / "guide").glob("*.md")} - {ROOT / "CHANGELOG.md"})

# Where a name in a document may start.
PLACES = (ROOT, ROOT / "mmsearch", ROOT / "tests")

_NAMED = re.compile(r"`([\w./-]+/[\w./-]*|[\w-]+\.py)`")
_LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


def missing(document: str, beside: Path) -> list[str]:
    """Files and folders of the repository that a document names in vain; files of an example are not looked for."""
    ours = ("mmsearch/", "tests/", "sample_data/", "base/", "images/", "encoders/", "query/", "vectors/", "store/")
    ours += (
        "rendering/",
        "indexing/",
        "searching/",
        "collection/",
        "evaluating/",
        "cli/",
        "journeys/",
        "architecture/",
    )
    ours += ("support/", "harness/", "bench/", "golden/")
    named = [
        name
        for name in _NAMED.findall(document)
        if name.startswith(ours) and "*" not in name and name != "mmsearch/default"
    ]
    found = [name for name in named if not any((place / name).exists() for place in PLACES)]
    return found + [target for target in _LINK.findall(document) if not (beside / target).exists()]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_what_a_document_names_is_there(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text("utf-8"), flags=re.DOTALL)
    assert missing(text, path.parent) == []


def test_a_name_in_vain_is_found() -> None:
    assert missing("`store/nowhere.py` and [it](nowhere.md), `store/lock.py`", ROOT) == [
        "store/nowhere.py",
        "nowhere.md",
    ]
