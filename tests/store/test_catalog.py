"""The catalog: what goes in comes out, whatever happens in between."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mmsearch.base.errors import CollectionBusyError, CollectionNotFoundError, CollectionVersionError, StorageError
from mmsearch.base.records import EncoderInfo, FileRecord, ImageFacts, Preprocess, ScanOptions
from mmsearch.query.filters import Filters
from mmsearch.store import connection, lock, schema, stored_json
from mmsearch.store.catalog import Catalog, StoredEncoder, VectorFile
from mmsearch.store.selection import Selection

DIM = 8
INFO = EncoderInfo("starter", "f00d", DIM, Preprocess(size=32, resize=36, mean=(0.1, 0.2, 0.3)))
FACTS = ImageFacts(640, 480, "JPEG", "2023-07-14T18:05:09", "X100", -33.5, 151.25)


def digest(text: str) -> bytes:
    return hashlib.blake2b(os.fsencode(text), digest_size=16).digest()


def vector(seed: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    values = np.random.default_rng(seed).normal(size=DIM).astype(np.float32)
    return values / np.linalg.norm(values)


def add(catalog: Catalog, path: str, content: str = "", *, encoder: StoredEncoder | None = None) -> int:
    """Index a file; files of the same `content` share it. Returns the content's id."""
    name = content or path
    content_id = catalog.contents.id_of(digest(name))
    if content_id is None:
        content_id = catalog.contents.add(digest(name), FACTS)
        if encoder:
            catalog.embeddings.put(encoder.id, content_id, vector(content_id))
    catalog.files.put_image(FileRecord(path, 10, 20), content_id)
    return content_id


def rows(folder: Path, sql: str) -> list[Any]:
    """What SQLite itself says of a catalog."""
    database = sqlite3.connect(folder / connection.CATALOG_NAME)
    try:
        return database.execute(sql).fetchall()
    finally:
        database.close()


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog(tmp_path / "collection", write=True) as opened:
        yield opened


@pytest.fixture
def encoder(catalog: Catalog) -> StoredEncoder:
    with catalog.transaction():
        return catalog.encoders.start_with(INFO)


# --- schema ---


def test_a_new_catalog_has_the_whole_schema(catalog: Catalog) -> None:
    tables = {name for (name,) in rows(catalog.folder, "SELECT name FROM sqlite_schema WHERE type = 'table'")}
    assert tables == {
        "contents", "encoders", "failures", "folders", "images", "meta", "migrations", "released", "roots", "runs",
        "sqlite_sequence", "vector_files",
    }  # fmt: skip
    assert rows(catalog.folder, "PRAGMA user_version") == [(schema.VERSION,)]
    assert rows(catalog.folder, "PRAGMA application_id") == [(schema.APPLICATION_ID,)]
    assert rows(catalog.folder, "PRAGMA journal_mode") == [("wal",)]
    assert rows(catalog.folder, "PRAGMA integrity_check") == [("ok",)]


def test_the_ledger_tells_every_migration(catalog: Catalog) -> None:
    ledger = rows(catalog.folder, "SELECT version, name FROM migrations ORDER BY version")
    assert ledger == [(number, name) for number, (name, _) in enumerate(schema.MIGRATIONS, 1)]


def test_opening_again_migrates_nothing(catalog: Catalog) -> None:
    before = rows(catalog.folder, "SELECT * FROM migrations")
    with Catalog(catalog.folder, write=True):
        pass
    assert rows(catalog.folder, "SELECT * FROM migrations") == before


@pytest.fixture
def second_migration(monkeypatch: pytest.MonkeyPatch) -> None:
    """This mmsearch, one release later."""
    script = """
        -- A remark; with a semicolon.
        ALTER TABLE roots ADD COLUMN label TEXT;
        CREATE TABLE labels (id INTEGER PRIMARY KEY) STRICT;
    """
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, ("labels", script)))
    monkeypatch.setattr(schema, "VERSION", len(schema.MIGRATIONS))


@pytest.mark.parametrize("write", [True, False])
def test_an_older_catalog_gets_what_it_lacks(catalog: Catalog, write: bool, request: pytest.FixtureRequest) -> None:
    with catalog.transaction():
        add(catalog, "/p/a.jpg")
    released = schema.VERSION
    request.getfixturevalue("second_migration")
    with Catalog(catalog.folder, write=write) as newer:
        assert newer.files.count() == 1
    assert rows(catalog.folder, "SELECT version, name FROM migrations")[released:] == [(released + 1, "labels")]
    assert rows(catalog.folder, "SELECT count(*) FROM labels") == [(0,)]
    assert rows(catalog.folder, "PRAGMA user_version") == [(released + 1,)]


