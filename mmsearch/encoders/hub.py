"""Everything that talks to the model hub: is it there, which files are on this disk, fetch the others.

Downloads end in huggingface_hub's own cache, so that other tools share them; but a file enters it only when its size
and checksum are right, and one that broke off is continued by the next run. An unreachable hub is told within
`_METADATA_SECONDS`, without the library's retries.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import re
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mmsearch.base import config
from mmsearch.base.cleaning import remove_ours
from mmsearch.base.durable import open_to_write, sync
from mmsearch.base.errors import ModelUnavailableError
from mmsearch.base.switched import Switched
from mmsearch.base.text import first_line
from mmsearch.base.within import within
from mmsearch.encoders import plain_files

if TYPE_CHECKING:
    from huggingface_hub import HfFileMetadata
    from tqdm import tqdm

# Seconds to wait for the facts about one file, name resolution and connection included.
_METADATA_SECONDS = 4.0
_SHA256 = re.compile(r"[0-9a-f]{64}")
_GIT_BLOB = re.compile(r"[0-9a-f]{40}")
_SAFE_ETAG = re.compile(r"[\w.-]+")
# Bytes. Below this a download is over before a line about it could be read.
_WORTH_A_NOTICE = 20_000_000


def _constants() -> MutableMapping[str, Any]:
    """huggingface_hub's settings, which it reads from the environment when it is imported, and looks up at each use."""
    from huggingface_hub import constants

    return vars(constants)


_NO_NETWORK = Switched(_constants, {"HF_HUB_OFFLINE": True})

# Or else each request says which torch is installed and which coding agent runs the program, for which the library asks
# the hub once a day for a list of agents.
_NO_TELEMETRY = Switched(_constants, {"HF_HUB_DISABLE_TELEMETRY": True})


def host() -> str:
    """The name of the machine that models come from."""
    return urlsplit(config.hub_endpoint()).netloc or config.hub_endpoint()


def answers(repo: str) -> bool:
    """Whether the hub answers for `repo` within `config.HUB_PROBE_SECONDS`; one request, no retry."""
    try:
        metadata = _metadata(repo, "open_clip_config.json", config.HUB_PROBE_SECONDS)
    except ModelUnavailableError:
        return False
    return metadata is None or metadata.commit_hash is not None


def cached(repo: str, filename: str) -> Path | None:
    """The path of a file in the hub's cache on this disk, or None. Uses no network."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo, filename)
    return Path(found) if isinstance(found, str) else None


def folder(repo: str) -> Path:
    """Where a repository lies in the hub's cache on this disk, if anything of it does."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    return Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=repo, repo_type="model"))


def repositories() -> list[str]:
    """The repositories with models of which anything lies in the hub's cache, by name."""
    from huggingface_hub import constants

    found = Path(constants.HF_HUB_CACHE).glob("models--*")
    return sorted("/".join(path.name.split("--")[1:]) for path in found if path.is_dir())


def files_of(repo: str) -> list[Path]:
    """The files of a repository that are in the hub's cache, under their names."""
    return sorted(path for path in folder(repo).glob("snapshots/*/**/*") if not path.is_dir())


def is_partial(repo: str) -> bool:
    """Whether a download of ours broke off, and can be gone on with."""
    return any(folder(repo).glob("blobs/*.mmsearch.incomplete"))


def fetch(
    repo: str, names: Sequence[str], *, notice: Callable[[str], None], progress: bool, download: bool = True
) -> Path:
    """The first of `names` that `repo` has, from this disk or else (with `download`) from the hub.

    Raises ModelUnavailableError when it is on neither, or does not arrive whole.
    """
    on_disk = next((path for name in names if (path := cached(repo, name))), None)
    if on_disk:
        return on_disk
    if not download:
        raise ModelUnavailableError(f"{repo} is not on this disk", "`mmsearch models pull` downloads it")
    if config.hub_offline():
        raise ModelUnavailableError(f"{repo} is not on this disk", "HF_HUB_OFFLINE is set: unset it to download")
    for name in names:
        metadata = _metadata(repo, name, _METADATA_SECONDS)
        if metadata is not None:
            return _download(repo, name, metadata, notice, progress)
    raise ModelUnavailableError(f"{repo} on {host()} has no file {' or '.join(names)}", "is it an open_clip model?")


