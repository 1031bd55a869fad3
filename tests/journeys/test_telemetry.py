"""Nothing leaves the machine, and no library leaves files in the user's home: strace watches commands and a program.

The children get an environment of their own. ONNX Runtime reports nothing where `CI` is set, so that a child which
inherited it would pass for the wrong reason; and what it reports goes out 9 s after it was imported, so that one of the
children lives longer. Where there is no strace, the files that appear are looked at all the same.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

# Variables that a child keeps: Python and its libraries may not be found without them.
KEPT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "SYSTEMROOT")

# Where libraries keep files for a user and for a while, each in a folder that must stay empty.
EMPTY = {
    "home": ("HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA"),
    "config": ("XDG_CONFIG_HOME",),
    "share": ("XDG_DATA_HOME", "XDG_STATE_HOME"),
    "cached": ("XDG_CACHE_HOME",),
    "temporary": ("TMPDIR", "TEMP", "TMP"),
    "work": (),  # where the children run
}

# Seconds that the program goes on after its last search: ONNX Runtime 1.29 to 1.32 look up the host they report to 9 s
# after their import.
LONG_ENOUGH = 12

PROGRAM = """
import os, sys, time
from mmsearch import Collection

before = dict(os.environ)
with Collection.open(sys.argv[1]) as photos:
    photos.add([sys.argv[2]], model="starter")
    photos.search(text="a cat", k=1)
    assert "onnxruntime" in sys.modules
    assert dict(os.environ) == before, "the environment is another one"
    time.sleep(float(sys.argv[3]))
"""

# What no command of ours does, and a library must not do.
MISCHIEF = """
import os, socket
from pathlib import Path

Path(os.environ["HOME"], "in-home").write_text("")
Path("in-work").write_text("")
os.mkdir(Path(os.environ["HOME"]).parent / "outside")
socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).close()
for family, address in ((socket.AF_INET, ("127.0.0.1", 9)), (socket.AF_UNIX, "/nowhere/nscd/socket")):
    with socket.socket(family, socket.SOCK_DGRAM) as opened:
        opened.connect_ex(address)
"""

# Files that are no files; and the semaphore of tqdm's lock, which has no name any more when it is used.
NO_FILES = re.compile(r"/dev/null|/dev/shm/sem\.[\w-]+|/proc/self/\w+")


@dataclass(frozen=True)
class Place:
    """A folder with all that children may write, `collection` and `cache`, and what must stay empty."""

    folder: Path
    strace: str | None

    @classmethod
    def make(cls, folder: Path) -> Place:
        for name in EMPTY:
            (folder / name).mkdir(parents=True)
        return cls(folder, working_strace())

    def start(self, name: str, *arguments: object, **variables: str) -> subprocess.Popen[str]:
        """Run Python with `arguments`; `name` is that of its traces, one for each of its threads."""
        watched = []
        if self.strace:
            traces = self.folder / "traces" / name
            traces.parent.mkdir(exist_ok=True)
            kinds = "trace=%network,/^(open|creat|mkdir|mknod|rename|link|symlink)"
            watched = [self.strace, "-ff", "-y", "-qq", "-e", kinds, "-e", "signal=none", "-o", str(traces)]
        return subprocess.Popen(
            [*watched, sys.executable, *map(str, arguments)],
            env=self._environment() | variables,
            cwd=self.folder / "work",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )

    def run(self, name: str, *arguments: object) -> None:
        end(self.start(name, *arguments))

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        places = {name: str(self.folder / folder) for folder, names in EMPTY.items() for name in names}
        return kept | places | {"MMSEARCH_CACHE": str(self.folder / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}

    def left(self) -> list[str]:
        """What lies where nothing should."""
        found = [path for name in EMPTY for path in (self.folder / name).rglob("*")]
        return sorted(path.relative_to(self.folder).as_posix() for path in found)

    def calls(self) -> Iterator[tuple[str, str]]:
        """The system calls of all threads: the child's name, and the line."""
        for trace in sorted((self.folder / "traces").iterdir()):
            for line in trace.read_text("utf-8", "replace").splitlines():
                yield trace.name.partition(".")[0], line

    def talk(self) -> list[str]:
        """Every call about a socket: nothing that the children do needs one, not even within this machine."""
        return [f"{name}: {line}" for name, line in self.calls() if not is_about_files(line)]

    def written(self) -> list[str]:
        """Paths outside of the folders that children may write to, which they opened to write, made or moved."""
        allowed = [self.folder / name for name in ("collection", "program", "cache", "temporary")]
        found = {(name, path) for name, line in self.calls() for path in paths_written(line)}
        wrong = [(name, path) for name, path in found if not any(path.is_relative_to(place) for place in allowed)]
        return sorted(f"{name}: {path}" for name, path in wrong)