def test_a_migration_that_fails_changes_nothing(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    before = list(sqlite3.connect(catalog.folder / connection.CATALOG_NAME).iterdump())
    broken = (
        *schema.MIGRATIONS,
        ("good", "CREATE TABLE good (id INTEGER) STRICT;"),
        ("bad", "CREATE TABLE roots (x);"),
    )
    monkeypatch.setattr(schema, "MIGRATIONS", broken)
    monkeypatch.setattr(schema, "VERSION", len(broken))
    with pytest.raises(StorageError, match="roots already exists"):
        Catalog(catalog.folder, write=True)
    assert list(sqlite3.connect(catalog.folder / connection.CATALOG_NAME).iterdump()) == before
    assert rows(catalog.folder, "PRAGMA user_version") == [(schema.VERSION - 2,)]


@pytest.mark.parametrize("write", [True, False])
def test_a_newer_catalog_is_refused_untouched(tmp_path: Path, write: bool) -> None:
    path = tmp_path / connection.CATALOG_NAME
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE of_the_future (x)")
    database.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
    database.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    database.close()
    before = path.read_bytes()
    with pytest.raises(CollectionVersionError, match=f"schema {schema.VERSION + 1}.*upgrade mmsearch"):
        Catalog(tmp_path, write=write)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


# --- opening ---


def test_a_catalog_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CollectionNotFoundError, match="no collection at"):
        Catalog(tmp_path / "none", write=False)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("write", [True, False])
def test_a_file_that_is_no_database(tmp_path: Path, write: bool) -> None:
    (tmp_path / connection.CATALOG_NAME).write_bytes(b"certainly not SQLite " * 100)
    with pytest.raises(StorageError, match="not a database"):
        Catalog(tmp_path, write=write)


def test_a_damaged_catalog_is_a_storage_error_wherever_it_is_read(catalog: Catalog, encoder: StoredEncoder) -> None:
    with catalog.transaction():
        for number in range(300):
            add(catalog, f"/p/{number:04}.jpg", encoder=encoder)
    catalog.close()
    path = catalog.folder / connection.CATALOG_NAME
    data = path.read_bytes()
    path.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))
    with Catalog(catalog.folder, write=False) as damaged:
        reads = [
            damaged.roots.all,
            lambda: list(damaged.files.folders_at("/p")),
            lambda: damaged.files.known_in(1),
            lambda: list(damaged.embeddings.after(encoder, 0)),
            lambda: damaged.embeddings.of(encoder, [1]),
            lambda: damaged.contents.ids(Selection(Filters(below=("/p",)))),
            damaged.files.count,
            damaged.encoders.current,
        ]
        for read in reads:
            with pytest.raises(StorageError, match="cannot be used"):
                read()


@pytest.mark.parametrize("name", ["a b", "100%", "what?", "a#b", "a\nb", "mode=ro&x", "naïve", "caf\udce9"])
def test_a_collection_in_a_folder_of_any_name(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    with Catalog(folder, write=True) as written, written.transaction():
        add(written, "/p/a.jpg")
    with Catalog(folder, write=False) as read:
        assert read.files.count() == 1
    assert rows(folder, "SELECT count(*) FROM images") == [(1,)], "it is where the user wants it"


@pytest.mark.skipif(os.name == "nt", reason="modes are of POSIX")
def test_only_the_user_may_look(tmp_path: Path) -> None:
    folder = tmp_path / "collection"
    before = os.umask(0)
    try:
        with Catalog(folder, write=True) as opened, opened.transaction():
            add(opened, "/p/a.jpg")
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.iterdir()]}
    finally:
        os.umask(before)
    assert modes.pop(folder.name) == 0o700
    assert len(modes) == 3, "the database, its log and its index"
    assert set(modes.values()) == {0o600}


