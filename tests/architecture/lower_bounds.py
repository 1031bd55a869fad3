"""Whether the lower bounds in pyproject.toml are true: an environment with just these versions, and the default tests.

    python tests/architecture/lower_bounds.py                     prints the constraints, for `pip install -c`
    python tests/architecture/lower_bounds.py --run FOLDER        makes an environment there, and runs the tests in it

Options after `--run FOLDER` go to pytest. The environment takes some 2 to 6 GB, and is left for the next run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]


def constraints() -> list[str]:
    """Each requirement that has a lower bound as that very version: `name==version`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    found = []
    for requirement in map(Requirement, wanted):
        least = [part.version for part in requirement.specifier if part.operator == ">="]
        found += [f"{requirement.name}=={version}" for version in least]
    return found


def make(folder: Path) -> Path:
    """An environment with the lower bounds and the tests' tools; returns its Python. mmsearch itself is not in it."""
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    venv.create(folder, with_pip=True)
    listed = folder / "constraints.txt"
    listed.write_text("\n".join(constraints()) + "\n", "utf-8")
    names = [line.partition("==")[0] for line in constraints()]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    unbound = [item for item in project["optional-dependencies"]["test"] if Requirement(item).name not in names]
    command = [python, "-m", "pip", "install", "-q", "-c", listed, *names, *unbound]
    subprocess.run([str(part) for part in command], check=True)
    return python


def main(arguments: list[str]) -> int:
    if arguments[:1] != ["--run"]:
        print("\n".join(constraints()))
        return 0
    python = make(Path(arguments[1]).absolute())
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}  # for the processes that tests start
    command = [str(python), "-m", "pytest", "-q", *arguments[2:]]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
