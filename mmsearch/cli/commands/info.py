"""`mmsearch info`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.cli.options import CollectionOption, JsonOption

if TYPE_CHECKING:
    from mmsearch.base.records import CollectionInfo

# Failures listed for people; `--json` lists them all.
_SHOWN_FAILURES = 20


def info(
    recall: Annotated[
        bool,
        typer.Option("--recall", help="Also measure recall: how much of the exact result searches find."),
    ] = False,
    collection: CollectionOption = None,
    json_output: JsonOption = False,
) -> None:
    """Show folders, counts, model and sizes of a collection.

    Also shows the last run, and the files that could not be read.
    """
    from mmsearch.collection.collection import Collection

    with Collection.open(collection) as photos:
        facts = photos.info()
        measured = photos.measure() if recall else None
    if json_output:
        from mmsearch.cli.console import dumps

        fields = asdict(facts)
        fields["failures"] = [{"path": path, "reason": reason} for path, reason in facts.failures]
        if measured:
            fields["recall"] = measured.to_json()
        typer.echo(dumps(_without_surrogates(fields), indent=2))
        return
    from mmsearch.cli.console import tell

    tell(_describe(facts))
    if measured:
        from mmsearch.cli.commands.optimize import describe

        typer.echo(f"search      {describe(measured)}: {measured.advice}")


def _describe(facts: CollectionInfo) -> list[str]:
    from mmsearch.rendering.text import columns, number, size

    rows = [("collection", facts.path)]
    for root in facts.roots:
        state = f", offline since {root.offline_since}" if root.offline_since else ""
        rows.append(("folder", f"{root.path} ({number(root.images, 'image')}{state})"))
    rows += [
        ("images", f"{facts.images:,} files, {facts.embeddings:,} different"),
        ("model", f"{facts.model} ({facts.dim} dimensions)" if facts.model else "none yet"),
        ("on disk", f"catalog {size(facts.catalog_bytes)}, vectors {size(facts.vectors_bytes)} ({facts.vectors_kind})"),
    ]
    for other in facts.other_models:
        told = f"{other.spec} ({other.dim} dimensions), {other.embeddings:,} images"
        if other.state == "unfinished":
            rows.append(
                ("reindex", f"{told}, {other.missing:,} to do: `mmsearch reindex` resumes it, --abandon discards it")
            )
        else:
            rows.append(("kept model", f"{told}: `mmsearch reindex --drop-old` frees its space"))
    run = facts.last_run
    if run:
        where = f" on {run['device']} in {run.get('precision')}" if run.get("device") else ""
        done = f"{run.get('encoded', 0):,} encoded{where}, {run.get('seconds', 0):.1f} s"
        rows.append(("last run", f"{run['started_at']}, {done}"))
    rows.append(("unreadable", number(len(facts.failures), "file")))
    lines = columns(rows)
    lines += [f"  {path}: {reason}" for path, reason in facts.failures[:_SHOWN_FAILURES]]
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
