"""Fixtures that every test may use; no test sees the user's own environment."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from mmsearch import Collection

pytest_plugins = ["command", "encoder_fixtures", "mishaps"]

# The same examples in every run, and no verdict that depends on the speed of a machine.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, database=None, max_examples=100)
hypothesis.settings.load_profile("repeatable")

SAMPLE_DATA = Path(__file__).resolve().parents[1] / "sample_data"
IMAGE_ENDINGS = {".jpg", ".png", ".webp"}

_session = pytest.MonkeyPatch()
_home = tempfile.TemporaryDirectory(prefix="mmsearch-tests-", ignore_cleanup_errors=True)


def _point_at(home: Path, patch: pytest.MonkeyPatch) -> None:
    """Make `home` the place of all that mmsearch and the libraries below it keep for a user."""
    places = {"HOME": "", "USERPROFILE": ""}
    places |= {"XDG_DATA_HOME": "data", "XDG_CACHE_HOME": "cache", "XDG_CONFIG_HOME": "settings"}
    for name, below in places.items():
        patch.setenv(name, str(home / below))
    patch.setenv("MMSEARCH_CACHE", str(home / "cache" / "mmsearch"))


def pytest_configure() -> None:
    """The hub library reads its settings when it is imported, which may be while tests are collected."""
    _point_at(Path(_home.name), _session)
    _session.setenv("HF_HOME", os.path.join(_home.name, "huggingface"))
    _session.setenv("HF_HUB_OFFLINE", "1")
    for name in (
        "MMSEARCH_COLLECTION",
        "MMSEARCH_TRUSTED",
        "HF_ENDPOINT",
        "HF_HUB_CACHE",
        "HF_TOKEN",
        "NO_COLOR",
        "PYTHONWARNINGS",
        "COLUMNS",
        "LINES",
    ):
        _session.delenv(name, raising=False)


def pytest_unconfigure() -> None:
    _session.undo()
    _home.cleanup()


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home of the test's own: collections by name and cached files land below it."""
    folder = tmp_path_factory.mktemp("home")
    _point_at(folder, monkeypatch)
    return folder


@pytest.fixture(scope="session")
def sample_data() -> Path:
    """The repository's folder of sample photos. Read only; `photos` is a copy to change."""
    return SAMPLE_DATA


@pytest.fixture
def photos(tmp_path: Path, sample_data: Path) -> Path:
    """A folder with a copy of every sample photo and nothing else."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for path in sorted(sample_data.iterdir()):
        if path.suffix in IMAGE_ENDINGS:
            shutil.copy2(path, folder)
    return folder


@pytest.fixture(scope="session")
def indexed(tmp_path_factory: pytest.TempPathFactory, sample_data: Path) -> Path:
    """The folder of a collection of all sample photos, built with the starter model. Shared: search it only."""
    from mmsearch import Collection

    folder = tmp_path_factory.mktemp("collections") / "samples"
    with Collection.open(folder) as collection:
        summary = collection.add([sample_data], model="starter")
    assert summary.skipped == 0
    return folder


@pytest.fixture
def collection(indexed: Path) -> Iterator[Collection]:
    """`indexed`, opened."""
    from mmsearch import Collection

    with Collection.open(indexed) as opened:
        yield opened
