"""`mmsearch query`."""

from __future__ import annotations

from typing import Annotated

import typer

from mmsearch.base import config
from mmsearch.cli.options import CollectionOption
from mmsearch.cli.query.options import (
    AfterOption,
    AllOption,
    BeforeOption,
    BelowOption,
    CameraOption,
    CentringOption,
    CopyOption,
    CsvOption,
    DiverseAtOption,
    DiverseOption,
    ExprOption,
    FailEmptyOption,
    GalleryOption,
    GlobOption,
    HasGpsOption,
    ImageFormatOption,
    ImageOption,
    LessOption,
    LikelyOption,
    LikeOption,
    LinkOption,
    MaxSizeOption,
    MinConfidenceOption,
    MinHeightOption,
    MinScoreOption,
    MinSizeOption,
    MinusOption,
    MinWidthOption,
    MontageOption,
    MoreOption,
    NearOption,
    NumberedOption,
    OpenOption,
    OrientationOption,
    PlusOption,
    PrivateOption,
    SessionOption,
    TemplateOption,
    TemplatesOption,
    TextArgument,
    ThumbnailsOption,
    WhereOption,
)


def query(
    ctx: typer.Context,
    text: TextArgument = None,
    plus: PlusOption = None,
    minus: MinusOption = None,
    image: ImageOption = None,
    like: LikeOption = None,
    expr: ExprOption = None,
    more: MoreOption = None,
    less: LessOption = None,
    session: SessionOption = None,
    templates: TemplatesOption = None,
    centring: CentringOption = None,
    allow_private_urls: PrivateOption = False,
    batch: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Answer a query a line (text, or a JSON object), as JSON lines; - is stdin."),
    ] = None,
    below: BelowOption = None,
    glob: GlobOption = None,
    after: AfterOption = None,
    before: BeforeOption = None,
    min_size: MinSizeOption = None,
    max_size: MaxSizeOption = None,
    min_width: MinWidthOption = None,
    min_height: MinHeightOption = None,
    orientation: OrientationOption = None,
    image_format: ImageFormatOption = None,
    camera: CameraOption = None,
    near: NearOption = None,
    has_gps: HasGpsOption = None,
    where: WhereOption = None,
    top: Annotated[int, typer.Option("--top", "-k", metavar="N", help="How many results.")] = config.DEFAULT_TOP,
    likely: LikelyOption = False,
    min_confidence: MinConfidenceOption = None,
    min_score: MinScoreOption = None,
    show_all: AllOption = False,
    diverse: DiverseOption = False,
    diverse_at: DiverseAtOption = None,
    include_self: Annotated[bool, typer.Option("--include-self", help="Also show the query image itself.")] = False,
    exact: Annotated[bool, typer.Option("--exact", help="Compare with every image, however many there are.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Also show images in folders that are offline.")] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="Print a JSON object a line.")] = False,
    paths: Annotated[bool, typer.Option("--paths", help="Print only paths, one a line.")] = False,
    print0: Annotated[bool, typer.Option("--print0", "-0", help="Print only paths, each ended by a NUL byte.")] = False,
    csv_output: CsvOption = False,
    template: TemplateOption = None,
    thumbnails: ThumbnailsOption = False,
    gallery: GalleryOption = None,
    montage: MontageOption = None,
    open_best: OpenOption = False,
    copy_to: CopyOption = None,
    link_to: LinkOption = None,
    numbered: NumberedOption = False,
    fail_empty: FailEmptyOption = False,
    collection: CollectionOption = None,
) -> None:
    """Find images that match words or pictures, best first.

    With filters alone, the newest images are listed.
    """
    from mmsearch.cli.query import named_files, question
    from mmsearch.cli.query.actions import Actions
    from mmsearch.cli.query.outputs import Output
    from mmsearch.collection.collection import Collection

    output = Output(json_output, jsonl, paths, print0, csv_output, template, thumbnails)
    actions = Actions(gallery, montage, copy_to, link_to, numbered, open_best, fail_empty)
    output.check(with_batch=batch is not None)
    actions.check(top, with_batch=batch is not None)
    given = question.words(ctx.params)
    with Collection.open(collection, notice=_say) as photos:
        if batch is not None:
            from mmsearch.cli.query.batch import run

            raise typer.Exit(run(photos, batch, question.only_options(given)))
        advice = named_files.advice(text or (), collection)
        if advice:
            _say(advice)
        asked = question.question(photos, given, session)
        hits, left_out = question.answer(photos, asked)
        question.remember(photos, asked, session, hits)
    output.print(hits, asked, left_out)
    raise typer.Exit(actions.run(hits, question.label(asked.query)))


def _say(line: str) -> None:
    from mmsearch.rendering.text import printable

    typer.echo(f"mmsearch: {printable(line)}", err=True)
