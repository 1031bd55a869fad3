"""Imports go downwards only, and each library has one home. Read from the sources; nothing is imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import mmsearch

PACKAGE = Path(mmsearch.__file__).parent

# Rooms by level; a folder is one room. A module may import what lies on a lower level, and its own room.
LEVELS: dict[str, int] = {
    "errors": 0,
    "durable": 0,
    "types": 0,
    "events": 0,
    "long_paths": 0,
    "everyday_words": 0,
    "passed_over": 0,
    "stalls": 1,
    "config": 1,
    "scan": 1,
    "decode": 1,
    "exif_facts": 1,
    "jxl_header": 1,
    "preprocess": 1,
    "query": 1,
    "terms": 1,
    "term_expression": 1,
    "templates": 1,
    "centring": 1,
    "filters": 1,
    "confidence": 1,
    "diverse": 1,
    "conditions": 1,
    "dates": 1,
    "sizes": 1,
    "fetch": 1,
    "last_answer": 1,
    "work_list": 1,
    "captions": 1,
    "retrieval_metrics": 1,
    "resampling": 1,
    "store": 2,
    "vectors": 2,
    "encoders": 2,
    "reference_captions": 2,
    "unit_vectors": 0,
    "switched": 0,
    "decode_memory": 1,
    "decode_pool": 2,
    "decode_worker": 2,
    "matching": 2,
    "candidates": 3,
    "doctor": 3,
    "measure": 3,
    "roots": 3,
    "encoding": 3,
    "scanner": 3,
    "refresh": 3,
    "held_encoder": 3,
    "languages": 3,
    "model_change": 3,
    "overview": 3,
    "reindex": 3,
    "ingest": 3,
    "index_settings": 3,
    "window": 3,
    "index_run": 3,
    "query_images": 3,
    "embedding_queries": 3,
    "embedding_texts": 3,
    "unrelated": 3,
    "search": 3,
    "scoring": 3,
    "judging": 3,
    "evaluation": 3,
    "labels": 3,
    "terminal_pictures": 1,
    "thumbnails": 3,
    "gallery": 4,
    "montage": 4,
    "collection": 4,
    "evaluated_images": 4,
    "evaluate": 4,
    "cli": 5,
}

# The only imports between rooms of one level.
NEIGHBOURS: dict[str, set[str]] = {
    "captions": {"config", "scan"},
    "evaluate": {"evaluated_images"},
    "evaluated_images": {"collection"},
    "decode": {"exif_facts", "jxl_header"},
    "query": {"config", "filters", "terms"},
    "terms": {"config", "term_expression"},
    "term_expression": {"terms"},
    "filters": {"conditions", "config", "dates", "sizes"},
    "conditions": {"sizes"},
    "last_answer": {"config"},
    "embedding_queries": {"embedding_texts", "query_images"},
    "doctor": {"refresh"},
    "index_run": {"index_settings", "ingest", "roots"},
    "ingest": {"encoding", "index_settings", "refresh", "scanner", "window"},
    "measure": {"candidates"},
    "overview": {"model_change"},
    "reindex": {"encoding", "index_settings", "refresh", "window"},
    "roots": {"scanner"},
    "judging": {"scoring", "unrelated"},
    "search": {"candidates", "embedding_queries", "judging", "languages", "scoring"},
    "unrelated": {"embedding_queries"},
    "window": {"encoding", "index_settings"},
}

# The public names of the package, and `python -m mmsearch`.
ABOVE_ALL = {"__init__", "__main__"}

# The only homes of libraries that are large, or that the rest of the code shall not know of.
HOMES: dict[str, set[str]] = {
    "torch": {"encoders/openclip.py", "encoders/export.py", "encoders/starter/build.py"},
    "open_clip": {"encoders/openclip.py"},
    "onnx": {"encoders/starter/towers.py"},
    "onnxruntime": {"encoders/onnx.py"},
    "tokenizers": {"encoders/"},
    "safetensors": {"encoders/"},
    "huggingface_hub": {"encoders/"},
    "faiss": {"vectors/"},
    "sqlite3": {"store/"},
    "filelock": {"store/", "encoders/"},
    "PIL": {"decode.py", "exif_facts.py", "preprocess.py", "thumbnails.py", "montage.py", "terminal_pictures.py"},
    "pillow_heif": {"decode.py"},
    "pillow_jxl": {"decode.py"},
    "pathspec": {"scan.py"},
    "platformdirs": {"config.py"},
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
    "os.environ": {"cli/", "config.py"},
    "os.getenv": set(),
    "os.putenv": set(),
}

# Imported only inside the functions that need them, so that `import mmsearch.x` stays cheap.
NEVER_AT_THE_TOP = {
    "torch",
    "open_clip",
    "faiss",
    "onnxruntime",
    "onnx",
    "huggingface_hub",
    "rich",
    "tokenizers",
    "timm",
}


def sources() -> dict[str, str]:
    """Every module of the package: its source by its path."""
    return {path.relative_to(PACKAGE).as_posix(): path.read_text("utf-8") for path in sorted(PACKAGE.rglob("*.py"))}


def room_of(path: str) -> str:
    """`store/catalog.py` is in the room `store`."""
    return path.split("/")[0].removesuffix(".py")


def imported(tree: ast.AST) -> Iterator[str]:
    """Dotted names of all modules that a source imports, also inside functions and for type checking."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert all(alias.name != "*" for alias in node.names), "no star imports"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


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
    """Imports of a module that go to its own level or above."""
    room = room_of(path)
    if room in ABOVE_ALL:
        return []
    tree = ast.parse(source)
    names = [name for name in imported(tree) if name.startswith("mmsearch.")]
    if "mmsearch" in imported(tree):  # for the version; its other names belong to the upper levels
        names += [name for name in acts(tree) if name.startswith("mmsearch.")]
    allowed = {"__version__", room, *NEIGHBOURS.get(room, set())}
    others = [(name, name.split(".")[1]) for name in names]
    return [name for name, other in others if other not in allowed and LEVELS.get(other, 99) >= LEVELS.get(room, 0)]


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


