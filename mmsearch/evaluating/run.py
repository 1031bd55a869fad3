"""The evaluation flow: captions -> embeddings of images and of texts -> ranks -> figures with intervals."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from mmsearch.base.errors import ModelMismatchError, SourceError, StorageError
from mmsearch.base.events import Event, Notice
from mmsearch.base.records import EncoderInfo
from mmsearch.encoders import trusted
from mmsearch.evaluating import embeddings, resampling
from mmsearch.evaluating.captions import CaptionSet
from mmsearch.evaluating.embeddings import EmbeddedImages
from mmsearch.evaluating.metrics import retrieve
from mmsearch.evaluating.pairs import Matching, match
from mmsearch.evaluating.report import IMAGE_TO_TEXT, TEXT_TO_IMAGE, Evaluation, measured
from mmsearch.searching import centring
from mmsearch.searching.embed_texts import TextEmbedder
from mmsearch.store.catalog import Catalog, StoredEncoder

if TYPE_CHECKING:
    from numpy.typing import NDArray

Centring = Literal["auto", "on", "off", "both"]

# What each choice means for short texts, in `centring.applies`'s words.
_WANTED: dict[Centring, tuple[bool | None, ...]] = {
    "auto": (None,),
    "on": (True,),
    "off": (False,),
    "both": (True, False),
}

# Texts in one pass through the text tower.
_TEXT_BATCH = 64


@dataclass(frozen=True, slots=True)
class Settings:
    """How to evaluate. `models` are texts of `--model`; none: the collection's model, else the default one.

    `collection` is the folder of a collection whose embeddings are taken; other models than its own encode the images
    anew. With `whole`, texts search all of it, not only the images with captions (its own model only). `centring` says
    whether short texts that search images are centred: as in queries (`auto`), or not, or each model is evaluated with
    and without (`both`). `draws` and `seed` are of the resampling. `may_trust` is asked before the files of a model are
    read that the collection names and the user has not.
    """

    models: Sequence[str] = ()
    collection: Path | None = None
    whole: bool = False
    device: str = "auto"
    centring: Centring = "auto"
    draws: int = resampling.DRAWS
    seed: int = 0
    may_trust: Callable[[str], bool] = trusted.nobody


@dataclass(frozen=True, slots=True)
class Outcome:
    """The evaluations, in the order of the models, and the images that had to be left out, by path, with reasons."""

    evaluations: list[Evaluation]
    left_out: dict[str, str]


def evaluate(
    captions: CaptionSet, settings: Settings, *, show: Callable[[Event], None], stop: threading.Event
) -> Outcome:
    """Evaluate one model or several over the same images and texts.

    `show` is given what an index run tells. Raises `SourceError` where no image is left, `CollectionNotFoundError`,
    `CollectionEmptyError`, `ModelError`, `StorageError`, and `KeyboardInterrupt` where `stop` was set.
    """
    with ExitStack() as stack:
        own = None
        if settings.collection is not None:
            catalog = stack.enter_context(Catalog(settings.collection, write=False))
            own = _Own(catalog, catalog.require_encoder())
        found = [_embedded(spec, captions, own, settings, show, stop) for spec in _specs(settings, own, show)]
        left_out = _left_out(captions, found)
        pairs = match(captions, {path: found[0].images.contents[path] for path in _common(found)})
        if not pairs.contents:
            where = f"in the collection at {settings.collection}" if own else "an image that can be read"
            raise SourceError(f"none of the images that {captions.source} names is {where}", "check what it names")
        beside = own if own and settings.whole and [one.images.info for one in found] == [own.encoder.info] else None
        wanted = _WANTED[settings.centring]
        if any(wanted) and not any(map(centring.is_short, pairs.texts)):
            show(Notice(f"no caption has {centring.MOST_WORDS} words or fewer, so none is centred"))
        return Outcome(
            [_evaluated(pairs, one, centre, beside, settings) for one in found for centre in wanted], left_out
        )


@dataclass(frozen=True, slots=True)
class _Own:
    """The collection whose embeddings are taken, open for reading."""

    catalog: Catalog
    encoder: StoredEncoder


@dataclass(frozen=True, slots=True)
class _Embedded:
    """What one model made of the images, and of the texts: `words` float32 (t, dim), `rows` has the row of each.

    `centre` (dim,) is what short texts are centred by, None where none is to be.
    """

    images: EmbeddedImages
    rows: dict[str, int]
    words: NDArray[np.float32]
    centre: NDArray[np.float32] | None

    def questions(self, texts: Sequence[str], wanted: bool | None) -> NDArray[np.float32]:
        """The vectors (n, dim) of texts as questions, the short ones centred where that is `wanted`."""
        vectors = self.words[[self.rows[text] for text in texts]]
        if self.centre is not None:
            short = [centring.applies(text, self.images.info.spec, wanted) for text in texts]
            vectors[short] = centring.centred(vectors[short], self.centre)
        return vectors


def _specs(settings: Settings, own: _Own | None, show: Callable[[Event], None]) -> list[str]:
    """The canonical names of the models, each once."""
    from mmsearch.encoders import choose_default, resolve

    def default() -> str:
        return own.encoder.info.spec if own else choose_default(lambda line: show(Notice(line)))

    named = [default() if model == "auto" else model for model in settings.models or ["auto"]]
    return list(dict.fromkeys(resolve(name).spec for name in named))


def _embedded(
    spec: str,
    captions: CaptionSet,
    own: _Own | None,
    settings: Settings,
    show: Callable[[Event], None],
    stop: threading.Event,
) -> _Embedded:
    """Images and texts by one model; of the collection, or anew where the cache has them of other weights."""
    texts = list(dict.fromkeys([*(text for image in captions.images for text in image.captions), *captions.classes]))

    def with_texts(images: EmbeddedImages) -> _Embedded:
        rows = {text: row for row, text in enumerate(texts)}
        return _Embedded(images, rows, *_encode_texts(images.info, texts, settings, show))

    def anew() -> _Embedded:
        images = embeddings.encoded(captions.images, spec, device=settings.device, show=show, stop=stop)
        return with_texts(images)

    if own is not None and spec == own.encoder.info.spec:
        return with_texts(embeddings.stored(own.catalog, own.encoder, captions.images))
    try:
        return anew()
    except (ModelMismatchError, StorageError):  # of other weights, or damaged: it is only a cache
        embeddings.forget(spec)
        return anew()


def _common(found: Sequence[_Embedded]) -> set[str]:
    return set.intersection(*(set(one.images.contents) for one in found))


def _left_out(captions: CaptionSet, found: Sequence[_Embedded]) -> dict[str, str]:
    """Paths that some model has no embedding of; of a folder of classes only those that claim to be images."""
    common = _common(found)
    failed = {path: reason for one in found for path, reason in one.images.failed.items()}
    absent = [image.path for image in captions.images if image.path not in common]
    return {
        path: failed.get(path, "not in the collection, or not an image")
        for path in absent
        if path in failed or not captions.classes
    }


def _evaluated(
    pairs: Matching, embedded: _Embedded, wanted: bool | None, own: _Own | None, settings: Settings
) -> Evaluation:
    """One model's evaluation, with short questions centred where that is `wanted`; with `own`, texts search everything
    in that collection.

    Images are compared with texts as the model takes them: a centred text has another scale than one that is not.
    """
    images = embedded.images
    candidates = images.vectors[[images.rows[content] for content in pairs.contents]]
    texts = embedded.words[[embedded.rows[text] for text in pairs.texts]]
    beside = _Beside(own, images) if own is not None else None
    questions = embedded.questions(pairs.texts[: len(pairs.right_images)], wanted)
    by_text = retrieve(questions, candidates, pairs.right_images, beside.vectors() if beside else ())
    by_image = retrieve(candidates, texts, pairs.right_texts)
    directions = {
        TEXT_TO_IMAGE: measured(by_text, pairs.text_units, draws=settings.draws, seed=settings.seed),
        IMAGE_TO_TEXT: measured(by_image, pairs.image_units, draws=settings.draws, seed=settings.seed),
    }
    count = beside.count if beside else 0
    others = beside.paths(by_text.first, len(candidates)) if beside else {}
    is_centred = centring.is_default(images.info.spec) if wanted is None else wanted
    label = {True: ", centred", False: ", not centred"}[is_centred] if settings.centring == "both" else ""
    return Evaluation(images.info.spec, pairs, len(candidates) + count, directions, others, is_centred, label)


class _Beside:
    """The images of a collection beside those with captions, as candidates numbered in the order of `vectors`."""

    def __init__(self, own: _Own, images: EmbeddedImages) -> None:
        self._own, self._images = own, images
        self._ids: list[NDArray[np.int64]] = []

    def vectors(self) -> Iterator[NDArray[np.float32]]:
        with self._own.catalog.snapshot():
            for ids, vectors in embeddings.rest(self._own.catalog, self._own.encoder, self._images):
                self._ids.append(ids)
                yield vectors

    @property
    def count(self) -> int:
        return sum(map(len, self._ids))

    def paths(self, numbers: NDArray[np.int64], first: int) -> dict[int, str]:
        """A path of each candidate among `numbers` that is one of these: they are numbered from `first`."""
        ids = np.concatenate([np.empty(0, np.int64), *self._ids])
        wanted = {int(number): int(ids[number - first]) for number in set(numbers.tolist()) if number >= first}
        records = self._own.catalog.files.of_contents(list(wanted.values()))
        gone = "(an image that has been removed since)"
        return {number: records[content][0].path if content in records else gone for number, content in wanted.items()}


def _encode_texts(
    info: EncoderInfo, texts: Sequence[str], settings: Settings, show: Callable[[Event], None]
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Embeddings of the texts, float32 (n, dim), by the very model that made the images', and what centres those that
    are to be centred as the settings say, (dim,): None where there are none, since it may have to be made first."""
    from mmsearch.encoders import load_query_encoder

    encoder = load_query_encoder(info, notice=lambda line: show(Notice(line)), may_trust=settings.may_trust)
    if encoder.info.fingerprint != info.fingerprint:
        raise ModelMismatchError.of(info.spec)
    # A batch is padded to its longest text: alike lengths together.
    order = np.array(sorted(range(len(texts)), key=lambda number: len(texts[number])))
    batches = [order[start : start + _TEXT_BATCH] for start in range(0, len(order), _TEXT_BATCH)]
    vectors = np.empty((len(texts), info.dim), np.float32)
    for batch in batches:
        vectors[batch] = encoder.encode_texts([texts[number] for number in batch])
    is_needed = any(
        centring.applies(text, info.spec, choice) for choice in _WANTED[settings.centring] for text in texts
    )
    return vectors, TextEmbedder(encoder).centre() if is_needed else None