def end(child: subprocess.Popen[str]) -> None:
    """Wait for a child that must end well."""
    output, _ = child.communicate(timeout=300)
    assert child.returncode == 0, output[-2000:]


def is_about_files(line: str) -> bool:
    return re.match(r"(open|creat|mkdir|mknod|rename|link|symlink)", line) is not None


def paths_written(line: str) -> Iterator[Path]:
    """The paths of a call that writes to them or gives them their name; `AT_FDCWD</work>, "file"` is `/work/file`."""
    is_open = line.startswith("open")
    if not is_about_files(line) or (is_open and not re.search(r"O_(CREAT|WRONLY|RDWR|TMPFILE)", line)):
        return
    for folder, path in re.findall(r'(?:<([^<>]*)>, )?"((?:[^"\\]|\\.)*)"', line):
        whole = os.path.join(folder, path)
        if not NO_FILES.fullmatch(whole):
            yield Path(whole)


def working_strace() -> str | None:
    """The command, if it is here and may trace; some containers forbid it."""
    found = shutil.which("strace")
    if found is None or subprocess.run([found, "-qq", "-o", os.devnull, "true"], capture_output=True).returncode:
        return None
    return found


@pytest.fixture
def strace() -> None:
    """What needs strace is skipped without it; not where CI checks the whole."""
    if working_strace() is None:
        missing = "strace is missing, or may not trace (apt install strace)"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, sample_data: Path) -> Place:
    """Where commands and a program have run."""
    made = Place.make(tmp_path_factory.mktemp("telemetry").resolve())
    collection = made.folder / "collection"
    seconds = LONG_ENOUGH if made.strace else 0
    # A user's own "0" is put back afterwards, but does not let it report.
    program = made.start(
        "program", "-c", PROGRAM, made.folder / "program", sample_data, seconds, ORT_DISABLE_TELEMETRY="0"
    )
    command = ("-m", "mmsearch")
    made.run("index", *command, "index", sample_data, "--model", "starter", "-C", collection)
    made.run("query", *command, "query", "a cat", "-C", collection)
    made.run("image", *command, "query", "--image", sample_data / "cat.jpg", "-C", collection)
    made.run("eval", *command, "eval", sample_data / "captions.jsonl", "-C", collection)
    made.run("models", *command, "models", "list")
    made.run("info", *command, "info", "-C", collection)
    end(program)
    return made


def test_no_file_appears_elsewhere(place: Place) -> None:
    found = place.left()
    assert not found, "\n".join(found)


def test_nothing_is_looked_up_or_sent(strace: None, place: Place) -> None:
    found = place.talk()
    assert not found, "\n".join(found)


def test_nothing_is_written_elsewhere(strace: None, place: Place) -> None:
    found = place.written()
    assert not found, "\n".join(found)


def test_files_elsewhere_are_seen(tmp_path: Path) -> None:
    """Without this, the check above could pass for the wrong reason."""
    place = Place.make(tmp_path)
    place.run("mischief", "-c", MISCHIEF)
    assert place.left() == ["home/in-home", "work/in-work"]


def test_calls_are_seen(strace: None, tmp_path: Path) -> None:
    place = Place.make(tmp_path.resolve())
    place.run("mischief", "-c", MISCHIEF)
    here = place.folder
    assert place.written() == [
        f"mischief: {path}" for path in (here / "home/in-home", here / "outside", here / "work/in-work")
    ]
    talk = "\n".join(place.talk())
    for call in (r"socket\(AF_INET6", r"connect\(.*127\.0\.0\.1", r"connect\(.*/nowhere/nscd/socket"):
        assert re.search(f"^mischief: {call}", talk, re.MULTILINE), talk