@pytest.fixture
def unwritable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests may run as root, whom no mode stops."""
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK and real(path, mode))


def test_a_folder_that_cannot_be_written_is_read_without_touching_it(
    catalog: Catalog, request: pytest.FixtureRequest
) -> None:
    with catalog.transaction():
        add(catalog, "/p/a.jpg")
    catalog.close()
    before = {path.name: path.read_bytes() for path in catalog.folder.iterdir()}
    assert set(before) == {connection.CATALOG_NAME}
    request.getfixturevalue("unwritable")
    with Catalog(catalog.folder, write=False) as read:
        assert read.files.count() == 1
        assert {path.name: path.read_bytes() for path in catalog.folder.iterdir()} == before


def test_a_log_that_was_left_behind_is_read_where_nothing_can_be_written(
    catalog: Catalog, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with catalog.transaction():
        add(catalog, "/p/a.jpg")
    copy = tmp_path / "copy"
    shutil.copytree(catalog.folder, copy)  # as a killed process leaves it
    assert (copy / f"{connection.CATALOG_NAME}-wal").stat().st_size
    request.getfixturevalue("unwritable")
    with Catalog(copy, write=False) as read:
        assert read.files.count() == 1


@pytest.mark.parametrize("write", [True, False])
def test_a_file_that_is_whole_only_with_its_log_is_opened(catalog: Catalog, tmp_path: Path, write: bool) -> None:
    """So a disk leaves it that fills up while the log is being copied into the file."""
    with catalog.transaction():
        for number in range(300):
            add(catalog, f"/p/{number}.jpg")
    copy = Path(shutil.copytree(catalog.folder, tmp_path / "copy"))
    catalog.close()
    (copy / connection.CATALOG_NAME).write_bytes((catalog.folder / connection.CATALOG_NAME).read_bytes()[:4096])
    with Catalog(copy, write=write) as opened:
        assert opened.files.count() == 300
    assert rows(copy, "PRAGMA integrity_check") == [("ok",)]


def test_opening_again_keeps_the_locks_of_this_process(catalog: Catalog) -> None:
    """Closing any descriptor of a file drops a process's locks on it; others would then clear SQLite's log away."""
    with Catalog(catalog.folder, write=False) as reader:
        assert reader.files.count() == 0
        catalog.close()
        for write in (False, True):
            Catalog(catalog.folder, write=write).close()
        script = "import sqlite3, sys; d = sqlite3.connect(sys.argv[1]); d.execute('PRAGMA user_version').fetchall()"
        path = catalog.folder / connection.CATALOG_NAME
        subprocess.run([sys.executable, "-c", f"{script}; d.close()", path], check=True)
        assert path.with_name(f"{path.name}-shm").exists(), "the reader still counts"
        with Catalog(catalog.folder, write=True) as writer, writer.transaction():
            add(writer, "/p/a.jpg")
        assert reader.files.count() == 1


def test_errors_of_the_file_system_are_told_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StorageError, match="no permission to write to"):
        Catalog(tmp_path, write=True)
    monkeypatch.undo()
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match=r"cannot use .*file"):
        Catalog(tmp_path / "file" / "collection", write=True)


def test_a_reader_cannot_write(catalog: Catalog) -> None:
    with (
        Catalog(catalog.folder, write=False) as reader,
        pytest.raises(StorageError, match="cannot be written"),
        reader.transaction(),
    ):
        add(reader, "/p/a.jpg")


# --- transactions ---


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_transaction_holds_whole_or_not_at_all(
    catalog: Catalog, encoder: StoredEncoder, error: type[BaseException]
) -> None:
    with catalog.transaction():
        kept = add(catalog, "/p/kept.jpg", encoder=encoder)
    with pytest.raises(error), catalog.transaction():
        add(catalog, "/p/lost.jpg", encoder=encoder)
        catalog.files.put_failure(FileRecord("/p/kept.jpg", 1, 1), "reason", ignored=False, retry=False)
        catalog.roots.put("/p", ScanOptions())
        raise error
    with Catalog(catalog.folder, write=False) as reader:
        assert list(reader.files.of_contents([kept, kept + 1])) == [kept]
        assert reader.embeddings.count(encoder.id) == 1
        assert (reader.roots.all(), reader.files.count_failures()) == ([], 0)
    with catalog.transaction():
        add(catalog, "/p/next.jpg")
    assert catalog.files.count() == 2


def test_foreign_keys_hold(catalog: Catalog) -> None:
    with pytest.raises(StorageError, match="FOREIGN KEY"), catalog.transaction():
        catalog.files.put_image(FileRecord("/p/a.jpg", 1, 1), 4711)
    with catalog.transaction():
        used = add(catalog, "/p/a.jpg")
    with pytest.raises(StorageError, match="FOREIGN KEY"), catalog.transaction():
        catalog.database.run("DELETE FROM contents WHERE id = ?", (used,))
    assert catalog.files.count() == 1


def test_a_snapshot_sees_one_state(catalog: Catalog) -> None:
    with Catalog(catalog.folder, write=False) as reader:
        with reader.snapshot():
            assert reader.files.count() == 0
            with catalog.transaction():
                add(catalog, "/p/a.jpg")
            assert reader.files.count() == 0
        assert reader.files.count() == 1


def test_a_full_disk_loses_nothing_that_was_stored(catalog: Catalog, encoder: StoredEncoder) -> None:
    with catalog.transaction():
        add(catalog, "/p/first.jpg", encoder=encoder)
    (pages,) = catalog.database.one("PRAGMA page_count")
    catalog.database.run(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StorageError, match=r"the disk of .* is full; free some space"), catalog.transaction():
        for number in range(2000):
            add(catalog, f"/p/{number}.jpg", encoder=encoder)
    assert (catalog.files.count(), catalog.embeddings.count(encoder.id)) == (1, 1)
    assert rows(catalog.folder, "PRAGMA integrity_check") == [("ok",)]
    catalog.database.run(f"PRAGMA max_page_count = {pages + 10_000}")
    with catalog.transaction():
        add(catalog, "/p/second.jpg", encoder=encoder)
    assert catalog.files.count() == 2


def test_a_full_disk_during_a_migration_is_told_as_such(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "db", isolation_level=None)
    database.execute("PRAGMA max_page_count = 5")
    with pytest.raises(StorageError, match="is full"), connection.translated(tmp_path):
        schema.migrate(database)
    assert schema.version_of(database) == 0
    assert database.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,)
    database.close()


def test_a_second_transaction_waits_and_then_gives_up(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "BUSY_SECONDS", 0.05)
    with (
        Catalog(catalog.folder, write=True) as other,
        catalog.transaction(),
        pytest.raises(CollectionBusyError, match="is busy"),
        other.transaction(),
    ):
        pass


# --- one writer ---


def test_a_second_writer_is_told_who_the_first_is(tmp_path: Path) -> None:
    with (
        lock.writer(tmp_path / "new"),
        pytest.raises(CollectionBusyError, match=rf"mmsearch index \(process {os.getpid()}, since 20"),
        lock.writer(tmp_path / "new"),
    ):
        pass
    with lock.writer(tmp_path / "new"):
        pass
    assert not (tmp_path / "new" / lock.HOLDER_NAME).exists()


def test_the_lock_of_a_killed_writer_is_free(tmp_path: Path) -> None:
    script = f"""
