"""Files of captions as they are published, and what is said about those that cannot be read."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from mmsearch.base.errors import MMSearchError, SourceError, UsageError
from mmsearch.evaluating import captions
from mmsearch.evaluating.captions import CaptionedImage, CaptionSet


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with empty files: whether they are images is for others to say."""
    for name in ("cat.jpg", "dog.jpg", "val2014/bird.jpg", "photos/fish.jpg", "photos/cat.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def said(found: CaptionSet, folder: Path) -> dict[str, list[str]]:
    return {os.path.relpath(image.path, folder): list(image.captions) for image in found.images}


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path


def test_sample_data(sample_data: Path) -> None:
    found = captions.read(sample_data / "captions.jsonl")
    assert (len(found.images), sum(len(image.captions) for image in found.images)) == (24, 62)
    assert found.images[0].path == str(sample_data / "cat.jpg") and found.missing == ()
    assert found.images[0].captions[0] == "a close-up of a tabby cat's face"


def test_json_lines(folder: Path) -> None:
    lines = [
        {"file": "cat.jpg", "captions": ["a  cat ", "a cat", "   "]},
        {"image": str(folder / "dog.jpg"), "caption": "ein Hündchen\n"},
        {"file": "gone.jpg", "captions": ["nothing"]},
        {"file": "./cat.jpg", "captions": ["a pet"]},
        {"file": "photos/cat.jpg", "captions": []},
    ]
    source = write(folder / "c.jsonl", "\ufeff" + "\n\n".join(map(json.dumps, lines)))
    found = captions.read(source)
    assert said(found, folder) == {"cat.jpg": ["a cat", "a pet"], "dog.jpg": ["ein Hündchen"]}
    assert found.missing == (str(folder / "gone.jpg"),)


def test_images_elsewhere(folder: Path) -> None:
    source = write(folder / "c.jsonl", '{"file": "cat.jpg", "captions": ["a cat"]}')
    assert said(captions.read(source, images=folder / "photos"), folder) == {"photos/cat.jpg": ["a cat"]}


@pytest.mark.parametrize(
    "text",
    [
        'file,caption\ncat.jpg,"a cat, asleep"\ncat.jpg,a pet\n\ndog.jpg,a dog\n',
        "filepath\ttitle\r\ncat.jpg\ta cat, asleep\r\ncat.jpg\ta pet\r\ndog.jpg\ta dog\r\n",
        "image_name| comment_number| comment\ncat.jpg| 0| a cat, asleep\ncat.jpg| 1| a pet\ndog.jpg| 0| a dog\n",
        "number;Image;Caption\n1;cat.jpg;a cat, asleep\n2;cat.jpg;a pet\n3;dog.jpg;a dog\n",
    ],
)
def test_csv(folder: Path, text: str) -> None:
    source = folder / "c.csv"
    source.write_bytes(text.encode("utf-8"))
    assert said(captions.read(source), folder) == {"cat.jpg": ["a cat, asleep", "a pet"], "dog.jpg": ["a dog"]}


def test_csv_splits(folder: Path) -> None:
    source = write(folder / "c.csv", "file,caption,split\ncat.jpg,a cat,train\ndog.jpg,a dog,test\n")
    assert said(captions.read(source, split="test"), folder) == {"dog.jpg": ["a dog"]}
    assert captions.read(source).splits == {"train": 1, "test": 1}


def test_mscoco(folder: Path) -> None:
    content = {
        "info": {},
        "images": [{"id": 7, "file_name": "cat.jpg"}, {"id": 9, "file_name": "dog.jpg"}],
        "annotations": [
            {"id": 1, "image_id": 9, "caption": "A dog."},
            {"id": 2, "image_id": 7, "caption": "A cat."},
            {"id": 3, "image_id": 9, "caption": "A pet.\n"},
        ],
    }
    source = write(folder / "captions_val.json", content)
    assert said(captions.read(source), folder) == {"dog.jpg": ["A dog.", "A pet."], "cat.jpg": ["A cat."]}


def test_karpathy(folder: Path) -> None:
    def image(name: str, split: str, *raw: str, **more: str) -> dict[str, Any]:
        return {"filename": name, "split": split, "sentences": [{"raw": text, "tokens": []} for text in raw], **more}

    content = {
        "dataset": "coco",
        "images": [
            image("bird.jpg", "test", "A bird.", "Something flies.", filepath="val2014"),
            image("cat.jpg", "val", "A cat.", filepath="train2014"),
            image("dog.jpg", "test", "A dog."),
        ],
    }
    source = write(folder / "dataset_coco.json", content)
    test = captions.read(source, split="test")
    assert said(test, folder) == {"val2014/bird.jpg": ["A bird.", "Something flies."], "dog.jpg": ["A dog."]}
    assert test.splits is None
    whole = captions.read(source)
    assert said(whole, folder)["cat.jpg"] == ["A cat."], "without its folder, if it is not there"
    assert whole.splits == {"test": 2, "val": 1}
    with pytest.raises(UsageError, match="no split 'tset'; its splits: test, val"):
        captions.read(source, split="tset")


def test_classes(tmp_path: Path) -> None:
    for name in ("hot_dog/a.jpg", "hot_dog/deeper/b.jpg", "cat/c.jpg", "empty/", ".hidden/d.jpg", "cat/.e.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(exist_ok=True) if name.endswith("/") else path.touch()
    (tmp_path / "README.txt").touch()
    found = captions.read(tmp_path)
    assert said(found, tmp_path) == {
        "cat/c.jpg": ["a photo of a cat"],
        "hot_dog/a.jpg": ["a photo of a hot dog"],
        "hot_dog/deeper/b.jpg": ["a photo of a hot dog"],
    }
    assert found.classes == ("a photo of a cat", "a photo of a empty", "a photo of a hot dog")
    assert captions.read(tmp_path, prompt="{}").classes == ("cat", "empty", "hot dog")
    for options in ({"prompt": "a photo"}, {"split": "test"}, {"images": str(tmp_path)}):
        with pytest.raises(UsageError):
            captions.read(tmp_path, **options)


CAT = '{"file": "cat.jpg", "captions": ["a cat"]}'


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("c.jsonl", "", "no captions in"),
        ("c.jsonl", CAT + "\n{", "c.jsonl line 2 is not valid JSON"),
        ("c.jsonl", "[1]", "line 1 is not a JSON object"),
        ("c.jsonl", '{"captions": []}', "has no 'file'"),
        ("c.jsonl", '{"file": "cat.jpg"}', "has no 'captions'"),
        ("c.jsonl", '{"file": 3, "captions": []}', "the file is 3"),
        ("c.jsonl", '{"file": "a\\u0000b", "captions": []}', "not a name"),
        ("c.jsonl", '{"file": "cat.jpg", "captions": [1]}', "the captions are [1]"),
        ("c.jsonl", '{"file": "none.jpg", "captions": ["x"]}', "--images"),
        ("c.json", "[" * 100_000, "not valid JSON"),
        ("c.json", CAT + "\n" + CAT, "not valid JSON"),
        ("c.json", '{"images": 3}', "no list 'images'"),
        ("c.json", '{"images": [{"id": 1, "file_name": "cat.jpg"}], "annotations": [{"image_id": 1, "bbox": []}]}',
         "no 'caption'"),
        ("c.json", '{"images": [{"id": 1, "file_name": "cat.jpg"}], "annotations": [{"image_id": 2, "caption": "x"}]}',
         "no 2"),
        ("c.json", '{"images": [{"filename": "cat.jpg"}]}', "no 'sentences'"),
        ("c.json", '{"images": [{"filename": "cat.jpg", "sentences": [{"raw": 3}]}]}', "another kind"),
        ("c.csv", "", "no header"),
        ("c.csv", "a,b\ncat.jpg,a cat", "no header"),
        ("c.csv", "file,caption\ncat.jpg", "line 2 names no file or has no caption"),
        ("c.csv", "file,caption\n,a cat", "line 2 names no file"),
        ("c.xml", "<a/>", "not a known kind of file"),
    ],
)  # fmt: skip
def test_what_cannot_be_read(folder: Path, name: str, content: str, words: str) -> None:
    with pytest.raises(SourceError) as error:
        captions.read(write(folder / name, content))
    assert words in str(error.value) and error.value.hint and "\n" not in str(error.value)
    assert len(str(error.value)) < 600


