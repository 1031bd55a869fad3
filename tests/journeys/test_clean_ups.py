"""Every clean-up removes files of our own names and this user's, and none through a link; a cache of others is none.

What there is: last answers, vector files and half-made catalogs (`tests/store/test_trust.py`) of a collection, exports
and what killed ones left, digests, scratch collections of evaluations, and damaged downloads of the hub's cache.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command import Command
from owners import STRANGER, as_root, posix

from mmsearch.base import cache, config
from mmsearch.base.errors import ModelUnavailableError, StorageError, UntrustedError
from mmsearch.base.records import EncoderInfo, Preprocess
from mmsearch.encoders import fingerprints, health, hub, inventory, resolve
from mmsearch.encoders.export import folder as export_folder
from mmsearch.encoders.export import make as export_make
from mmsearch.evaluating import embeddings
from mmsearch.query import session
from mmsearch.vectors import on_disk

pytestmark = posix

FINGERPRINT = "ab" * 32
INFO = EncoderInfo(resolve("clip").spec, FINGERPRINT, 16, Preprocess(32, 32))
LONG_AGO = time.time() - 30 * 86_400


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder of the user's with files of many names, all of them old."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return folder


def everything(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def fill(folder: Path, ours: list[str], names: list[str]) -> None:
    """Old files of our names, and with others; a name that ends with a slash is a folder's, with a file in it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*ours, *names):
        path = folder / name
        if name.endswith("/"):
            path.mkdir()
            path = path / "file"
        path.write_bytes(b"{}")
        os.utime(path, (LONG_AGO, LONG_AGO))


def forget_answers(folder: Path) -> None:
    session.save(Path("/c"), "s", "a cat", {"text": "a cat"}, [])
    assert config.cache_dir() / "answers" == folder


def begin_an_export(folder: Path) -> None:
    with export_make._making(export_folder.folder_of(FINGERPRINT)) as made:
        (made / "file").touch()


def repair_the_export(folder: Path) -> None:
    (mend := health.of(INFO)[2]) and mend()


def remove_leftovers(folder: Path) -> None:
    inventory.remove(inventory.inventory().leftovers)


def remove_vectors(folder: Path) -> None:
    on_disk.remove_others(folder, [])


KILLED = f".making-{FINGERPRINT}-v1-killed/"
USERS = ["holiday.json", "taxes/", "a.txt", f"{'ab' * 16}.json.bak", f"{'ab' * 16}.txt", f".making-{FINGERPRINT}/"]

# The folder below the cache, what is removed of it, what is not although it begins alike, and the act.
CLEAN_UPS: dict[str, tuple[str, list[str], list[str], Callable[[Path], None]]] = {
    "answers": ("answers", [f"{'ab' * 16}.json", f"{'cd' * 16}.json.12.tmp"], USERS, forget_answers),
    "exports, killed": ("exports", [KILLED], [*USERS, "taxes-v1/", f"{FINGERPRINT}-v1.txt/"], begin_an_export),
    "exports, damaged": ("exports", [f"{FINGERPRINT}-v1/", KILLED], USERS, repair_the_export),
    "exports, left": ("exports", [f"{'cd' * 32}-v0/", KILLED], [*USERS, "ab-v1/", "notes-v2/"], remove_leftovers),
    "digests": ("digests", ["ab" * 16, f"{'cd' * 16}.0ab1.tmp"], USERS, remove_leftovers),
    "vectors": ("vectors", [f"vectors-{'ab' * 16}.faiss"], [*USERS, "vectors-2024.faiss", "vectors-old.faiss"],
                remove_vectors),
}  # fmt: skip


@pytest.mark.parametrize("name", CLEAN_UPS)
def test_only_our_names_go(name: str, elsewhere: Path) -> None:
    below, ours, others, act = CLEAN_UPS[name]
    folder = config.cache_dir() / below
    cache.made_folder(below)
    fill(folder, ours, others)
    kept = {*everything(folder)} - {part for one in ours for part in (one.rstrip("/"), f"{one}file")}
    act(folder)
    assert {*everything(folder)} >= kept and not any((folder / one).exists() for one in ours if one != ours[0])
    assert not (folder / ours[0] / "file").exists() and not (folder / ours[0]).is_file()


@pytest.mark.parametrize("name", CLEAN_UPS)
def test_what_a_link_leads_to_stays(name: str, elsewhere: Path) -> None:
    """A link of our name to the user's own files, one by one and as a whole folder."""
    below, ours, others, act = CLEAN_UPS[name]
    fill(elsewhere, ours, others)
    before = everything(elsewhere)
    folder = cache.made_folder(below)
    for one in ours:
        (folder / one.rstrip("/")).symlink_to(elsewhere / one.rstrip("/"))
    try_to(act, folder)
    assert everything(elsewhere) == before


@pytest.mark.parametrize("name", [name for name in CLEAN_UPS if name != "vectors"])
def test_a_folder_that_is_a_link_is_not_cleaned(name: str, elsewhere: Path) -> None:
    below, ours, others, act = CLEAN_UPS[name]
    fill(elsewhere, ours, others)
    before = everything(elsewhere)
    cache.made_folder("any")
    (config.cache_dir() / below).symlink_to(elsewhere)
    try_to(act, config.cache_dir() / below)
    assert {*everything(elsewhere)} >= {*before}


@as_root
@pytest.mark.parametrize("name", CLEAN_UPS)
def test_what_is_a_strangers_stays(name: str) -> None:
    below, ours, others, act = CLEAN_UPS[name]
    folder = cache.made_folder(below)
    fill(folder, ours, others)
    for one in ours:
        os.chown(folder / one, STRANGER, STRANGER)
    before = everything(folder)
    try_to(act, folder)
    assert {*everything(folder)} >= {*before}


