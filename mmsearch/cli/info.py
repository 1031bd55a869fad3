"""`mmsearch info`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from mmsearch.cli.options import CollectionOption, JsonOption

if TYPE_CHECKING:
    from mmsearch.collection import CollectionInfo

# Failures listed for people; `--json` lists them all.
_SHOWN_FAILURES = 20


def info(collection: CollectionOption = None, json_output: JsonOption = False) -> None:
    """Show what a collection holds: folders, counts, model, sizes on disk, the last run, unreadable files."""
    from mmsearch.collection import Collection

    with Collection.open(collection) as photos:
        facts = photos.info()
    if json_output:
        from mmsearch.cli.render import dumps

        fields = asdict(facts)
        fields["failures"] = [{"path": path, "reason": reason} for path, reason in facts.failures]
        typer.echo(dumps(_without_surrogates(fields), indent=2))
        return
    for line in _describe(facts):
        typer.echo(line)


def _describe(facts: CollectionInfo) -> list[str]:
    from mmsearch.cli.render import columns, number, printable, size

    rows = [("collection", printable(facts.path))]
    rows += [("folder", f"{printable(root.path)} ({number(root.images, 'image')})") for root in facts.roots]
    rows += [
        ("images", f"{facts.images:,} files, {facts.embeddings:,} different"),
        ("model", f"{facts.model} ({facts.dim} dimensions)" if facts.model else "none yet"),
        ("on disk", f"catalog {size(facts.catalog_bytes)}, vectors {size(facts.vectors_bytes)} ({facts.vectors_kind})"),
    ]
    run = facts.last_run
    if run:
        where = f" on {run['device']} in {run['precision']}" if run["device"] else ""
        rows.append(("last run", f"{run['started_at']}, {run['encoded']:,} encoded{where}, {run['seconds']:.1f} s"))
    rows.append(("unreadable", number(len(facts.failures), "file")))
    lines = columns(rows)
    lines += [f"  {printable(path)}: {printable(reason)}" for path, reason in facts.failures[:_SHOWN_FAILURES]]
    if len(facts.failures) > _SHOWN_FAILURES:
        lines.append(f"  and {len(facts.failures) - _SHOWN_FAILURES:,} more; --json lists them all")
    return lines


def _without_surrogates(fields: object) -> object:
    """Paths that are not UTF-8 get U+FFFD for the stray bytes."""
    if isinstance(fields, str):
        return fields.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if isinstance(fields, dict):
        return {name: _without_surrogates(value) for name, value in fields.items()}
    if isinstance(fields, list | tuple):
        return [_without_surrogates(value) for value in fields]
    return fields
