"""`mmsearch doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from mmsearch.cli.options import CollectionOption, JsonOption, WaitOption


def doctor(
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Repair what can be repaired; nothing irreplaceable is removed."),
    ] = False,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Also read all indexed images again, and compare them with what was indexed."),
    ] = False,
    wait: WaitOption = 0.0,
    collection: CollectionOption = None,
    json_output: JsonOption = False,
) -> None:
    """Check a collection, and repair it with --repair.

    Checks the catalog, embeddings, vector files, model, permissions, and leftovers of interrupted runs.

    Reads the whole collection, which takes minutes for millions of images; --verify reads these too. Exit code 0 only
    when all is well.
    """
    from mmsearch.cli.console import dumps, say, tell
    from mmsearch.collection.collection import Collection
    from mmsearch.rendering.text import number

    findings = []
    with Collection.open(collection, notice=say) as photos:
        for finding in photos.doctor(repair=repair, verify=verify, wait=wait):
            findings.append(finding)
            if not json_output:
                state = "ok" if finding.ok else "repaired" if finding.is_well else "problem"
                done = f": {finding.repaired}" if finding.repaired else ""
                tell([f"{state:<9} {finding.check:<12} {finding.text}{done}"])
    problems = sum(not finding.is_well for finding in findings)
    if json_output:
        listed = [finding.to_json() for finding in findings]
        typer.echo(dumps({"collection": str(photos.path), "well": not problems, "findings": listed}, indent=2))
    elif problems:
        hint = "" if repair else "; `mmsearch doctor --repair` repairs what it can"
        say(f"{number(problems, 'problem')}{hint}")
    if problems:
        raise typer.Exit(1)
