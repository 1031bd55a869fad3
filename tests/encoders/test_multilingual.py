"""Models of many languages answer through the fast path: tokenizer and text tower without torch or transformers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_xlm

POISONED = """
import json, sys

class Poison:
    def find_spec(self, name, path=None, target=None):
        if name in {"torch", "open_clip", "timm", "huggingface_hub", "transformers", "sentencepiece"}:
            raise AssertionError(f"{name} was imported")

sys.meta_path.insert(0, Poison())
from mmsearch import Collection
lines = []
with Collection.open(sys.argv[1], notice=lines.append) as collection:
    hits = collection.search(text=sys.argv[2], k=3)
    encoder = collection._open_searcher()._embedder.encoder
    (vector,) = encoder.encode_texts([sys.argv[2]])
print(json.dumps({"hits": [(hit.path, hit.score) for hit in hits], "vector": vector.tolist(), "notices": lines}))
"""


@pytest.mark.slow
def test_an_xlm_roberta_text_tower(photos: Path, tmp_path: Path) -> None:
    """From the hub to the export and a query in Chinese; the model's own files are gone by then."""
    home = tmp_path / "home"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    inherited |= {"NO_PROXY": "127.0.0.1,localhost", "PYTHONPATH": os.pathsep.join(sys.path)}
    made = run([str(Path(tiny_xlm.__file__)), str(home), str(photos)], inherited)
    shutil.rmtree(home / "hub")
    shutil.rmtree(home / "work")
    place = str(home / "collection")
    fast = run(["-c", POISONED, place, tiny_xlm.TEXT], inherited | tiny_xlm.environment(home))
    assert float(np.dot(made["vector"], fast["vector"])) >= 0.9999
    assert [path for path, _ in fast["hits"]] == [path for path, _ in made["hits"]]
    assert fast["notices"] == []


def run(arguments: list[str], environment: dict[str, str]) -> dict[str, list[float] | list[str]]:
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environment, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, list[float] | list[str]] = json.loads(done.stdout.splitlines()[-1])
    return found
