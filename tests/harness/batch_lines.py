"""Lines of any kind through `mmsearch query --batch`, thousands of them.

`python tests/harness/batch_lines.py --examples 5000` prints one JSON object; exit code 1 says that a rule was broken.
Every line has exactly one answer, in order and in valid JSON: results, or an error in words that somebody has thought
of. The lines before and after are answered as if it were not there. What is generated follows from `--seed`.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import given
from hypothesis import strategies as st

from mmsearch import Collection
from mmsearch.cli.query import batch
from mmsearch.query.parse import WORDS

FIRST, LAST = b"a cat", b"a rocket"

# How an error begins that nobody has thought of: `unexpected TypeError: `.
UNTHOUGHT = re.compile(r"unexpected \w+: ")

NUMBERS = (
    st.sampled_from([0, -1, 1, 3, 2**31, 2**53, 2**63 - 1, 2**63, 2**64, -(2**63), 10**400, 0.0, -0.0, 0.5, 1e-320])
    | st.sampled_from([1e308, -1e308, float("nan"), float("inf"), float("-inf")])
    | st.integers()
    | st.floats()
)
HOSTILE = [
    "", " ", "a cat", "\0", "a\0b", "\ud800", "\udcff", "~", "~nobody", ".", "/", "/dev/zero", "/dev/stdin", "-",
    "http://127.0.0.1:1/x.jpg", "http://[", "https://", "2021", "yesterday", "10MB", "9" * 400, "1" * 5000 + "x",
    "a:1" * 900, "(" * 900, "not " * 900, "%" * 3000, "*a" * 2000, "[" * 4000, "'" * 999, '"\\' * 999,
    "+a" * 101, "1e999*a", "image(x", "like(1)", "width > 1", "name like '%'", "0,0,1", "landscape", "jpg",
    "x" * 10_001, "\u202e", "猫 " * 900, "e\u0301" * 900, "&amp;" * 900, "{}{x}{0}", "\ufeff", "\u2028",
]  # fmt: skip


def _hostile(place: int) -> str:
    return HOSTILE[place]


TEXTS = st.text(max_size=8) | st.integers(0, len(HOSTILE) - 1).map(_hostile)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
TERMS = st.fixed_dictionaries(
    {"kind": st.sampled_from(["text", "image", "like", 0]), "value": VALUES, "weight": VALUES}
)
NAMES = st.sampled_from([*sorted(WORDS), "text", "text", "batch", "\ud800"])
OBJECTS = st.dictionaries(NAMES, VALUES | st.lists(TERMS, max_size=3), max_size=4)


@st.composite
def _deep(draw: st.DrawFn) -> bytes:
    """Lists or objects within each other."""
    depth = draw(st.sampled_from([2, 5, 19, 22, 100, 900, 940, 960, 980, 990, 1100, 20_000]))
    opened, closed = draw(st.sampled_from([(b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]")]))
    name = draw(st.sampled_from([*sorted(WORDS), "x"])).encode()
    return b'{"' + name + b'":' + opened * depth + b"1" + closed * draw(st.sampled_from([depth, depth - 1])) + b"}"


@st.composite
def _long(draw: st.DrawFn) -> bytes:
    """Many values, or one with many letters."""
    name, count = draw(st.sampled_from(sorted(WORDS))), draw(st.sampled_from([99, 101, 1001, 5000]))
    value: Any = draw(st.sampled_from(["a", "/x", 1, "a cat", [1], {"kind": "text", "value": "a", "weight": 1}]))
    value = value * count if isinstance(value, str) and draw(st.booleans()) else [value] * count
    return json.dumps({"text": "a cat", name: value}).encode()


@st.composite
def _damaged(draw: st.DrawFn) -> bytes:
    """An object with a few bytes cut out, put in or given twice."""
    line = json.dumps(draw(OBJECTS)).encode()
    start, end = (draw(st.integers(0, len(line))) for _ in range(2))
    return line[:start] + draw(st.binary(max_size=3)) + line[min(start, end) :]


LINES = (
    OBJECTS.map(lambda words: json.dumps(words).encode())
    | OBJECTS.map(lambda words: json.dumps(words, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    | _damaged()
    | _deep()
    | _long()
    | TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass"))
    | st.binary(max_size=40)
)
BATCHES = st.lists(LINES, min_size=1, max_size=8)


def answers(photos: Collection, source: Path, lines: list[bytes]) -> list[Any]:
    """What a batch of these lines, between two good ones, is answered; raises where a rule is broken."""
    source.write_bytes(b"\n".join([FIRST, *lines, LAST]))
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = batch.run(photos, str(source), {"top": 2})
    found = [json.loads(line, parse_constant=_refuse) for line in out.getvalue().split("\n")[:-1]]
    with source.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        asked = [line for line in file if line.strip()]
    assert len(found) == len(asked), (len(found), len(asked))
    assert code == (3 if any("error" in answer for answer in found) else 0)
    for answer, line in ((found[0], FIRST), (found[-1], LAST)):
        assert answer["query"] == {"text": line.decode()} and answer["count"] == 2, answer
    for answer in found:
        assert isinstance(answer["query"], dict)
        said = answer.get("error", "an answer")
        assert said and "\n" not in said and len(said) < 20_000 and not UNTHOUGHT.match(said), said
    return found


def _refuse(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=2024)
    chosen = parser.parse_args()
    seen: Counter[str] = Counter()
    slowest, started = 0.0, time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, Collection.open(Path(folder) / "photos") as photos:
        photos.add([Path(__file__).resolve().parents[2] / "sample_data"], model="starter")
        source = Path(folder) / "lines"

        @hypothesis.seed(chosen.seed)
        @hypothesis.settings(
            max_examples=chosen.examples,
            deadline=None,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @given(BATCHES)
        def batches(lines: list[bytes]) -> None:
            nonlocal slowest
            before = time.perf_counter()
            seen.update("errors" if "error" in answer else "answers" for answer in answers(photos, source, lines))
            slowest = max(slowest, time.perf_counter() - before)

        problem = ""
        try:
            batches()
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
    report = {"lines": seen.total(), **seen, "slowest_batch_seconds": round(slowest, 2), "problem": problem}
    print(json.dumps(report | {"seconds": round(time.perf_counter() - started, 1)}))
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main())