def try_to(act: Callable[[Path], None], folder: Path) -> None:
    """Where somebody else's things are in the way, a clean-up may fail, as long as it does so in words."""
    try:
        act(folder)
    except (StorageError, ModelUnavailableError, OSError) as error:
        assert str(error)


def test_removing_a_model_spares_links_and_what_lies_behind_them(command: Command, elsewhere: Path) -> None:
    folder = cache.made_folder("exports")
    content = export_folder.Manifest(INFO, {}, True, True, {}, "1.0", "here").to_json()
    real = elsewhere / f"{FINGERPRINT}-v1"
    real.mkdir()
    (real / export_folder.MANIFEST).write_text(json.dumps(content))
    (folder / real.name).symlink_to(real)
    outcome = command("models", "remove", "clip", "--yes")
    assert outcome.code == 1 and "is not removed: it is a link" in outcome.err and (real / "export.json").exists()
    shutil.rmtree(folder)
    folder.symlink_to(elsewhere)
    outcome = command("models", "remove", "clip", "--yes")
    assert outcome.code == 1 and "lies behind one" in outcome.err and (real / "export.json").exists()


def test_a_scratch_collection_goes_and_what_a_link_leads_to_stays(elsewhere: Path) -> None:
    home = embeddings._home("starter")
    (home / "collection").mkdir(parents=True)
    embeddings.forget("starter")
    assert not home.exists()
    (elsewhere / "file").touch()
    home.symlink_to(elsewhere)
    embeddings.forget("starter")
    assert (elsewhere / "file").exists()


def test_only_blobs_of_the_repository_are_thrown_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repository, foreign = tmp_path / "models--a--b", tmp_path / "models--c--d" / "blobs"
    snapshot = repository / "snapshots" / "main"
    for folder in (snapshot, repository / "blobs", foreign):
        folder.mkdir(parents=True)
    for blobs in (repository / "blobs", foreign):
        (blobs / ("ab" * 32)).write_bytes(b"damaged")
        (snapshot / "weights").symlink_to(blobs / ("ab" * 32))
        assert hub.discard_if_damaged(snapshot / "weights") == (blobs != foreign)
    assert (foreign / ("ab" * 32)).exists() and not (repository / "blobs" / ("ab" * 32)).exists()


@as_root
def test_a_strangers_blob_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "main", tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (blobs / ("ab" * 32)).write_bytes(b"damaged")
    os.chown(blobs / ("ab" * 32), STRANGER, STRANGER)
    (snapshot / "weights").symlink_to(blobs / ("ab" * 32))
    with pytest.raises(ModelUnavailableError, match="is damaged, and is another user's"):
        hub.discard_if_damaged(snapshot / "weights")
    assert (snapshot / "weights").exists()


class TestCacheOfOthers:
    """It is neither read nor written; what can be done without it is."""

    @pytest.fixture(autouse=True)
    def shared(self) -> Path:
        folder = cache.made_folder("answers").parent
        for name in ("exports", "digests", "captions", "eval", "roots"):
            cache.made_folder(name)
        folder.chmod(0o777)
        return folder

    def test_answers(self, command: Command, indexed: Path, shared: Path) -> None:
        found = command("query", "a cat", "-C", indexed, "--session", "s", "-k", 1)
        assert found.code == 0 and "cat.jpg" in found.out
        assert "this answer is not kept for --more and --less; the cache is not used: others can write" in found.err
        assert f"`mmsearch trust {shared}`" in found.err
        refused = command("query", "--more", 1, "-C", indexed, "--session", "s")
        assert refused.code == 1 and f"`mmsearch trust {shared}`" in refused.err
        assert everything(shared / "answers") == []
        command("trust", shared)
        assert command("query", "a cat", "-C", indexed, "--session", "s").err == ""
        assert command("query", "--more", 1, "-C", indexed, "--session", "s").code == 0

    def test_exports(self, shared: Path) -> None:
        with pytest.raises(UntrustedError, match="mmsearch trust"), export_folder.turn(INFO, print):
            pass
        place = export_folder.folder_of(FINGERPRINT)
        place.mkdir()
        content = export_folder.Manifest(INFO, {}, True, True, {}, "1.0", export_folder.machine()).to_json()
        (place / export_folder.MANIFEST).write_text(json.dumps({**content, "runtime": _runtime()}))
        assert export_folder.find(FINGERPRINT) is None
        shared.chmod(0o700)
        assert export_folder.find(FINGERPRINT) is not None, "it is the cache that was at fault"

    def test_digests(self, tmp_path: Path, shared: Path) -> None:
        weights = tmp_path / "weights.bin"
        weights.write_bytes(b"one")
        found = fingerprints.digest(weights)
        assert everything(shared / "digests") == []
        shared.chmod(0o700)
        assert fingerprints.digest(weights) == found
        (note,) = (shared / "digests").iterdir()
        note.write_text(json.dumps({**json.loads(note.read_text()), "sha256": "planted"}))
        shared.chmod(0o777)
        assert fingerprints.digest(weights) == found

    def test_evaluations(self, command: Command, sample_data: Path, shared: Path) -> None:
        outcome = command("eval", sample_data / "captions.jsonl", "--model", "starter")
        assert outcome.code == 1 and "the cache is not used" in outcome.err and "mmsearch trust" in outcome.err
        assert everything(shared / "eval") == []
        with pytest.raises(UntrustedError):
            embeddings.forget("starter")


def _runtime() -> str:
    from mmsearch.encoders.onnx import onnx_runtime

    return str(onnx_runtime().__version__)
