"""Imports go downwards only, and each library has one home. Read from the sources; nothing is imported."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import mmsearch

sys.path.insert(0, str(Path(__file__).parent))

import house

PACKAGE = Path(mmsearch.__file__).parent

# The level of each folder. A module may import what lies in its own folder, and in folders of lower levels.
LEVELS: dict[str, int] = {
    "base": 0,
    "images": 1,
    "encoders": 1,
    "query": 1,
    "vectors": 1,
    "store": 2,
    "rendering": 2,
    "indexing": 3,
    "searching": 3,
    "collection": 4,
    "evaluating": 5,
    "cli": 6,
}

# The only homes of libraries that are large, or that the rest of the code shall not know of.
HOMES: dict[str, set[str]] = {
    "torch": {"encoders/export/make.py", "encoders/openclip.py", "encoders/starter/build.py"},
    "open_clip": {"encoders/openclip.py"},
    "onnx": {"encoders/starter/towers.py"},
    "onnxruntime": {"encoders/onnx.py"},
    "tokenizers": {"encoders/"},
    "safetensors": {"encoders/"},
    "huggingface_hub": {"encoders/"},
    "faiss": {"vectors/"},
    "sqlite3": {"store/"},
    "filelock": {"encoders/", "store/"},
    "PIL": {
        "images/",
        "rendering/montage.py",
        "rendering/terminal_pictures.py",
        "rendering/thumbnails.py",
    },
    "pillow_heif": {"images/decode.py"},
    "pillow_jxl": {"images/decode.py"},
    "pathspec": {"indexing/wanted.py"},
    "platformdirs": {"base/config.py"},
    "rich": {"cli/"},
    "tqdm": {"cli/", "encoders/hub.py"},
    "typer": {"cli/"},
    "multiprocessing": set(),
    "pickle": {"encoders/openclip.py"},
}

# What may be done in few places: print, leave the process, look at the environment.
ACTS: dict[str, set[str]] = {
    "print": {"cli/"},
    "input": set(),
    "breakpoint": set(),
    "exit": set(),
    "quit": set(),
    "sys.exit": {"cli/", "encoders/starter/build.py"},
    "os._exit": {"cli/"},
    "os.environ": {"base/config.py", "cli/", "base/machine.py"},
    "os.getenv": set(),
    "os.putenv": set(),
}

# Imported only inside the functions that need them, so that `import mmsearch.x` stays cheap.
NEVER_AT_THE_TOP = {"torch", "open_clip", "faiss", "onnxruntime", "onnx", "huggingface_hub", "tokenizers", "timm"}

SOURCES = house.sources(PACKAGE)


def imported(tree: ast.AST) -> Iterator[str]:
    """Dotted names of all modules that a source imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert all(alias.name != "*" for alias in node.names), "no star imports"
    return house.imported(tree)


def acts(tree: ast.AST) -> Iterator[str]:
    """Uses of names such as `print` and `os.environ`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}"


def is_home(path: str, homes: set[str]) -> bool:
    return any(path == home or (home.endswith("/") and path.startswith(home)) for home in homes)


def wrong_levels(path: str, source: str) -> list[str]:
    """Imports of a module that go to another folder of its own level or above, or to the package's face."""
    room = house.room_of(path)
    if room == house.FACE:
        return []
    names = [f"{name}." for name in imported(ast.parse(source)) if f"{name}.".startswith("mmsearch.")]
    others = [(name.rstrip("."), name.split(".")[1]) for name in names]
    return [name for name, other in others if other != room and LEVELS.get(other, 99) >= LEVELS[room]]


def wrong_homes(path: str, source: str) -> list[str]:
    """Libraries that a module imports and acts that it does outside their homes."""
    tree = ast.parse(source)
    libraries = {name.split(".")[0] for name in imported(tree)}
    found = [name for name in sorted(libraries & HOMES.keys()) if not is_home(path, HOMES[name])]
    return found + [name for name in sorted(set(acts(tree)) & ACTS.keys()) if not is_home(path, ACTS[name])]


