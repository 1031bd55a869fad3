"""The `mmsearch` command: run what the arguments say; end with one line and the right exit code."""

from __future__ import annotations

import io
import os
import sys

TYPE_CHECKING = False  # see `interrupts`, on what is imported before Ctrl-C is handled
if TYPE_CHECKING:
    from types import TracebackType
    from typing import NoReturn


def main() -> NoReturn:
    """The `mmsearch` command.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 done but some files were skipped, 130 and 143 ended by Ctrl-C and by
    SIGTERM.
    """
    try:
        from mmsearch.cli import interrupts

        interrupts.obey()
    except KeyboardInterrupt:
        os._exit(130)
    try:
        code = _command()
        interrupts.end_at_once()
    except BaseException:
        interrupts.end_at_once()
        if not interrupts.came():
            raise
        code = interrupts.INTERRUPTED
    # Leave at once: destructors of large libraries take tenths of a second and nothing here waits for them.
    os._exit(interrupts.exit_code(code))


def _command() -> int:
    """Run the command that the arguments say; returns its exit code."""
    from mmsearch.cli import interrupts, limited

    limited.look_on()
    _open_missing()
    _show_all_names()
    _set_hooks()
    debug = "--debug" in sys.argv
    arguments = [word for word in sys.argv[1:] if word != "--debug"]
    code = _run(arguments, debug)
    if interrupts.came():
        return interrupts.INTERRUPTED  # what is still buffered stays so: a pipe that nobody reads would not let us go
    return _flush() or code


def _run(arguments: list[str], debug: bool) -> int:
    from mmsearch.cli import interrupts
    from mmsearch.cli.app import application

    try:
        result = application(arguments)(arguments or ["--help"], prog_name="mmsearch", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except BaseException as error:
        if interrupts.came():  # whatever a library has made of it
            return interrupts.INTERRUPTED
        return _told(error, debug)


def _told(error: BaseException, debug: bool) -> int:
    """Say in one line what has ended a command, or with `debug` all of it; returns the exit code."""
    from typer.exceptions import Abort, TyperException

    from mmsearch.base import shortages
    from mmsearch.base.errors import MMSearchError
    from mmsearch.cli import interrupts, limited

    if isinstance(error, BrokenPipeError) or isinstance(error.__context__, BrokenPipeError):
        _discard_output()  # `mmsearch query ... | head` is no error; Typer makes it an exit
        return 0
    if isinstance(error, SystemExit):  # of the shells' completion
        return error.code if isinstance(error.code, int) else 0
    if isinstance(error, KeyboardInterrupt | Abort):
        return _complain("interrupted", interrupts.INTERRUPTED)
    if debug:
        _show_traceback(type(error), error, error.__traceback__)
        return 1
    if isinstance(error, MMSearchError):
        short = shortages.told(error)  # a library that got no memory calls it by another name
        return _complain(f"{error.message}; {short[1]}" if short else str(error), error.exit_code)
    if isinstance(error, TyperException):
        message = _in_our_words(error.format_message() or "no command given")
        return _complain(f"{message}; see `{_command_of(error)} --help`", error.exit_code)
    if isinstance(error, OSError) and error.errno in shortages.FULL:
        _discard_output()
        return _complain(f"cannot write: {error.strerror}; free some space on the disk, or write to another one", 1)
    short = shortages.told(error)
    if short:
        return _complain("; ".join(short), 1)
    where = limited.advice() or "run again with --debug to see where"
    return _complain(f"unexpected {type(error).__name__}: {error}; {where}", 1)


def _in_our_words(message: str) -> str:
    """What Typer says of a wrong option, as all other errors begin and end, without its own signs."""
    message = " ".join(message.split()).removesuffix(".")
    for theirs, ours in (
        (" is not in the range x>=", " is less than "),
        (" is not a valid int", " is not a whole number"),
        (" is not a valid float", " is not a number"),
    ):
        message = message.replace(theirs, ours)
    return message[:1].lower() + message[1:]


def _command_of(error: BaseException) -> str:
    """The command that a usage error is about, as it is typed."""
    context = getattr(error, "ctx", None)
    return context.command_path if context is not None else "mmsearch"


def _open_missing() -> None:
    """Streams that the shell has closed (`>&-`) lead nowhere: a file opened later would take their number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115


def _show_all_names() -> None:
    """Where the locale is not UTF-8, names beyond it are escaped, as stderr does."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.encoding.lower() != "utf-8":
        sys.stdout.reconfigure(errors="backslashreplace")


def _set_hooks() -> None:
    """What Python says by itself, of errors in threads and in destructors, is what a terminal is shown; nothing after a
    signal, which an error that Python drops may have been."""
    import threading

    from mmsearch.cli import interrupts

    def in_thread(failed: threading.ExceptHookArgs) -> None:
        if not interrupts.came():
            _show_traceback(failed.exc_type, failed.exc_value, failed.exc_traceback)

    def dropped(failed: sys.UnraisableHookArgs) -> None:
        if interrupts.came():
            interrupts.leave()
        sys.__unraisablehook__(failed)

    sys.excepthook = _show_traceback
    threading.excepthook = in_thread
    sys.unraisablehook = dropped


def _complain(message: str, code: int) -> int:
    from mmsearch.rendering.text import printable

    print(f"mmsearch: {printable(message)}", file=sys.stderr)
    return code


def _show_traceback(kind: type[BaseException], error: BaseException | None, where: TracebackType | None) -> None:
    """A traceback on stderr, whose lines repeat names of files; a terminal is shown what it would act on."""
    import traceback

    from mmsearch.rendering.text import printable

    text = "".join(traceback.format_exception(kind, error, where))
    lines = [printable(line) if sys.stderr.isatty() else line for line in text.split("\n")]
    sys.stderr.write("\n".join(lines))


def _flush() -> int:
    """Write what is buffered; 1 where it cannot be written, but for a pipe that nobody reads any more."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        _discard_output()
    except OSError as error:
        _discard_output()
        return _complain(f"cannot write the output: {error.strerror or error}; write it somewhere else", 1)
    return 0


def _discard_output() -> None:
    """Send what is still buffered for a closed pipe nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