import pathlib, time
from mmsearch.store import lock
with lock.writer(pathlib.Path({str(tmp_path)!r})):
    print("held", flush=True)
    time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline().strip() == b"held"
            with pytest.raises(CollectionBusyError, match=rf"process {holder.pid}, since 20"), lock.writer(tmp_path):
                pass
        finally:
            holder.kill()
    with lock.writer(tmp_path):
        assert json.loads((tmp_path / lock.HOLDER_NAME).read_text())["pid"] == os.getpid()


def test_an_error_releases_the_lock(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), lock.writer(tmp_path):
        raise ZeroDivisionError
    with lock.writer(tmp_path):
        pass


# --- files and folders ---

TREE = ("/a/b/1", "/a/b/c/2", "/a/bc/3", "/a/b-/4", "/a/b0/5", "/a/6", "/7", "/ab/8", "/a/b./9", "/a/b\udcff/10")


@pytest.fixture
def tree(catalog: Catalog) -> Catalog:
    with catalog.transaction():
        for path in TREE:
            add(catalog, path)
    return catalog


@pytest.mark.parametrize(
    ("folder", "inside"),
    [
        ("/a/b", ["/a/b/1", "/a/b/c/2"]),
        ("/a/b/c", ["/a/b/c/2"]),
        ("/a/b/c/2", []),
        ("/a", [path for path in TREE if path.startswith("/a/")]),
        ("/", list(TREE)),
        ("/a/b\udcff", ["/a/b\udcff/10"]),
        ("/nothing", []),
    ],
)
def test_a_folder_is_no_prefix_of_its_neighbours(tree: Catalog, folder: str, inside: list[str]) -> None:
    assert tree.files.count(folder) == len(inside)
    ids = tree.contents.ids(Selection(Filters(below=(folder,))))
    assert ids.tolist() == sorted(ids.tolist())
    found = [record.path for records in tree.files.of_contents(ids.tolist()).values() for record in records]
    assert sorted(found) == sorted(inside)
    assert [path for _, path in tree.files.folders_at(folder)] == sorted(
        {os.path.dirname(path) for path in inside}, key=os.fsencode
    )
    with tree.transaction():
        assert tree.files.remove_below(folder) == len(inside)
    assert tree.files.count() == len(TREE) - len(inside)
    assert list(tree.files.folders_at(folder)) == []


def test_roots_are_put_absorbed_renamed_and_removed(catalog: Catalog) -> None:
    chosen = ScanOptions(include=("*.jpg",), exclude=("raw", "!x"), hidden=True, follow_symlinks=True)
    with catalog.transaction():
        for path in ("/p/x", "/p-x", "/p/y/z", "/p0"):
            catalog.roots.put(path, ScanOptions())
        catalog.roots.put("/p", chosen)
        catalog.roots.absorb("/p/x")
    found = {root.path: root.options for root in catalog.roots.all()}
    assert list(found) == list(catalog.roots.paths()) == ["/p", "/p-x", "/p/y/z", "/p0"]
    assert found["/p"] == chosen
    with catalog.transaction():
        catalog.roots.put("/p", ScanOptions())
    assert next(root.options for root in catalog.roots.all() if root.path == "/p") == ScanOptions()
    with catalog.transaction():
        catalog.roots.rename("/p", "/é/q")
    assert catalog.roots.paths() == ("/p-x", "/p0", "/é/q", "/é/q/y/z")
    with catalog.transaction():
        catalog.roots.remove("/")
    assert catalog.roots.all() == []


@pytest.mark.parametrize("flag", [one.name for one in fields(ScanOptions) if one.name not in {"include", "exclude"}])
def test_a_flag_of_a_root_that_is_none_is_damage(flag: str) -> None:
    stored = asdict(ScanOptions())
    assert stored_json.reads(stored_json.options, json.dumps(stored))
    assert not stored_json.reads(stored_json.options, json.dumps(stored | {flag: "no"}))


def test_a_root_takes_all_that_is_known_in_it_along(tree: Catalog) -> None:
    before = {folder for _, folder in tree.files.folders_at("/")}
    with tree.transaction():
        tree.roots.rename("/a", "/new")
    after = {folder for _, folder in tree.files.folders_at("/")}
    assert after == {f"/new{folder[2:]}" if (folder + "/").startswith("/a/") else folder for folder in before} != before


