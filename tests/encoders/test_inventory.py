"""What of models is on this disk: `mmsearch models`, with a hub on the loopback interface and tiny models."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny_models
from command import Command
from hub_server import Hub
from tiny_models import TinyModel

from mmsearch.base import config
from mmsearch.base.errors import ModelUnavailableError
from mmsearch.encoders import fingerprints, resolve
from mmsearch.encoders import hub as client
from mmsearch.encoders import inventory as on_disk
from mmsearch.encoders import names as model_names
from mmsearch.encoders import weights as weight_files
from mmsearch.encoders.export import folder as export_folder
from mmsearch.encoders.names import ModelSource

REPO = "tests/tiny"
SPEC = f"hf-hub:{REPO}"
WEIGHTS = "open_clip_model.safetensors"


@pytest.fixture
def offered(hub: Hub, tiny_clip: TinyModel) -> Hub:
    """A hub with the tiny model."""
    hub.repos[REPO] = {
        weight_files.CONFIG_NAME: (tiny_clip.directory / weight_files.CONFIG_NAME).read_bytes(),
        WEIGHTS: tiny_clip.safetensors.read_bytes(),
    }
    return hub


@pytest.fixture
def no_export(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A pull writes a stand-in of an export, which takes no time."""
    from mmsearch import encoders

    def stand_in(encoder, notice) -> None:  # type: ignore[no-untyped-def]
        write_export(encoder.info)

    monkeypatch.setattr(encoders, "ensure_export", stand_in)
    yield


def write_export(info) -> Path:  # type: ignore[no-untyped-def]
    folder = export_folder.folder_of(info.fingerprint)
    folder.mkdir(parents=True, exist_ok=True)
    content = export_folder.Manifest(info, {}, True, True, {}, "1.0", "here").to_json()
    (folder / export_folder.MANIFEST).write_text(json.dumps(content))
    (folder / "text.weights").write_bytes(bytes(1000))
    folder.with_name(f"{folder.name}.lock").touch()
    return folder


def everything() -> set[Path]:
    """All files in both caches, but for empty ones (locks) and links."""
    tops = [config.cache_dir(), client.folder("a/b").parent]
    found = [path for top in tops for path in top.rglob("*") if path.is_file() and not path.is_symlink()]
    return {path for path in found if path.stat().st_size and path.name != "CACHEDIR.TAG"}


def accounted(inventory: on_disk.Inventory) -> set[Path]:
    items = [item for held in inventory.holdings for item in [*held.own, *held.shared]]
    items += [*inventory.leftovers, *inventory.rest, *inventory.others]
    paths = {item.path for item in items}
    return {path for path in everything() if any(path == one or one in path.parents for one in paths)}


