"""The command line: read options, call the library, render. The only room that prints or exits."""

from __future__ import annotations

import os
import sys
from typing import NoReturn


def main() -> NoReturn:
    """The `mmsearch` command. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 done but some files were skipped."""
    debug = "--debug" in sys.argv
    arguments = [word for word in sys.argv[1:] if word != "--debug"]
    code = _run(arguments, debug)
    _flush()
    # Leave at once: destructors of large libraries take tenths of a second and nothing here waits for them.
    os._exit(code)


def _run(arguments: list[str], debug: bool) -> int:
    from typer.exceptions import Abort, TyperException

    from mmsearch.cli.app import app
    from mmsearch.errors import MMSearchError

    try:
        result = app(arguments, prog_name="mmsearch", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except (BrokenPipeError, SystemExit) as error:
        if isinstance(error, SystemExit) and not isinstance(error.__context__, BrokenPipeError):
            raise
        _discard_output()  # `mmsearch query ... | head` is no error; Typer makes it an exit
        return 0
    except (KeyboardInterrupt, Abort):
        return _complain("interrupted", 130)
    except MMSearchError as error:
        if debug:
            raise
        return _complain(str(error), error.exit_code)
    except TyperException as error:
        if debug:
            raise
        message = error.format_message() or "no command given"
        return _complain(f"{' '.join(message.split())}; `mmsearch --help` explains the usage", error.exit_code)
    except Exception as error:
        if debug:
            raise
        return _complain(f"unexpected {type(error).__name__}: {error}; run again with --debug to see where", 1)


def _complain(message: str, code: int) -> int:
    from mmsearch.cli.render import printable

    print(f"mmsearch: {printable(message)}", file=sys.stderr)
    return code


def _flush() -> None:
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        _discard_output()


def _discard_output() -> None:
    """Send what is still buffered for a closed pipe nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