def test_roots_count_their_images(tree: Catalog) -> None:
    with tree.transaction():
        tree.roots.put("/a/b", ScanOptions())
        tree.roots.put("/ab", ScanOptions())
    assert [(root.path, root.images) for root in tree.roots.all()] == [("/a/b", 2), ("/ab", 1)]


@pytest.mark.parametrize(
    "path", ["/p/caf\udce9.jpg", "/p\udcff/a.jpg", "/p/a\nb.jpg", "/p/-rf", "/p/'; --", "/p/%_", "/é/🐈"]
)
def test_paths_are_bytes(catalog: Catalog, path: str) -> None:
    with catalog.transaction():
        content = add(catalog, path)
        catalog.files.put_failure(FileRecord(path + "x", 1, 2), "why", ignored=False, retry=False)
    record = catalog.files.at(path)
    assert record is not None
    assert record.path == path
    assert catalog.files.of_contents([content]) == {content: [record]}
    assert catalog.files.failures() == [(path + "x", "why")]
    folder = catalog.files.folder_id(os.path.dirname(path))
    assert folder is not None
    name = os.fsencode(os.path.basename(path))
    assert catalog.files.known_in(folder) == {name: (10, 20, None, None), name + b"x": (1, 2, None, None)}
    assert catalog.files.failed_in(folder) == {name + b"x": False}


def test_the_whole_state_of_a_file_is_kept_and_may_be_noted_anew(catalog: Catalog) -> None:
    with catalog.transaction():
        content = catalog.contents.add(digest("x"), FACTS)
        catalog.files.put_image(FileRecord("/p/a.jpg", 1, 2, -3, -(2**63)), content)
        catalog.files.put_failure(FileRecord("/p/b.jpg", 1, 2, 3, 4), "why", ignored=False, retry=False)
        for path in ("/p/a.jpg", "/p/b.jpg", "/p/unknown.jpg"):
            catalog.files.note(FileRecord(path, 7, 7, 5, None))
        catalog.files.put_image(FileRecord("/p/c.jpg", 1, 2, 3, 4), content)
    folder = catalog.files.folder_id("/p")
    assert folder is not None
    states = {b"a.jpg": (1, 2, 5, None), b"b.jpg": (1, 2, 5, None), b"c.jpg": (1, 2, 3, 4)}
    assert catalog.files.known_in(folder) == states
    assert catalog.files.state_at("/p/c.jpg") == states[b"c.jpg"]
    assert catalog.files.state_at("/p/b.jpg") is None, "it is not indexed"


def test_an_image_is_as_it_was_stored(catalog: Catalog) -> None:
    with catalog.transaction():
        content = catalog.contents.add(digest("x"), FACTS)
        assert catalog.files.put_image(FileRecord("/p/a.jpg", 2**40, -5), content) is None
    record = catalog.files.at("/p/a.jpg")
    assert record is not None
    assert (record.size, record.mtime_ns, record.content_id) == (2**40, -5, content)
    assert (record.content_hash, record.facts) == (digest("x").hex(), FACTS)
    assert catalog.files.at("/p/b.jpg") is None


def test_files_of_one_content_come_in_byte_order(catalog: Catalog) -> None:
    paths = ["/p/b", "/p/a", "/p-/z", "/p/é", "/p/\udcff", "/p/B", "/p/a/x"]
    with catalog.transaction():
        for path in paths:
            content = add(catalog, path, "the same")
    records = catalog.files.of_contents([content])[content]
    assert [record.path for record in records] == sorted(paths, key=os.fsencode)


def test_changed_and_removed_files_tell_what_they_held(catalog: Catalog) -> None:
    with catalog.transaction():
        first = add(catalog, "/p/a", "one")
        second = catalog.contents.add(digest("two"), FACTS)
        assert catalog.files.put_image(FileRecord("/p/a", 11, 21), second) == first
        assert catalog.files.put_image(FileRecord("/p/a", 12, 22), second) == second
        assert catalog.files.remove("/p/a") == second
        assert catalog.files.remove("/p/a") is None
        assert catalog.files.remove("/never/seen") is None
    assert catalog.files.count() == 0


def test_a_content_goes_with_its_last_file(catalog: Catalog, encoder: StoredEncoder) -> None:
    with catalog.transaction():
        shared = add(catalog, "/p/a", "shared", encoder=encoder)
        add(catalog, "/q/b", "shared", encoder=encoder)
        alone = add(catalog, "/p/c", "alone", encoder=encoder)
    with catalog.transaction():
        catalog.files.remove("/p/a")
        catalog.files.remove("/p/c")
        assert catalog.contents.id_of(digest("alone")) == alone, "until the end of the run: the file may have moved"
        assert catalog.contents.drop_released() == 1
    assert catalog.contents.id_of(digest("alone")) is None
    assert catalog.contents.id_of(digest("shared")) == shared
    assert catalog.embeddings.count(encoder.id) == 1
    with catalog.transaction():
        assert catalog.contents.drop_released() == 0
        catalog.files.remove_below("/q")
        assert catalog.contents.drop_released() == 1
        again = add(catalog, "/p/new", encoder=encoder)
    assert again > alone, "an id is never used twice"
    assert catalog.embeddings.count(encoder.id) == 1