class TestPull:
    def test_a_pull_brings_all_that_queries_need(self, command: Command, offered: Hub, no_export: None) -> None:
        outcome = command("models", "pull", SPEC, "--json")
        assert outcome.code == 0, outcome.err
        fields = outcome.json
        assert fields["cached"] and len(fields["exports"]) == 1
        assert fields["downloads"][0]["bytes"] >= len(offered.repos[REPO][WEIGHTS])
        offered.requests.clear()
        assert command("models", "pull", SPEC).code == 0
        assert not offered.downloads(WEIGHTS)
        shown = command("models", "show", SPEC).out
        assert "16 dimensions" in shown and "32 x 32 pixels" in shown and "English" in shown
        assert accounted(on_disk.inventory()) == everything()

    def test_a_broken_download_goes_on(
        self, command: Command, offered: Hub, no_export: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from mmsearch import encoders

        offered.repos[REPO][WEIGHTS] = bytes(range(250)) * 100_000  # the library writes 10 MB at a time
        stand_in = SimpleNamespace(info=info_of(resolve(SPEC)))
        monkeypatch.setattr(encoders, "load_encoder", lambda spec, **chosen: stand_in)
        monkeypatch.setattr("time.sleep", lambda seconds: None)  # between the library's tries
        offered.faults[WEIGHTS] = "truncated"
        outcome = command("models", "pull", SPEC)
        assert outcome.code == 1 and "run again to resume it" in outcome.err
        state = command("models", "show", SPEC).out
        assert f"`mmsearch models pull {SPEC}` resumes" in state
        (held,) = on_disk.inventory().holdings
        assert not held.is_complete and held.downloads[0].bytes > 10_000_000
        offered.faults.clear()
        assert command("models", "pull", SPEC).code == 0
        assert offered.downloads(WEIGHTS)[-1].ranges != ""

    def test_damage_on_this_disk_is_found(self, command: Command, offered: Hub, no_export: None) -> None:
        command("models", "pull", SPEC)
        blob = client.cached(REPO, WEIGHTS)
        assert blob is not None
        real = blob.resolve()
        real.write_bytes(real.read_bytes()[:-1] + b"x")
        outcome = command("models", "pull", SPEC)
        assert outcome.code == 0 and "was damaged on this disk; downloading it again" in outcome.err
        assert real.read_bytes() == offered.repos[REPO][WEIGHTS]

    def test_what_does_not_exist(self, command: Command, offered: Hub) -> None:
        assert command("models", "pull", "clipp").code == 2
        outcome = command("models", "pull", "hf-hub:tests/none")
        assert outcome.code == 1 and "has no model tests/none" in outcome.err

    def test_the_starter_is_here(self, command: Command, hub: Hub) -> None:
        assert command("models", "pull", "starter").code == 0
        assert hub.requests == []


class TestRemove:
    def test_everything_of_a_model_goes(self, command: Command, offered: Hub, no_export: None) -> None:
        command("models", "pull", SPEC)
        assert command("models", "remove", SPEC, "--yes").code == 0
        assert everything() == set()
        assert not on_disk.holding(resolve(SPEC)).is_complete
        assert "nothing to remove" in command("models", "remove", SPEC, "--yes").err

    def test_it_asks_first(
        self, command: Command, offered: Hub, no_export: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import io

        command("models", "pull", SPEC)
        before = everything()
        for answer, code in (("n\n", 130), ("", 130), ("y\n", 0)):
            assert everything() == before
            monkeypatch.setattr("sys.stdin", io.StringIO(answer))
            outcome = command("models", "remove", SPEC)
            assert outcome.code == code and str(client.folder(REPO)) in outcome.err and outcome.out == ""
        assert everything() == set()

    def test_the_starter_stays(self, command: Command) -> None:
        outcome = command("models", "remove", "starter", "--yes")
        assert outcome.code == 2 and "part of mmsearch" in outcome.err
        assert command("models", "remove").code == 2
        assert command("models", "remove", "clip", "--leftovers").code == 2

    def test_a_checkpoint_of_the_users_own_stays(self, command: Command, tiny_clip: TinyModel) -> None:
        source = resolve(f"{tiny_clip.name}:{tiny_clip.checkpoint}")
        fingerprints.digest(tiny_clip.checkpoint)
        write_export(info_of(source))
        assert len(on_disk.holding(source).own) == 2
        assert command("models", "remove", source.spec, "--yes").code == 0
        assert tiny_clip.checkpoint.exists() and everything() == set()

    def test_a_tokenizer_that_another_model_uses_stays(
        self, hub: Hub, monkeypatch: pytest.MonkeyPatch, tiny_clip: TinyModel
    ) -> None:
        text = {"hf_tokenizer_name": "tests/words"}
        for repo in ("tests/one", "tests/two"):
            hub.repos[repo] = {weight_files.CONFIG_NAME: json.dumps({"model_cfg": {"text_cfg": text}}).encode()}
        hub.repos["tests/words"] = {"tokenizer.json": b"{}"}
        for repo in ("tests/one", "tests/two"):
            client.fetch(repo, [weight_files.CONFIG_NAME], notice=print, progress=False)
        client.fetch("tests/words", ["tokenizer.json"], notice=print, progress=False)
        held = on_disk.holding(resolve("hf-hub:tests/one"))
        assert [item.path for item in held.own] == [client.folder("tests/one")]
        assert [item.path for item in held.shared] == [client.folder("tests/words")]
        on_disk.remove(held.own)
        held = on_disk.holding(resolve("hf-hub:tests/two"))
        assert {item.path for item in held.own} == {client.folder("tests/two"), client.folder("tests/words")}

    def test_what_cannot_be_deleted(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(path: Path) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(shutil, "rmtree", refuse)
        with pytest.raises(ModelUnavailableError, match="cannot be removed: Permission denied"):
            on_disk.remove([on_disk.Item(tmp_path, 0)])


def info_of(source: ModelSource):  # type: ignore[no-untyped-def]
    from mmsearch.base.records import EncoderInfo, Preprocess

    return EncoderInfo(source.spec, "ab" * 32, 16, Preprocess(32, 32))


class TestList:
    def test_every_file_is_accounted_for(self, command: Command, offered: Hub, no_export: None, tmp_path: Path) -> None:
        command("models", "pull", SPEC)
        hub_cache = client.folder(REPO).parent
        (hub_cache / "models--someone--else" / "blobs").mkdir(parents=True)
        (hub_cache / "models--someone--else" / "blobs" / "x").write_bytes(bytes(500))
        exports = export_folder.folder_of("cd" * 32).parent
        killed = exports / f".making-{'cd' * 32}-v1-killed"
        killed.mkdir()
        (killed / "text.weights").write_bytes(bytes(70))
        (exports / f"{'cd' * 32}-v1").mkdir()
        (exports / f"{'cd' * 32}-v1" / export_folder.MANIFEST).write_text('{"format": 1}')
        (exports / f"{'ef' * 32}-v2.failed.json").write_text("{}")
        gone = tmp_path / "gone.pt"
        gone.write_bytes(b"weights")
        fingerprints.digest(gone)
        gone.unlink()
        (config.cache_dir() / "something.json").write_text("of another part")
        found = on_disk.inventory()
        assert accounted(found) == everything()
        assert sum(path.stat().st_size for path in everything()) == found.bytes + sum(i.bytes for i in found.others)
        assert [item.path.name for item in found.others] == ["models--someone--else"]
        assert len(found.leftovers) == 3
        assert {item.path.name.split("-")[-1] for item in found.rest} == {"something.json", "v2.failed.json"}
        listed = command("models", "list")
        assert "Not counted: 500 B by other programs" in listed.out
        assert "leftovers: `mmsearch models remove --leftovers` (3 items)" in listed.out
        assert command("models", "remove", "--leftovers", "--yes").code == 0
        assert on_disk.inventory().leftovers == []
        assert [held.spec for held in on_disk.inventory().holdings] == [SPEC]

    def test_plain_models_lists_too(self, command: Command) -> None:
        assert command("models").out == command("models", "list").out
        listed = command("models", "--json").json
        assert [card["alias"] for card in listed["models"]] == list(model_names.ALIASES)
        assert listed["models"][0]["cached"] and listed["disk"]["bytes"] == 0
        assert command("models", "list", "--json").json == listed

    def test_figures_stand_side_by_side(self, command: Command) -> None:
        head, *rows = command("models").out.splitlines()
        assert head.split() == ["COCO", "ImageNet", "GFLOP", "memory", "languages"]
        figures = {row.split()[0]: row.split()[1:] for row in rows[: len(model_names.ALIASES)]}
        assert list(figures) == list(model_names.ALIASES)
        assert figures["clip"] == ["39.9", "72.8", "11.5", "2.2", "GB", "English"]
        assert figures["pe-large"][:3] == ["57.1", "83.5", "384.4"] and figures["siglip2"][-1] == "many"
        cards = {card["alias"]: card for card in command("models", "--json").json["models"]}
        assert (cards["siglip2"]["coco_r1"], cards["siglip2"]["image_gflop"]) == (47.2, 11.5)
        assert cards["siglip2"]["memory_mb"] > cards["clip"]["memory_mb"] > cards["clip"]["query_memory_mb"] > 0

    def test_an_old_name_is_listed_only_where_its_model_is_here(self, command: Command, hub: Hub) -> None:
        assert "clip-large" not in command("models").out
        repo = model_names.EVERY_ALIAS["clip-large"].repo
        hub.repos[repo] = {WEIGHTS: b"weights"}
        client.fetch(repo, [WEIGHTS], notice=print, progress=False)
        assert "\nclip-large     ViT-L-14/datacomp_xl_s13b_b90k, 768 dimensions" in command("models").out

    def test_an_open_clip_pair_is_known_by_its_repository(self, hub: Hub) -> None:
        repo = model_names.EVERY_ALIAS["clip-large"].repo
        hub.repos[repo] = {WEIGHTS: b"weights"}
        client.fetch(repo, [WEIGHTS], notice=print, progress=False)
        (held,) = on_disk.inventory().holdings
        assert held.spec == model_names.EVERY_ALIAS["clip-large"].spec and held.is_complete and not held.has_export


class TestShow:
    @pytest.mark.parametrize("alias", model_names.EVERY_ALIAS)
    def test_cards(self, command: Command, alias: str) -> None:
        card = model_names.EVERY_ALIAS[alias]
        shown = command("models", "show", alias).out
        assert card.licence in shown and f"{card.dim} dimensions" in shown and card.languages in shown
        assert card.languages_note in shown and card.languages_source in shown
        if card.coco_r1:
            assert f"{card.coco_r1:.1f} % of COCO's captions find their photo first ({card.coco_source})" in shown
        if card.image_gflop:
            assert f"{card.image_gflop:.1f} GFLOP per image" in shown
        if card.imagenet_top1:
            assert f"{card.imagenet_top1:.1f} % zero-shot top-1 on ImageNet-1k ({card.figure_source})" in shown
        assert command("models", "show", alias, "--json").json["spec"] == card.spec

    def test_any_open_clip_model(self, command: Command) -> None:
        shown = command("models", "show", "xlm-roberta-base-ViT-B-32/laion5b_s13b_b90k").out
        assert "those of its tokenizer, xlm-roberta-base" in shown and "512 dimensions" in shown
        shown = command("models", "show", "ViT-B-16/laion2b_s34b_b88k").out
        assert "English" in shown and "224 x 224" in shown and "no figures known" in shown

    def test_a_model_that_is_not_here(self, command: Command) -> None:
        assert "unknown until pulled" in command("models", "show", "hf-hub:tests/none").out


def test_environment_of_the_tests_is_their_own() -> None:
    """Nothing here may look at, or delete, what the user has."""
    assert os.environ["MMSEARCH_CACHE"].startswith(str(Path(os.environ["HOME"])))
    assert tiny_models.CONTEXT_LENGTH
