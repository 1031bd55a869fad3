"""Signals at moments in which Python, or a library, makes something else of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows sends no such signals")

BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])

# A library whose import runs code of C, as NumPy's does: an exception in it becomes an ImportError.
IN_AN_IMPORT = """
class Cut:
    def find_spec(self, name, path=None, target=None):
        if name == "numpy":
            try:
                os.kill(os.getpid(), number)
                len("the signal is handled here")
            except BaseException as error:
                raise ImportError("initialization failed") from error

sys.meta_path.insert(0, Cut())
"""

# A library, called by the search, whose code of C makes an exception of its own of KeyboardInterrupt.
INTO_ANOTHER = """
from mmsearch.collection.collection import Collection

def search(*_):
    try:
        os.kill(os.getpid(), number)
        len("the signal is handled here")
    except BaseException as error:
        raise TypeError("incompatible function arguments") from error

Collection.search_many = Collection.search_each = search
"""

# Python cannot raise what a destructor raises: it says "Exception ignored".
IN_A_DESTRUCTOR = """
from mmsearch.collection.collection import Collection

class Gone:
    def __del__(self):
        os.kill(os.getpid(), number)
        len("the signal is handled here")

Collection.search_many = lambda *_: Gone() and None
"""

# The result is printed already.
AT_THE_END = """
from mmsearch.cli import main

flush = main._flush
def at_the_end():
    code = flush()
    os.kill(os.getpid(), number)
    return code

main._flush = at_the_end
"""


def query(number: int, mishap: str, place: Path, *options: str) -> subprocess.CompletedProcess[str]:
    script = f"import os, sys; number = {int(number)}\n{mishap}\nfrom mmsearch.cli.main import main; main()"
    command = [sys.executable, "-c", script, "query", *options, "-C", str(place)]
    return subprocess.run(command, input="a cat\na dog\n", capture_output=True, text=True, timeout=120)


@BOTH
@pytest.mark.parametrize("mishap", [IN_AN_IMPORT, INTO_ANOTHER, IN_A_DESTRUCTOR, AT_THE_END])
def test_a_signal_is_told_by_its_exit_code_alone(number: int, mishap: str, indexed: Path) -> None:
    done = query(number, mishap, indexed, "a cat")
    assert (done.returncode, done.stderr) == (128 + number, "")


def test_it_is_not_taken_for_an_error_of_a_line(indexed: Path) -> None:
    done = query(signal.SIGINT, INTO_ANOTHER, indexed, "--batch", "-", "--jsonl")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@BOTH
def test_a_pipe_that_nobody_reads(number: int, indexed: Path) -> None:
    """What is buffered for it would wait for ever."""
    import fcntl

    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)  # type: ignore[attr-defined]
    command = [sys.executable, "-m", "mmsearch", "query", "a cat", "--jsonl", "-k", "24", "-C", indexed]
    with subprocess.Popen(command, stdout=writer, stderr=subprocess.PIPE, text=True) as process:
        os.close(writer)
        os.read(reader, 1)  # it has begun to write
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    os.close(reader)
    assert (process.returncode, err) == (128 + number, "")


@BOTH
@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit memory so")
@pytest.mark.parametrize("everyone", [False, True], ids=["alone", "with the one that looks on"])
def test_where_memory_is_limited(number: int, everyone: bool, indexed: Path) -> None:
    """Two processes run there (see `mmsearch.cli.limited`), and the one that has been started is told."""
    command = [sys.executable, "-m", "mmsearch", "query", "--batch", "-", "--jsonl", "-C", str(indexed)]
    shell = ["/bin/sh", "-c", 'ulimit -v 50000000 && exec "$@"', "sh", *command]
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(shell, text=True, start_new_session=True, **streams) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write("a cat\n")
        process.stdin.flush()
        process.stdout.readline()  # now it waits for more
        (os.killpg if everyone else os.kill)(process.pid, number)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (128 + number, "")


def test_what_is_ignored_stays_so(indexed: Path) -> None:
    """Shells start what goes on in the background with Ctrl-C ignored."""
    script = "import os; from mmsearch.cli import main; run = main._run\n"
    script += "main._run = lambda *words: os.kill(os.getpid(), 2) or run(*words)\nmain.main()"
    command = [sys.executable, "-c", script, "query", "a cat", "--paths", "-C", str(indexed)]
    shell = ["/bin/sh", "-c", "trap '' INT; exec \"$@\"", "sh", *command]
    done = subprocess.run(shell, capture_output=True, text=True, timeout=120)
    assert (done.returncode, bool(done.stdout)) == (0, True), done.stderr