def test_a_content_that_found_another_file_stays(catalog: Catalog) -> None:
    with catalog.transaction():
        content = add(catalog, "/p/old", "moved")
        catalog.files.remove("/p/old")
        assert add(catalog, "/p/new", "moved") == content
        assert catalog.contents.drop_released() == 0
    assert catalog.files.count() == 1


def test_failures(catalog: Catalog) -> None:
    with catalog.transaction():
        content = add(catalog, "/p/a.jpg")
        for path, ignored, retry in [
            ("/p/z.jpg", False, False),
            ("/p/a.jpg", False, True),
            ("/p/notes.txt", True, False),
        ]:
            catalog.files.put_failure(FileRecord(path, 1, 2), f"reason of {path}", ignored=ignored, retry=retry)
    assert catalog.files.failures() == [("/p/a.jpg", "reason of /p/a.jpg"), ("/p/z.jpg", "reason of /p/z.jpg")]
    assert catalog.files.failures(limit=1) == [("/p/a.jpg", "reason of /p/a.jpg")]
    assert (catalog.files.count_failures(), catalog.files.count()) == (2, 1), "nobody knows of another content"
    folder = catalog.files.folder_id("/p")
    assert folder is not None
    known = catalog.files.known_in(folder)
    assert known[b"z.jpg"] == known[b"notes.txt"] == (1, 2, None, None)
    assert known[b"a.jpg"][1] != 2, "to be tried again"
    assert catalog.files.failed_in(folder) == {b"z.jpg": False, b"a.jpg": False, b"notes.txt": True}
    with catalog.transaction():
        assert catalog.files.put_image(FileRecord("/p/a.jpg", 1, 2), content) == content
    assert catalog.files.count_failures() == 1
    with catalog.transaction():
        catalog.files.remove("/p/z.jpg")
    assert catalog.files.failures() == []


@pytest.mark.parametrize(
    ("read", "ignored", "stays"),
    [("", False, True), ("same", False, True), ("other", False, False), ("", True, False)],
    ids=["not read", "read, and the same", "read, and changed", "seen to be no image"],
)
@pytest.mark.parametrize("retry", [False, True])
def test_a_file_that_cannot_be_indexed_now_is_kept_until_its_content_has_changed(
    catalog: Catalog, read: str, ignored: bool, stays: bool, retry: bool
) -> None:
    with catalog.transaction():
        content = add(catalog, "/p/a.jpg", "same")
        touched = FileRecord("/p/a.jpg", 10, 21)
        hashed = digest(read) if read else b""
        kept = catalog.files.put_failure(touched, "why", ignored=ignored, retry=retry, content_hash=hashed)
    assert kept is stays
    assert [image.path for image in catalog.files.of_contents([content]).get(content, [])] == ["/p/a.jpg"] * stays
    folder = catalog.files.folder_id("/p")
    assert folder is not None
    assert (catalog.files.known_in(folder)[b"a.jpg"][:2] == (10, 21)) is not retry, "the next run tries again, or not"
    with catalog.transaction():
        assert catalog.files.remove("/p/a.jpg") == (content if stays else None)
    assert catalog.files.known_in(folder) == {}


def test_what_was_no_image_and_cannot_be_read_is_not_said_to_be_one(catalog: Catalog) -> None:
    with catalog.transaction():
        catalog.files.put_failure(FileRecord("/p/notes", 1, 2), "not an image", ignored=True, retry=False)
        assert not catalog.files.put_failure(FileRecord("/p/notes", 1, 3), "EMFILE", ignored=False, retry=True)
    assert catalog.files.failures() == []
    folder = catalog.files.folder_id("/p")
    assert folder is not None
    assert catalog.files.known_in(folder) == {b"notes": (1, 2, None, None)}, "the next run sees that it has changed"


# --- encoder, embeddings, the rest ---


def test_the_encoder_is_as_it_was_stored(catalog: Catalog) -> None:
    assert catalog.encoders.current() is None
    with catalog.transaction():
        stored = catalog.encoders.start_with(INFO)
    assert catalog.encoders.current() == stored
    assert stored.info == INFO


@given(
    st.lists(st.floats(-1, 1, width=16) | st.sampled_from([6e-8, -6e-8, 1e-7, 0.1, 1 / 3]), min_size=DIM, max_size=DIM)
)
@settings(max_examples=25)
def test_embeddings_are_kept_as_float16(values: list[float]) -> None:
    exact = np.array(values, np.float32)
    with tempfile.TemporaryDirectory() as folder, Catalog(Path(folder), write=True) as catalog:
        with catalog.transaction():
            encoder = catalog.encoders.start_with(INFO)
            content = catalog.contents.add(b"x", FACTS)
            catalog.embeddings.put(encoder.id, content, exact)
        ids, vectors = catalog.embeddings.of(encoder, [content])
        (stored,) = catalog.database.one(f"SELECT vector FROM {schema.embeddings_table(encoder.id)}")
    assert ids.dtype == np.int64
    assert ids.tolist() == [content]
    assert vectors.dtype == np.float32
    assert np.array_equal(vectors, exact.astype(np.float16).astype(np.float32)[np.newaxis])
    assert stored == b"".join(np.float16(value).tobytes() for value in exact) or sys.byteorder == "big"


