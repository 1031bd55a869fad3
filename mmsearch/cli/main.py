"""The `mmsearch` command: run what the arguments say; end with one line and the right exit code."""

from __future__ import annotations

import io
import os
import sys
import threading
from types import TracebackType
from typing import NoReturn

from mmsearch.cli import interrupts, limited


def main() -> NoReturn:
    """The `mmsearch` command.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 done but some files were skipped, 130 and 143 ended by Ctrl-C and by
    SIGTERM.
    """
    limited.look_on()
    interrupts.obey()
    _open_missing()
    _show_all_names()
    sys.excepthook = _show_traceback
    threading.excepthook = lambda failed: _show_traceback(failed.exc_type, failed.exc_value, failed.exc_traceback)
    debug = "--debug" in sys.argv
    arguments = [word for word in sys.argv[1:] if word != "--debug"]
    code = _run(arguments, debug)
    code = _flush() or code
    # Leave at once: destructors of large libraries take tenths of a second and nothing here waits for them.
    os._exit(interrupts.exit_code(code))


def _run(arguments: list[str], debug: bool) -> int:
    from typer.exceptions import Abort, TyperException

    from mmsearch.base import shortages
    from mmsearch.base.errors import MMSearchError
    from mmsearch.cli.app import application

    try:
        result = application(arguments)(arguments or ["--help"], prog_name="mmsearch", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except (BrokenPipeError, SystemExit) as error:
        if isinstance(error, SystemExit) and not isinstance(error.__context__, BrokenPipeError):
            raise
        _discard_output()  # `mmsearch query ... | head` is no error; Typer makes it an exit
        return 0
    except (KeyboardInterrupt, Abort):
        return _complain("interrupted", interrupts.INTERRUPTED)
    except MMSearchError as error:
        if debug:
            raise
        short = shortages.told(error)  # a library that got no memory calls it by another name
        return _complain(f"{error.message}; {short[1]}" if short else str(error), error.exit_code)
    except TyperException as error:
        if debug:
            raise
        message = _in_our_words(error.format_message() or "no command given")
        return _complain(f"{message}; see `{_command_of(error)} --help`", error.exit_code)
    except Exception as error:
        if debug:
            raise
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
