"""Look at every row of a table: whether each column holds what it may (`rules`), and the row what was written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mmsearch.store import bits, checksums
from mmsearch.store.catalog import Catalog
from mmsearch.store.rules import RULES, Rule, key_of

# Damaged rows in which a flipped bit is looked for, up to 0.1 s each: where more are damaged, it was not a bit.
_MOST_RESTORED = 100

# Characters of a wrong value that are shown.
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Damage:
    """A damaged row. `wrong` are the columns that do not hold what they may, or `checksum` alone where all do.

    `written` is the one column in which a bit has flipped, and its value before, where the checksum tells.
    """

    table: str
    row: dict[str, Any]
    wrong: tuple[str, ...]
    written: tuple[str, Any] | None = None

    @property
    def rules(self) -> list[Rule]:
        """The rules of the columns that are wrong."""
        return [RULES[self.table][name] for name in self.wrong]

    @property
    def key(self) -> dict[str, Any]:
        """What tells the row from the others of its table."""
        return {name: self.row[name] for name in key_of(self.table)}

    def __str__(self) -> str:
        where = f"row {', '.join(_shown(value) for value in self.key.values())} of {self.table}"
        column = self.wrong[0]
        if column == "checksum":
            return f"{where} is not as it was written"
        return f"{column} of {where} is {_shown(self.row[column])} and should be {self.rules[0].should}"


def damages(catalog: Catalog, table: str) -> list[Damage]:
    """The damaged rows of a table. Reads all of it. Raises `StorageError`."""
    found: list[Damage] = []
    columns, may_lack = list(RULES[table]), catalog.database.meta(checksums.PARTIAL) is not None
    holds = [rule.holds for rule in RULES[table].values()]
    covered = [columns.index(name) for name in checksums.COVERED.get(table, ())]
    with catalog.database.damaged_text():
        for row in catalog.database.each(f"SELECT {', '.join(columns)} FROM {table}"):
            wrong = [name for name, is_right, value in zip(columns, holds, row, strict=True) if not is_right(value)]
            if not wrong and covered and not _is_as_written(row, covered, may_lack):
                wrong = ["checksum"]
            if wrong:
                damage = Damage(table, dict(zip(columns, row, strict=True)), tuple(wrong))
                found.append(_with_written(damage) if len(found) < _MOST_RESTORED else damage)
    return found


def _is_as_written(row: tuple[Any, ...], covered: list[int], may_lack: bool) -> bool:
    if row[-1] is None:
        return may_lack
    return bool(row[-1] == checksums.of_row(*[row[place] for place in covered]))


def _with_written(damage: Damage) -> Damage:
    covered = {name: damage.row[name] for name in checksums.COVERED.get(damage.table, ())}
    checksum = damage.row.get("checksum")
    if not covered or not isinstance(checksum, int):
        return damage
    written = bits.written_row(covered, checksum, lambda name, value: RULES[damage.table][name].holds(value))
    return Damage(damage.table, damage.row, damage.wrong, written)


def _shown(value: Any) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    text = text.encode("utf-8", "replace").decode()
    return f"{text[:_SHOWN]}…" if len(text) > _SHOWN else text
