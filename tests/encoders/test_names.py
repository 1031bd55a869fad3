"""Names of models: every form of `--model`, the aliases, and errors that say what to write."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hub_server import Fault, Hub

from mmsearch.base.errors import UnknownModelError
from mmsearch.encoders import choose_default, openclip, openclip_tables, resolve, short_name
from mmsearch.encoders import names as model_names

open_clip = openclip.open_clip


def test_catalogue_equals_open_clips_own_tables() -> None:
    theirs = {(name, tag): open_clip.get_pretrained_cfg(name, tag) for name, tag in open_clip.list_pretrained()}
    ours = {
        (name, tag): found
        for name in {pair[0] for pair in theirs}
        for tag, found in openclip_tables.pretrained(name).items()
    }
    assert ours.keys() == {pair for pair, fields in theirs.items() if fields.get("hf_hub")}
    for pair, weights in ours.items():
        fields = theirs[pair]
        assert fields["hf_hub"] == f"{weights.repo}/{weights.filename}"
        assert weights.quick_gelu == fields.get("quick_gelu", False)
        assert weights.settings == {name: fields[name] for name in ("mean", "std", "interpolation", "resize_mode")}


def test_architectures_without_open_clip_are_the_same() -> None:
    """As a fresh process reads them, which has not imported open_clip."""
    code = "import json; from mmsearch.encoders import openclip_tables; "
    code += "print(json.dumps(openclip_tables.architectures()))"
    names = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    import json

    built_in = {name for name in open_clip.list_models() if not name.startswith("tiny-")}
    assert set(json.loads(names)) == built_in


@pytest.mark.parametrize("card", model_names.EVERY_ALIAS.values(), ids=lambda card: card.alias)
def test_alias_facts_match_open_clip(card: model_names.ModelCard) -> None:
    source = resolve(card.alias)
    assert source == resolve(source.spec)
    assert (source.alias, source.spec) == (card.alias, card.spec)
    if source.kind == "starter":
        return
    config = open_clip.get_model_config(source.architecture)
    assert card.dim == config["embed_dim"]
    assert card.pixels == config["vision_cfg"]["image_size"]
    assert card.repo == openclip_tables.pretrained(source.architecture)[source.tag].repo
    assert card.needs_tokenizer == bool(config["text_cfg"].get("hf_tokenizer_name"))


def test_a_name_that_is_no_longer_offered_goes_on() -> None:
    assert "clip-large" not in model_names.ALIASES
    assert resolve("clip-large").spec == "ViT-L-14/datacomp_xl_s13b_b90k"
    assert short_name("ViT-L-14/datacomp_xl_s13b_b90k") == "clip-large"


@pytest.mark.parametrize("card", model_names.EVERY_ALIAS.values(), ids=lambda card: card.alias)
def test_published_figures_have_a_source(card: model_names.ModelCard) -> None:
    assert (card.coco_r1 is None) == (not card.coco_source)
    assert (card.imagenet_top1 is None) == (not card.figure_source)
    assert bool(card.languages_note) == bool(card.languages_source) == (card.languages == "multilingual")


@pytest.mark.parametrize(
    ("spec", "canonical"),
    [
        ("starter", "starter"),
        (" clip ", "ViT-B-32-256/datacomp_s34b_b86k"),
        ("ViT-B-32/laion2b_s34b_b79k", "ViT-B-32/laion2b_s34b_b79k"),
        ("ViT-B-32/LAION2B-s34B-b79K", "ViT-B-32/laion2b_s34b_b79k"),
        ("hf-hub:org/some.repo-1", "hf-hub:org/some.repo-1"),
        ("local-dir:/models/x", "local-dir:/models/x"),
        ("ViT-B-32:/models/a:b.pt", "ViT-B-32:/models/a:b.pt"),
    ],
)
def test_canonical_spec(spec: str, canonical: str) -> None:
    assert resolve(spec).spec == canonical
    assert resolve(canonical) == resolve(spec)


def test_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    assert resolve("local-dir:models/x").path == str(tmp_path / "models/x")
    assert resolve("ViT-B-32:../x.pt").path == str(tmp_path / "../x.pt")
    assert resolve("local-dir:~/x").path == "/home/someone/x"


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("clipp", "did you mean clip"),
        ("siglip", "siglip2"),
        ("", "short names are starter, clip"),
        ("openai/clip-vit-base-patch32", "no model is called 'openai/clip-vit-base-patch32'"),
        ("ViT-B-32", "write ViT-B-32/datacomp_xl_s13b_b90k"),
        ("ViT-B-32/laion2b", "ViT-B-32/laion2b_s34b_b79k"),
        ("ViT-B-33/openai", "did you mean ViT-B-32/openai"),
        ("ViT-B-33:/x.pt", "no model is called"),
        ("ViT-B-32:", "write a path after the colon"),
        ("local-dir:", "write a path after the colon"),
        ("hf-hub:repo", "hf-hub:ORG/REPOSITORY"),
        ("hf-hub:../x/y", "hf-hub:ORG/REPOSITORY"),
        ("ViT-H-14-378-quickgelu/nothing", "ViT-H-14-378-quickgelu/dfn5b"),
    ],
)
def test_unknown_names_say_what_to_write(spec: str, says: str) -> None:
    with pytest.raises(UnknownModelError) as caught:
        resolve(spec)
    assert says in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_folder_is_named_with_its_prefix(tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError, match=f"a folder is written local-dir:{tmp_path}"):
        resolve(str(tmp_path))


def test_resolving_imports_nothing_heavy() -> None:
    code = (
        "import sys; from mmsearch.encoders import resolve\n"
        "for spec in ('clip', 'ViT-B-32/openai', 'hf-hub:a/b', 'local-dir:/x', 'RN50:/x.pt'): resolve(spec)\n"
        "print(sorted({'torch', 'open_clip', 'onnxruntime', 'numpy', 'huggingface_hub'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


class TestDefault:
    """`auto`, for a new collection."""

    def test_clip_where_the_hub_answers(self, hub: Hub) -> None:
        hub.repos[model_names.ALIASES["clip"].repo] = {"open_clip_config.json": b"{}"}
        notices: list[str] = []
        assert choose_default(notices.append) == "clip"
        assert notices == []

    def test_clip_where_its_weights_are_cached(self, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        from mmsearch.encoders import hub as client

        repo = model_names.ALIASES["clip"].repo
        hub.repos[repo] = {"open_clip_model.safetensors": b"weights"}
        assert not model_names.is_cached(model_names.ALIASES["clip"])
        client.fetch(repo, model_names.WEIGHTS_NAMES, notice=lambda line: None, progress=False)
        assert model_names.is_cached(model_names.ALIASES["clip"])
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        hub.requests.clear()
        assert choose_default() == "clip"
        assert hub.requests == []

    def test_starter_where_the_hub_hangs(self, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("mmsearch.base.config.HUB_PROBE_SECONDS", 0.3)
        hub.faults["open_clip_config.json"] = "hang"
        notices: list[str] = []
        assert choose_default(notices.append) == "starter"
        assert len(notices) == 1
        assert "does not answer" in notices[0]
        assert "--model clip" in notices[0]

    @pytest.mark.parametrize("fault", ["broken", "no-hub", "unauthorized"])
    def test_starter_where_something_else_answers(self, hub: Hub, fault: Fault) -> None:
        hub.faults["open_clip_config.json"] = fault
        assert choose_default() == "starter"

    def test_starter_without_asking_when_offline(self, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        notices: list[str] = []
        assert choose_default(notices.append) == "starter"
        assert "HF_HUB_OFFLINE" in notices[0]
        assert hub.requests == []


def test_starter_is_always_cached() -> None:
    assert model_names.is_cached(model_names.ALIASES["starter"])
