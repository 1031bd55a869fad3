"""Run the command line in this process, as a user would see it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from mmsearch.cli import main


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Command:
    """`command("query", "a cat", "-k", "3")`."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self._capfd = capfd

    def __call__(self, *arguments: object) -> Outcome:
        self._capfd.readouterr()
        code = main._run([str(argument) for argument in arguments], False)
        main._flush()
        captured = self._capfd.readouterr()
        return Outcome(code, captured.out, captured.err)


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Command:
    """The command line, run in this process."""
    return Command(capfd)
