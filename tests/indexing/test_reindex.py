"""Changing a collection's model: resumable, right at every moment, reversible.

The models are stand-ins that embed colours: how real ones are loaded is tested elsewhere.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import Command
from numpy.typing import NDArray
from PIL import Image

from mmsearch import Collection
from mmsearch.base.errors import ModelMismatchError, ReindexError
from mmsearch.base.events import Event, Progress, Reindexed, ReindexSummary, Skipped
from mmsearch.base.records import EncoderInfo, Preprocess
from mmsearch.indexing import settings
from mmsearch.indexing.settings import IndexSettings
from mmsearch.store.catalog import Catalog

HOW = Preprocess(16, 16, "squash")
OLD, SPEC = "hf-hub:tests/old", "hf-hub:tests/other"
DIM = 48
SMALL = IndexSettings(batch_size=1, workers=1)

# Photos in the collections here: few and small, since each run decodes them anew.
COUNT = 12


class Other:
    """Embeds an image as the means of a 4 x 4 grid, and a text as what its first word's colour would give."""

    device, precision, batch_size, concurrency = "cpu", "fp32", 4, 1

    def __init__(self, spec: str = SPEC, fingerprint: str = "f" * 64, delay: float = 0.0) -> None:
        self.info = EncoderInfo(spec, fingerprint, DIM, HOW)
        self.encoded = 0
        self._delay = delay

    def encode_images(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        time.sleep(self._delay)
        self.encoded += len(pixels)
        means = pixels.reshape(len(pixels), 4, 4, 4, 4, 3).mean(axis=(2, 4)).reshape(len(pixels), DIM)
        return _unit((means.astype(np.float32) + 1) ** (3 if self.info.spec == OLD else 1))

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        colours = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
        rows = [np.tile(colours.get(text.split()[0], (128, 128, 128)), 16) for text in texts]
        return _unit(np.array(rows, np.float32).reshape(len(texts), DIM) + 1)


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return found


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> Other:
    """The new model, `SPEC`. It and `OLD` are what their names load."""
    encoder = Other()
    use(encoder, monkeypatch)
    return encoder


def use(encoder: Other, monkeypatch: pytest.MonkeyPatch) -> None:
    from mmsearch import encoders

    known = {OLD: Other(OLD, "a" * 64), SPEC: encoder}
    monkeypatch.setattr(encoders, "load_encoder", lambda spec, **chosen: known[spec])
    monkeypatch.setattr(encoders, "load_query_encoder", lambda stored, **chosen: known[stored.spec])
    monkeypatch.setattr(encoders, "load_export", lambda stored, **chosen: None)
    monkeypatch.setattr(encoders, "identify", lambda spec, *rest: known[spec].info)
    monkeypatch.setattr(encoders, "ensure_export", lambda *rest: None)


@pytest.fixture
def photos(sample_data: Path, tmp_path: Path) -> Path:
    """Small photos, a cat's and a dog's among them."""
    folder = tmp_path / "photos"
    folder.mkdir()
    paths = [sample_data / "cat.jpg", sample_data / "dog.jpg", *sorted(sample_data.glob("*.jpg"))]
    for path in [*dict.fromkeys(paths)][:COUNT]:
        with Image.open(path) as image:
            image.resize((64, 64)).save(folder / path.name)
    return folder


@pytest.fixture
def place(photos: Path, other: Other, tmp_path: Path) -> Path:
    """A collection by the old model of `photos`, which a test may change."""
    folder = tmp_path / "c"
    with Collection.open(folder) as collection:
        collection.add([photos], model=OLD, settings=SMALL)
    return folder


def run(place: Path, model: str | None = SPEC, stop_after: int | None = None, **options: object) -> ReindexSummary:
    """One reindex, stopped after so many images."""
    stop = threading.Event()
    with Collection.open(place) as collection:
        for event in collection.reindex_events(model, stop=stop, settings=SMALL, **options):  # type: ignore[arg-type]
            if isinstance(event, Progress) and stop_after is not None and event.done >= stop_after:
                stop.set()
            if isinstance(event, Reindexed):
                return event.summary
    raise AssertionError("no summary")


def ask(place: Path, text: str = "green", k: int = COUNT) -> list[tuple[str, float]]:
    with Collection.open(place) as collection:
        return [(hit.path, round(hit.score or 0, 5)) for hit in collection.search(text=text, k=k)]


def vectors(place: Path, number: int) -> dict[bytes, bytes]:
    """Each content's embedding by encoder `number`, by hash."""
    database = sqlite3.connect(place / "catalog.sqlite3")
    try:
        sql = f"SELECT hash, vector FROM contents JOIN embeddings_{number} ON content_id = contents.id"
        return dict(database.execute(sql).fetchall())
    finally:
        database.close()


def well(place: Path) -> None:
    with Collection.open(place) as collection:
        assert [finding.text for finding in collection.doctor() if not finding.ok and finding.check != "model"] == []


@pytest.fixture
def truth(other: Other, photos: Path, tmp_path: Path) -> list[tuple[str, float]]:
    """What a collection made by the other model from the start answers."""
    with Collection.open(tmp_path / "truth") as collection:
        collection.add([photos], model=SPEC, settings=SMALL)
    return ask(tmp_path / "truth", "red")


class TestChange:
    def test_answers_are_those_of_a_collection_made_with_the_model(
        self, place: Path, other: Other, truth: list[tuple[str, float]]
    ) -> None:
        other.encoded = 0
        summary = run(place)
        assert (summary.switched, summary.encoded, summary.total, summary.missing) == (True, COUNT, COUNT, 0)
        assert (summary.before, summary.model, summary.device) == (OLD, SPEC, "cpu")
        assert ask(place, "red") == truth
        well(place)

    def test_interrupted_three_times(self, place: Path, other: Other, truth: list[tuple[str, float]]) -> None:
        other.encoded = 0
        before = ask(place)
        done = 0
        for more in (1, 1, 1):
            summary = run(place, stop_after=more)
            assert summary.interrupted and not summary.switched
            assert summary.encoded >= more
            done += summary.encoded
            assert len(vectors(place, 2)) == done
            assert ask(place) == before
            well(place)
        assert done < COUNT
        summary = run(place, None)
        assert summary.switched and summary.encoded == COUNT - done and other.encoded == COUNT
        assert ask(place, "red") == truth
        well(place)

    def test_files_of_what_is_indexed_meanwhile_are_filled_in(self, place: Path, other: Other, photos: Path) -> None:
        run(place, stop_after=4)
        (photos / "later.jpg").write_bytes((photos / "cat.jpg").read_bytes() + b"more")
        (photos / "dog.jpg").unlink()
        with Collection.open(place) as collection:
            summary = collection.add(settings=SMALL)
            assert (summary.new, summary.removed, summary.model) == (1, 1, OLD)
        assert {str(photos / "cat.jpg"), str(photos / "later.jpg")} <= dict(ask(place)).keys()
        well(place)
        summary = run(place, None)
        assert summary.switched and summary.total == COUNT
        assert len(vectors(place, 2)) == COUNT
        well(place)

    def test_a_removed_image_goes_from_both(self, place: Path, other: Other, photos: Path) -> None:
        run(place)
        (photos / "cat.jpg").unlink()
        with Collection.open(place) as collection:
            collection.add(settings=SMALL)
        assert len(vectors(place, 1)) == len(vectors(place, 2)) == COUNT - 1
        well(place)

    def test_copies_are_encoded_once(self, place: Path, other: Other, photos: Path) -> None:
        shutil.copy(photos / "cat.jpg", photos / "copy.jpg")
        with Collection.open(place) as collection:
            collection.add(settings=SMALL)
        (photos / "cat.jpg").unlink()  # the first file of the content; the other one is as good
        assert run(place).switched
        assert other.encoded == COUNT

    def test_nothing_to_do(self, place: Path, other: Other) -> None:
        summary = run(place, OLD)
        assert (summary.switched, summary.encoded, summary.before) == (True, 0, "")
        assert run(place, None).encoded == 0
        with Catalog(place, write=False) as catalog:
            assert len(catalog.encoders.all()) == 1

    def test_other_weights_of_the_same_name(self, place: Path, other: Other, monkeypatch: pytest.MonkeyPatch) -> None:
        """As when a new version brings another built-in model."""
        run(place)
        use(Other(fingerprint="e" * 64), monkeypatch)
        with pytest.raises(ModelMismatchError, match=f"`mmsearch reindex --model {SPEC}`"):
            ask(place, "red")
        assert run(place).switched
        assert ask(place, "red")

    def test_files_that_change_during_a_reindex_are_refused(
        self, place: Path, other: Other, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run(place, stop_after=4)
        use(Other(fingerprint="e" * 64), monkeypatch)
        with pytest.raises(ModelMismatchError, match="--abandon"):
            run(place, None)

    def test_vectors_files_of_the_new_model_are_there_at_the_switch(self, place: Path, other: Other) -> None:
        run(place)
        with Catalog(place, write=False) as catalog:
            names = [catalog.vector_files.of(encoder.id)[0].name for encoder in catalog.encoders.all()]
        assert sorted(path.name for path in place.glob("vectors-*")) == sorted(names)


class TestBackAndForth:
    def test_back_to_a_kept_model_at_once(self, place: Path, other: Other) -> None:
        before = ask(place)
        run(place)
        other.encoded = 0
        summary = run(place, OLD)
        assert (summary.switched, summary.encoded, other.encoded) == (True, 0, 0)
        assert ask(place) == before
        assert run(place).switched and other.encoded == 0
        well(place)

    def test_back_with_images_that_came_since(self, place: Path, other: Other, photos: Path) -> None:
        run(place)
        (photos / "later.jpg").write_bytes((photos / "cat.jpg").read_bytes() + b"more")
        with Collection.open(place) as collection:
            assert collection.add(settings=SMALL).model == SPEC
            (kept,) = collection.info().other_models
            assert (kept.spec, kept.state, kept.embeddings, kept.missing) == (OLD, "kept", COUNT, 1)
        well(place)
        summary = run(place, OLD)
        assert summary.switched and summary.encoded == 1
        assert str(photos / "later.jpg") in dict(ask(place, k=COUNT + 1))
        well(place)

    def test_drop_old_frees_the_room(self, place: Path, other: Other) -> None:
        summary = run(place, drop_old=True)
        assert summary.dropped == [OLD]
        database = sqlite3.connect(place / "catalog.sqlite3")
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        assert "embeddings_1" not in tables and "embeddings_2" in tables
        assert database.execute("PRAGMA freelist_count").fetchone() == (0,)
        database.close()
        assert len(list(place.glob("vectors-*"))) == 1
        assert ask(place, "red")
        well(place)

    def test_drop_old_is_refused_before_the_switch(self, place: Path, other: Other) -> None:
        run(place, stop_after=4)
        with Collection.open(place) as collection, pytest.raises(ReindexError, match="is not finished"):
            collection.drop_old_models()
        run(place, None)
        with Collection.open(place) as collection:
            assert collection.drop_old_models() == [OLD]
            assert collection.drop_old_models() == []

    def test_abandon(self, place: Path, other: Other) -> None:
        before = ask(place)
        run(place, stop_after=4)
        with Collection.open(place) as collection:
            (unfinished,) = collection.info().other_models
            assert unfinished.state == "unfinished" and unfinished.embeddings + unfinished.missing == COUNT
            assert collection.abandon_reindex() == SPEC
            assert collection.info().other_models == []
            with pytest.raises(ReindexError, match="no unfinished reindex"):
                collection.abandon_reindex()
        assert ask(place) == before
        well(place)
        assert run(place).encoded == COUNT

    def test_one_at_a_time(self, place: Path, other: Other) -> None:
        run(place, stop_after=4)
        with pytest.raises(ReindexError, match=f"a reindex with {SPEC} is not finished"):
            run(place, "hf-hub:tests/third")


class TestMissing:
    def test_files_that_are_gone(self, place: Path, other: Other, photos: Path) -> None:
        before = ask(place)
        away = photos.with_name("away")
        photos.rename(away)
        summary = run(place)
        assert (summary.switched, summary.gone, summary.encoded) == (False, COUNT, 0)
        assert ask(place) == before
        away.rename(photos)
        assert run(place, None).switched

    def test_files_that_have_changed(self, place: Path, other: Other, photos: Path) -> None:
        shutil.copy(photos / "cat.jpg", photos / "dog.jpg")
        summary = run(place)
        assert (summary.switched, summary.changed, summary.encoded) == (False, 1, COUNT - 1)
        with Collection.open(place) as collection:
            collection.add(settings=SMALL)
        assert run(place, None).switched

    def test_files_that_cannot_be_read(self, place: Path, other: Other, photos: Path) -> None:
        events: list[Event] = []
        with Collection.open(place) as collection:
            events += collection.reindex_events(SPEC, settings=IndexSettings(max_pixels=10, workers=1))
        skipped = [event.path for event in events if isinstance(event, Skipped)]
        assert sorted(skipped) == sorted(str(path) for path in photos.iterdir())
        last = events[-1]
        assert isinstance(last, Reindexed) and last.summary.unreadable == COUNT and not last.summary.switched

    def test_switching_without_them_and_their_return(self, place: Path, other: Other, photos: Path) -> None:
        content = (photos / "dog.jpg").read_bytes()
        state = (photos / "dog.jpg").stat()
        (photos / "dog.jpg").unlink()
        summary = run(place, allow_missing=True)
        assert summary.switched and summary.gone == 1
        assert len(ask(place, "red")) == COUNT - 1
        well(place)
        (photos / "dog.jpg").write_bytes(content)
        os.utime(photos / "dog.jpg", ns=(state.st_atime_ns, state.st_mtime_ns))
        with Collection.open(place) as collection:
            added = collection.add(settings=SMALL)
            assert added.encoded == 1 and added.unchanged == COUNT
        assert len(ask(place, "red")) == COUNT
        well(place)

    def test_a_shortage_is_no_missing_file(
        self, place: Path, other: Other, photos: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A switch would leave the collection empty, because no process could be started for a while."""

        def fail(*_: object, **__: object) -> None:
            raise OSError(24, "Too many open files")

        before = ask(place)
        with monkeypatch.context() as patch:
            patch.setattr(subprocess, "Popen", fail)
            summary = run(place, allow_missing=True)
        assert (summary.switched, summary.unreadable, ask(place)) == (False, COUNT, before)
        assert run(place).switched

    def test_a_copy_of_what_has_no_new_embedding_gets_one(self, place: Path, other: Other, photos: Path) -> None:
        (photos / "dog.jpg").rename(photos.with_name("dog.jpg"))
        run(place, allow_missing=True)
        (photos / "elsewhere").mkdir()
        photos.with_name("dog.jpg").rename(photos / "elsewhere" / "dog.jpg")
        with Collection.open(place) as collection:
            collection.add(settings=SMALL)
        assert str(photos / "elsewhere" / "dog.jpg") in dict(ask(place, "red"))
        well(place)


class TestReaders:
    def test_a_reader_that_stays_open_follows_the_switch(
        self, place: Path, other: Other, truth: list[tuple[str, float]], photos: Path
    ) -> None:
        with Collection.open(place) as reader:
            before = [hit.path for hit in reader.search(text="red", k=COUNT)]
            run(place, stop_after=6)
            assert [hit.path for hit in reader.search(text="red", k=COUNT)] == before
            run(place, drop_old=True)
            assert [(hit.path, round(hit.score or 0, 5)) for hit in reader.search(text="red", k=COUNT)] == truth
            assert len(reader.search(like=photos / "cat.jpg", k=5)) == 5

    def test_a_switch_between_a_querys_steps(
        self, place: Path, other: Other, truth: list[tuple[str, float]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The old embeddings have even been dropped when the query comes to compare with them."""
        from mmsearch.searching.search import Searcher

        real = Searcher._embed
        switched = []

        def embed_and_switch(self, queries, view):  # type: ignore[no-untyped-def]
            found = real(self, queries, view)
            if not switched:
                switched.append(run(place, drop_old=True))
            return found

        monkeypatch.setattr(Searcher, "_embed", embed_and_switch)
        assert ask(place, "red") == truth

    def test_a_reader_in_a_loop(self, place: Path, other: Other, truth: list[tuple[str, float]]) -> None:
        before = ask(place, "red")
        answers: list[list[tuple[str, float]]] = []
        ended = threading.Event()

        def read() -> None:
            with Collection.open(place) as reader:
                while not ended.is_set():
                    found = reader.search(text="red", k=COUNT)
                    answers.append([(hit.path, round(hit.score or 0, 5)) for hit in found])

        thread = threading.Thread(target=read)
        thread.start()
        try:
            other._delay = 0.05
            for more in (1, 1, 1):
                run(place, stop_after=more)
            run(place, None)
            time.sleep(0.2)
        finally:
            ended.set()
            thread.join()
        assert answers[0] == before and answers[-1] == truth
        turn = answers.index(truth)
        assert all(answer == before for answer in answers[:turn])
        assert all(answer == truth for answer in answers[turn:])


KILLED = """
import sys
import test_reindex
from mmsearch import Collection
from pathlib import Path
import pytest
patch = pytest.MonkeyPatch()
test_reindex.use(test_reindex.Other(delay=0.3), patch)
print("begun", flush=True)
test_reindex.run(Path(sys.argv[1]), None if sys.argv[2] == "-" else sys.argv[2])
"""


def test_killed_three_times(place: Path, other: Other, truth: list[tuple[str, float]]) -> None:
    before = ask(place)
    done = 0
    for number in range(3):
        model = SPEC if number == 0 else "-"
        places = os.pathsep.join([str(Path(__file__).parent), *sys.path])
        environment = os.environ | {"PYTHONPATH": places}
        with subprocess.Popen([sys.executable, "-c", KILLED, str(place), model], env=environment) as process:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline and _stored(place) <= done:
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
        kept = _stored(place)
        assert done < kept < COUNT
        done = kept
        assert ask(place) == before
        well(place)
    assert run(place, None).encoded == COUNT - done
    assert ask(place, "red") == truth
    well(place)


def _stored(place: Path) -> int:
    try:
        return len(vectors(place, 2))
    except sqlite3.OperationalError:
        return 0


class TestDoctor:
    def test_damaged_embeddings_of_a_kept_model(self, place: Path, other: Other) -> None:
        run(place)
        database = sqlite3.connect(place / "catalog.sqlite3")
        with database:
            database.execute("UPDATE embeddings_1 SET vector = zeroblob(96) WHERE content_id = 3")
        database.close()
        with Collection.open(place) as collection:
            (problem,) = [finding for finding in collection.doctor() if not finding.ok and finding.check != "model"]
            assert problem.text == f"{OLD}: 1 damaged embeddings"
            list(collection.doctor(repair=True))
        well(place)
        assert ask(place, "red")
        assert run(place, OLD).encoded == 1
        well(place)

    def test_both_are_told(self, place: Path, other: Other) -> None:
        run(place, stop_after=4)
        with Collection.open(place) as collection:
            (finding,) = [finding for finding in collection.doctor() if finding.check == "other model"]
        assert finding.ok and f"{SPEC} (its reindex is unfinished)" in finding.text

    def test_salvage_keeps_both(self, place: Path, other: Other) -> None:
        from mmsearch.store.salvage import salvage

        before = ask(place)
        run(place)
        salvage(place)
        assert ask(place, "red")
        assert run(place, OLD).encoded == 0
        assert ask(place) == before


class TestCommand:
    def test_the_whole_way(self, command: Command, place: Path, other: Other) -> None:
        outcome = command("reindex", "--model", SPEC, "-C", place)
        assert outcome.code == 0 and outcome.out == ""
        assert f"{COUNT} images encoded by {SPEC}" in outcome.err
        assert f"the embeddings by {OLD} are kept until --drop-old" in outcome.err
        assert "kept model" in command("info", "-C", place).out
        assert [model["spec"] for model in command("info", "-C", place, "--json").json["other_models"]] == [OLD]
        outcome = command("reindex", "--drop-old", "-C", place, "--json")
        assert outcome.json == {"dropped": [OLD]}
        assert "nothing to do" in command("reindex", "-C", place).err

    def test_json(self, command: Command, place: Path, other: Other) -> None:
        fields = command("reindex", "--model", SPEC, "-C", place, "--json").json
        assert {name: fields[name] for name in ("model", "before", "encoded", "missing", "switched", "dropped")} == {
            "model": SPEC,
            "before": OLD,
            "encoded": COUNT,
            "missing": 0,
            "switched": True,
            "dropped": [],
        }

    def test_missing_files_are_exit_code_3(self, command: Command, place: Path, other: Other, photos: Path) -> None:
        (photos / "dog.jpg").unlink()
        outcome = command("reindex", "--model", SPEC, "-C", place)
        assert outcome.code == 3
        assert "1 image could not be read (1 missing)" in outcome.err and "--allow-missing" in outcome.err
        assert command("reindex", "--abandon", "-C", place).err.startswith(f"dropped the embeddings by {SPEC}")

    def test_limits_are_those_of_an_index_run(
        self, command: Command, place: Path, other: Other, photos: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = []

        class Watched(settings.DecodePool):
            def __init__(self, how: Preprocess, **limits: Any) -> None:
                asked.append((limits["workers"], limits["max_pixels"], limits["time_limit"], limits["memory"]))
                super().__init__(how, **limits)

        monkeypatch.setattr(settings, "DecodePool", Watched)
        options = ["--workers", "1", "--max-pixels", "5000", "--time-limit", "30", "--decode-memory", "700"]
        assert command("reindex", "--model", SPEC, "-C", place, *options).code == 0
        os.utime(photos / "dog.jpg", ns=(0, 0))
        assert command("index", "-C", place, *options).code == 0
        assert asked == [(1, 5000, 30.0, 700_000_000)] * 2

    @pytest.mark.parametrize(
        "arguments", ["--abandon --model starter", "--abandon --drop-old", "--drop-old --allow-missing"]
    )
    def test_options_that_exclude_each_other(self, command: Command, place: Path, arguments: str) -> None:
        assert command("reindex", "-C", place, *arguments.split()).code == 2

    def test_a_mismatch_names_the_way(self, command: Command, place: Path, photos: Path) -> None:
        outcome = command("index", photos, "-C", place, "--model", "clip")
        assert "mmsearch reindex --model clip" in outcome.err

    def test_an_unknown_collection_or_model(self, command: Command, place: Path, tmp_path: Path) -> None:
        assert command("reindex", "-C", tmp_path / "none").code == 1
        assert command("reindex", "--model", "clipp", "-C", place).code == 2
