"""Query images from the web: limits, redirects and addresses. All servers are on the loopback interface."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command import Command

from mmsearch.base.errors import DecodeError, MMSearchError, SourceError
from mmsearch.images import fetch as room
from mmsearch.images.addresses import is_public
from mmsearch.images.fetch import Limits, fetch

Answer = Callable[[str, socket.socket], None]

QUICK = Limits(most_bytes=100_000, seconds=0.6, redirects=3)


class Server:
    """Answers each request by `answer(path, connection)` and closes the connection. `asked` are the paths."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.requests: list[str] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def close(self) -> None:
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            request = b""
            while b"\r\n\r\n" not in request and (part := connection.recv(4096)):
                request += part
            self.requests.append(request.decode("latin-1"))
            path = self.requests[-1].split(" ")[1]
            self.asked.append(path)
            with contextlib.suppress(OSError):
                self.answers[path](path, connection)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def page(body: bytes, *headers: str, status: str = "200 OK") -> Answer:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return lambda _, connection: connection.sendall("\r\n".join(lines).encode() + body)


def redirect(target: str) -> Answer:
    return page(b"", f"Location: {target}", status="302 Found")


def failure(url: str, limits: Limits = QUICK, allow_private: bool = True) -> str:
    with pytest.raises(SourceError) as error:
        fetch(url, allow_private=allow_private, limits=limits)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_an_image_is_fetched_through_redirects(server: Server) -> None:
    server.answers = {"/a?x=1": redirect("/b"), "/b": redirect(server.url("/c%20d")), "/c%20d": page(b"picture")}
    assert fetch(server.url("/a?x=1"), allow_private=True, limits=QUICK) == b"picture"
    assert server.asked == ["/a?x=1", "/b", "/c%20d"]
    assert f"Host: 127.0.0.1:{server.port}" in server.requests[0] and "Cookie" not in "".join(server.requests)


