"""What a command does not need, it does not load. Each check runs a process in which an import ends the process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# Imported by Python itself at start, also in the worker processes of an index run.
POISON = """
import os, sys

class Poison:
    def __init__(self, names):
        self.names = names

    def find_spec(self, name, path=None, target=None):
        if name in self.names:
            import traceback
            frames = [line for line in traceback.format_stack() if "importlib" not in line]
            sys.stderr.write(f"{name} was imported\\n{''.join(frames[-4:])}")
            sys.stderr.flush()
            os._exit(99)

sys.meta_path.insert(0, Poison(os.environ["POISON"].split()))
"""

ENCODERS = "torch open_clip timm torchvision transformers"
HUB = "huggingface_hub requests httpx"
DECODERS = "PIL pillow_heif pillow_jxl"
RUNTIMES = "onnxruntime tokenizers faiss"
SHOWING = (
    "mmsearch.rendering.gallery mmsearch.rendering.montage mmsearch.rendering.thumbnails "
    "mmsearch.rendering.terminal_pictures "
    "mmsearch.cli.terminal mmsearch.cli.query.template mmsearch.cli.query.copies mmsearch.cli.viewer"
)


@pytest.fixture
def poison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that makes every Python started from here obey the variable POISON."""
    folder = tmp_path / "poison"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(POISON)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")])))
    return folder


def run(poisoned: str, *arguments: object) -> str:
    """What a process prints that must end well although `poisoned` modules kill it."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        env=os.environ | {"POISON": poisoned},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def mmsearch(poisoned: str, *arguments: object) -> str:
    return run(poisoned, "-m", "mmsearch", *arguments)


@pytest.fixture
def own(indexed: Path, tmp_path: Path) -> Path:
    """A copy of the collection of sample photos that a test may write to."""
    return shutil.copytree(indexed, tmp_path / "own")


def test_the_poison_works(poison: Path, photos: Path) -> None:
    """Without this, every check below could pass for the wrong reason."""
    with pytest.raises(AssertionError, match="json was imported"):
        run("json", "-c", "import json")
    with pytest.raises(AssertionError, match="PIL was imported"):
        run("PIL", "-c", "import mmsearch.images.decode")
    with pytest.raises(AssertionError, match="skipped"):  # in the workers of an index run
        mmsearch("mmsearch.images.decode", "index", photos, "--model", "starter")


def test_importing_the_package_loads_nothing(poison: Path) -> None:
    poisoned = (
        f"{ENCODERS} {HUB} {DECODERS} {RUNTIMES} numpy typer tqdm platformdirs sqlite3 mmsearch.collection.collection"
    )
    assert run(poisoned, "-c", "import mmsearch; print(mmsearch.__version__)").strip()


def test_importing_the_public_class_loads_nothing_heavy(poison: Path) -> None:
    poisoned = f"{ENCODERS} {HUB} {DECODERS} {RUNTIMES} numpy typer tqdm"
    assert run(poisoned, "-c", "from mmsearch import Collection; print(Collection.__name__)") == "Collection\n"


@pytest.mark.parametrize("command", ["", "index", "query", "info", "forget", "models", "eval", "help", "completion"])
def test_help_loads_nothing(poison: Path, command: str) -> None:
    poisoned = (
        f"{ENCODERS} {HUB} {DECODERS} {RUNTIMES} numpy sqlite3 tqdm platformdirs mmsearch.collection.collection rich"
    )
    assert "Usage: mmsearch" in mmsearch(poisoned, *command.split(), "--help")


def test_the_version_loads_nothing(poison: Path) -> None:
    assert mmsearch(f"{ENCODERS} {HUB} {DECODERS} {RUNTIMES} numpy sqlite3 tqdm", "--version").startswith("mmsearch ")


def test_a_text_query_loads_the_runtime_and_no_more(poison: Path, indexed: Path) -> None:
    poisoned = f"{ENCODERS} {HUB} {DECODERS} {SHOWING} safetensors tqdm pathspec"
    poisoned += " mmsearch.indexing.pipeline mmsearch.images.decode numpy.ma pydantic"
    answer = mmsearch(poisoned, "query", "a cat", "-C", indexed, "-k", 1, "--paths")
    assert answer.strip().endswith("cat.jpg")


def test_a_query_by_image_loads_no_text_tower(poison: Path, indexed: Path, sample_data: Path, tmp_path: Path) -> None:
    unknown = tmp_path / "cat.jpg"
    unknown.write_bytes((sample_data / "cat.jpg").read_bytes() + b"another file")
    poisoned = f"{ENCODERS} {HUB} tokenizers tqdm pathspec mmsearch.indexing.pipeline"
    answer = mmsearch(poisoned, "query", "--image", unknown, "-C", indexed, "-k", 1, "--paths")
    assert answer.strip().endswith("cat.jpg")


def test_a_query_by_a_stored_image_loads_no_model(poison: Path, indexed: Path, sample_data: Path) -> None:
    poisoned = f"{ENCODERS} {HUB} {DECODERS} onnxruntime tokenizers tqdm pathspec mmsearch.indexing.pipeline"
    script = """
import sys
from mmsearch import Collection
with Collection.open(sys.argv[1]) as photos:
    print(photos.search(like=sys.argv[2], k=1, include_self=True)[0].path)
"""
    assert run(poisoned, "-c", script, indexed, sample_data / "cat.jpg").strip().endswith("cat.jpg")


def test_info_and_forget_load_neither_model_nor_index(poison: Path, own: Path, sample_data: Path) -> None:
    poisoned = f"{ENCODERS} {HUB} {DECODERS} {RUNTIMES} numpy tqdm pathspec"
    assert "24" in mmsearch(poisoned, "info", "-C", own)
    mmsearch(poisoned, "forget", sample_data, "-C", own)


def test_indexing_with_the_built_in_model_loads_no_torch(poison: Path, photos: Path, tmp_path: Path) -> None:
    poisoned = f"{ENCODERS} {HUB} tokenizers safetensors"
    mmsearch(poisoned, "index", photos, "--model", "starter", "-C", tmp_path / "new")
    assert "24 files" in mmsearch(poisoned, "info", "-C", tmp_path / "new")


def test_indexing_what_is_known_loads_no_model(poison: Path, own: Path, sample_data: Path) -> None:
    poisoned = f"{ENCODERS} {HUB} {DECODERS} {RUNTIMES} safetensors"
    assert '"unchanged": 24' in mmsearch(poisoned, "index", sample_data, "-C", own, "--json")
