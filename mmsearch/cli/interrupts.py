"""Signals that end a command: Ctrl-C (SIGINT), SIGTERM (`kill`, systemd, docker stop), SIGHUP (its terminal is gone).

All do the same, but for the exit code: 128 and the signal's number, as a shell says of a program that one has ended.

They raise KeyboardInterrupt, but not while a module is imported: NumPy, cut in its import, fails with ImportError, by
which other libraries know that it is not installed, and go on without it. There the process ends at once. It leaves
behind what a killed one does, which the next command cleans up. Elsewhere too, a library may turn KeyboardInterrupt
into an exception of its own, or lose it: after it (`came`), a command counts as interrupted however it ends.
"""

from __future__ import annotations

# `signal` is this and its enumerations, whose import takes milliseconds in which Ctrl-C would not be handled yet. The
# other imports, here and in `main`, cost nothing: Python itself has made them.
import _signal  # type: ignore[import-not-found]
import os
import time

TYPE_CHECKING = False  # that of `typing`, which is not imported for it
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

# The exit code of Ctrl-C, by which the parts of the program tell each other that a command was ended.
INTERRUPTED: int = 128 + _signal.SIGINT

_SIGNALS: list[int] = [getattr(_signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(_signal, name)]

# Seconds within which a signal that comes again is one and the same wish: `timeout` and shells send it twice, to the
# process and to its group, and programs that have started this one hand on the Ctrl-C that the terminal tells both.
# Who means to press it twice takes longer.
_ECHO = 1.0
_ECHO_OF_CTRL_C = 0.3

# How the files of Python's import system are called in frames.
_IMPORT_SYSTEM = "<frozen importlib"

_came: list[int] = []
_raised: list[float] = []  # when KeyboardInterrupt was


def obey() -> None:
    """From now on every signal ends the command, but for those that the program was started to ignore."""
    _handle(_raise, [number for number in _SIGNALS if _signal.getsignal(number) is not _signal.SIG_IGN])


def stop_softly(stop: Callable[[], None]) -> Callable[[], None]:
    """From now on the first signal calls `stop`, a second one ends the command; returns what ends that."""
    first: list[float] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        if not first:
            _came.append(number)
            first.append(time.monotonic())
            stop()
        elif not _is_echo(number, first[0]):  # the second time the user means it
            _raise(number, frame)

    return _handle(interrupt, _SIGNALS)


def came() -> bool:
    """Whether a signal has raised KeyboardInterrupt, whatever has become of that."""
    return bool(_raised)


def check() -> None:
    """Raise KeyboardInterrupt again where it was lost: for what goes on after errors of any kind."""
    if _raised:
        raise KeyboardInterrupt


def end_at_once() -> None:
    """From now on a signal ends the process within its handler: nothing is left that would catch an exception."""
    _handle(_leave, _SIGNALS)


def leave() -> None:
    """End the process as the signal wants it, without any clean-up."""
    os._exit(exit_code(INTERRUPTED))


def exit_code(code: int) -> int:
    """The exit code of a command that has ended with `code`: `INTERRUPTED` stands for whichever signal came."""
    return 128 + _came[-1] if code == INTERRUPTED and _came else code


def _raise(number: int, frame: FrameType | None) -> None:
    if _raised and _is_echo(number, _raised[0]):
        return
    if _raised or _is_importing(frame):
        _leave(number, frame)
    _came.append(number)
    _raised.append(time.monotonic())
    raise KeyboardInterrupt


def _leave(number: int, _: FrameType | None) -> None:
    _came.append(number)
    leave()


def _is_echo(number: int, first: float) -> bool:
    return time.monotonic() - first <= (_ECHO_OF_CTRL_C if number == _signal.SIGINT else _ECHO)


def _is_importing(frame: FrameType | None) -> bool:
    """Whether the code that a signal has come upon runs for an import."""
    while frame is not None:
        if frame.f_code.co_filename.startswith(_IMPORT_SYSTEM):
            return True
        frame = frame.f_back
    return False


def _handle(handler: Callable[[int, FrameType | None], None], signals: Sequence[int]) -> Callable[[], None]:
    """Set the handler of each signal, but for those that are to be ignored, as `nohup` has it with SIGHUP; returns what
    sets those before. Shells have Ctrl-C ignored in the background: a run that is named by its number heeds it."""
    before = {number: _signal.getsignal(number) for number in signals}
    heeded = [number for number in signals if number == _signal.SIGINT or before[number] is not _signal.SIG_IGN]
    for number in heeded:
        _signal.signal(number, handler)

    def restore() -> None:
        for number in heeded:
            _signal.signal(number, before[number])

    return restore
