"""Give rows that are older than checksums theirs. 1,000,000 embeddings of 512 dimensions with their files take 15 s."""

from __future__ import annotations

from mmsearch.store import checksums
from mmsearch.store.catalog import Catalog
from mmsearch.store.database import where
from mmsearch.store.rules import key_of

# Rows in a transaction: 8 MB of embeddings, a tenth of a second.
_STEP = 8_192

_FIRST_ID = -(2**63)


# Contents of a collection that an index run does this for, in passing: a fifth of a second. A larger one is left to
# `mmsearch doctor --repair`.
_SMALL = 20_000


def fill_small(catalog: Catalog) -> None:
    """Compute the checksums that are missing where that takes no time worth mentioning."""
    if catalog.database.meta(checksums.PARTIAL) is not None and catalog.contents.count() <= _SMALL:
        fill_checksums(catalog)


def fill_checksums(catalog: Catalog) -> int:
    """Compute the checksums that are missing; returns how many embeddings got one. Not in a transaction: each step is
    one of its own, and a run that ends early is gone on with by the next.
    """
    if catalog.database.meta(checksums.PARTIAL) is None:
        return 0
    filled = sum(_fill_embeddings(catalog, table) for table in catalog.database.embeddings_tables())
    for table, covered in checksums.COVERED.items():
        _fill_rows(catalog, table, covered)
    with catalog.transaction():
        catalog.database.run("DELETE FROM meta WHERE key = ?", (checksums.PARTIAL,))
    return filled


def _fill_embeddings(catalog: Catalog, table: str) -> int:
    filled = 0
    sql = f"SELECT content_id, vector FROM {table} WHERE content_id > ? AND checksum IS NULL ORDER BY 1 LIMIT {_STEP}"
    for rows in catalog.database.pages(sql, _FIRST_ID):
        with catalog.transaction():
            catalog.database.run_many(
                f"UPDATE {table} SET checksum = ? WHERE content_id = ?",
                ((checksums.of_vector(number, vector), number) for number, vector in rows),
            )
        filled += len(rows)
    return filled


def _fill_rows(catalog: Catalog, table: str, covered: tuple[str, ...]) -> None:
    """All rows at once where they have no number; else in steps by it."""
    key = key_of(table)
    sql = f"SELECT {', '.join((*key, *covered))} FROM {table} WHERE checksum IS NULL"
    with catalog.database.damaged_text():
        if key == ("id",):
            pages = catalog.database.pages(f"{sql} AND id > ? ORDER BY id LIMIT {_STEP}", _FIRST_ID)
        else:
            pages = iter(filter(None, [catalog.database.all(sql)]))
        for rows in pages:
            condition = where(dict(zip(key, rows[0], strict=False)))[0]
            with catalog.transaction():
                catalog.database.run_many(
                    f"UPDATE {table} SET checksum = ? WHERE {condition}",
                    (
                        (checksums.of_row(*row[len(key) :]), *where(dict(zip(key, row, strict=False)))[1])
                        for row in rows
                    ),
                )
