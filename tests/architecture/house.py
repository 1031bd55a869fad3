"""The house in numbers, read from the imports: rooms, modules, levels, arrows between rooms, arrows upwards, circles.

`python tests/architecture/house.py [PACKAGE]` prints one line of JSON. A room is a folder of the package, or a module
that lies in none. An arrow is a pair of rooms of which one imports the other, also inside functions and for type
checking; it is counted once. The face (`__init__.py` and `__main__.py` of the package) is no room: what it imports does
not count, and what imports it does. Circles are groups of rooms, or of modules, that import each other.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

FACE = "the face"

Graph = dict[str, set[str]]


def sources(package: Path) -> dict[str, str]:
    """Every module of a package: its source by its path."""
    return {path.relative_to(package).as_posix(): path.read_text("utf-8") for path in sorted(package.rglob("*.py"))}


def room_of(path: str) -> str:
    """`store/catalog.py` is in the room `store`."""
    first = path.split("/")[0].removesuffix(".py")
    return FACE if first.startswith("__") else first


def imported(tree: ast.AST) -> Iterator[str]:
    """Dotted names of all that a source imports, also inside functions and for type checking."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules(files: Mapping[str, str], package: str) -> Graph:
    """For each module by its path, the modules of the package that it imports."""
    paths = {_dotted(path, package): path for path in files}
    graph: Graph = {}
    for path, source in files.items():
        names = {_module(name, paths) for name in imported(ast.parse(source))}
        graph[path] = {paths[name] for name in names if name is not None} - {path}
    return graph


def rooms(graph: Graph) -> Graph:
    """The same for rooms."""
    found: Graph = {room_of(path): set() for path in graph}
    for path, others in graph.items():
        found[room_of(path)] |= {room_of(other) for other in others} - {room_of(path)}
    found.pop(FACE, None)
    return found


def circles(graph: Graph) -> list[list[str]]:
    """Groups of more than one that can all be reached from each other."""
    reach = {start: _reached(graph, start) for start in graph}
    groups = {tuple(sorted(one for one in reach[start] if start in reach.get(one, ()))) for start in graph}
    return sorted(list(group) for group in groups if len(group) > 1)


def heights(graph: Graph) -> dict[str, int]:
    """How many floors lie below each room: 0 where it imports none. Rooms of one circle count as one."""
    together = {one: tuple(group) for group in circles(graph) for one in group}
    found: dict[str, int] = {}

    def height(room: str) -> int:
        if room not in found:
            own = together.get(room, (room,))
            below = {other for one in own for other in graph.get(one, ())} - {*own, FACE}
            found.update(dict.fromkeys(own, 1 + max(map(height, below), default=-1)))
        return found[room]

    for room in graph:
        height(room)
    return found


def summary(package: Path, levels: Mapping[str, int] | None = None) -> dict[str, object]:
    """The figures; `levels` are those that the rooms are meant to have, without which no arrow goes upwards."""
    files = sources(package)
    graph = modules(files, package.name)
    house = rooms(graph)
    arrows = [(room, other) for room, others in sorted(house.items()) for other in sorted(others)]
    upwards = [f"{room} -> {other}" for room, other in arrows if not _goes_down(room, other, levels)]
    inner = {path: others for path, others in graph.items() if room_of(path) != FACE}
    return {
        "rooms": len(house),
        "modules": len(files),
        "lying_flat": sum("/" not in path for path in files),
        "floors": 1 + max(heights(house).values(), default=0),
        "arrows": len(arrows),
        "arrows_between_modules": sum(map(len, graph.values())),
        "upwards": upwards,
        "circles": circles(house),
        "circles_of_modules": circles(inner),
    }


def _goes_down(room: str, other: str, levels: Mapping[str, int] | None) -> bool:
    if other == FACE:
        return False
    return levels is None or levels.get(other, 99) < levels.get(room, 0)


def _dotted(path: str, package: str) -> str:
    return f"{package}.{path.removesuffix('.py').replace('/', '.')}".removesuffix(".__init__")


def _module(name: str, paths: Mapping[str, str]) -> str | None:
    """The module that an imported name is, or is in."""
    while name and name not in paths:
        name = name.rpartition(".")[0]
    return name or None


def _reached(graph: Graph, start: str) -> set[str]:
    found: set[str] = set()
    left = [start]
    while left:
        for other in graph.get(left.pop(), ()):
            if other not in found:
                found.add(other)
                left.append(other)
    return found


def main(arguments: list[str]) -> int:
    package = Path(arguments[0]) if arguments else Path(__file__).resolve().parents[2] / "mmsearch"
    from test_layers import LEVELS

    known = {room_of(path) for path in sources(package)} - {FACE} <= LEVELS.keys()
    print(json.dumps(summary(package, LEVELS if known else None)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
