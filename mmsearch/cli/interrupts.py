"""Signals that end a command: Ctrl-C (SIGINT), SIGTERM (`kill`, systemd, docker stop), SIGHUP (its terminal is gone).

All do the same, but for the exit code: 128 and the signal's number, as a shell says of a program that one has ended.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from types import FrameType

# The exit code of Ctrl-C, by which the parts of the program tell each other that a command was ended.
INTERRUPTED = 128 + signal.SIGINT

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]

# Seconds within which signals other than Ctrl-C are one and the same wish: `timeout` and shells send them twice, to the
# process and to its group.
_ECHO = 1.0

_came: list[int] = []


def obey() -> None:
    """From now on every signal raises KeyboardInterrupt, as Ctrl-C does anyway."""
    _handle(_raise, _SIGNALS[1:])


def stop_softly(stop: Callable[[], None]) -> Callable[[], None]:
    """From now on the first signal calls `stop`, a second one raises KeyboardInterrupt; returns what ends that."""
    first: list[float] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        if not first:
            _came.append(number)
            first.append(time.monotonic())
            stop()
        elif number == signal.SIGINT or time.monotonic() - first[0] > _ECHO:  # the second time the user means it
            _raise(number, frame)

    return _handle(interrupt, _SIGNALS)


def exit_code(code: int) -> int:
    """The exit code of a command that has ended with `code`: `INTERRUPTED` stands for whichever signal came."""
    return 128 + _came[-1] if code == INTERRUPTED and _came else code


def _raise(number: int, _: FrameType | None) -> None:
    _came.append(number)
    raise KeyboardInterrupt


def _handle(handler: Callable[[int, FrameType | None], None], signals: Sequence[int]) -> Callable[[], None]:
    """Set the handler of each signal, but for those that are to be ignored, as `nohup` has it with SIGHUP; returns what
    sets those before. Shells have Ctrl-C ignored in the background: a run that is named by its number heeds it."""
    before = {number: signal.getsignal(number) for number in signals}
    heeded = [number for number in signals if number == signal.SIGINT or before[number] is not signal.SIG_IGN]
    for number in heeded:
        signal.signal(number, handler)

    def restore() -> None:
        for number in heeded:
            signal.signal(number, before[number])

    return restore
