"""A line of a batch costs itself alone: what is hostile is an error of its line, and others are answered."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from batch_lines import UNTHOUGHT
from command import Command

from mmsearch import Collection
from mmsearch.base import text
from mmsearch.base.errors import SourceError, UsageError
from mmsearch.cli.query import batch, lines
from mmsearch.query import bounds
from mmsearch.query.parse import from_words
from mmsearch.query.query import Query
from mmsearch.query.terms import Term
from mmsearch.searching import query_images
from mmsearch.searching.query_images import QueryImages

Ask = Callable[..., list[Any]]


@pytest.fixture
def ask(collection: Collection, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Ask:
    """The answers to a batch of lines."""

    def run(*asked: bytes, **defaults: object) -> list[Any]:
        source = tmp_path / "lines"
        source.write_bytes(b"\n".join(asked))
        capsys.readouterr()
        batch.run(collection, str(source), {"top": 1, **defaults})
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return run


def line(**words: object) -> bytes:
    return json.dumps(words).encode()


def nested(name: str, depth: int, start: bytes = b"[", end: bytes = b"]") -> bytes:
    return b'{"text": "a cat", "' + name.encode() + b'": ' + start * depth + b"1" + end * depth + b"}"


LONG = "a " * 1_000_000

HOSTILE: dict[str, bytes] = {
    "900 lists": nested("plus", 900),
    "900 lists as terms": nested("terms", 900),
    "960 lists": nested("plus", 960),
    "980 lists of a word that there is not": nested("x", 980),
    "900 objects": nested("terms", 900, b'{"kind": ', b"}"),
    "100,000 lists": nested("near", 100_000),
    "a list in a term": nested("terms", 5, b'[{"kind": "text", "value": "a", "weight": ', b"}]"),
    "2^63 results": line(text="a cat", top=2**63),
    "2^62 results": line(orientation="square", top=2**62),
    "10^400 results": line(text="a cat", top=10**400),
    "10^5000 results": b'{"text": "a cat", "top": 1' + b"0" * 5000 + b"}",
    "10^400 as a score": line(text="a cat", min_score=10**400),
    "10^400 as a confidence": line(text="a cat", min_confidence=10**400),
    "10^400 as a size": line(min_size=10**400),
    "10^400 as a weight": line(plus=[["a cat", 10**400]]),
    "10^400 as an id": line(like=10**400),
    "2^63 as an id": line(more=[2**63]),
    "-1 as an id": line(like=-1),
    "Infinity": b'{"text": "a cat", "min_score": Infinity}',
    "1e999": b'{"text": "a cat", "near": [1e999, 1, 1]}',
    "2 MB of text": line(text=LONG),
    "2 MB of plain text": LONG.encode(),
    "2 MB in --plus": line(plus=["a", LONG]),
    "2 MB as a path": line(image="/a" * 1_000_000),
    "5 MB as a user": line(**{"text": "a cat", "in": "~" + "n" * 5_000_000}),
    "2 MB as a date": line(text="a cat", after="1" * 2_000_000),
    "2 MB as an expression": line(expr="a + " * 500_000 + "b"),
    "2 MB of digits": line(expr="1" * 2_000_000 + "x"),
    "2 MB as a condition": line(text="a cat", where="width > 1 or " * 150_000),
    "a million terms": line(plus=["a"] * 1_000_000),
    "100,000 examples": line(text="a cat", more=[1] * 100_000),
    "200,000 names": b"{" + b", ".join(b'"k%d": 1' % number for number in range(200_000)) + b"}",
    "a NUL character": b"a\0cat",
    "a NUL character in a path": line(image="a\0.jpg"),
    "no UTF-8": b"\xff cat",
    "half a surrogate pair": rb'{"text": "\ud800"}',
    "half a surrogate pair as a name": rb'{"\ud800": "a cat"}',
    "half a surrogate pair in a term": rb'{"terms": [{"\ud800": 1, "kind": "text", "value": "a", "weight": 1}]}',
    "a name given twice": b'{"text": "a dog", "text": "a cat"}',
    "a name given twice in a term": b'{"terms": [{"kind": "text", "value": "a", "value": "b", "weight": 1}]}',
    "a kind that is a list": line(terms=[{"kind": [], "value": "a", "weight": 1}]),
    "a device without end": line(image="/dev/zero"),
    "standard input": line(image="/dev/stdin"),
    "private addresses allowed": line(image="http://127.0.0.1:1/a.jpg", allow_private_urls=True),
    "private addresses, but not": line(text="a cat", allow_private_urls=False),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_line_is_an_error_of_its_own(ask: Ask, name: str) -> None:
    if b"/dev/" in HOSTILE[name] and sys.platform == "win32":
        pytest.skip("Windows has no such files")
    before, hostile, after = ask(b"a cat", HOSTILE[name], b"a rocket")
    assert before["query"] == {"text": "a cat"} and before["count"] == 1
    assert after["query"] == {"text": "a rocket"} and after["count"] == 1
    assert "count" not in hostile
    assert not UNTHOUGHT.match(hostile["error"]) and len(hostile["error"]) < 1000, hostile["error"]
    assert len(json.dumps(hostile)) < 20_000


def test_all_of_them_at_once(ask: Ask) -> None:
    answers = ask(b"a cat", *HOSTILE.values(), b"a rocket")
    assert ["error" in answer for answer in answers] == [False, *[True] * len(HOSTILE), False]


def test_what_is_large_but_can_be_meant_is_answered(ask: Ask, sample_data: Path) -> None:
    folders = [str(sample_data), *(f"/nowhere/{number}" for number in range(100))]
    asked = [
        line(text="a cat", top=10**9),
        line(text="a cat " * 1_600),
        line(**{"text": "a cat", "in": folders}),
        line(plus=["a cat"] * 100),
        line(text="a cat", more=[1] * 1000),
        b"[[1, 2]] is a text",
    ]
    assert [answer.get("error") for answer in ask(*asked)] == [None] * len(asked)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such files")
def test_a_line_reads_no_pipe(ask: Ask, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "link.jpg").symlink_to("pipe.jpg")
    for name in ("pipe.jpg", "link.jpg"):
        before, pipe, after = ask(b"a cat", line(image=str(tmp_path / name)), b"a rocket")
        assert "not a regular file" in pipe["error"] and before["count"] == after["count"] == 1
        assert "not in the collection" in ask(line(like=str(tmp_path / name)))[0]["error"]


def test_a_long_line_is_skipped_without_being_held(indexed: Path) -> None:
    """A line of 200 MB, from a pipe, with 700 MB for all that a process allocates; a batch takes some 400."""
    script = (
        "import resource, sys; from mmsearch.cli.main import main\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (700 << 20, resource.RLIM_INFINITY)); main()"
    )
    arguments = ["query", "--batch", "-", "-C", str(indexed), "-k", "1"]
    with subprocess.Popen(
        [sys.executable, "-c", script, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin and process.stdout
        process.stdin.write(b"a cat\n" + b'{"text": "')
        for _ in range(200):
            process.stdin.write(b"c" * 1_000_000)
        process.stdin.write(b'"}\na rocket\n')
        process.stdin.close()
        answers = [json.loads(answer) for answer in process.stdout]
    assert ["error" in answer for answer in answers] == [False, True, False]
    assert "too long" in answers[1]["error"] and process.returncode == 3


def test_lines_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "_MOST_WAITING", 100)
    read: list[str] = []

    def texts() -> Any:
        for number in range(30):
            read.append(text := f"{number:030}")
            yield text

    arrived = lines.Arrived(texts(), str.strip, lambda _: 1)
    seen = 0
    for group, following in arrived.groups():
        seen += len(group)
        assert len(read) <= seen + len(following) + 4  # three have room, and one waits for it
        assert len(group) + len(following) <= 3
    assert seen == 30
    one = lines.Arrived(iter(["x" * 1000, "y"]), str.strip, lambda _: 1)  # larger than the room
    assert sum(len(group) for group, _ in one.groups()) == 2


def test_lines_that_ask_for_many_results_are_answered_apart() -> None:
    arrived = lines.Arrived(iter("abcdef"), str.strip, lambda text: 1 if text < "c" else 1_000_000)
    time.sleep(0.2)
    groups = [group for group, _ in arrived.groups()]
    assert list(itertools.chain(*groups)) == list("abcdef") and max(map(len, groups)) <= 3 and ["d"] in groups


def test_what_nobody_has_thought_of_costs_its_line(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    real = batch.from_words

    def parse(words: dict[str, object]) -> Query:
        if words.get("text") == "a bee":
            raise ZeroDivisionError("by a bee")
        return real(words)

    monkeypatch.setattr(batch, "from_words", parse)
    _, bee, _ = ask(b"a cat", b"a bee", b"a dog")
    assert bee == {"query": {"text": "a bee"}, "error": "unexpected ZeroDivisionError: by a bee"}


def test_what_fails_in_searching_costs_its_line(
    ask: Ask, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Collection._open_searcher(collection).search_each

    def search(queries: list[Query]) -> Any:
        if any(query.terms[0].value == "a bee" for query in queries):
            raise OverflowError("a bee")
        return real(queries)

    monkeypatch.setattr(Collection._open_searcher(collection), "search_each", search)
    cat, bee, dog = ask(b"a cat", b"a bee", b"a dog")
    assert "OverflowError" in bee["error"] and cat["count"] == dog["count"] == 1


def test_other_images_of_a_query_at_fault_are_not_waited_for(
    ask: Ask, sample_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, seen = QueryImages.decode, []

    def decode(self: QueryImages, source: str, *rest: bool) -> Any:
        seen.append(Path(source).name)
        if source.endswith("gone.jpg"):
            raise SourceError("gone")
        time.sleep(0.3)
        return real(self, source, *rest)

    monkeypatch.setattr(QueryImages, "decode", decode)
    others = [str(sample_data / name) for name in ("cat.jpg", "rocket.jpg", "coffee.jpg")]
    bad, good = ask(line(image=["/gone.jpg", *others]), line(image=str(sample_data / "dog.jpg")))
    assert bad["error"] == "gone" and good["count"] == 1
    assert "dog.jpg" in seen and "coffee.jpg" not in seen


def test_private_addresses_are_allowed_by_the_command_line(ask: Ask) -> None:
    where = line(image="http://127.0.0.1:9/a.jpg")
    assert "--allow-private-urls" in ask(where)[0]["error"]
    assert "private" not in ask(where, allow_private_urls=True)[0]["error"]


# --- the same outside of batches ---


@pytest.mark.parametrize(
    "words",
    [
        {"text": "a" * (bounds.LONGEST_TEXT + 1)},
        {"plus": ["a" * 200] * 60},
        {"image": ["http://127.0.0.1/a.jpg"] * 11},
        {"text": "a", "top": 10**5000},
        {"text": "a", "min_score": 10**400},
        {"like": 10**5000},
        {"plus": [[[[["a"]]]]]},
        {"plus": [("a", 10**5000)]},
        {"text": "a", "in": Path("/" + "a" * 20_000)},
        {"text": "a", "glob": ["a"] * (bounds.MOST_VALUES + 1)},
        {"text": "a", "in": "~" + "a" * 10_000_000},
        {"image": b"x" * 1_000_000, "top": "x"},
    ],
)
def test_python_has_the_same_bounds(collection: Collection, words: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as error:
        collection.search(**words)
    assert len(str(error.value)) < 1000


def test_records_made_by_hand_have_them_too() -> None:
    for make in (
        lambda: Term("text", "a" * 10_000_000),
        lambda: Query((Term("text", "a"),), top=10**5000),
        lambda: Query((Term("text", "a"),), min_score=10**5000),
        lambda: Query((Term("text", "a"),), min_confidence=10**5000),
    ):
        with pytest.raises(UsageError):
            make()


def test_bounds_stand_any_depth() -> None:
    deep: list[Any] = []
    for _ in range(1_000_000):
        deep = [deep]
    with pytest.raises(UsageError, match="no lists within"):
        bounds.check("plus", deep)
    while deep:  # taken apart from the outside
        deep = deep[0]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (3, "3"),
        (-(10**400), "about -10^400"),
        ("a\nb", r"'a\nb'"),
        ([[[[[[1]]]]]], "[[[[[...]]]]]"),
        (dict.fromkeys(range(9), 1), "{0: 1, 1: 1, 2: 1, 3: 1, ...}"),
    ],
)
def test_values_are_shown_in_a_line(value: object, said: str) -> None:
    assert text.shown(value) == said


@pytest.mark.parametrize("value", ["x" * 10_000_000, b"x" * 10_000_000, ["x" * 1000] * 1000, {"x" * 1000: "y" * 1000}])
def test_shown_values_are_short(value: object) -> None:
    assert len(text.shown(value)) <= 160


@pytest.mark.parametrize(
    "words",
    [
        {"plus": ["a:" + "1" * 9_000 + "x"] * 100},
        {"plus": [":1" * 4_000 + "x"] * 100},
        {"min_size": "1" * 9_000 + " " * 900 + "x"},
        {"text": "a", "where": "1" * 3_900 + "x"},
    ],
)
def test_no_text_takes_the_square_of_its_length(words: dict[str, Any]) -> None:
    """Half a minute and more, where an expression goes back for every digit; a hundredth of a second otherwise."""
    started = time.process_time()
    with contextlib.suppress(UsageError):
        from_words(words)
    assert time.process_time() - started < 5


def test_no_expression_does_either() -> None:
    started = time.process_time()
    for _ in range(20):
        from_words({"expr": "1" * 10_000})
    assert time.process_time() - started < 3


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such files")
def test_a_pipe_is_read_for_a_while(
    collection: Collection, tmp_path: Path, sample_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    dog = (sample_data / "dog.jpg").read_bytes()

    def write(parts: Iterable[bytes], wait: float = 0.0) -> threading.Thread:
        def run() -> None:
            try:
                with pipe.open("wb", buffering=0) as file:
                    for part in parts:
                        file.write(part)
                        time.sleep(wait)
            except BrokenPipeError:
                pass

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    writer = write([dog[:70_000], dog[70_000:]], wait=0.1)
    assert collection.search(image=str(pipe))[0].path.endswith("spaniels.jpg")
    writer.join()
    monkeypatch.setattr(query_images, "_PIPE_LIMIT", 0.1)
    with pytest.raises(SourceError, match="did not come within"):  # nobody writes
        collection.search(image=str(pipe))
    for part, wait in ((b"x", 0.01), (b"x" * 65_536, 0.0)):
        writer = write(itertools.repeat(part), wait)
        with pytest.raises(SourceError, match="did not come within"):  # somebody never ends
            collection.search(image=str(pipe))
        writer.join()
    monkeypatch.setattr(query_images, "_PIPE_LIMIT", 60.0)
    monkeypatch.setattr(query_images, "MOST_BYTES", 1000)
    writer = write([dog])
    with pytest.raises(SourceError, match="more than 1,000 bytes"):
        collection.search(image=str(pipe))
    writer.join()


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="only where there are devices")
def test_devices_and_folders_are_no_images(command: Command, indexed: Path, tmp_path: Path) -> None:
    for place, said in (("/dev/zero", "neither a file nor a pipe"), (tmp_path, "a folder")):
        outcome = command("query", "--image", place, "-C", indexed)
        assert outcome.code == 1 and said in outcome.err and str(place) in outcome.err


def test_limits_of_sqlite_are_the_questions_fault(collection: Collection) -> None:
    formats = [f"f{number}" for number in range(bounds.MOST_VALUES)]
    try:
        assert collection.search("a cat", image_format=formats) == []
    except UsageError as error:
        assert "too large" in str(error)
