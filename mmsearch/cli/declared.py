"""Commands whose options are the keys of a TypedDict: each is declared once, with its flags, help and type."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, get_args

Command = TypeVar("Command", bound=Callable[..., None])


def takes(options: Mapping[str, Any], defaults: Mapping[str, Any]) -> Callable[[Command], Command]:
    """Give a command, which takes `**given`, a parameter for each of `options`, names with types as Typer reads them.

    One that is not given is as `defaults` says, else False for a switch and None for anything else.
    """

    def declare(command: Command) -> Command:
        parameters = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                annotation=hint,
                default=defaults.get(name, False if get_args(hint)[0] is bool else None),
            )
            for name, hint in options.items()
        ]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {}
        return command

    return declare
