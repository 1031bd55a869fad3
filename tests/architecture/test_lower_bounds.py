"""Lower bounds: every library has one, and the script makes constraints of them. Their truth takes `make bounds`."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

SCRIPT = Path(__file__).with_name("lower_bounds.py")
PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
WANTED = [Requirement(text) for text in PROJECT["dependencies"]]


def constraints() -> dict[str, str]:
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, check=True)
    return dict(line.split("==") for line in done.stdout.splitlines())


def test_every_library_has_one() -> None:
    found = constraints()
    assert {requirement.name for requirement in WANTED} <= found.keys()
    for requirement in WANTED:
        assert found[requirement.name] in requirement.specifier, requirement


# Without a known hole, as far as they are used: what mends it, by library.
MENDED = {
    "torch": "2.10",  # CVE-2025-32434, CVE-2026-24747
    "pillow": "12.2",  # CVE-2026-25990, CVE-2026-40192, CVE-2026-42311
    "filelock": "3.20.3",  # CVE-2025-68146, CVE-2026-22701
    "faiss-cpu": "1.14",
    "onnx": "1.21",  # CVE-2026-27489 and others
    "pillow-heif": "1.6",  # CVE-2026-84383
    "tqdm": "4.66.3",  # CVE-2024-34062
}


@pytest.mark.parametrize("name", MENDED)
def test_none_allows_a_known_hole(name: str) -> None:
    assert Version(constraints()[name]) >= Version(MENDED[name])


@pytest.mark.parametrize("requirement", WANTED, ids=str)
def test_what_is_installed_is_within_them(requirement: Requirement) -> None:
    assert metadata.version(requirement.name) in requirement.specifier
