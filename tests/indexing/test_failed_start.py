"""A first index run that fails or is stopped before there is a model leaves nothing that a later run would build on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command import Command
from hub_server import Hub

from mmsearch import Collection
from mmsearch.base import config
from mmsearch.base.errors import ModelError, ModelUnavailableError
from mmsearch.base.events import Finished
from mmsearch.encoders import names
from mmsearch.store.catalog import Catalog

WEIGHTS = names.WEIGHTS_NAMES[0]


def test_a_model_that_cannot_be_had_leaves_no_collection(command: Command, photos: Path, tmp_path: Path) -> None:
    place = tmp_path / "collection"
    outcome = command("index", photos, "--model", "clip", "-C", place)
    assert outcome.code == 1 and outcome.err.count("\n") == 1 and "HF_HUB_OFFLINE" in outcome.err
    assert not place.exists()
    assert "no collection at" in command("index", "-C", place).err
    assert command("index", photos, "--model", "starter", "-C", place).code == 0


@pytest.mark.parametrize("error", [ModelUnavailableError("gone", "wait"), ModelError("broken"), KeyboardInterrupt()])
def test_whatever_ends_it_the_named_model_is_not_replaced(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("mmsearch.collection.held_encoder.HeldEncoder.for_indexing", fail)
    with Collection.open(tmp_path / "c") as collection, pytest.raises(type(error)):
        collection.add([photos], model="clip")
    assert not (tmp_path / "c").exists()


def test_a_stop_before_there_is_a_model_leaves_nothing(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, given_up = threading.Event(), threading.Event()

    def wait(*_: object, **__: object) -> None:
        stop.set()
        given_up.wait(30)
        raise ModelError("given up")

    monkeypatch.setattr("mmsearch.collection.held_encoder.HeldEncoder.for_indexing", wait)
    monkeypatch.setattr("mmsearch.indexing.run.expected_preprocess", lambda spec: None)
    with Collection.open(tmp_path / "c") as collection:
        *_, last = collection.add_events([photos], model="clip", stop=stop)
        given_up.set()
    assert isinstance(last, Finished) and last.summary.interrupted
    assert not (tmp_path / "c").exists()


@contextmanager
def downloading(photos: Path, place: Path, hub: Hub, cache: Path) -> Iterator[subprocess.Popen[str]]:
    """A first run in the middle of the download of its model, which goes no further."""
    hub.repos[names.ALIASES["clip"].repo] = {WEIGHTS: bytes(1_000_000)}
    hub.faults[WEIGHTS] = "stall"
    env = {**os.environ, "HF_HUB_CACHE": str(cache), "HF_ENDPOINT": hub.url}
    command = [sys.executable, "-m", "mmsearch", "index", photos, "--model", "clip", "-C", place]
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as process:
        assert hub.stalled.wait(60) and place.exists()
        yield process


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT")
def test_one_interrupt_ends_the_download(photos: Path, tmp_path: Path, hub: Hub) -> None:
    with downloading(photos, tmp_path / "c", hub, tmp_path / "hub-cache") as process:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130 and "interrupted; nothing was done yet" in err
    assert not (tmp_path / "c").exists()


def test_a_kill_leaves_no_folder_for_another_model(photos: Path, tmp_path: Path, hub: Hub) -> None:
    """Nobody can tidy up then; but the next run without a folder has nothing to fill."""
    with downloading(photos, tmp_path / "c", hub, tmp_path / "hub-cache") as process:
        process.kill()
    with Catalog(tmp_path / "c", write=False) as catalog:
        assert catalog.roots.all() == [] and catalog.encoders.current() is None


def test_what_is_not_ours_stays(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "notes.txt").write_text("mine")
    with Collection.open(tmp_path / "c") as collection, pytest.raises(ModelUnavailableError):
        collection.add([photos], model="clip")
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["notes.txt"]


def test_an_empty_collection_keeps_only_what_it_had(photos: Path, tmp_path: Path) -> None:
    with Catalog(tmp_path / "c", write=True):
        pass
    with Collection.open(tmp_path / "c") as collection:
        with pytest.raises(ModelUnavailableError):
            collection.add([photos], model="clip")
        assert collection.info().roots == []


def test_a_folder_without_images_leaves_no_collection(command: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    outcome = command("index", tmp_path / "empty", "--model", "starter", "-C", tmp_path / "c")
    assert outcome.code == 1 and "no images found" in outcome.err and not (tmp_path / "c").exists()


def test_files_that_cannot_be_read_are_remembered(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(100))
    assert command("index", folder, "--model", "starter", "-C", tmp_path / "c").code == 3
    assert command("info", "-C", tmp_path / "c", "--json").json["failures"]


@pytest.mark.parametrize(
    ("place", "option"), [("default", ""), ("holidays", " -C holidays"), ("my photos", " -C 'my photos'")]
)
def test_the_advice_for_a_better_model_names_a_command_that_works(
    command: Command, photos: Path, place: str, option: str
) -> None:
    outcome = command("index", photos, *([] if place == "default" else ["-C", place]))
    assert outcome.code == 0 and f"`mmsearch reindex --model clip{option}`" in outcome.err
    again = command("index", "--model", "mobile", *([] if place == "default" else ["-C", place]))
    assert again.code == 1 and f"`mmsearch reindex --model mobile{option}`" in again.err


def test_a_collection_elsewhere_is_named_by_its_path(tmp_path: Path) -> None:
    assert config.collection_option(tmp_path / "x") == f" -C {tmp_path / 'x'}"
    assert config.collection_option(config.data_dir() / "x") == " -C x"