def test_not_there_or_not_text(folder: Path) -> None:
    with pytest.raises(SourceError, match="no such file"):
        captions.read(folder / "nowhere.jsonl")
    (folder / "c.csv").write_bytes(b"file,caption\ncat.jpg,\xff\xfe")
    with pytest.raises(SourceError, match="is not UTF-8"):
        captions.read(folder / "c.csv")
    with pytest.raises(SourceError, match="fewer than two subfolders"):
        captions.read(folder / "photos")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not take such names")
def test_a_line_written_is_the_line_read(tmp_path: Path) -> None:
    names = ["a b.jpg", "Überfahrt\u2028.jpg", "line\nend.jpg", os.fsdecode(b"\xff.jpg")]
    content = "0123456789abcdef" * 2
    images = [CaptionedImage(str(tmp_path / name), ("näh", "x\u2028y"), content) for name in names]
    (tmp_path / "c.jsonl").write_text("".join(captions.to_line(image) + "\n" for image in images), "utf-8")
    found = captions.read(tmp_path / "c.jsonl").images
    assert [image.path for image in found] == [image.path for image in images]
    assert all(image.content_hash == content and image.captions == ("näh", "x y") for image in found)


def test_every_error_is_ours(folder: Path) -> None:
    """Whatever valid JSON says, it is read or refused in one line."""
    odd: list[Any] = [None, 0, "x", [], {}, [[]], [None], {"images": [None]}, {"images": [{}], "annotations": [{}]},
                      {"images": [{"id": [], "file_name": "x"}], "annotations": []},
                      {"images": [{"id": 1, "file_name": "x"}], "annotations": [3]}]  # fmt: skip
    for content in odd:
        with pytest.raises(MMSearchError):
            captions.read(write(folder / "c.json", content))
