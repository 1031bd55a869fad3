"""The comparison with which texts are tested can fail."""

from __future__ import annotations

import pytest
from console import Shown, commands, matches


def test_commands_of_a_block() -> None:
    text = "before\n$ one\nx\ny\n$ two\n"
    assert commands(text) == [Shown("one", ("x", "y")), Shown("two")]


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        (["   1  0.659  dog.jpg"], "   1  0.661  dog.jpg\n", True),
        (["   1  0.659  dog.jpg"], "   1  0.759  dog.jpg\n", False),
        (["   1  0.659  dog.jpg"], "   1  0.659  cat.jpg\n", False),
        (["   1  0.659  dog.jpg"], "   1  0.659  dog.jpg\n   2  0.4  cat.jpg\n", False),
        (["24 new in ... s"], "24 new in 1.25 s\n", True),
        (["24 new in ... s"], "25 new in 1.25 s\n", False),
        (["a", "...", "z"], "a\nb\nc\nz\n", True),
        (["..."], "", False),
        ([], "", True),
    ],
)
def test_what_is_shown_is_compared(shown: list[str], printed: str, same: bool) -> None:
    assert matches(shown, printed) is same
