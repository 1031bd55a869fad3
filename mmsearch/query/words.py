"""The words of a question, each declared here and nowhere else: its type, its meaning, what its value is called.

They are the keywords of `Collection.search`, the keys of a batch line and, with - for _, options of `mmsearch query`.
`parse` derives from them what values it takes, `mmsearch.cli.query.options` the options and their help.
"""

# Annotations are evaluated here (no `from __future__`): they are read in every process.

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

from mmsearch.base import config
from mmsearch.base.errors import UsageError
from mmsearch.base.paths import AnyPath

TextTerm = str | tuple[str, float]
ImageTerm = AnyPath | bytes | tuple[AnyPath | bytes, float]
LikeTerm = AnyPath | int | tuple[AnyPath | int, float]


@dataclass(frozen=True, slots=True)
class Word:
    """What is said of a word: what it asks for, what stands for its value, what holds where it is not given."""

    help: str
    value: str = ""
    default: str = ""


# A Sequence in a type means that there may be several values; a tuple is one value of several parts. None: not given.


class Text(TypedDict, total=False):
    """The word that needs no name."""

    text: Annotated[str | None, Word("What to look for, in words.", "TEXT")]


class Terms(TypedDict, total=False):
    """What else to look for; a pair has a weight."""

    plus: Annotated[
        str | Sequence[TextTerm] | None, Word("Also look for this (append :WEIGHT, default 1).", "TEXT[:WEIGHT]")
    ]
    minus: Annotated[
        str | Sequence[TextTerm] | None, Word("Rank images like this lower (append :WEIGHT).", "TEXT[:WEIGHT]")
    ]
    image: Annotated[
        AnyPath | bytes | Sequence[ImageTerm] | None,
        Word("Find images like this file or http(s) URL.", "PATH[:WEIGHT]"),
    ]
    like: Annotated[
        AnyPath | int | Sequence[LikeTerm] | None,
        Word("Find images like this indexed one, without loading the model.", "PATH_OR_ID[:WEIGHT]"),
    ]
    expr: Annotated[str | None, Word("All terms in one expression: '2*beach + 0.5*sunset - people'.", "EXPRESSION")]
    # Terms as the JSON of an answer has them, for programs: no option.
    terms: Sequence[Mapping[str, Any]] | None
    more: Annotated[
        AnyPath | int | Sequence[AnyPath | int] | None,
        Word("Indexed images that results should resemble more.", "PATH_OR_ID"),
    ]
    less: Annotated[
        AnyPath | int | Sequence[AnyPath | int] | None,
        Word("Indexed images that results should resemble less.", "PATH_OR_ID"),
    ]


class Reading(TypedDict, total=False):
    """How terms are read."""

    templates: Annotated[
        bool | None,
        Word(
            "Put texts of up to three words into prompt templates, or use them exactly as given, not centred.",
            default="whichever measured best for the model",
        ),
    ]
    centring: Annotated[
        bool | None,
        Word(
            "Subtract what all short texts have in common from texts of up to five words, or never do.",
            default="whichever measured best for the model; off with --raw",
        ),
    ]
    allow_private_urls: Annotated[bool | None, Word("Also fetch --image from this machine and from private networks.")]


class Filtering(TypedDict, total=False):
    """Which images may be results (`mmsearch.query.filters`): all that are given must hold."""

    below: Annotated[AnyPath | Sequence[AnyPath] | None, Word("Only images in this folder or below it.", "DIR")]
    glob: Annotated[
        str | Sequence[str] | None, Word("Only files that match 'IMG_*', '2021/*.jpg' or the like.", "PATTERN")
    ]
    after: Annotated[str | None, Word("Only images from this date on: 2021-07, yesterday, 'last summer', ...", "DATE")]
    before: Annotated[str | None, Word("Only images from before this date.", "DATE")]
    min_size: Annotated[str | int | None, Word("Only files of at least this size: 500k, 10MB, 1.5GiB.", "SIZE")]
    max_size: Annotated[str | int | None, Word("Only files of at most this size.", "SIZE")]
    min_width: Annotated[int | None, Word("Only images at least this many pixels wide.", "PIXELS")]
    min_height: Annotated[int | None, Word("Only images at least this many pixels high.", "PIXELS")]
    orientation: Annotated[str | None, Word("Only landscape, portrait or square images.", "SHAPE")]
    image_format: Annotated[
        str | Sequence[str] | None, Word("Only images in this format, such as jpeg, png or heic.", "FORMAT")
    ]
    camera: Annotated[str | None, Word("Only photos from cameras with this in their name.", "TEXT")]
    near: Annotated[
        str | tuple[float, float, float] | None,
        Word("Only photos taken within KM kilometres of a place.", "LAT,LON,KM"),
    ]
    has_gps: Annotated[bool | None, Word("Only photos with a GPS location, or only those without.")]
    where: Annotated[
        str | None, Word("Only images that satisfy \"width > 2000 and camera like '%Canon%'\".", "CONDITION")
    ]


class Results(TypedDict, total=False):
    """How many results, and how good."""

    top: Annotated[int | None, Word("Number of results.", "N", default=str(config.DEFAULT_TOP))]
    likely: Annotated[bool | None, Word(f"Only results with a confidence of {config.LIKELY:g} or more.")]
    min_confidence: Annotated[float | None, Word("Only results with at least this confidence (0 to 1).", "P")]
    min_score: Annotated[float | None, Word("Only results with at least this cosine.", "COSINE")]
    diverse: Annotated[
        bool | None, Word("Show near-duplicates once, with their number, and other images in their place.")
    ]
    diverse_at: Annotated[
        float | None,
        Word(
            "Like --diverse, with near-duplicates from this cosine on.",
            "COSINE",
            default=f"{config.NEAR_DUPLICATE:g}",
        ),
    ]
    include_self: Annotated[bool | None, Word("Also show the query image itself.")]
    exact: Annotated[bool | None, Word("Compare with every image, however many there are.")]
    offline: Annotated[bool | None, Word("Also show images in folders that are offline.")]


class Options(Reading, Results, total=False):
    """The words that are fields of a `Query` under the same name, but for `likely`."""


class SearchWords(Terms, Filtering, Options, total=False):
    """All but `text`, which `Collection.search` also takes without its name."""


class Words(Text, SearchWords, total=False):
    """All words of a question."""


# Earlier words, and those of today: `in` cannot be a keyword of a Python function, and `k` is not a word. They go on
# working wherever words are given.
EARLIER = {"in": "below", "k": "top"}


def current(words: Mapping[str, Any]) -> dict[str, Any]:
    """The words by the names that they have now. Of several folders each counts, whichever name it came by.

    Raises `UsageError` where both names of another word are given.
    """
    found = {name: value for name, value in words.items() if name not in EARLIER}
    for earlier, name in EARLIER.items():
        if earlier in words:
            found[name] = _joined(name, earlier, found.get(name), words[earlier])
    return found


def _joined(name: str, earlier: str, value: Any, other: Any) -> Any:
    """The value of a word from those that it has by both of its names; None where it is not given."""
    if value is None or other is None:
        return other if value is None else value
    if name != "below":
        raise UsageError(f"{earlier!r} and {name!r} are two names of one option", f"give {name!r} alone")
    return [one for some in (value, other) for one in (some if isinstance(some, list | tuple) else [some])]