def heavy_at_the_top(source: str) -> list[str]:
    """Heavy libraries that are imported as soon as the module is."""
    body = [node for node in ast.parse(source).body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {name.split(".")[0] for name in imported(ast.Module(body, []))}
    return sorted(names & NEVER_AT_THE_TOP)


def test_every_folder_has_a_level_and_nothing_lies_flat() -> None:
    assert {house.room_of(path) for path in SOURCES} - {house.FACE} == LEVELS.keys()
    assert [path for path in SOURCES if "/" not in path] == ["__init__.py", "__main__.py"]


@pytest.mark.parametrize("path", SOURCES)
def test_imports_go_downwards(path: str) -> None:
    assert wrong_levels(path, SOURCES[path]) == []


@pytest.mark.parametrize("path", SOURCES)
def test_libraries_and_acts_stay_at_home(path: str) -> None:
    assert wrong_homes(path, SOURCES[path]) == []


@pytest.mark.parametrize("path", SOURCES)
def test_nothing_heavy_is_imported_with_a_module(path: str) -> None:
    assert heavy_at_the_top(SOURCES[path]) == []


def test_the_home_of_torch_names_the_others() -> None:
    said = ast.get_docstring(ast.parse(SOURCES["encoders/openclip.py"])) or ""
    for other in HOMES["torch"] - {"encoders/openclip.py"}:
        assert f"`{other.removeprefix('encoders/')}`" in said


def test_there_are_no_circles() -> None:
    """Nor do modules of one folder import each other, also later, inside functions."""
    figures = house.summary(PACKAGE, LEVELS)
    assert (figures["upwards"], figures["circles"], figures["circles_of_modules"]) == ([], [], [])


def test_homes_are_still_needed() -> None:
    """A home that is no longer used is taken off the lists above."""
    trees = {path: ast.parse(source) for path, source in SOURCES.items()}
    used = {path: set(imported(tree)) | set(acts(tree)) for path, tree in trees.items()}
    for library, homes in (HOMES | ACTS).items():
        for home in homes:
            names = {name for path, found in used.items() if is_home(path, {home}) for name in found}
            assert any(f"{name}.".startswith(f"{library}.") for name in names), f"{home} no longer uses {library}"


@pytest.mark.parametrize(
    ("path", "source", "levels", "homes", "top"),
    [
        ("images/x.py", "from mmsearch.store.catalog import Catalog", ["mmsearch.store.catalog.Catalog"], [], []),
        ("images/x.py", "from mmsearch.query import terms", ["mmsearch.query.terms"], [], []),
        ("images/x.py", "from mmsearch.images import decode\nfrom mmsearch.base import config", [], [], []),
        ("store/x.py", "def f():\n    from mmsearch.searching import embed", ["mmsearch.searching.embed"], [], []),
        ("base/errors.py", "import mmsearch.images.decode", ["mmsearch.images.decode"], [], []),
        ("searching/x.py", "from mmsearch import Collection", ["mmsearch.Collection"], [], []),
        ("searching/x.py", "import mmsearch", ["mmsearch"], [], []),
        ("searching/x.py", "from mmsearch import indexing, base", ["mmsearch.indexing"], [], []),
        ("store/x.py", "import faiss.contrib", [], ["faiss"], ["faiss"]),
        ("vectors/x.py", "def f():\n    import sqlite3, faiss", [], ["sqlite3"], []),
        ("indexing/x.py", "print(1)\nimport os\nos.environ['X']", [], ["os.environ", "print"], []),
        ("cli/x.py", "import sys\nprint(1)\nsys.exit(1)\nimport torch", [], ["torch"], ["torch"]),
    ],
)
def test_the_rules_above_can_be_broken(
    path: str, source: str, levels: list[str], homes: list[str], top: list[str]
) -> None:
    assert wrong_levels(path, source) == levels
    assert wrong_homes(path, source) == homes
    assert heavy_at_the_top(source) == top


def test_circles_are_found() -> None:
    files = {"a/x.py": "import p.b.y", "b/y.py": "def f():\n    from p.a import x", "c/z.py": "from p.b.y import f"}
    graph = house.modules(files, "p")
    assert house.circles(graph) == [["a/x.py", "b/y.py"]]
    assert house.circles(house.rooms(graph)) == [["a", "b"]]
    assert house.heights(house.rooms(graph)) == {"a": 0, "b": 0, "c": 1}
