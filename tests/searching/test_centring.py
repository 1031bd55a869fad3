"""Short texts without what all short texts have in common: which ones, and that it is the formula."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from command import Command

from mmsearch import Collection
from mmsearch.encoders import load_encoder
from mmsearch.searching import centring
from mmsearch.searching.reference_captions import captions
from mmsearch.store.catalog import Catalog

if TYPE_CHECKING:
    from tiny_models import TinyModel


@pytest.fixture(scope="module")
def by_clip(tmp_path_factory: pytest.TempPathFactory, sample_data: Path, tiny_clip: TinyModel) -> Path:
    """A collection of the sample photos by a tiny model like CLIP, whose short texts are centred by default."""
    folder = tmp_path_factory.mktemp("collections") / "tiny"
    with Collection.open(folder) as collection:
        collection.add([sample_data], model=f"local-dir:{tiny_clip.directory}")
    return folder


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


@pytest.mark.parametrize(
    ("spec", "centred"),
    [
        ("ViT-B-32-256/datacomp_s34b_b86k", True),
        ("hf-hub:org/some-clip", True),
        ("local-dir:/models/starter/siglip-clones/clip", True),
        ("ViT-B-32:/models/siglip/weights.pt", True),
        ("starter", False),
        ("ViT-B-32-SigLIP2-256/webli", False),
        ("hf-hub:timm/ViT-B-16-SigLIP", False),
        ("local-dir:/models/My-SigLIP", False),
        ("ViT-B-16-SigLIP:/models/weights.pt", False),
    ],
)
def test_which_models_are_centred(spec: str, centred: bool) -> None:
    assert centring.is_default(spec) is centred
    assert centring.applies("a dog on grass", spec, None) is centred
    assert centring.applies("a dog", spec, True) and not centring.applies("a dog", spec, False)
    assert not centring.applies("one two three four five six", spec, True)


def test_what_all_texts_share_no_longer_ranks_images() -> None:
    """Images that are near to every text come first for any question, until that is taken off."""
    rng = np.random.default_rng(3)
    common, subjects = np.eye(40, dtype=np.float32)[0], np.eye(40, dtype=np.float32)[1:]
    texts = np.stack([unit(3 * common + subject) for subject in subjects])
    scenes = rng.normal(0, 0.1, (39, 40)) @ np.diag(1 - common)
    images = np.stack(
        [unit(rng.uniform(0, 2) * common + subject + scene) for subject, scene in zip(subjects, scenes, strict=True)]
    )

    def right(questions: np.ndarray) -> float:
        return float(np.mean((questions @ images.T).argmax(axis=1) == np.arange(len(subjects))))

    assert right(texts) < 0.6
    assert right(centring.centred(texts, texts.mean(axis=0))) == 1


@pytest.mark.parametrize(
    ("options", "wanted"),
    [({}, True), ({"centring": True}, True), ({"centring": False}, False), ({"templates": False}, False),
     ({"templates": False, "centring": True}, True)],
)  # fmt: skip
def test_scores_are_cosines_with_the_vector_of_the_formula(
    by_clip: Path, options: dict[str, bool], wanted: bool
) -> None:
    with Collection.open(by_clip) as collection:
        spec = collection.info().model
        hits = collection.search("a red car", k=24, **options)
    assert spec
    encoder = load_encoder(spec, device="cpu", precision="fp32")
    text, everything = encoder.encode_texts(["a red car"])[0], encoder.encode_texts(captions())
    question = unit(text - 0.75 * everything.mean(axis=0)) if wanted else text
    with Catalog(by_clip, write=False) as catalog:
        stored = catalog.encoders.current()
        assert stored and len(hits) == 24
        for hit in hits:
            (vector,) = catalog.embeddings.of(stored, [hit.image.content_id])[1]
            assert hit.score == pytest.approx(unit(vector.astype(np.float64)) @ question, abs=2e-3)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_terms_are_centred_before_they_are_summed(by_clip: Path) -> None:
    from mmsearch.query.parse import from_words
    from mmsearch.searching.embed import QueryEmbedder
    from mmsearch.searching.view import View

    with Catalog(by_clip, write=False) as catalog:
        stored = catalog.encoders.current()
        assert stored
        encoder = load_encoder(stored.info.spec, device="cpu", precision="fp32")
        embedder = QueryEmbedder(lambda _: encoder, max_pixels=10**6)
        long = "a text of many more words than five"
        (found,) = embedder.embed([from_words({"text": "a cat", "minus": f"{long}:0.5"})], View.of(catalog, stored))
    mean = encoder.encode_texts(captions()).mean(axis=0)
    cat, other = encoder.encode_texts(["a cat", long])
    assert found
    assert found.vector == pytest.approx(unit(unit(cat - 0.75 * mean) - 0.5 * other), abs=1e-4)


def test_templates_are_centred_as_a_whole(by_clip: Path) -> None:
    from mmsearch.searching.embed_texts import TextEmbedder, Wording
    from mmsearch.searching.prompts import ensemble

    with Collection.open(by_clip) as collection:
        spec = collection.info().model
    assert spec
    encoder = load_encoder(spec, device="cpu", precision="fp32")
    wording = Wording("cat", templates=True)
    found = TextEmbedder(encoder).embed([wording])[wording]
    mean = encoder.encode_texts(captions()).mean(axis=0)
    whole = unit(encoder.encode_texts(ensemble("cat", spec, True)).sum(axis=0))
    assert found == pytest.approx(unit(whole - 0.75 * mean), abs=1e-4)


def test_options_switch_it_off(command: Command, by_clip: Path) -> None:
    def scores(*options: str) -> list[float]:
        answer = command("query", "a cat", "-C", by_clip, "--json", *options).json
        return [result["score"] for result in answer["results"]]

    assert scores() == scores("--centring") == scores("--raw", "--centring")
    assert scores("--raw") == scores("--no-centring") != scores()


def test_eval_compares_with_and_without(
    command: Command, sample_data: Path, tmp_path: Path, tiny_clip: TinyModel
) -> None:
    source = tmp_path / "captions.csv"
    source.write_text("file,caption\n" + "\n".join(
        f"{path},a {path.stem}" for path in sorted(sample_data.iterdir()) if path.suffix in (".jpg", ".png", ".webp")
    ))  # fmt: skip
    model = f"local-dir:{tiny_clip.directory}"
    answer = command("eval", source, "--model", model, "--centring", "both", "--json").json
    with_it, without = answer["models"]
    assert (with_it["centring"], without["centring"]) == (True, False)
    assert with_it["text_to_image"] != without["text_to_image"]
    assert with_it["image_to_text"] == without["image_to_text"]
    (compared,) = answer["comparisons"]
    assert compared["models"] == [f"{model}, centred", f"{model}, not centred"]
    assert command("eval", source, "--model", model, "--json").json["text_to_image"] == with_it["text_to_image"]
    plain = command("eval", source, "--model", model, "--centring", "off", "--json").json
    assert plain["text_to_image"] == without["text_to_image"] and plain["centring"] is False


def test_eval_says_when_there_is_nothing_to_centre(command: Command, sample_data: Path) -> None:
    outcome = command("eval", sample_data / "captions.jsonl", "--model", "starter", "--centring", "on")
    assert outcome.code == 0 and "no caption has 5 words or fewer, so none is centred" in outcome.err


def test_eval_embeds_no_captions_that_it_does_not_need(
    command: Command, sample_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmsearch.searching import embed_texts

    monkeypatch.setattr(embed_texts, "caption_vectors", lambda *_: pytest.fail("nothing is centred"))
    assert command("eval", sample_data / "captions.jsonl", "--model", "starter").code == 0
