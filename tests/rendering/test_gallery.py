"""The page of pictures: as text, and (marked `browser`) in a headless Chromium."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest
from PIL import Image

from mmsearch.base.errors import StorageError
from mmsearch.rendering.gallery import gallery_page, write_gallery
from mmsearch.rendering.thumbnails import Entry

NASTY = '"><script>alert(1)</script>&amp; \u202egpj.exe\n\x1b'


class Reader(HTMLParser):
    """All elements with their attributes, and the text outside scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.inline: dict[str, str] = {}
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attributes}))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside in {"script", "style"}:
            self.inline[self._inside] = data
        else:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def entries(sample_data: Path, tmp_path: Path) -> list[Entry]:
    nasty = tmp_path / os.fsdecode(b"caf\xe9 <b>'\".jpg")
    nasty.write_bytes((sample_data / "cat.jpg").read_bytes())
    names = ["dog.jpg", "spaniels.jpg", "photographer.png", "books.webp", "bridge.jpg"]
    found = [Entry(str(sample_data / name), f"{rank} · 0.5", ("640 × 427",)) for rank, name in enumerate(names, 1)]
    return [*found, Entry(str(nasty), NASTY, (NASTY, "Leica M6")), Entry(str(tmp_path / "gone.jpg"), "7 · 0.1")]


@pytest.fixture
def page(entries: list[Entry]) -> Reader:
    text, failures = gallery_page(NASTY, entries)
    assert failures == [(entries[-1].path, "No such file or directory")]
    return Reader(text)


def test_pictures_are_embedded_with_their_names(page: Reader, entries: list[Entry], sample_data: Path) -> None:
    images = page.all("img")
    assert [image["alt"] for image in images] == [*[entry.name for entry in entries[:5]], "caf\ufffd <b>'\".jpg"]
    for image, entry in zip(images, entries, strict=False):
        kind, data = image["src"].split(",", 1)
        assert kind == "data:image/jpeg;base64"
        shown = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
        assert shown.size == (int(image["width"]), int(image["height"])) and max(shown.size) <= 640
        with Image.open(entry.path) as original:
            small = original.convert("RGB").resize((32, 32))
        difference = np.abs(np.asarray(small, int) - np.asarray(shown.resize((32, 32)), int)).mean()
        assert difference < 6, entry.name


def test_nothing_comes_from_elsewhere(page: Reader) -> None:
    allowed = {"html", "head", "meta", "title", "style", "body", "a", "header", "h1", "p", "input", "main", "ul", "li",
               "figure", "button", "img", "span", "figcaption", "div", "footer", "kbd", "dialog", "h2",
               "script"}  # fmt: skip
    assert {tag for tag, _ in page.elements} <= allowed
    for tag, attributes in page.elements:
        assert not {name for name in attributes if name.startswith("on") or name in {"style", "srcset", "action"}}
        assert tag == "img" or "src" not in attributes
        if "href" in attributes:
            assert attributes["href"] == "#pictures" or attributes["href"].startswith("file:///")
    assert len(page.all("script")) == len(page.all("style")) == 1
    assert not re.search(r"https?:|url\(|@import|//", page.inline["style"])
    assert not re.search(r"fetch|import|XMLHttp|WebSocket|innerHTML|eval|https?:", page.inline["script"])


def test_the_policy_allows_the_one_script_and_style(page: Reader) -> None:
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    for element in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(page.inline[element].encode()).digest()).decode()
        assert rules.pop(f"{element}-src") == f"'sha256-{digest}'"
    assert rules == {"default-src": "'none'", "img-src": "data:", "base-uri": "'none'", "form-action": "'none'"}


def test_words_are_escaped(page: Reader) -> None:
    shown = NASTY.replace("\u202e", "\ufffd").replace("\n", "\ufffd").replace("\x1b", "\ufffd")
    assert page.text.count(shown) == 4  # in the title, its heading, and an entry's heading and note


def test_weaker_matches_are_marked_for_eyes_and_ears(entries: list[Entry]) -> None:
    weak = [entries[0], replace(entries[1], weak=True)]
    page = Reader(gallery_page("x", weak)[0])
    assert [item.get("class") for item in page.all("li") if item.get("class")] == ["weak"]
    names = [button["aria-label"] for button in page.all("button") if "Enlarge" in button["aria-label"]]
    assert names == ["Enlarge dog.jpg", "Enlarge spaniels.jpg, a weaker match"]
    assert ".weak button" in page.inline["style"]


def test_links_lead_to_the_exact_files(page: Reader, entries: list[Entry]) -> None:
    links = [link["href"] for link in page.all("a") if link["href"].startswith("file:")]
    assert [unquote_to_bytes(link.removeprefix("file://")) for link in links] == [os.fsencode(e.path) for e in entries]


def test_it_can_be_used_without_eyes_or_mouse(page: Reader) -> None:
    assert page.elements[0] == ("html", {"lang": "en"})
    tags = [tag for tag, _ in page.elements]
    assert all(tags.count(tag) == 1 for tag in ("header", "main", "h1", "dialog", "footer"))
    assert all(button["aria-label"] for button in page.all("button"))
    assert all("alt" in image for image in page.all("img"))
    assert all(box["aria-label"] for box in page.all("input"))
    assert ":focus-visible" in page.inline["style"] and "prefers-color-scheme: dark" in page.inline["style"]


