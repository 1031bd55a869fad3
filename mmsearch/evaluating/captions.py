"""Files of captions -> one record type: which words name which image.

Read as they are published: JSON Lines (`{"file": ..., "captions": [...]}` a line), CSV and TSV with a header, MSCOCO's
captions (`images` and `annotations`; Chen et al., 2015, arXiv:1504.00325), the Karpathy splits of MSCOCO and Flickr
(`images[].sentences[].raw`; Karpathy & Fei-Fei, 2015, arXiv:1412.2306), and folders with a subfolder for each class.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmsearch.base.errors import SourceError, UsageError
from mmsearch.base.paths import absolute
from mmsearch.base.records import ScanOptions
from mmsearch.base.text import one_line
from mmsearch.indexing import scan

# "A good default" for a class by its name (Radford et al., 2021, arXiv:2103.00020, section 3.1.4).
DEFAULT_PROMPT = "a photo of a {}"

# What a file's name, its captions and its part of a data set are called, in JSON Lines and in the header of a CSV file.
_FILE_FIELDS = ("file", "image", "path", "filepath", "file_name", "filename", "image_path", "image_name")
_CAPTION_FIELDS = ("captions", "caption", "title", "text", "comment")
_SPLIT_FIELD = "split"
_DELIMITERS = (",", "\t", ";", "|")

_FORMS = "use .jsonl, .csv, .tsv, MSCOCO or Karpathy .json, or a folder with a subfolder for each class"


@dataclass(frozen=True, slots=True)
class CaptionedImage:
    """An image file (absolute path) and the different texts that name it, at least one.

    `content_hash` (hex BLAKE2b-128) is there where it was written down with the captions: it finds a moved file.
    """

    path: str
    captions: tuple[str, ...]
    content_hash: str | None = None


@dataclass(frozen=True, slots=True)
class CaptionSet:
    """What a source says. `images` are in its order, each path once; `missing` are paths at which there is no file.

    `classes` are the texts of all classes, of a folder of classes: the prompt with their names in it. Every image then
    has one of them as its caption. `splits` counts the images (or rows) of each part, where the source has parts and
    all of them were read.
    """

    source: str
    images: tuple[CaptionedImage, ...]
    missing: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    splits: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class _Row:
    """A file as a source names it (the first of `names` that is there counts), and texts."""

    names: tuple[str, ...]
    captions: tuple[str, ...]
    split: str | None = None
    content_hash: str | None = None


def read(
    source: str | os.PathLike[str],
    *,
    images: str | os.PathLike[str] | None = None,
    split: str | None = None,
    prompt: str | None = None,
) -> CaptionSet:
    """Read a file of captions, or a folder of classes.

    Relative names are below the folder `images`, else beside the file. Runs of white space count as one space, and
    texts that an image has twice count once. `split` keeps one part of a data set; `prompt` makes a text of a class
    (None: `DEFAULT_PROMPT`). Raises `SourceError` where nothing can be made of the source, `UsageError` for an option
    that does not go with it.
    """
    path = absolute(source)
    if os.path.isdir(path):
        if split is not None or images is not None:
            raise UsageError(f"{path} is a folder of classes, whose images are in it", "leave out --split and --images")
        return _read_classes(path, DEFAULT_PROMPT if prompt is None else prompt)
    if prompt is not None:
        raise UsageError("--prompt is for a folder of classes", f"leave it out: {path} has captions of its own")
    rows = list(_rows(path))
    splits = _count_splits(rows)
    if split is not None:
        rows = [row for row in rows if row.split == split]
        if not rows:
            known = ", ".join(splits) or "none"
            raise UsageError(f"{path} has no split {split!r}", f"its splits: {one_line(known)}")
    base = absolute(images) if images is not None else os.path.dirname(path)
    return _gathered(path, rows, base, splits if split is None else None)


def to_line(image: CaptionedImage) -> str:
    """A line of JSON Lines that `read` understands, without its end. Paths that are not UTF-8 keep their bytes."""
    fields: dict[str, Any] = {"file": image.path, "captions": list(image.captions)}
    if image.content_hash is not None:
        fields["hash"] = image.content_hash
    is_text = not any("\ud800" <= mark <= "\udfff" for mark in image.path)
    return json.dumps(fields, ensure_ascii=not is_text)


# --- from rows to records ---


def _gathered(source: str, rows: Iterable[_Row], base: str, splits: Mapping[str, int] | None) -> CaptionSet:
    captions: dict[str, dict[str, None]] = {}
    hashes: dict[str, str] = {}
    missing: dict[str, None] = {}
    for row in rows:
        texts = [" ".join(text.split()) for text in row.captions if text.strip()]
        if not texts:
            continue
        path = _path(row, base)
        if row.content_hash is not None:
            hashes[path] = row.content_hash
        elif not os.path.isfile(path):
            missing[path] = None
            continue
        captions.setdefault(path, {}).update(dict.fromkeys(texts))
    images = tuple(CaptionedImage(path, tuple(texts), hashes.get(path)) for path, texts in captions.items())
    if not images and not missing:
        raise SourceError(f"no captions in {source}", _FORMS)
    if not images:
        raise SourceError(
            f"none of the {len(missing):,} images that {source} names exists (the first: {next(iter(missing))})",
            "give the folder that they are in with --images",
        )
    return CaptionSet(source, images, tuple(missing), splits=splits)


def _path(row: _Row, base: str) -> str:
    paths = [os.path.normpath(os.path.join(base, name)) for name in row.names]
    return next((path for path in paths if os.path.isfile(path)), paths[0])


def _count_splits(rows: Iterable[_Row]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for row in rows:
        if row.split is not None:
            counts[row.split] = counts.get(row.split, 0) + 1
    return counts


# --- formats ---


def _rows(path: str) -> Iterator[_Row]:
    ending = os.path.splitext(path)[1].lower()
    readers: dict[str, Callable[[str, str], Iterator[_Row]]] = {
        ".jsonl": _from_json_lines,
        ".ndjson": _from_json_lines,
        ".json": _from_json,
        ".csv": _from_csv,
        ".tsv": _from_csv,
        ".txt": _from_csv,
    }
    if not os.path.exists(path):
        raise SourceError(f"no such file: {path}", _FORMS)
    if ending not in readers:
        raise SourceError(f"{path} is not a known kind of file", _FORMS)
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:  # noqa: PTH123  (a path of any bytes)
            text = file.read()
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} is not UTF-8 (byte {error.start})", "save it as UTF-8") from error
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}", "check the path") from error
    yield from readers[ending](path, text)


def _from_json_lines(path: str, text: str) -> Iterator[_Row]:
    for number, line in enumerate(text.split("\n"), 1):  # `splitlines` would also split inside of texts, at U+2028
        if line.strip():
            where = f"{path} line {number}"
            yield _from_record(_parsed(line, where), where)


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{where} is not valid JSON: {one_line(str(error))}", _FORMS) from error


def _from_record(record: Any, where: str) -> _Row:
    """A JSON object with a file and its captions, whatever common names its fields have."""
    if not isinstance(record, dict):
        raise SourceError(f"{where} is not a JSON object", 'a line is {"file": "cat.jpg", "captions": ["a cat"]}')
    name, captions = _field(record, _FILE_FIELDS, where), _field(record, _CAPTION_FIELDS, where)
    if isinstance(captions, str):
        captions = [captions]
    if not isinstance(name, str) or not name or "\0" in name:
        raise SourceError(f"{where}: the file is {one_line(repr(name))}, which is not a name", "write a path as text")
    if not isinstance(captions, list) or not all(isinstance(caption, str) for caption in captions):
        raise SourceError(f"{where}: the captions are {one_line(repr(captions))}", "write a list of texts")
    split, content = record.get(_SPLIT_FIELD), record.get("hash")
    return _Row(
        (name,),
        tuple(captions),
        split if isinstance(split, str) else None,
        content if isinstance(content, str) and _is_hash(content) else None,
    )


def _is_hash(text: str) -> bool:
    return len(text) == 32 and all(mark in "0123456789abcdef" for mark in text)


def _field(record: Mapping[str, Any], names: Sequence[str], where: str) -> Any:
    for name in names:
        if name in record:
            return record[name]
    raise SourceError(f"{where} has no {names[0]!r}", f"any of these names will do: {', '.join(names)}")


def _from_csv(path: str, text: str) -> Iterator[_Row]:
    """Rows with a header that names a file and a caption; an image with several captions has several rows."""
    header = text.partition("\n")[0]
    for delimiter in _DELIMITERS:
        names = [name.strip().casefold() for name in next(csv.reader([header.strip()], delimiter=delimiter), [])]
        columns = [next((names.index(name) for name in wanted if name in names), None) for wanted in _CSV_FIELDS]
        if columns[0] is not None and columns[1] is not None:
            yield from _csv_rows(path, text, delimiter, columns[0], columns[1], columns[2])
            return
    raise SourceError(
        f"{path} has no header that names a file and a caption: {one_line(header)!r}",
        "the first line is, for example: file,caption",
    )


_CSV_FIELDS = (_FILE_FIELDS, _CAPTION_FIELDS, (_SPLIT_FIELD,))


def _csv_rows(path: str, text: str, delimiter: str, file: int, caption: int, split: int | None) -> Iterator[_Row]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        next(reader)
        for row in reader:
            if not any(field.strip() for field in row):
                continue
            if len(row) <= max(file, caption) or not row[file].strip() or "\0" in row[file]:
                raise SourceError(
                    f"{path} line {reader.line_num} names no file or has no caption: {one_line(repr(row))}",
                    "a text with the delimiter in it stands in double quotes",
                )
            part = row[split].strip() if split is not None and len(row) > split else None
            yield _Row((row[file].strip(),), (row[caption],), part or None)
    except csv.Error as error:
        raise SourceError(f"{path} line {reader.line_num}: {one_line(str(error))}", "check its quotes") from error


def _from_json(path: str, text: str) -> Iterator[_Row]:
    """MSCOCO's captions, a Karpathy split, or a list of the objects that JSON Lines has."""
    content = _parsed(text, path)
    if isinstance(content, list):
        for number, record in enumerate(content, 1):
            yield _from_record(record, f"{path} entry {number}")
        return
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, list) or not all(isinstance(image, dict) for image in images):
        raise SourceError(f"{path} is neither MSCOCO's captions nor a Karpathy split: it has no list 'images'", _FORMS)
    try:
        if isinstance(content.get("annotations"), list):
            yield from _from_coco(images, content["annotations"])
        else:
            yield from _from_karpathy(images)
    except (KeyError, TypeError, AttributeError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else "an entry of another kind"
        raise SourceError(
            f"{path} has {one_line(what)} where captions should be",
            "MSCOCO's are in captions_*.json, Karpathy's in dataset_*.json",
        ) from error


def _from_coco(images: list[dict[str, Any]], annotations: list[dict[str, Any]]) -> Iterator[_Row]:
    names = {image["id"]: _text(image["file_name"]) for image in images}
    for annotation in annotations:
        yield _Row((names[annotation["image_id"]],), (_text(annotation["caption"]),))


def _from_karpathy(images: list[dict[str, Any]]) -> Iterator[_Row]:
    for image in images:
        name, folder = _text(image["filename"]), image.get("filepath")
        names = (os.path.join(folder, name), name) if isinstance(folder, str) else (name,)
        split = image.get("split")
        texts = tuple(_text(sentence["raw"]) for sentence in image["sentences"])
        yield _Row(names, texts, split if isinstance(split, str) else None)


def _text(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise TypeError
    return value


# --- folders of classes ---


def _read_classes(folder: str, prompt: str) -> CaptionSet:
    """Every file below a subfolder; which of them are images is for the decoder to say."""
    if "{}" not in prompt:
        raise UsageError(f"the prompt {prompt!r} has no {{}} for the class", f'for example --prompt "{DEFAULT_PROMPT}"')
    with os.scandir(folder) as entries:
        below = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    names = {name: " ".join(name.replace("_", " ").split()) for name in below}
    if len(names) < 2:
        raise SourceError(f"{folder} has fewer than two subfolders", "a folder of classes has one for each class")
    texts = {name: prompt.replace("{}", spoken) for name, spoken in names.items()}
    images = [
        CaptionedImage(path, (text,))
        for name, text in texts.items()
        for path in _files_below(os.path.join(folder, name))
    ]
    if not images:
        raise SourceError(f"no files in the subfolders of {folder}", "a folder of classes has its images there")
    return CaptionSet(folder, tuple(images), classes=tuple(dict.fromkeys(texts.values())))


def _files_below(folder: str) -> Iterator[str]:
    options = ScanOptions(follow_symlinks=True)
    for found in scan.walk(folder, folder, options, _refuse):
        for name in sorted(found.files):
            yield os.path.join(found.path, os.fsdecode(name))


def _refuse(path: str, error: OSError) -> None:
    raise SourceError(f"{path} cannot be read: {error.strerror or error}", "check its permissions")
