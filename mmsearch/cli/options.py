"""Options that several commands share, so that they read the same everywhere."""

# Annotations are evaluated here (no `from __future__`): Typer reads them in every process.

from typing import Annotated, Any, TypedDict

import typer

from mmsearch.base import config

CollectionOption = Annotated[
    str | None,
    typer.Option(
        "--collection",
        "-C",
        metavar="NAME_OR_PATH",
        help="Collection to use, by name or by path.",
        show_default="$MMSEARCH_COLLECTION, else `default`",
    ),
]
PrecisionOption = Annotated[
    str,
    typer.Option(
        "--precision",
        metavar="TYPE",
        help="Numeric precision of the model: fp32, bf16 or fp16; auto: the fastest that keeps the ranking.",
    ),
]
WaitOption = Annotated[
    float,
    typer.Option(
        "--wait",
        min=0.0,
        metavar="SECONDS",
        help="Wait this long for another mmsearch that is writing to the collection; `inf` waits until it is done.",
        show_default="not at all",
    ),
]
TrustModelOption = Annotated[
    bool,
    typer.Option(
        "--trust-model",
        help="Load the model that the collection names even if you have not used it before, and remember it.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
DeviceOption = Annotated[
    str,
    typer.Option(
        "--device", help="Where the model runs: auto, cpu, cuda, cuda:N, cuda:N,M, cuda:all or mps.", metavar="DEVICE"
    ),
]
BatchSizeOption = Annotated[
    int, typer.Option(min=0, metavar="N", help="Images per pass through the model; 0 chooses what suits the device.")
]
WorkersOption = Annotated[
    int, typer.Option(min=0, metavar="N", help="Processes that decode images; 0 means one per core.")
]
MaxPixelsOption = Annotated[
    int, typer.Option(min=1, metavar="N", help="Skip images with more pixels (width x height) than this.")
]
TimeLimitOption = Annotated[
    float, typer.Option(min=1, metavar="SECONDS", help="Skip files that take longer than this to read and decode.")
]
DecodeMemoryOption = Annotated[
    int | None,
    typer.Option(
        min=256,
        metavar="MB",
        help="Memory limit for all decoding processes together; a low limit means fewer of them.",
        show_default="half of what is free",
    ),
]


class Running(TypedDict, total=False):
    """How `index` and `reindex` run: `running.run_words` makes of it what `Collection.add` and `reindex` take."""

    device: DeviceOption
    precision: PrecisionOption
    batch_size: BatchSizeOption
    workers: WorkersOption
    max_pixels: MaxPixelsOption
    time_limit: TimeLimitOption
    decode_memory: DecodeMemoryOption
    trust_model: TrustModelOption
    wait: WaitOption
    collection: CollectionOption
    json_output: JsonOption


# What they are where they are not given, if neither None nor False.
RUN_DEFAULTS: dict[str, Any] = {
    "device": "auto",
    "precision": "auto",
    "batch_size": 0,
    "workers": 0,
    "max_pixels": config.DEFAULT_MAX_PIXELS,
    "time_limit": config.DEFAULT_TIME_LIMIT,
    "wait": 0.0,
}
