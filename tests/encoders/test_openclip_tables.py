"""What open_clip knows by name, read while another thread imports what works with syntax trees."""

from __future__ import annotations

import ast
from typing import Any

import pytest

from mmsearch.encoders import openclip_tables


def test_syntax_trees_are_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, tries, real = openclip_tables._table(), [], ast.parse

    def parse(source: str) -> Any:
        tries.append(source)
        if len(tries) < 3:
            raise SystemError("AST constructor recursion depth mismatch (before=1, after=3)")
        return real(source)

    monkeypatch.setattr(ast, "parse", parse)
    assert openclip_tables._table.__wrapped__() == whole and len(tries) == 3
