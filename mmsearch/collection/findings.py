"""What checks of a collection say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# Names that are listed; of more, their number is told.
_LISTED = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check says. `check` is its name, `text` is for people; `repaired` is what was done about a problem."""

    check: str
    ok: bool
    text: str
    repaired: str | None = None

    @property
    def is_well(self) -> bool:
        """Whether nothing is left to be done."""
        return self.ok or self.repaired is not None

    def to_json(self) -> dict[str, Any]:
        return {"check": self.check, "ok": self.ok, "text": self.text, "repaired": self.repaired}


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of a check before anything is done; `mend` does it and says what it was."""

    text: str
    mend: Callable[[], str] | None = None
    ok: bool = False


def few(names: list[str]) -> str:
    """The first of some names, and how many more there are."""
    more = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    return f"{', '.join(names[:_LISTED])}{more}"
