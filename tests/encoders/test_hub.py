"""Fetching models, against a hub on the loopback interface that can fail in every way that the real one does."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import hub_server
import pytest
from hub_server import Fault, Hub
from huggingface_hub import constants, hf_hub_download
from tiny_models import TinyModel

from mmsearch.base.errors import ModelUnavailableError
from mmsearch.encoders import hub as client
from mmsearch.encoders import load_encoder
from mmsearch.encoders import weights as weight_files

REPO = "tiny/model"
CONFIG, WEIGHTS, PICKLED = "open_clip_config.json", "open_clip_model.safetensors", "open_clip_pytorch_model.bin"
# More than two of the pieces of 10 MB in which the library writes, so that a partial file has something to go on from.
LARGE = random.Random(0).randbytes(25_000_000)


@pytest.fixture
def offered(hub: Hub) -> Hub:
    """A hub with one model."""
    hub.repos[REPO] = {CONFIG: b'{"model_cfg": {}}', WEIGHTS: LARGE}
    return hub


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the library retry without sleeping."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)


def fetch(*names: str, notices: list[str] | None = None) -> Path:
    heard = notices if notices is not None else []
    return client.fetch(REPO, names, notice=heard.append, progress=False)


def left_behind() -> list[str]:
    """What the cache holds under names that any program would take for whole files, and partial downloads."""
    cache = Path(constants.HF_HUB_CACHE)
    return sorted(path.name for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock")


def test_fetches_once_and_shares_the_librarys_cache(offered: Hub) -> None:
    notices: list[str] = []
    path = fetch(WEIGHTS, notices=notices)
    assert path.read_bytes() == LARGE
    assert path.resolve().name == hashlib.sha256(LARGE).hexdigest()
    assert notices == [f"downloading {REPO} (25 MB) from {client.host()}"]
    offered.requests.clear()
    assert fetch(WEIGHTS) == path
    assert client.cached(REPO, WEIGHTS) == path
    assert offered.requests == []
    assert hf_hub_download(REPO, WEIGHTS, local_files_only=True) == str(path)


def test_small_files_are_fetched_without_a_line_about_it(offered: Hub) -> None:
    notices: list[str] = []
    assert fetch(CONFIG, notices=notices).read_bytes() == offered.repos[REPO][CONFIG]
    assert notices == []


def test_takes_the_first_name_that_the_repository_has(offered: Hub) -> None:
    offered.repos[REPO] = {PICKLED: b"pickled"}
    assert fetch(WEIGHTS, PICKLED).name == PICKLED
    assert fetch(WEIGHTS, PICKLED).name == PICKLED
    offered.repos[REPO] = {}
    with pytest.raises(ModelUnavailableError, match="has no file a or b"):
        fetch("a", "b")


def test_a_connection_that_drops_is_resumed(offered: Hub, no_pause: None) -> None:
    offered.faults[WEIGHTS] = "drop"
    assert fetch(WEIGHTS).read_bytes() == LARGE
    assert [asked.ranges for asked in offered.downloads(WEIGHTS)] == ["", "bytes=10485760-"]


def test_the_next_run_goes_on_where_one_broke_off(offered: Hub, no_pause: None) -> None:
    offered.faults[WEIGHTS] = "truncated"
    with pytest.raises(ModelUnavailableError, match=r"broke off.*run again to resume it"):
        fetch(WEIGHTS)
    assert client.cached(REPO, WEIGHTS) is None
    offered.faults.clear()
    offered.requests.clear()
    assert fetch(WEIGHTS).read_bytes() == LARGE
    assert [asked.ranges for asked in offered.downloads(WEIGHTS)] == ["bytes=10485760-"]
    assert not [name for name in left_behind() if name.endswith("incomplete")]


def test_a_killed_process_leaves_no_broken_cache(offered: Hub, tmp_path: Path) -> None:
    """Killed while the server is silent half-way; the next run resumes."""
    offered.faults[WEIGHTS] = "stall"
    code = (
        "from mmsearch.encoders import hub\n"
        f"hub.fetch({REPO!r}, [{WEIGHTS!r}], notice=lambda line: None, progress=False)"
    )
    environment = {**os.environ, "HF_HUB_CACHE": constants.HF_HUB_CACHE, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", code], env=environment) as process:
        assert offered.stalled.wait(30)
        partial = next(Path(constants.HF_HUB_CACHE).rglob("*.incomplete"))
        deadline = time.monotonic() + 10
        while partial.stat().st_size == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.kill()
    assert client.cached(REPO, WEIGHTS) is None
    done = partial.stat().st_size
    assert done > 0
    offered.faults.clear()
    offered.requests.clear()
    assert fetch(WEIGHTS).read_bytes() == LARGE
    assert [asked.ranges for asked in offered.downloads(WEIGHTS)] == [f"bytes={done}-"]


def test_a_wrong_checksum_is_refused_and_forgotten(offered: Hub) -> None:
    for name in (WEIGHTS, CONFIG):
        offered.faults[name] = "corrupt"
        with pytest.raises(ModelUnavailableError, match=f"{name} of {REPO} arrived damaged"):
            fetch(name)
        assert client.cached(REPO, name) is None
    assert left_behind() == []
    offered.faults.clear()
    assert fetch(WEIGHTS).read_bytes() == LARGE


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("unauthorized", "answered 401 for tiny/model; check HF_TOKEN"),
        ("gated", "requires that you accept its terms; accept them at http://127.0.0.1"),
        ("broken", "answered 500 for tiny/model; try again later"),
        ("no-hub", "does not answer as a model hub does; check HF_ENDPOINT"),
    ],
)
def test_answers_that_are_no_file(offered: Hub, fault: Fault, says: str) -> None:
    offered.faults[WEIGHTS] = fault
    with pytest.raises(ModelUnavailableError) as caught:
        fetch(WEIGHTS)
    assert says in str(caught.value)
    assert len(offered.requests) == 1
    assert left_behind() == []


def test_a_repository_that_is_not_there(offered: Hub) -> None:
    with pytest.raises(ModelUnavailableError, match="has no model tiny/other, or it is private"):
        client.fetch("tiny/other", [WEIGHTS], notice=lambda line: None, progress=False)


def test_a_hub_that_hangs_is_given_up_soon(offered: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_METADATA_SECONDS", 0.3)
    offered.faults[WEIGHTS] = "hang"
    with pytest.raises(ModelUnavailableError, match="cannot reach"):
        fetch(WEIGHTS)


def test_a_name_server_that_hangs_is_given_up_soon(offered: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Name resolution obeys no timeout of the HTTP client."""
    import socket

    monkeypatch.setattr(client, "_METADATA_SECONDS", 0.3)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: offered.released.wait())
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
    with pytest.raises(ModelUnavailableError, match=r"cannot reach hub\.invalid"):
        fetch(WEIGHTS)
    offered.released.set()


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:1", "nonsense", "http://", "ftp://127.0.0.1"])
def test_an_endpoint_where_nobody_answers(offered: Hub, endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(ModelUnavailableError):
        fetch(WEIGHTS)
    assert not client.answers(REPO)


def test_offline_is_obeyed(offered: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fetch(CONFIG)
    offered.requests.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert fetch(CONFIG) == path
    with pytest.raises(ModelUnavailableError, match="is not on this disk; HF_HUB_OFFLINE is set"):
        fetch(WEIGHTS)
    assert offered.requests == []


def test_the_token_goes_to_the_hub_only(offered: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not to the host that large files are redirected to."""
    monkeypatch.setenv("HF_TOKEN", "secret")
    fetch(WEIGHTS)
    seen = {(asked.place, asked.authorization) for asked in offered.requests}
    assert seen == {("hub", "Bearer secret"), ("content", "")}


def test_requests_tell_no_more_than_they_must(offered: Hub) -> None:
    """Neither which torch is installed, nor which coding agent runs the program: the hub is not asked for a list."""
    code = (
        "from huggingface_hub import constants\n"
        "from mmsearch.encoders import hub\n"
        f"hub.fetch({REPO!r}, [{WEIGHTS!r}], notice=lambda line: None, progress=False)\n"
        "assert not constants.HF_HUB_DISABLE_TELEMETRY, 'the setting of the program around it has changed'"
    )
    left_out = ("HF_HUB_DISABLE_TELEMETRY", "DISABLE_TELEMETRY", "DO_NOT_TRACK")
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    environment |= {"HF_HUB_CACHE": constants.HF_HUB_CACHE, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert {asked.filename for asked in offered.requests} == {WEIGHTS}
    agents = {asked.user_agent for asked in offered.requests if asked.place == "hub"}
    assert agents and not [agent for agent in agents if "torch" in agent or "agent/" in agent]


@pytest.mark.parametrize("etag", ["abc", "W-1234", "d41d8cd98f00b204e9800998ecf8427e", "A" * 64, "0" * 63])
def test_what_cannot_be_verified_is_not_downloaded(offered: Hub, etag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mirror may name files by anything; only git's blob ids and SHA-256 say what is in them."""
    monkeypatch.setattr(hub_server, "blob_id", lambda content: etag)
    with pytest.raises(ModelUnavailableError, match=r"gives no checksum for open_clip_config\.json of tiny/model"):
        fetch(CONFIG)
    assert left_behind() == []
    assert {asked.method for asked in offered.requests} == {"HEAD"}


def test_a_name_that_would_leave_the_cache_is_refused(offered: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_server, "blob_id", lambda content: "../../../escaped")
    with pytest.raises(ModelUnavailableError, match="does not answer as a model hub"):
        fetch(CONFIG)


def test_a_file_damaged_on_this_disk_is_found_out(hub: Hub, tiny_clip: TinyModel) -> None:
    """When a model does not load, its file is checked, thrown away if damaged, and the next run fetches it."""
    config = (tiny_clip.directory / weight_files.CONFIG_NAME).read_bytes()
    hub.repos[REPO] = {CONFIG: config, WEIGHTS: tiny_clip.safetensors.read_bytes()}
    weights = fetch(WEIGHTS).resolve()
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelUnavailableError, match="was damaged; run again to fetch it"):
        load_encoder(f"hf-hub:{REPO}", device="cpu", progress=False)
    assert not weights.exists()
    load_encoder(f"hf-hub:{REPO}", device="cpu", progress=False)


def test_whole_files_are_not_thrown_away(offered: Hub, tmp_path: Path) -> None:
    assert not client.discard_if_damaged(fetch(WEIGHTS))
    assert not client.discard_if_damaged(fetch(CONFIG))
    elsewhere = tmp_path / "weights.bin"
    elsewhere.write_bytes(b"of the user's own")
    assert not client.discard_if_damaged(elsewhere)
    assert elsewhere.exists()


def test_no_network_is_none(offered: Hub) -> None:
    from huggingface_hub.errors import LocalEntryNotFoundError

    with client.no_network(), pytest.raises(LocalEntryNotFoundError):
        hf_hub_download(REPO, CONFIG)
    assert offered.requests == []
    assert not constants.HF_HUB_OFFLINE


def test_an_unreachable_hub_is_told_quietly_by_a_fresh_process(tmp_path: Path) -> None:
    """With the library's own defaults this takes half a minute and prints warnings."""
    code = (
        "from mmsearch.encoders import choose_default, load_encoder\n"
        "from mmsearch.base.errors import ModelUnavailableError\n"
        "lines = []\n"
        "assert choose_default(lines.append) == 'starter' and len(lines) == 1\n"
        "try:\n"
        "    load_encoder('clip')\n"
        "except ModelUnavailableError as error:\n"
        "    print(error)"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environment |= {
        "HF_ENDPOINT": "http://127.0.0.1:1",
        "HF_HOME": str(tmp_path),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=20)
    assert result.stdout.startswith("cannot reach 127.0.0.1:1 to download laion/")
    assert (result.returncode, result.stderr) == (0, "")
