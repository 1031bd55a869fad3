"""Names compare as people read them: in one normal form and in any case. They are printed as they are on disk."""

from __future__ import annotations

import os
import shutil
import unicodedata
from pathlib import Path

import pytest
from command import Command

from mmsearch import Collection
from mmsearch.base.errors import SourceError

DECOMPOSED = unicodedata.normalize("NFD", "Ärzte")


@pytest.fixture
def collection(tmp_path: Path, photos: Path) -> Path:
    """Two photos in a folder that a Mac has named, and one in a folder of the same letters, composed."""
    folder, twin = tmp_path / "all" / DECOMPOSED, tmp_path / "all" / "Ärzte"
    for place in (folder, twin):
        place.mkdir(parents=True)
    shutil.copy(photos / "cat.jpg", folder / unicodedata.normalize("NFD", "ÉTÉ.jpg"))
    shutil.copy(photos / "dog.jpg", folder / "Straße.JPG")
    shutil.copy(photos / "owl.jpg", twin / "plain.png")
    shutil.copy(photos / "bee.jpg", tmp_path / "all" / "a\udcff.jpg")
    with Collection.open(tmp_path / "collection") as made:
        made.add([tmp_path / "all"], model="starter")
    return tmp_path / "collection"


def found(collection: Path, **words: object) -> list[str]:
    with Collection.open(collection) as photos:
        return sorted(os.path.basename(hit.path) for hit in photos.search(k=100, **words))  # type: ignore[arg-type]


SUMMER, STREET = unicodedata.normalize("NFD", "ÉTÉ.jpg"), "Straße.JPG"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({"glob": "été.jpg"}, [SUMMER]),
        ({"glob": "É?É.JPG"}, [SUMMER]),
        ({"glob": "[é]*"}, [SUMMER]),
        ({"glob": ["strasse.jpg", "OWL.jpg"]}, [STREET]),
        ({"glob": "ärzte/*.JPG"}, [STREET, SUMMER]),
        ({"glob": "/*/ÄRZTE/*"}, [STREET, SUMMER, "plain.png"]),
        ({"where": "name = 'été.JPG'"}, [SUMMER]),
        ({"where": "name in ('x', 'STRASSE.jpg')"}, [STREET]),
        ({"where": "name like '%TÉ.%' or name = 'A\udcff.jpg'"}, [SUMMER, "a\udcff.jpg"]),
        ({"where": "path like '%ÄRZTE%' and not name like 'STRASSE%'"}, [SUMMER, "plain.png"]),
        ({"where": "format = 'jpeg' and name <> 'été.jpg'"}, [STREET, "a\udcff.jpg", "plain.png"]),
    ],
)
def test_filters_find_names_in_any_form_and_case(
    collection: Path, words: dict[str, object], expected: list[str]
) -> None:
    assert found(collection, **words) == sorted(expected)


@pytest.mark.parametrize("name", ["Ärzte", DECOMPOSED, "ärzte", "ÄRZTE"])
def test_a_folder_is_found_by_its_name_in_any_form_and_case(collection: Path, tmp_path: Path, name: str) -> None:
    assert found(collection, below=tmp_path / "all" / name) == sorted([SUMMER, STREET, "plain.png"])


def test_a_folder_named_as_it_is_is_that_one_alone(tmp_path: Path, photos: Path) -> None:
    for name, image in (("Photos", "cat.jpg"), ("photos2", "dog.jpg"), ("photos", "owl.jpg")):
        (tmp_path / "all" / name).mkdir(parents=True)
        shutil.copy(photos / image, tmp_path / "all" / name)
    with Collection.open(tmp_path / "collection") as made:
        made.add([tmp_path / "all"], model="starter")
    place = tmp_path / "collection"
    assert found(place, below=tmp_path / "all" / "Photos") == ["cat.jpg"]
    assert found(place, below=tmp_path / "all" / "photos") == ["owl.jpg"]
    assert found(place, below=tmp_path / "all" / "PHOTOS") == ["cat.jpg", "owl.jpg"]


@pytest.mark.parametrize("name", ["ärzte/été.jpg", "Ärzte/ÉTÉ.jpg"])
def test_like_finds_an_image_by_its_name_in_any_form_and_case(collection: Path, tmp_path: Path, name: str) -> None:
    by_name = found(collection, like=tmp_path / "all" / name, include_self=True)
    assert by_name == found(collection, like=tmp_path / "all" / DECOMPOSED / SUMMER, include_self=True)
    with pytest.raises(SourceError, match="not in the collection"):
        found(collection, like=tmp_path / "all" / "Ärzte" / "other.jpg")


def test_names_are_printed_as_they_are(command: Command, collection: Path, tmp_path: Path) -> None:
    printed = command("query", "--glob", "ÉTÉ.jpg", "--paths", "-C", collection).out
    assert printed == f"{tmp_path / 'all' / DECOMPOSED / SUMMER}\n"
