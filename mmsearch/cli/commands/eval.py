"""`mmsearch eval`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmsearch.base.errors import UsageError
from mmsearch.cli.options import CollectionOption, DeviceOption, JsonOption, TrustModelOption

if TYPE_CHECKING:
    from mmsearch.evaluating.captions import CaptionSet
    from mmsearch.evaluating.run import Outcome, Settings

# Files that are named one by one; of more, only their number is said.
_NAMED = 20

# Wrong answers on the page where --worst does not say how many.
_WORST = 20

# Pictures of a round of naming: enough for a first impression, few enough for five minutes.
_ROUND = 20


class CentringChoice(StrEnum):
    """What is done to short texts that search images; see `mmsearch.searching.centring`."""

    auto = "auto"
    on = "on"
    off = "off"
    both = "both"


def evaluate(
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="SOURCE",
            readable=False,
            help="Captions (.jsonl, .csv, .tsv, MSCOCO or Karpathy .json), or a folder with a subfolder for "
            "each class; omit for the collection's own, made with --label.",
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(metavar="DIR", readable=False, help="Folder that holds the images.", show_default="beside SOURCE"),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="MODEL", help="Model to evaluate; repeat it to compare several."),
    ] = None,
    split: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only this part of SOURCE, for example `test`.")
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Text for a class, with {} for its name.", show_default="a photo of a {}"),
    ] = None,
    whole: Annotated[
        bool | None,
        typer.Option(
            "--whole/--captioned",
            help="Search the whole collection, or only images with captions.",
            show_default="the whole collection without SOURCE, else captioned",
        ),
    ] = None,
    centring: Annotated[
        CentringChoice,
        typer.Option(
            metavar="auto|on|off|both",
            help="Centre short texts as queries do (auto), always (on), never (off), or both ways (both).",
        ),
    ] = CentringChoice.auto,
    worst: Annotated[
        int, typer.Option(min=0, metavar="N", help="Also list the N worst queries in each direction.")
    ] = 0,
    gallery: Annotated[
        Path | None,
        typer.Option(metavar="OUT.html", help="Write a web page of the worst queries with their pictures."),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Let --gallery replace any file; without it, only pages of mmsearch."),
    ] = False,
    label: Annotated[
        bool,
        typer.Option("--label", help="Caption pictures of the collection for later evaluations, instead of measuring."),
    ] = False,
    count: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="With --label: number of pictures.", show_default="20")
    ] = None,
    open_pictures: Annotated[
        bool, typer.Option("--open", help="With --label: show pictures in the desktop's viewer, not the terminal.")
    ] = False,
    seed: Annotated[
        int, typer.Option(min=0, metavar="N", help="Seed for random draws; the same seed gives the same result.")
    ] = 0,
    device: DeviceOption = "auto",
    trust_model: TrustModelOption = False,
    collection: CollectionOption = None,
    json_output: JsonOption = False,
) -> None:
    """Measure how well texts find images, and images texts.

    Figures come with 95 % intervals.

    With -C the embeddings come from that collection; otherwise the images are encoded into the cache. Several models
    are compared with a paired test. recall@k is the share of queries with a right answer among the first k. Where
    several images have the same caption, any of them is right; files of the same bytes are one image; ties count
    against the model.
    """
    if label:
        others = (source, images, model, split, prompt, worst, gallery, overwrite, json_output, whole is not None)
        if any(others) or centring != CentringChoice.auto:
            raise UsageError("--label takes only -C, --count, --open and --seed", "leave out the rest")
        from mmsearch.cli.eval.labelling import name_pictures

        name_pictures(collection, count=count or _ROUND, seed=seed, show_pictures=open_pictures)
        return
    if count is not None or open_pictures:
        raise UsageError("--count and --open only work with --label", "add --label, or leave them out")
    from mmsearch.cli import trusting
    from mmsearch.evaluating.run import Settings

    if overwrite and gallery is None:
        raise UsageError("--overwrite only works with --gallery", "add --gallery OUT.html, or leave it out")
    if gallery is not None:
        _check_gallery(gallery, collection, overwrite=overwrite)
    captions, folder = _captions(source, images, split, prompt, collection)
    whole = (source is None and len(model or ()) < 2) if whole is None else whole
    if whole and folder is None:
        raise UsageError("--whole needs a collection to search", "name it with -C")
    if whole and len(model or ()) > 1:
        raise UsageError("--whole works with one model only, the collection's own", "leave out --whole or --model")
    answer = trusting.answer(trust_model)
    may_trust = answer if callable(answer) else lambda spec: trust_model
    settings = Settings(tuple(model or ()), folder, whole, device, centring.value, seed=seed, may_trust=may_trust)
    outcome = _run(captions, settings)
    left_out = dict.fromkeys(captions.missing, "no such file") | outcome.left_out
    _say_left_out(left_out)
    _print(outcome, captions, worst, seed, json_output)
    if gallery is not None:
        _write_gallery(gallery, outcome, worst or _WORST)
    if left_out:
        raise typer.Exit(3)


def _captions(
    source: Path | None, images: Path | None, split: str | None, prompt: str | None, collection: str | None
) -> tuple[CaptionSet, Path | None]:
    """The captions, and the folder of the collection that embeddings are taken from."""
    from mmsearch.base import config
    from mmsearch.cli.console import say
    from mmsearch.evaluating import captions

    folder = config.collection_path(collection) if collection is not None or source is None else None
    if source is not None:
        found = captions.read(source, images=images, split=split, prompt=prompt)
        if found.splits and len(found.splits) > 1:
            parts = ", ".join(f"{name} ({count:,})" for name, count in found.splits.items())
            say(f"evaluating all parts: {parts}; --split NAME selects one")
        return found, folder
    if images is not None or split is not None or prompt is not None:
        raise UsageError("--images, --split and --prompt need a SOURCE", "name a file of captions")
    from mmsearch.evaluating import labels
    from mmsearch.store.catalog import Catalog

    assert folder is not None
    with Catalog(folder, write=False) as catalog:
        return labels.load(catalog), folder


def _run(captions: CaptionSet, settings: Settings) -> Outcome:
    import threading

    from mmsearch.cli import interrupts
    from mmsearch.cli.console import say
    from mmsearch.cli.progress import ProgressBar
    from mmsearch.evaluating.run import evaluate

    stop = threading.Event()
    restore = interrupts.stop_softly(stop.set)
    try:
        with ProgressBar() as bar:
            return evaluate(captions, settings, show=bar.show, stop=stop)
    except KeyboardInterrupt:
        say("interrupted; what has been encoded is kept, and the same command resumes from there")
        raise typer.Exit(interrupts.INTERRUPTED) from None
    finally:
        restore()


def _say_left_out(left_out: dict[str, str]) -> None:
    from mmsearch.cli.console import say
    from mmsearch.rendering.text import number

    for path, reason in list(left_out.items())[:_NAMED]:
        say(f"left out {path}: {reason}")
    if len(left_out) > _NAMED:
        say(f"left out {number(len(left_out) - _NAMED, 'more image')}")


def _print(outcome: Outcome, captions: CaptionSet, worst: int, seed: int, json_output: bool) -> None:
    from mmsearch.cli.console import dumps, tell
    from mmsearch.cli.eval import scores
    from mmsearch.evaluating import resampling
    from mmsearch.evaluating.report import compare

    compared = compare(outcome.evaluations, draws=resampling.DRAWS, seed=seed)
    if not json_output:
        tell(scores.table(outcome.evaluations, compared, worst))
        return
    counts = {"n_missing": len(captions.missing), "n_skipped": len(outcome.left_out)}
    models: Sequence[dict[str, Any]] = [
        {**evaluation.to_json(), **counts, **({"worst": scores.worst_to_json(evaluation, worst)} if worst else {})}
        for evaluation in outcome.evaluations
    ]
    fields = {"models": models, "comparisons": [pair.to_json() for pair in compared]} if len(models) > 1 else models[0]
    typer.echo(dumps(fields, indent=2))


def _check_gallery(out: Path, collection: str | None, *, overwrite: bool) -> None:
    """Raise `UsageError`, before anything is measured, for a file that must not be replaced."""
    from mmsearch.base.errors import CollectionError
    from mmsearch.cli import replacing
    from mmsearch.collection.collection import Collection
    from mmsearch.rendering.gallery import is_page

    replacing.check("--gallery", out, is_page, overwrite=overwrite)
    if out.exists():
        with suppress(CollectionError), Collection.open(collection) as photos:
            replacing.check_originals("--gallery", out, photos.originals())


def _write_gallery(out: Path, outcome: Outcome, count: int) -> None:
    from mmsearch.cli.console import say
    from mmsearch.cli.eval import scores
    from mmsearch.rendering.gallery import write_gallery

    entries = [entry for evaluation in outcome.evaluations for entry in scores.gallery_entries(evaluation, count)]
    for path, reason in write_gallery(out, "Worst queries", entries):
        say(f"cannot show {path}: {reason}")
    say(f"the worst queries are in {out}")