@pytest.fixture
def many(catalog: Catalog, encoder: StoredEncoder) -> Catalog:
    """More contents than one statement takes, every third without an embedding."""
    with catalog.transaction():
        for number in range(1, 1301):
            add(catalog, f"/p/{number}", encoder=encoder if number % 3 else None)
    return catalog


def test_embeddings_come_by_id_and_only_those_there_are(many: Catalog, encoder: StoredEncoder) -> None:
    asked = [1300, 5, 3, 99_999, *range(600, 1200), 1]
    ids, vectors = many.embeddings.of(encoder, asked)
    assert ids.tolist() == sorted(number for number in asked if number % 3 and number <= 1300)
    expected = np.stack([vector(number) for number in ids]).astype(np.float16).astype(np.float32)
    assert np.array_equal(vectors, expected)
    assert many.embeddings.count(encoder.id) == 1300 - 433


def test_no_embeddings_have_a_shape_too(many: Catalog, encoder: StoredEncoder) -> None:
    for asked in ([], [3]):
        ids, vectors = many.embeddings.of(encoder, asked)
        assert (ids.shape, ids.dtype, vectors.shape, vectors.dtype) == ((0,), np.int64, (0, DIM), np.float32)


@pytest.mark.parametrize(("watermark", "size"), [(0, 8192), (0, 100), (0, 867), (10, 1), (1299, 10), (1300, 10)])
def test_embeddings_after_a_watermark(many: Catalog, encoder: StoredEncoder, watermark: int, size: int) -> None:
    parts = list(many.embeddings.after(encoder, watermark, rows=size))
    assert all(len(ids) == size for ids, _ in parts[:-1])
    assert all(0 < len(ids) == len(vectors) <= size for ids, vectors in parts)
    found = [int(number) for ids, _ in parts for number in ids]
    assert found == [number for number in range(watermark + 1, 1301) if number % 3]
    assert many.embeddings.count(encoder.id, watermark) == len(found)


def test_images_of_many_contents(many: Catalog) -> None:
    found = many.files.of_contents(range(1, 1400))
    assert sorted(found) == list(range(1, 1301))
    assert found[77][0].path == "/p/77"


def test_meta_and_runs(catalog: Catalog) -> None:
    assert catalog.database.meta("key") is None
    assert catalog.last_run() is None
    with catalog.transaction():
        for name in ("one", "two"):
            catalog.database.set_meta("key", name)
            catalog.add_run(f"2023-01-01T00:00:00+00:00 {name}", {"new": 1})
    assert catalog.database.meta("key") == "two"
    assert catalog.last_run() == ("2023-01-01T00:00:00+00:00 two", {"new": 1})


def vector_file(part: Literal["main", "recent"], name: str, first: int, watermark: int) -> VectorFile:
    return VectorFile(part, name, first, watermark, 5, 0, "flat", 0, 0, 100, 10, "beef", "cafe")


def test_vector_files_are_as_they_were_stored(catalog: Catalog, encoder: StoredEncoder) -> None:
    assert catalog.vector_files.of(encoder.id) == []
    main, recent = vector_file("main", "a", 0, 10), vector_file("recent", "b", 10, 20)
    newer, merged = vector_file("recent", "c", 10, 30), vector_file("main", "d", 0, 30)
    for file, expected in ((main, [main]), (recent, [main, recent]), (newer, [main, newer]), (merged, [merged])):
        with catalog.transaction():
            catalog.vector_files.put(encoder.id, file)
        assert catalog.vector_files.of(encoder.id) == expected
    with catalog.transaction():
        catalog.vector_files.drop(encoder.id)
    assert catalog.vector_files.of(encoder.id) == []


def test_vector_files_know_how_much_of_them_is_gone(catalog: Catalog, encoder: StoredEncoder) -> None:
    with catalog.transaction():
        ids = [add(catalog, f"/p/{number}", encoder=encoder) for number in range(6)]
        catalog.vector_files.put(encoder.id, vector_file("main", "a", 0, ids[2]))
        catalog.vector_files.put(encoder.id, vector_file("recent", "b", ids[2], ids[4]))
    with catalog.transaction():
        for number in (0, 2, 3, 5):
            catalog.files.remove(f"/p/{number}")
        catalog.contents.drop_released()
    assert [file.removed for file in catalog.vector_files.of(encoder.id)] == [2, 1]


# --- against a model ---

FOLDERS = st.sampled_from(["/", "/a", "/a/b", "/a/b0", "/a/b-", "/a/\udcff"])
PATHS = st.builds(os.path.join, FOLDERS, st.sampled_from(["x", "y", "z\n"]))
CONTENTS = st.sampled_from("abcd")
STATES = st.tuples(st.integers(0, 9), st.integers(0, 9))


