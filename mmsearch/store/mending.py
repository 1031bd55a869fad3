"""Put damaged rows right, as their checksum tells or the rule of the column that is wrong says (`rules.Mend`)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from mmsearch.base.errors import StorageError
from mmsearch.base.records import EncoderInfo
from mmsearch.store import checksums, schema
from mmsearch.store.catalog import Catalog
from mmsearch.store.database import where
from mmsearch.store.repair import Checks
from mmsearch.store.rows import Damage
from mmsearch.store.rules import RULES, Mend

# What a model on this machine is, from its name, its fingerprint and the width of its embeddings; None if not known.
Known = Callable[[str, str, int], EncoderInfo | None]

# Embeddings from which the width of a model's is told.
_SAMPLE = 1_000


class Mender:
    """Mends the rows of a catalog. Expects to be inside its `transaction()`, with the writer lock held."""

    def __init__(self, catalog: Catalog, known: Known) -> None:
        self._catalog = catalog
        self._db = catalog.database
        self._known = known

    def mend(self, damages: Iterable[Damage]) -> list[str]:
        """Mend rows, in the order of `RULES`; returns what was done, each kind once."""
        return list(dict.fromkeys(self._mend(damage) for damage in damages))

    def _mend(self, damage: Damage) -> str:
        if damage.written and self._is_restored(damage):
            return "a flipped bit was put right"
        # What another column asks for decides whether there is still a row to be reset.
        mend = next((rule.mend for rule in damage.rules if rule.mend is not Mend.RESET), Mend.RESET)
        if mend is Mend.RESET:
            self._set(damage, {name: RULES[damage.table][name].default() for name in damage.wrong})
        elif mend is Mend.KEEP:
            self._set(damage, {})
        elif mend is Mend.READ_AGAIN:
            Checks(self._catalog).read_again([damage.row["id"]])
        elif mend is Mend.REMAKE:
            return self._remake(damage)
        else:
            self._drop(damage)
        return str(mend.value)

    # --- rows ---

    def _is_restored(self, damage: Damage) -> bool:
        """Whether a row could be put right: what it was may have been found and written anew since."""
        assert damage.written is not None
        try:
            self._set(damage, dict([damage.written]))
        except sqlite3.IntegrityError:
            return False
        return True

    def _set(self, damage: Damage, values: Mapping[str, Any]) -> None:
        """Give a row's columns other values, and the row the checksum of what it then is."""
        covered = checksums.COVERED.get(damage.table)
        if covered:
            row = {**damage.row, **values}
            values = {**values, "checksum": checksums.of_row(*(row[name] for name in covered))}
        condition, key = where(damage.key)
        changes = ", ".join(f"{name} = ?" for name in values)
        self._db.run(f"UPDATE {damage.table} SET {changes} WHERE {condition}", (*values.values(), *key))

    def _drop(self, damage: Damage) -> None:
        if damage.table == "folders":
            for table in ("images", "failures"):
                self._db.run(f"DELETE FROM {table} WHERE folder_id = ?", (damage.row["id"],))
        condition, key = where(damage.key)
        self._db.run(f"DELETE FROM {damage.table} WHERE {condition}", key)

    # --- encoders ---

    def _remake(self, damage: Damage) -> str:
        """Give an encoder's row what its model and its embeddings say; where they do not know, it goes with these."""
        row = damage.row
        for changed in self._candidates(row):
            made = {**row, **changed}
            is_right = all(rule.holds(made[name]) for name, rule in RULES["encoders"].items())
            computed = checksums.of_row(*(made[name] for name in checksums.COVERED["encoders"]))
            is_the_model = made["fingerprint"] == row["fingerprint"]
            if is_right and (row["checksum"] == computed or (is_the_model and "checksum" not in damage.wrong)):
                self._set(damage, changed)
                return "what the model and its embeddings say was written again"
        if damage.wrong == ("checksum",):
            self._set(damage, {})
            return "kept as it is; the model's fingerprint is compared at each use"
        self._drop_encoder(row["id"])
        return "dropped with its embeddings, which the next `mmsearch index` makes again"

    def _candidates(self, row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """What may be put in the place of damaged columns, the least first."""
        width = self._width(row["id"]) or row["dim"]
        yield {"dim": width}
        known = self._known(row["spec"], row["fingerprint"], width)
        if known is not None:
            told = {"preprocess": json.dumps(known.preprocess.to_json())}
            yield told
            yield {**told, "dim": width}
            yield {**told, "dim": known.dim, "fingerprint": known.fingerprint, "spec": known.spec}

    def _width(self, encoder_id: int) -> int | None:
        """How many numbers most of an encoder's embeddings have."""
        sample = f"SELECT length(vector) / 2 AS width FROM {schema.embeddings_table(encoder_id)} LIMIT {_SAMPLE}"
        try:
            row = self._db.one(f"SELECT width FROM ({sample}) GROUP BY width ORDER BY count(*) DESC LIMIT 1")
        except StorageError:  # it has no table
            return None
        return int(row[0]) if row else None

    def _drop_encoder(self, encoder_id: int) -> None:
        self._db.run("DELETE FROM meta WHERE value = ?", (str(encoder_id),))
        self._db.run("DELETE FROM vector_files WHERE encoder_id = ?", (encoder_id,))
        self._db.run(f"DROP TABLE IF EXISTS {schema.embeddings_table(encoder_id)}")
        self._db.run("DELETE FROM encoders WHERE id = ?", (encoder_id,))
