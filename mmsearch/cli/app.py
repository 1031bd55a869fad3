"""The Typer application: one command a function, each in the file named after it."""

from __future__ import annotations

import typer

from mmsearch import __version__
from mmsearch.cli.completion import completion
from mmsearch.cli.doctor import doctor
from mmsearch.cli.evaluate import evaluate
from mmsearch.cli.forget import forget
from mmsearch.cli.help import help_topics
from mmsearch.cli.index import index
from mmsearch.cli.info import info
from mmsearch.cli.models import models
from mmsearch.cli.optimize import optimize
from mmsearch.cli.query import query
from mmsearch.cli.reindex import reindex

app = typer.Typer(
    name="mmsearch",
    help="Find images on your own disks by meaning: index folders once, then search them with words or pictures.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 done but some files were skipped. --debug shows tracebacks.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for command in (index, query, info, forget, optimize, reindex, doctor, completion):
    app.command()(command)
app.add_typer(models, name="models")
app.command("eval")(evaluate)
app.command("help")(help_topics)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mmsearch {__version__}")
        raise typer.Exit


@app.callback()
def mmsearch(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Find images on your own disks by meaning: index folders once, then search them with words or pictures."""