def test_every_module_has_a_level() -> None:
    rooms = {room_of(path) for path in sources()} - ABOVE_ALL
    assert rooms == LEVELS.keys()


@pytest.mark.parametrize("path", sources())
def test_imports_go_downwards(path: str) -> None:
    assert wrong_levels(path, sources()[path]) == []


@pytest.mark.parametrize("path", sources())
def test_libraries_and_acts_stay_at_home(path: str) -> None:
    assert wrong_homes(path, sources()[path]) == []


@pytest.mark.parametrize("path", sources())
def test_nothing_heavy_is_imported_with_a_module(path: str) -> None:
    assert heavy_at_the_top(sources()[path]) == []


def test_exceptions_are_still_needed() -> None:
    """A neighbour or a home that is no longer used is taken off the lists above."""
    trees = {path: ast.parse(source) for path, source in sources().items()}
    used = {path: set(imported(tree)) | set(acts(tree)) for path, tree in trees.items()}
    for room, others in NEIGHBOURS.items():
        names = {name for path, found in used.items() if room_of(path) == room for name in found}
        for other in others:
            assert any(name.startswith(f"mmsearch.{other}") for name in names), f"{room} no longer imports {other}"
    for library, homes in (HOMES | ACTS).items():
        for home in homes:
            names = {name for path, found in used.items() if is_home(path, {home}) for name in found}
            assert any(f"{name}.".startswith(f"{library}.") for name in names), f"{home} no longer uses {library}"


@pytest.mark.parametrize(
    ("path", "source", "levels", "homes", "top"),
    [
        ("scan.py", "from mmsearch.store.catalog import Catalog", ["mmsearch.store.catalog.Catalog"], [], []),
        ("scan.py", "from mmsearch import config", ["mmsearch.config"], [], []),
        ("store/x.py", "def f():\n    from mmsearch.vectors import files", ["mmsearch.vectors.files"], [], []),
        ("errors.py", "import mmsearch.types", ["mmsearch.types"], [], []),
        ("search.py", "from mmsearch import Collection, __version__", ["mmsearch.Collection"], [], []),
        ("search.py", "import mmsearch\nmmsearch.Collection\nmmsearch.__version__", ["mmsearch.Collection"], [], []),
        ("search.py", "from mmsearch import ingest, config", ["mmsearch.ingest"], [], []),
        ("store/x.py", "import faiss.contrib", [], ["faiss"], ["faiss"]),
        ("vectors/x.py", "def f():\n    import sqlite3, faiss", [], ["sqlite3"], []),
        ("encoders/x.py", "def f():\n    import onnxruntime.capi", [], ["onnxruntime"], []),
        ("ingest.py", "print(1)\nimport os\nos.environ['X']", [], ["os.environ", "print"], []),
        ("cli/x.py", "import sys\nprint(1)\nsys.exit(1)\nimport torch", [], ["torch"], ["torch"]),
    ],
)
def test_the_rules_above_can_be_broken(
    path: str, source: str, levels: list[str], homes: list[str], top: list[str]
) -> None:
    assert wrong_levels(path, source) == levels
    assert wrong_homes(path, source) == homes
    assert heavy_at_the_top(source) == top
