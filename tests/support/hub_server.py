"""A model hub on the loopback interface: as much of the protocol as huggingface_hub uses to fetch a file, with faults.

Large files (weights) are redirected to a content server, as the hub does, with their SHA-256 and size in `X-Linked-*`
headers; small ones are answered directly, with git's blob id as ETag. Ranges are served, so that downloads can resume.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Literal

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE_SUFFIXES = (".safetensors", ".bin")

# Bytes that a slow server sends at a time.
_PIECE = 65_536

Fault = Literal["truncated", "corrupt", "unauthorized", "gated", "broken", "hang", "stall", "drop", "no-hub"]


@dataclass(frozen=True)
class Request:
    """A request that the server saw; `place` is `hub`, or `content` where large files lie."""

    method: str
    filename: str
    place: Literal["hub", "content"]
    ranges: str
    authorization: str
    user_agent: str


@dataclass
class Hub:
    """What the server offers and what it saw.

    `repos` maps a repository to its files. `faults` maps a file name to what goes wrong with it: `truncated` ends the
    body early and keeps doing so; `corrupt` changes a byte; `drop` closes the connection half-way, once; `stall` falls
    silent half-way, and sets `stalled`; `hang` never answers; `unauthorized`, `gated` and `broken` are the answers 401,
    403 and 500; `no-hub` answers as some other server would. `seconds_a_megabyte` slows down what is sent.
    """

    url: str = ""
    content_url: str = ""
    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    faults: dict[str, Fault] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    stalled: threading.Event = field(default_factory=threading.Event)
    seconds_a_megabyte: float = 0.0

    def downloads(self, filename: str) -> list[Request]:
        """The requests for a large file's content, in order."""
        wanted = ("GET", filename, "content")
        return [asked for asked in self.requests if (asked.method, asked.filename, asked.place) == wanted]


def blob_id(content: bytes) -> str:
    """git's name for a file with this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """Serve `hub` until the block ends; sets its `url`, and `content_url`, which is another host to a client."""

    class Handler(_Handler):
        offered = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    hub.content_url = f"http://localhost:{server.server_address[1]}"
    try:
        yield hub
    finally:
        hub.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    offered: ClassVar[Hub]
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *_: Any) -> None:
        """Keep the test's output clean."""

    def _answer(self) -> None:
        place = self.path.partition("?")[0].strip("/")
        if place.startswith("api/models/"):
            self._describe(place.removeprefix("api/models/").partition("/revision")[0])
            return
        repo, _, rest = place.partition("/resolve/")
        filename = rest.partition("/")[2]
        if repo.startswith("content/"):
            repo, filename = repo.removeprefix("content/").rsplit("/", 1)
        stored = place.startswith("content/")
        headers = [self.headers.get(name, "") for name in ("Range", "Authorization", "User-Agent")]
        self.offered.requests.append(Request(self.command, filename, "content" if stored else "hub", *headers))
        if not self._fails(repo, filename):
            self._send_file(repo, filename, stored=stored)

    def _describe(self, repo: str) -> None:
        files = self.offered.repos.get(repo)
        if files is None:
            self._send(HTTPStatus.NOT_FOUND, {"X-Error-Code": "RepoNotFound"})
            return
        listing = {"id": repo, "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}
        self._send(HTTPStatus.OK, {"Content-Type": "application/json"}, json.dumps(listing).encode())

    def _fails(self, repo: str, filename: str) -> bool:
        """Answer with the error that is asked for, if any."""
        fault = self.offered.faults.get(filename)
        codes = {"unauthorized": HTTPStatus.UNAUTHORIZED, "broken": HTTPStatus.INTERNAL_SERVER_ERROR}
        if fault == "hang":
            self.offered.released.wait()
            self.close_connection = True
        elif fault == "gated":
            self._send(HTTPStatus.FORBIDDEN, {"X-Error-Code": "GatedRepo"})
        elif fault == "no-hub":
            self._send(HTTPStatus.OK, {}, b"<html>log in to this network</html>")
        elif fault in codes:
            self._send(codes[fault], {})
        elif repo not in self.offered.repos:
            self._send(HTTPStatus.NOT_FOUND, {"X-Error-Code": "RepoNotFound"})
        elif filename not in self.offered.repos[repo]:
            self._send(HTTPStatus.NOT_FOUND, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        else:
            return False
        return True

    def _send_file(self, repo: str, filename: str, *, stored: bool) -> None:
        content = self.offered.repos[repo][filename]
        if filename.endswith(LARGE_SUFFIXES) and not stored:
            headers = {
                "X-Repo-Commit": COMMIT,
                "X-Linked-Etag": f'"{hashlib.sha256(content).hexdigest()}"',
                "X-Linked-Size": str(len(content)),
                "Location": f"{self.offered.content_url}/content/{repo}/{filename}",
            }
            self._send(HTTPStatus.FOUND, headers)
            return
        self._send_content(filename, content, {"X-Repo-Commit": COMMIT, "ETag": f'"{blob_id(content)}"'})

    def _send_content(self, filename: str, content: bytes, headers: dict[str, str]) -> None:
        fault = self.offered.faults.get(filename)
        if fault == "corrupt":
            content = content[:-1] + bytes([content[-1] ^ 1])
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        status = HTTPStatus.PARTIAL_CONTENT if start else HTTPStatus.OK
        if start:
            headers = {**headers, "Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        headers = {**headers, "Accept-Ranges": "bytes", "Content-Length": str(len(content) - start)}
        body = content[start:]
        if fault in ("drop", "truncated", "stall") and self.command == "GET":
            body = content[start : len(content) // 2]
            self.close_connection = True
            if fault == "drop":
                del self.offered.faults[filename]
        self._send(status, headers, body)
        if fault == "stall" and self.command == "GET":
            self.offered.stalled.set()
            self.offered.released.wait()

    def _send(self, status: HTTPStatus, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self._write(body)

    def _write(self, body: bytes) -> None:
        pause = self.offered.seconds_a_megabyte * _PIECE / 1e6
        if not pause:
            self.wfile.write(body)
            return
        with contextlib.suppress(OSError):  # the client has gone
            for start in range(0, len(body), _PIECE):
                self.wfile.write(body[start : start + _PIECE])
                time.sleep(pause)
