"""Where the user's shell limits memory (`ulimit -v`, `ulimit -d`), a command that a library's crash ends says so.

Libraries of mathematics and of models do not check whether they get the memory that they ask for: the system ends the
program, and nothing of it is left to say why. So another process looks on, only where there is such a limit.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import NoReturn

# Signals that a process gets for what it does itself.
_CRASHES = {
    getattr(signal, name) for name in ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE") if hasattr(signal, name)
}

# prctl(2): the signal that a process gets when its parent ends.
_PR_SET_PDEATHSIG = 1


def look_on() -> None:
    """Go on in a process of its own where memory is limited; the one that was started ends as that one does."""
    if _limit() is None:
        return
    # OpenBLAS, NumPy's library of mathematics, wants room for a thread a core; where it gets none, it sends its own
    # process a Ctrl-C.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    child = os.fork()
    if child:
        _end_as(child)
    _end_with_parent()


def advice() -> str | None:
    """What to do about an error that nobody foresaw where memory is limited; None where it is not."""
    limit = _limit()
    return limit and f"memory is limited to {limit[1] >> 20:,} MB: raise the limit (`ulimit {limit[0]}`)"


def _limit() -> tuple[str, int] | None:
    """The option of `ulimit` by which memory is limited, and to how many bytes."""
    try:
        import resource
    except ImportError:  # Windows has no such limits
        return None
    for option, kind in (("-v", resource.RLIMIT_AS), ("-d", resource.RLIMIT_DATA)):
        limit = resource.getrlimit(kind)[0]
        if limit != resource.RLIM_INFINITY:
            return option, limit
    return None


def _end_as(child: int) -> NoReturn:
    """Wait for the process that does the work, hand on what is to end it, and say what has."""

    def hand_on(number: int, _: object) -> None:
        with suppress(ProcessLookupError):  # it has ended
            os.kill(child, number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, hand_on)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if -ended in _CRASHES:
        name = signal.Signals(-ended).name
        print(f"mmsearch: a library crashed ({name}); {advice()}", file=sys.stderr)
        os._exit(1)
    os._exit(ended if ended >= 0 else 128 - ended)


def _end_with_parent() -> None:
    if sys.platform == "linux":
        with suppress(Exception):  # a convenience where somebody kills the one that looks on
            import ctypes

            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
