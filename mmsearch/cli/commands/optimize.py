"""`mmsearch optimize`."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.cli.options import CollectionOption, JsonOption, WaitOption
from mmsearch.vectors.kinds import KIND_NAMES

if TYPE_CHECKING:
    from mmsearch.collection.recall import Measured


class KindOption(StrEnum):
    """What --kind takes."""

    AUTO = "auto"
    FLAT = "flat"
    IVF_SQ8 = "ivf-sq8"
    IVF_SQ4 = "ivf-sq4"


def optimize(
    kind: Annotated[
        KindOption,
        typer.Option(metavar="KIND", help="flat (exact), ivf-sq8, ivf-sq4 (smallest), or auto, which suits the size."),
    ] = KindOption.AUTO,
    wait: WaitOption = 0.0,
    collection: CollectionOption = None,
    json_output: JsonOption = False,
) -> None:
    """Rebuild the search index; show its size and recall.

    Shows size, recall and latency before and after. `mmsearch index` rebuilds it by itself when that pays off; queries
    keep working meanwhile.
    """
    from mmsearch.cli.console import say
    from mmsearch.collection.collection import Collection

    with Collection.open(collection, notice=say) as photos:
        before = photos.measure()
        photos.optimize(next((name for name in KIND_NAMES if name == kind.value), None), wait=wait)
        after = photos.measure()
    if json_output:
        from mmsearch.cli.console import dumps

        typer.echo(dumps({"before": before.to_json(), "after": after.to_json()}))
        return
    for name, measured in (("before", before), ("after", after)):
        typer.echo(f"{name:<7} {describe(measured)}")


def describe(measured: Measured) -> str:
    """One line of figures."""
    from mmsearch.rendering.text import size

    return (
        f"{measured.kind}, {size(measured.bytes)}, recall@10 {measured.recall_at_10:.3f}, "
        f"{measured.milliseconds:.1f} ms per search (over {measured.queries} sampled images)"
    )