def discard_if_damaged(path: Path) -> bool:
    """Remove a file of the hub's cache whose content is not what its checksum says; whether that was so.

    `path` is a name in a repository's folder, usually a link to the file among its blobs; what lies elsewhere stays.
    Raises ModelUnavailableError where the file is somebody else's.
    """
    blob, snapshot = path.resolve(), path.parent.resolve()
    is_of_repository = any(blob.parent == above / "blobs" for above in snapshot.parents)
    if not is_of_repository or not is_blob(blob) or _is_whole(blob, blob.name):
        return False
    if not remove_ours(blob, through_links=True):
        raise ModelUnavailableError(f"{blob} is damaged, and is another user's", "have its owner remove it")
    path.unlink(missing_ok=True)
    return True


def is_blob(path: Path) -> bool:
    """Whether a file, named without links, lies in the hub's cache under its checksum."""
    if path.parent.name != "blobs" or not _is_checksum(path.name):
        return False
    from huggingface_hub import constants

    return path.parent.parent.parent == Path(constants.HF_HUB_CACHE).resolve()


def no_network() -> Switched:
    """Forbid huggingface_hub, and the libraries that use it, to reach the network."""
    return _NO_NETWORK


def _metadata(repo: str, filename: str, seconds: float) -> HfFileMetadata | None:
    """What the hub says about a file; None where the repository has no such file."""
    from huggingface_hub import errors, get_token, hf_hub_url

    url = hf_hub_url(repo, filename, endpoint=config.hub_endpoint())
    token = get_token()
    try:
        # A name server that does not answer obeys no library's timeout.
        return within(seconds, lambda: _asked(url, seconds, token))
    except errors.EntryNotFoundError:
        return None
    except errors.GatedRepoError as error:
        page = f"{config.hub_endpoint()}/{repo}"
        hint = f"accept them at {page}, then set HF_TOKEN"
        raise ModelUnavailableError(f"{repo} requires that you accept its terms", hint) from error
    except errors.RepositoryNotFoundError as error:
        hint = "check the name; for a private model, set HF_TOKEN"
        raise ModelUnavailableError(f"{host()} has no model {repo}, or it is private", hint) from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        hint = "check HF_TOKEN" if status in (401, 403) else "try again later"
        raise ModelUnavailableError(f"{host()} answered {status} for {repo}", hint) from error
    except _network_errors() as error:
        hint = "check the network, or use --model starter, which needs none"
        raise ModelUnavailableError(f"cannot reach {host()} to download {repo}", hint) from error


def _asked(url: str, seconds: float, token: str | None) -> HfFileMetadata:
    """One request, with the library's additions to it switched off."""
    from huggingface_hub import get_hf_file_metadata

    with _NO_TELEMETRY:  # in the thread, which may outlive its caller
        return get_hf_file_metadata(url, timeout=seconds, token=token)


def _network_errors() -> tuple[type[BaseException], ...]:
    """What a request can fail with. huggingface_hub 2 uses httpx2, earlier ones httpx; both have these names."""
    found: list[type[BaseException]] = [OSError, ValueError]
    for name in ("httpx2", "httpx"):
        if importlib.util.find_spec(name):
            client: Any = importlib.import_module(name)
            found += [client.HTTPError, client.InvalidURL]
    return tuple(found)


