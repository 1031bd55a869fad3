"""`mmsearch completion`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class Shell(StrEnum):
    """The shells that there is a script for."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"


def completion(shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")]) -> None:
    """Print a completion script for bash, zsh or fish.

    bash: add `eval "$(mmsearch completion bash)"` to ~/.bashrc.

    zsh: add `eval "$(mmsearch completion zsh)"` to ~/.zshrc, below compinit.

    fish: mmsearch completion fish > ~/.config/fish/completions/mmsearch.fish
    """
    from typer import completion as scripts

    make = scripts.get_completion_script  # type: ignore[attr-defined]  # Typer does not list it as its own
    typer.echo(make(prog_name="mmsearch", complete_var="_MMSEARCH_COMPLETE", shell=shell.value))