def test_it_is_the_same_every_time_and_small(entries: list[Entry], tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    assert write_gallery(out, "x", entries[:2]) == []
    first = out.read_bytes()
    write_gallery(out, "x", entries[:2])
    assert out.read_bytes() == first and len(first) < 250_000


def test_many_pictures_are_smaller(tmp_path: Path) -> None:
    path = tmp_path / "wide.png"
    Image.new("RGB", (800, 400)).save(path)
    pages = [gallery_page("x", [Entry(str(path))] * count)[0] for count in (1, 201)]
    assert [Reader(text).all("img")[0]["width"] for text in pages] == ["640", "320"]


def test_a_page_that_cannot_be_written(entries: list[Entry], tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot write"):
        write_gallery(tmp_path / "none" / "page.html", "x", entries[:1])


FOCUS = "document.activeElement.closest('li')?.querySelector('.name').textContent"
SHOWN = "[...document.querySelectorAll('main li')].filter(li => li.querySelector('button') && li.offsetWidth).length"
TITLE = "document.querySelector('#shown').textContent"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    from browser import browser

    with browser(tmp_path_factory.mktemp("browser")) as page:
        yield page


@pytest.fixture
def opened(chromium, entries: list[Entry], tmp_path: Path):  # type: ignore[no-untyped-def]
    """The page in the browser; at the end it has asked for nothing but itself, and complained of nothing."""
    out = tmp_path / "page.html"
    write_gallery(out, "Fish & <chips>", entries)
    chromium.requests.clear()
    chromium.open(out)
    yield chromium
    assert {url for url in chromium.requests if not url.startswith("data:")} == {out.as_uri()}
    assert chromium.complaints == []


@pytest.mark.browser
def test_the_filter_hides(opened) -> None:  # type: ignore[no-untyped-def]
    assert opened.run("document.title") == "Fish & <chips>" and opened.run(SHOWN) == 7
    opened.press("/")
    for letter in "dog":
        opened.press(letter)
    assert opened.run(SHOWN) == 1 and opened.run("document.querySelector('.count').textContent") == "1 of 7 images"
    for letter in "x":
        opened.press(letter)
    assert opened.run(SHOWN) == 0 and opened.run("document.querySelector('.none').offsetHeight") > 0
    opened.press("Escape")
    assert opened.run(SHOWN) == 7 and opened.run("document.querySelector('.count').textContent") == "7 images"


@pytest.mark.browser
def test_keys_move_enlarge_and_close(opened) -> None:  # type: ignore[no-untyped-def]
    names = opened.run("[...document.querySelectorAll('main .name')].map(name => name.textContent)")
    opened.press("ArrowRight")
    opened.press("ArrowRight")
    assert opened.run(FOCUS) == names[1]
    opened.press("ArrowLeft")
    opened.press("ArrowDown")
    below = names.index(opened.run(FOCUS))
    assert below > 1
    opened.press("ArrowUp")
    assert opened.run(FOCUS) == names[0]
    opened.press("Enter")
    assert opened.run("document.querySelector('dialog').open") and opened.run(TITLE) == names[0]
    assert opened.run("document.querySelector('.stage img').complete")
    opened.press("ArrowRight")
    opened.press("ArrowRight")
    assert opened.run(TITLE) == names[2]
    for _ in range(3):
        opened.press("ArrowLeft")
    assert opened.run(TITLE) == names[-1]  # round the corner, to the one that is missing
    assert opened.run("document.querySelector('.stage .missing').textContent") == "No such file or directory"
    opened.press("Escape")
    assert not opened.run("document.querySelector('dialog').open") and opened.run(FOCUS) == names[-1]


@pytest.mark.browser
def test_a_click_enlarges_and_the_link_leads_to_the_file(opened, entries: list[Entry]) -> None:  # type: ignore[no-untyped-def]
    opened.run("document.querySelectorAll('main button')[5].click()")
    assert opened.run(TITLE) == "caf\ufffd <b>'\".jpg"
    link = opened.run("document.querySelector('.facts a').href")
    assert unquote_to_bytes(link.removeprefix("file://")) == os.fsencode(entries[5].path)
    opened.run("document.querySelector('.close').click()")
    assert not opened.run("document.querySelector('dialog').open")


@pytest.mark.browser
@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
def test_it_looks_right_dark_and_light_wide_and_narrow(
    opened, tmp_path: Path, entries: list[Entry], width: int, height: int
) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "page.html"
    for dark in (False, True):
        opened.open(out, width=width, height=height, dark=dark)
        opened.run("Promise.all([...document.images].map(image => image.decode()))")
        shot = Image.open(io.BytesIO(opened.screenshot(tmp_path / "shot.png"))).convert("RGB")
        assert shot.size == (width, height)
        pixels = np.asarray(shot, int)
        paper = pixels[height // 2, 3]  # the margin
        assert paper.max() < 40 if dark else paper.min() > 230
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 5000  # photos are there
        assert opened.run("document.documentElement.scrollWidth") <= width
        edges = opened.run(
            "[...document.querySelectorAll('main img')].map(i => [i.getBoundingClientRect().left,"
            " i.getBoundingClientRect().right, i.naturalWidth / i.naturalHeight, i.clientWidth / i.clientHeight])"
        )
        assert all(0 <= left < right <= width for left, right, *_ in edges)
        assert all(abs(shape / drawn - 1) < 0.05 for *_, shape, drawn in edges)  # nothing is cut or stretched