def _download(
    repo: str, filename: str, metadata: HfFileMetadata, notice: Callable[[str], None], progress: bool
) -> Path:
    """Bring one file into the hub's cache, checked, and link it as the library would."""
    from filelock import FileLock
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.file_download import repo_folder_name

    etag, size = metadata.etag, metadata.size
    if not etag or not metadata.commit_hash or not _SAFE_ETAG.fullmatch(etag):
        raise ModelUnavailableError(f"{host()} does not answer as a model hub does", "check HF_ENDPOINT")
    if not _is_checksum(etag):
        what = f"{host()} gives no checksum for {filename} of {repo}, so that it cannot be verified"
        raise ModelUnavailableError(what, "set HF_ENDPOINT to a hub that does, or unset it")
    if size and size > plain_files.MOST_WEIGHTS:
        raise ModelUnavailableError(f"{filename} of {repo} has {size:,} bytes, more than mmsearch downloads")
    if size and size >= _WORTH_A_NOTICE:
        notice(f"downloading {repo} ({size / 1e6:,.0f} MB) from {host()}")
    blob = Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=repo, repo_type="model"), "blobs", etag)
    with _download_errors(repo, filename), _quiet(), _NO_TELEMETRY:
        blob.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{blob}.mmsearch.lock"):
            if not blob.exists():
                _receive(repo, filename, metadata, blob, progress)
        return Path(hf_hub_download(repo, filename, endpoint=config.hub_endpoint(), etag_timeout=_METADATA_SECONDS))


def _receive(repo: str, filename: str, metadata: HfFileMetadata, blob: Path, progress: bool) -> None:
    """Download to a file beside `blob`, from where an earlier run left off, check it, and give it its name."""
    from huggingface_hub import get_token, hf_hub_url
    from huggingface_hub.file_download import http_get

    partial = Path(f"{blob}.mmsearch.incomplete")
    done = partial.stat().st_size if partial.exists() else 0
    if metadata.size is not None and done > metadata.size:
        remove_ours(partial, through_links=True)
        done = 0
    url = hf_hub_url(repo, filename, revision=metadata.commit_hash, endpoint=config.hub_endpoint())
    token = get_token()
    # With the mode that the umask leaves, as the library does: the cache may be meant for several users.
    descriptor = open_to_write(partial, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    with os.fdopen(descriptor, "ab") as file:
        http_get(
            url,
            file,
            resume_size=done,
            headers={"authorization": f"Bearer {token}"} if token else {},
            expected_size=metadata.size,
            displayed_filename=f"{repo.partition('/')[2]}/{filename}",
            tqdm_class=None if progress else _no_bar(),
        )
    if not _is_whole(partial, str(metadata.etag)):
        remove_ours(partial, through_links=True)
        raise ModelUnavailableError(f"{filename} of {repo} arrived damaged", "its checksum is wrong: run again")
    sync(partial)  # a name that outlives a power failure must not be of a file that did not
    os.replace(partial, blob)


def _is_checksum(name: str) -> bool:
    return (_SHA256.fullmatch(name) or _GIT_BLOB.fullmatch(name)) is not None


def _is_whole(path: Path, checksum: str) -> bool:
    """Whether a file has the checksum that the hub gives it: SHA-256 for large files, git's blob id for small ones."""
    with path.open("rb") as file:
        if _SHA256.fullmatch(checksum):
            return hashlib.file_digest(file, "sha256").hexdigest() == checksum
        digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
        while part := file.read(1 << 20):
            digest.update(part)
        return digest.hexdigest() == checksum


@contextmanager
def _download_errors(repo: str, filename: str) -> Iterator[None]:
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except HfHubHTTPError as error:
        raise ModelUnavailableError(f"{host()} refused {filename} of {repo}: {first_line(error)}") from error
    except _network_errors() as error:
        what = f"the download of {filename} of {repo} broke off: {first_line(error)}"
        raise ModelUnavailableError(what, "run again to resume it") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's log lines off the terminal; what matters of them is in our errors."""
    import logging

    logger = logging.getLogger("huggingface_hub")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _no_bar() -> type[tqdm[Any]]:
    from tqdm import tqdm

    class NoBar(tqdm):  # type: ignore[type-arg]  # at run time, tqdm takes no type argument
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "disable": True})

    return NoBar
