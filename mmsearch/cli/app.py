"""The Typer application: one command a function, each in the file named after it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import typer

from mmsearch.base.version import __version__
from mmsearch.cli.commands.completion import completion
from mmsearch.cli.commands.doctor import doctor
from mmsearch.cli.commands.eval import evaluate
from mmsearch.cli.commands.forget import forget
from mmsearch.cli.commands.help import help_topics
from mmsearch.cli.commands.index import index
from mmsearch.cli.commands.info import info
from mmsearch.cli.commands.models import models
from mmsearch.cli.commands.optimize import optimize
from mmsearch.cli.commands.query import query
from mmsearch.cli.commands.reindex import reindex
from mmsearch.cli.commands.trust import trust
from mmsearch.cli.help_text import PlainCommand, in_sections
from mmsearch.cli.query.options import SECTIONS

COMMANDS: dict[str, Callable[..., None]] = {
    "index": index,
    "query": query,
    "info": info,
    "forget": forget,
    "optimize": optimize,
    "reindex": reindex,
    "doctor": doctor,
    "trust": trust,
    "completion": completion,
    "eval": evaluate,
    "help": help_topics,
}


def application(arguments: Sequence[str] = ()) -> typer.Typer:
    """All commands; where `arguments` begin with one, that alone: reading the options of all takes 0.04 s."""
    app = typer.Typer(
        name="mmsearch",
        help="Find images on your own disks by meaning: index folders once, then search them with words or pictures.",
        epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 done but some files were skipped. --debug shows "
        "tracebacks.",
        add_completion=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(mmsearch)
    only = {name for name in arguments[:1] if name in COMMANDS}
    for name, command in COMMANDS.items():
        if name in (only or COMMANDS):
            app.command(name, cls=in_sections(SECTIONS) if command is query else PlainCommand)(command)
    if not only:
        app.add_typer(models, name="models")
    return app


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mmsearch {__version__}")
        raise typer.Exit


def mmsearch(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Find images on your own disks by meaning: index folders once, then search them with words or pictures."""