class CatalogMachine(RuleBasedStateMachine):
    """The catalog against dictionaries, with transactions that fail and reopening in between."""

    @initialize()
    def open(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="mmsearch-store-"))
        self.catalog = Catalog(self.folder, write=True)
        with self.catalog.transaction():
            self.encoder = self.catalog.encoders.start_with(INFO)
        self.images: dict[str, tuple[int, int, str]] = {}
        self.failed: dict[str, tuple[int, int, bool]] = {}
        self.ids: dict[str, int] = {}
        self.released: set[str] = set()
        self.highest = 0

    def teardown(self) -> None:
        if hasattr(self, "catalog"):
            self.catalog.close()
            shutil.rmtree(self.folder)

    @rule(path=PATHS, content=CONTENTS, state=STATES)
    def index(self, path: str, content: str, state: tuple[int, int]) -> None:
        before = self.images.get(path)
        with self.catalog.transaction():
            number = self.catalog.contents.id_of(digest(content))
            if number is None:
                number = self.catalog.contents.add(digest(content), FACTS)
                self.catalog.embeddings.put(self.encoder.id, number, vector(number))
                assert number > self.highest, "an id is never used twice"
                self.highest = self.ids[content] = number
            found = self.catalog.files.put_image(FileRecord(path, *state), number)
        assert found == (self.ids[before[2]] if before else None)
        if before and before[2] != content:
            self.released.add(before[2])
        self.images[path] = (*state, content)
        self.failed.pop(path, None)

    @rule(path=PATHS, state=STATES, ignored=st.booleans())
    def fail(self, path: str, state: tuple[int, int], ignored: bool) -> None:
        with self.catalog.transaction():
            self.catalog.files.put_failure(FileRecord(path, *state), "why", ignored=ignored, retry=False)
        self._forget(path)
        self.failed[path] = (*state, ignored)

    @rule(path=PATHS)
    def remove(self, path: str) -> None:
        before = self.images.get(path)
        with self.catalog.transaction():
            found = self.catalog.files.remove(path)
        assert found == (self.ids[before[2]] if before else None)
        self._forget(path)
        self.failed.pop(path, None)

    @rule(folder=FOLDERS)
    def remove_folder(self, folder: str) -> None:
        paths = [path for path in self.images | self.failed if self._is_below(path, folder)]
        with self.catalog.transaction():
            assert self.catalog.files.remove_below(folder) == len(self.images.keys() & set(paths))
        for path in paths:
            self._forget(path)
            self.failed.pop(path, None)

    @rule()
    def drop(self) -> None:
        used = {content for _, _, content in self.images.values()}
        gone = self.released - used
        with self.catalog.transaction():
            assert self.catalog.contents.drop_released() == len(gone)
        for content in gone:
            del self.ids[content]
        self.released.clear()

    @rule(path=PATHS, folder=FOLDERS, content=CONTENTS)
    def change_everything_and_fail(self, path: str, folder: str, content: str) -> None:
        with pytest.raises(KeyError), self.catalog.transaction():
            self.catalog.files.remove_below(folder)
            add(self.catalog, path, content, encoder=self.encoder)
            self.catalog.contents.drop_released()
            raise KeyError

    @rule()
    def reopen(self) -> None:
        self.catalog.close()
        self.catalog = Catalog(self.folder, write=True)

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "catalog"):
            return
        with Catalog(self.folder, write=False) as reader:
            assert {content: reader.contents.id_of(digest(content)) for content in self.ids} == self.ids
            assert reader.embeddings.count(self.encoder.id) == len(self.ids)
            records = [
                record for found in reader.files.of_contents(list(self.ids.values())).values() for record in found
            ]
            assert {record.path: (record.size, record.mtime_ns, record.content_id) for record in records} == {
                path: (size, mtime_ns, self.ids[content]) for path, (size, mtime_ns, content) in self.images.items()
            }
            told = sorted((path for path, (_, _, ignored) in self.failed.items() if not ignored), key=os.fsencode)
            assert sorted((path for path, _ in reader.files.failures()), key=os.fsencode) == told
            for folder in ("/", "/a", "/a/b"):
                below = [path for path in self.images if self._is_below(path, folder)]
                assert reader.files.count(folder) == len(below)
                wanted = {self.ids[self.images[path][2]] for path in below}
                assert set(reader.contents.ids(Selection(Filters(below=(folder,)))).tolist()) == wanted
            known: dict[str, tuple[int, int]] = {}
            for number, folder in reader.files.folders_at("/"):
                files = reader.files.known_in(number)
                known |= {os.path.join(folder, os.fsdecode(name)): state[:2] for name, state in files.items()}
            assert known == {path: state[:2] for path, state in (self.images | self.failed).items()}

    def _forget(self, path: str) -> None:
        before = self.images.pop(path, None)
        if before:
            self.released.add(before[2])

    @staticmethod
    def _is_below(path: str, folder: str) -> bool:
        return path.startswith(folder.rstrip("/") + "/")


CatalogMachine.TestCase.settings = settings(max_examples=20, stateful_step_count=20)
TestCatalogAgainstModel = CatalogMachine.TestCase