def test_proxies_of_the_environment_are_not_used(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    server.answers = {"/a": page(b"picture")}
    assert fetch(server.url("/a"), allow_private=True, limits=QUICK) == b"picture"


def test_private_addresses_are_refused_before_anything_is_sent(server: Server) -> None:
    server.answers = {"/a": page(b"picture")}
    for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0", "2130706433", "0x7f.1"):
        said = failure(f"http://{host}:{server.port}/a", allow_private=False)
        assert "--allow-private-urls" in said or "not known" in said
    assert server.asked == []


def test_a_redirect_to_a_private_address_is_refused(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first server passes for a public one; what it leads to does not."""
    secret = Server()
    secret.answers = {"/": page(b"secret")}
    server.answers = {"/a": redirect(secret.url("/")), "/b": redirect(f"http://localhost:{secret.port}/")}
    resolve = socket.getaddrinfo

    def fake(host: str, *rest: int, **options: int):  # type: ignore[no-untyped-def]
        return resolve("127.0.0.1" if host == "public.example" else host, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", fake)
    for path in ("/a", "/b"):
        verdicts = iter([True])
        monkeypatch.setattr(room, "is_public", lambda address, verdicts=verdicts: next(verdicts, is_public(address)))
        said = failure(f"http://public.example:{server.port}{path}", allow_private=False)
        assert "private network" in said
    assert server.asked == ["/a", "/b"]
    assert secret.asked == []
    secret.close()


def test_a_name_is_resolved_once_and_its_checked_address_is_used(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that changes its address between check and use (DNS rebinding) gains nothing."""
    server.answers = {"/a": page(b"picture")}
    lookups = []

    def fake(host: str, port: int, **_: int):  # type: ignore[no-untyped-def]
        lookups.append(host)
        address = "127.0.0.1" if len(lookups) == 1 else "127.0.0.99"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    create = socket.create_connection
    monkeypatch.setattr(socket, "getaddrinfo", fake)
    reached = []

    def connect(address: tuple[str, int], timeout: float) -> socket.socket:
        reached.append(address)
        raw = socket.socket()
        raw.settimeout(timeout)
        raw.connect(address)
        return raw

    monkeypatch.setattr(socket, "create_connection", connect)
    assert fetch(f"http://rebinding.example:{server.port}/a", allow_private=True, limits=QUICK) == b"picture"
    assert lookups == ["rebinding.example"] and reached == [("127.0.0.1", server.port)]
    assert create is not connect


def test_a_name_with_one_private_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in ("93.184.216.34", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: entries)
    assert "10.0.0.1" in failure("http://both.example/", allow_private=False)


def test_a_redirect_loop_ends(server: Server) -> None:
    server.answers = {"/a": redirect("/a")}
    assert "redirects more than 3 times" in failure(server.url("/a"))
    assert len(server.asked) == 4


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/", "gopher://x"])
def test_only_web_addresses_are_followed(server: Server, target: str) -> None:
    server.answers = {"/a": redirect(target)}
    failure(server.url("/a"))


def test_large_bodies_are_cut_short(server: Server) -> None:
    def endless(_: str, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65536)

    def chunked(_: str, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            connection.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")

    said = page(b"", "Content-Length: 100001")
    server.answers = {"/endless": endless, "/chunked": chunked, "/said": said, "/fits": page(b"x" * 100_000)}
    for path in ("/endless", "/chunked"):
        assert "more than 100,000 bytes" in failure(server.url(path), Limits(100_000, 20, 3))
    assert len(fetch(server.url("/fits"), allow_private=True, limits=QUICK)) == 100_000


@pytest.mark.parametrize("where", ["body", "header", "nothing"])
def test_slow_servers_are_left(server: Server, where: str) -> None:
    ended = threading.Event()

    def drip(_: str, connection: socket.socket) -> None:
        if where != "nothing":
            connection.sendall(b"HTTP/1.1 200 OK\r\n" + (b"X: " if where == "header" else b"\r\n"))
        try:
            for _ in range(200):
                time.sleep(0.05)
                if where != "nothing":
                    connection.sendall(b"x")
                elif not connection.recv(1):
                    return
        finally:
            ended.set()

    server.answers = {"/a": drip}
    assert "took longer than 0.6 s" in failure(server.url("/a"))
    assert ended.wait(5), "the connection was left open"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (page(b"", status="404 Not Found"), "404 Not Found"),
        (page(b"<html>", "Content-Type: text/html; charset=utf-8"), "text/html"),
        (page(b"zip", "Content-Encoding: gzip"), "compressed"),
        (lambda _, connection: connection.sendall(b"SSH-2.0\r\n"), ""),
        (lambda _, connection: connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"), ""),
        (lambda _, connection: None, ""),
    ],
)  # fmt: skip
def test_wrong_answers(server: Server, answer: Answer, said: str) -> None:
    server.answers = {"/a": answer}
    assert said in failure(server.url("/a"))


@pytest.mark.parametrize(
    "url",
    [
        "http://user:secret@127.0.0.1/",
        "http://127.0.0.1/a b",
        "http://127.0.0.1/\r\nX: y",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:1/",
        "http://[/",
        "http://no-such-host.invalid/",
        "http://" + "a" * 70 + ".example/",
        "http://\udcff/",
    ],
)
def test_addresses_that_cannot_be_asked(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(host: str, *_: object, **__: object):  # type: ignore[no-untyped-def]
        if host == "127.0.0.1":
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 1))]
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    with pytest.raises(MMSearchError):
        fetch(url, allow_private=True, limits=QUICK)


def test_query_by_url(server: Server, sample_data: Path, indexed: Path, capfd: pytest.CaptureFixture[str]) -> None:
    command = Command(capfd)
    server.answers = {
        "/dog": page((sample_data / "dog.jpg").read_bytes(), "Content-Type: application/octet-stream"),
        "/text": page(b"no picture", "Content-Type: image/jpeg"),
    }
    refused = command("query", "--image", server.url("/dog"), "-C", indexed)
    assert refused.code == 1 and "--allow-private-urls" in refused.err and server.asked == []
    options = ("--allow-private-urls", "-C", indexed, "-k", 1)
    found = command("query", "--image", server.url("/dog"), "--paths", *options)
    assert found.out.strip().endswith("spaniels.jpg"), found.err
    mixed = command("query", "--expr", f"image({server.url('/dog')}) - spaniels", "--json", *options)
    assert mixed.json["query"]["terms"][0] == {"kind": "image", "value": server.url("/dog"), "weight": 1.0}
    wrong = command("query", "--image", server.url("/text"), *options)
    assert wrong.code == DecodeError.exit_code and server.url("/text") in wrong.err
