"""Records that travel between rooms. All are frozen; none imports anything heavy.

Paths are `str` as `os.fsdecode` gives them: bytes that are not UTF-8 become surrogate escapes, so that
`os.fsencode` gives back the exact name on disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ResizeMode = Literal["shortest", "longest", "squash", "halfway"]
Interpolation = Literal["bicubic", "bilinear", "nearest", "lanczos"]


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A regular file seen by a scan: its path, and what tells whether it has changed (`mmsearch.base.file_state`).

    It is read through no symbolic link beneath the folder `beneath`; None: links are followed (see `base.beneath`).
    """

    path: str
    size: int
    mtime_ns: int
    ctime_ns: int | None = None
    inode: int | None = None
    beneath: str | None = None


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What is known of an image's content. Width and height are in pixels, after EXIF orientation.

    `taken_at` is when it was taken, in ISO 8601, local time of the camera, with parts of a second and the offset from
    UTC where they are known; `latitude` and `longitude` are in degrees, north and east positive. `remark` says what is
    amiss with a picture that could be used all the same.
    """

    width: int
    height: int
    format: str
    taken_at: str | None = None
    camera: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    remark: str | None = None


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One indexed file. `content_hash` is the hex BLAKE2b-128 digest of its bytes."""

    id: int
    path: str
    size: int
    mtime_ns: int
    content_id: int
    content_hash: str
    facts: ImageFacts


@dataclass(frozen=True, slots=True)
class Preprocess:
    """How an upright RGB image becomes an encoder's input of `size` x `size` pixels.

    `resize` is the length in pixels of the side that `resize_mode` scales: `shortest` (then centre crop to `size`),
    `longest` (then pad with `fill` to `size`), `squash` (both sides, aspect ratio lost) or `halfway` between `shortest`
    and `squash`: the short side, the long one squeezed until their ratio is the square root of what it was (then centre
    crop to `size`). `mean` and `std` are per RGB channel, for values scaled to 0..1; encoders apply them themselves.
    """

    size: int
    resize: int
    resize_mode: ResizeMode = "shortest"
    interpolation: Interpolation = "bicubic"
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    fill: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, for the catalog."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Preprocess:
        """The inverse of `to_json`."""
        red_green_blue = {name: tuple(fields[name]) for name in ("mean", "std")}
        return cls(**{**fields, **red_green_blue})


@dataclass(frozen=True, slots=True)
class EncoderInfo:
    """What identifies an encoder and its space.

    `spec` is the canonical `--model` text that loads it again; `fingerprint` (hex) changes when weights, architecture
    or preprocessing change; `dim` is the width of its embeddings. Images and texts share one space, and every
    embedding is L2-normalised, so a dot product is a cosine.
    """

    spec: str
    fingerprint: str
    dim: int
    preprocess: Preprocess


class Encoder(Protocol):
    """Turns images and texts into embeddings in one space."""

    @property
    def info(self) -> EncoderInfo: ...

    @property
    def device(self) -> str:
        """Where it runs: `cpu`, `cuda:0`, `mps`."""
        ...

    @property
    def precision(self) -> str:
        """The floating-point type of the image tower: `fp32`, `bf16`, `fp16` or `int8`."""
        ...

    @property
    def batch_size(self) -> int:
        """Images in one call of `encode_images` that suit the device best."""
        ...

    @property
    def concurrency(self) -> int:
        """How many threads should call `encode_images` at a time to keep the device, or devices, busy."""
        ...

    def encode_images(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed `pixels`, uint8 (n, size, size, 3) RGB as `preprocess.prepare` makes them.

        Returns float32 (n, dim), L2-normalised, in the order given; (0, dim) for no images. `n` is one batch.
        """
        ...

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed `texts`; returns float32 (n, dim), L2-normalised, in the order given; (0, dim) for no texts."""
        ...


@dataclass(frozen=True, slots=True)
class Hit:
    """One search result. `score` is the exact cosine of the query's and the image's embeddings, None in a list by date.

    `offline` says that the image is in a folder that was missing when it was last looked for. `confidence`, 0 to 1,
    is how sure the result is (see `mmsearch.searching.confidence`), None if it cannot be told. `duplicates` counts
    the near-duplicates that the result stands for besides itself, if they were to be shown once.
    """

    rank: int
    score: float | None
    image: ImageRecord
    offline: bool = False
    confidence: float | None = None
    duplicates: int = 0

    @property
    def path(self) -> str:
        return self.image.path


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """What a scan of a root takes in. Patterns have gitignore syntax, relative to the root, and no case.

    With `ignore_inode`, a file whose size and mtime are as before is not read again, whatever its ctime and inode say.
    `default_excludes` leaves out what `mmsearch.indexing.system_files` lists: thumbnails, trash and the like.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    hidden: bool = False
    follow_symlinks: bool = False
    ignore_inode: bool = False
    default_excludes: bool = True


@dataclass(frozen=True, slots=True)
class RootRecord:
    """A folder that the user asked to index, with the options of its last scan.

    `offline_since` (UTC, ISO 8601) is when a run first found it missing, None while it is there.
    """

    id: int
    path: str
    options: ScanOptions = field(default_factory=ScanOptions)
    images: int = 0
    offline_since: str | None = None


@dataclass(frozen=True, slots=True)
class OtherModel:
    """A model beside the collection's own: one that a reindex fills in, or one that was the collection's before.

    `embeddings` counts the different images that have an embedding by it, `missing` those that have none.
    """

    spec: str
    dim: int
    state: Literal["unfinished", "kept"]
    embeddings: int
    missing: int


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """What a collection holds. Sizes are in bytes, of all models together; `failures` are (path, reason)."""

    path: str
    roots: list[RootRecord]
    images: int
    embeddings: int
    model: str | None
    dim: int | None
    fingerprint: str | None
    catalog_bytes: int
    vectors_bytes: int
    vectors_kind: str | None
    last_run: dict[str, Any] | None
    failures: list[tuple[str, str]]
    other_models: list[OtherModel] = field(default_factory=list)
