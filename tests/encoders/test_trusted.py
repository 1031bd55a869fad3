"""A collection may come from somebody else: what it names is not loaded before the user has named or trusted it."""

from __future__ import annotations

import io
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_models import TinyModel

from mmsearch import Collection
from mmsearch.base import config
from mmsearch.base.errors import ModelError, ModelMismatchError
from mmsearch.cli import trusting
from mmsearch.encoders import openclip_tables, trusted


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process of its own."""
    monkeypatch.setattr(trusted, "_named", set())


@pytest.fixture
def theirs(indexed: Path, tiny_clip: TinyModel, tmp_path: Path) -> tuple[Path, str]:
    """A collection of somebody's that names a model of theirs; its folder, and the name."""
    folder = shutil.copytree(indexed, tmp_path / "theirs")
    spec = f"local-dir:{tiny_clip.directory}"
    name_model(folder, spec)
    return folder, spec


def name_model(folder: Path, spec: str) -> None:
    with sqlite3.connect(folder / "catalog.sqlite3") as database:
        database.execute("UPDATE encoders SET spec = ?, fingerprint = 'abcdef'", (spec,))
    database.close()


def ask(folder: Path, **options: object) -> None:
    with Collection.open(folder, **options) as collection:  # type: ignore[arg-type]
        collection.search(text="a cat")


@pytest.mark.parametrize(
    "spec",
    ["local-dir:/nowhere", "ViT-B-32:/nowhere/weights.pt", "hf-hub:someone/something", "local-dir:/a/../nowhere"],
)
def test_a_question_loads_nothing_that_was_not_named(
    theirs: tuple[Path, str], spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name_model(theirs[0], spec)
    monkeypatch.setattr("mmsearch.encoders.weights.locate", None)  # not even looked for
    with pytest.raises(ModelError, match=r"which you have not used before, so it was not loaded; .* --trust-model"):
        ask(theirs[0])


def test_a_run_of_indexing_loads_nothing_either(theirs: tuple[Path, str], photos: Path) -> None:
    with sqlite3.connect(theirs[0] / "catalog.sqlite3") as database:
        database.execute("DELETE FROM contents")
    database.close()
    with pytest.raises(ModelError, match="have not used before"), Collection.open(theirs[0]) as collection:
        collection.add([photos])


def test_trust_is_asked_for_once(theirs: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, spec = theirs
    asked: list[str] = []
    for _ in range(2):
        with pytest.raises(ModelMismatchError):  # it was loaded: it is another one than made the embeddings
            ask(folder, trust_model=lambda name: asked.append(name) or True)
        monkeypatch.setattr(trusted, "_named", set())
    assert asked == [spec]
    with pytest.raises(ModelMismatchError):
        ask(folder)


def test_no_is_no(theirs: tuple[Path, str]) -> None:
    with pytest.raises(ModelError, match="have not used before"):
        ask(theirs[0], trust_model=lambda name: False)
    assert not (config.data_dir() / "trusted-models.json").exists()


def test_a_model_that_the_user_names_is_remembered(
    tiny_clip: TinyModel, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where its export is gone; another process would know it too."""
    spec = f"local-dir:{tiny_clip.directory}"
    with Collection.open(tmp_path / "own") as collection:
        collection.add([photos], model=spec, device="cpu", precision="fp32")
    monkeypatch.setattr(trusted, "_named", set())
    assert trusted.is_trusted(spec)
    assert not trusted.is_trusted(f"{spec}/other")
    shutil.rmtree(config.cache_dir() / "exports")
    ask(tmp_path / "own")


def test_what_everybody_has_needs_no_trust() -> None:
    repo = next(iter(openclip_tables.pretrained("ViT-B-32").values())).repo
    for spec in ("starter", "clip", "ViT-B-32/openai", f"hf-hub:{repo}", "no model at all"):
        assert trusted.is_trusted(spec)


@pytest.mark.skipif(os.name == "nt", reason="modes of files")
@pytest.mark.parametrize("content", ["", "[]", '{"models": 1}', '{"models": [3, null]}', "{" * 100_000])
def test_a_list_that_is_none(content: str) -> None:
    path = config.data_dir() / "trusted-models.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    path.chmod(0o600)
    assert not trusted.is_trusted("local-dir:/nowhere")
    trusted.remember("local-dir:/nowhere")
    assert trusted.is_trusted("local-dir:/nowhere")


@pytest.mark.skipif(os.name == "nt", reason="modes of files")
def test_a_list_that_others_can_write_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    trusted.remember("local-dir:/nowhere")
    monkeypatch.setattr(trusted, "_named", set())
    assert trusted.is_trusted("local-dir:/nowhere")
    path = config.data_dir() / "trusted-models.json"
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o622)
    assert not trusted.is_trusted("local-dir:/nowhere")
    path.unlink()
    os.mkfifo(path)
    assert not trusted.is_trusted("local-dir:/nowhere")


@pytest.mark.parametrize(("on_a_terminal", "typed"), [(True, "y\n"), (True, "n\n"), (True, "\n"), (False, "y\n")])
def test_a_terminal_is_asked(
    on_a_terminal: bool, typed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return on_a_terminal

    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    answer = trusting.answer(False)
    if not on_a_terminal:
        assert answer is False
        return
    assert callable(answer) and answer("local-dir:/a\x1b[2Jb") is (typed == "y\n")
    asked = capsys.readouterr()
    assert asked.out == "" and "names the model local-dir:/a" in asked.err and "\x1b" not in asked.err
    assert trusting.answer(True) is True


def test_the_option_and_the_question(theirs: tuple[Path, str]) -> None:
    folder, spec = theirs
    command = [sys.executable, "-m", "mmsearch", "query", "a cat", "-C", str(folder)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    refused = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert refused.returncode == 1 and refused.stdout == ""
    assert refused.stderr.startswith(f"mmsearch: the collection names the model {spec}, which you have not used before")
    assert len(refused.stderr.splitlines()) == 1
    trusting = subprocess.run([*command, "--trust-model"], capture_output=True, text=True, env=environment, check=False)
    assert "was made with a different version of the model" in trusting.stderr
    remembered = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert "was made with a different version of the model" in remembered.stderr
