"""Fetch a query image from the web, within limits, and from nowhere that the user's own network hides.

Only for addresses that the user gave. Every host name is resolved once, its addresses are checked, and the connection
goes to the checked address: a second look-up could give another one. Redirects are checked the same way. Neither
proxies nor passwords of the environment are used, nor cookies.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from mmsearch.base.errors import SourceError
from mmsearch.base.version import __version__
from mmsearch.images.addresses import is_public

# Bytes. Photos of today's cameras have up to 50 MB.
MOST_BYTES = 64_000_000

# Seconds for all of it: names, redirects, and a server that sends a byte now and then.
TIME_LIMIT = 30.0

MOST_REDIRECTS = 5

_REDIRECTS = {301, 302, 303, 307, 308}


@dataclass(frozen=True, slots=True)
class Limits:
    """What one fetch may cost."""

    most_bytes: int = MOST_BYTES
    seconds: float = TIME_LIMIT
    redirects: int = MOST_REDIRECTS


_LIMITS = Limits()


def fetch(url: str, *, allow_private: bool = False, limits: Limits = _LIMITS) -> bytes:
    """What an http or https address gives. Raises `SourceError`.

    With `allow_private` addresses of this machine and of private networks are allowed too.
    """
    job = _Job(url, allow_private, limits)
    # In a thread, since neither resolving a name nor a server that drips can be given a limit of the whole.
    thread = threading.Thread(target=job.run, name="fetch", daemon=True)
    thread.start()
    thread.join(limits.seconds)
    if thread.is_alive():
        job.abandon()
        raise _too_slow(url, limits)
    if job.error is not None:
        raise job.error
    return job.body


class _Job:
    """One fetch: `run` leaves either `body` or `error`."""

    def __init__(self, url: str, allow_private: bool, limits: Limits) -> None:
        self.body = b""
        self.error: Exception | None = None
        self._url = url
        self._allow_private = allow_private
        self._limits = limits
        self._connection: _Connection | None = None
        self._response: http.client.HTTPResponse | None = None
        self._is_over = False

    def run(self) -> None:
        try:
            self.body = self._follow()
        except SourceError as error:
            self.error = error
        except TimeoutError:  # of one step, which has the same limit as the whole
            self.error = _too_slow(self._url, self._limits)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.error = _failed(self._url, _reason(error), "check the address")
            self.error.__cause__ = error
        except Exception as error:  # raised again in the thread that waits
            self.error = error
        finally:
            self._hang_up()

    def abandon(self) -> None:
        """Give up: what waits for the server ends at once."""
        self._is_over = True
        connection = self._connection
        if connection is not None and connection.line is not None:
            with suppress(OSError):  # it is closed already
                connection.line.shutdown(socket.SHUT_RDWR)

    def _hang_up(self) -> None:
        """Close the connection, and the response, which keeps it open where the server ends with it."""
        connection, self._connection = self._connection, None
        if self._response is not None:
            self._response.close()
        if connection is not None:
            connection.close()
            if connection.line is not None:
                connection.line.close()

    def _follow(self) -> bytes:
        url = self._url
        for _ in range(self._limits.redirects + 1):
            parts = self._checked(url)
            response = self._ask(parts)
            target = response.getheader("Location")
            if response.status not in _REDIRECTS or not target:
                return self._read(response)
            self._hang_up()
            url = urljoin(url, target)
            if parts.scheme == "https" and urlsplit(url).scheme != "https":
                raise _failed(
                    self._url, "it redirects from https to an address without it", "give the image's own address"
                )
        raise _failed(self._url, f"it redirects more than {self._limits.redirects} times", "check the address")

    def _checked(self, url: str) -> SplitResult:
        """The parts of an address that may be asked."""
        if re.search(r"[\x00-\x20\x7f]", url):
            raise _failed(self._url, "the address has a space or a control character", "write them as %20 and so on")
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise _failed(self._url, f"it leads to {url}", "only http and https addresses are fetched")
        if parts.username is not None or parts.password is not None:
            raise _failed(self._url, "the address has a user name in it", "save the image and give its path")
        return parts

    def _ask(self, parts: SplitResult) -> http.client.HTTPResponse:
        assert parts.hostname is not None
        secure = parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
        host = parts.hostname.encode("idna").decode("ascii") if not parts.hostname.isascii() else parts.hostname
        address = self._resolve(host, port)
        if self._is_over:
            raise TimeoutError("too late")
        kind = _SecureConnection if secure else _Connection
        connection = self._connection = kind(host, port, timeout=self._limits.seconds)
        connection.address = address
        target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
        if parts.query:
            target += "?" + quote(parts.query, safe="/%:@!$&'()*+,;=~-._?")
        headers = {"User-Agent": f"mmsearch/{__version__}", "Accept": "image/*", "Accept-Encoding": "identity"}
        connection.request("GET", target, headers=headers)
        self._response = connection.getresponse()
        return self._response

    def _resolve(self, host: str, port: int) -> str:
        """The address to connect to; none of a name that has any address that is not public."""
        found = [entry[4][0] for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        addresses = [str(address) for address in dict.fromkeys(found)]
        if not self._allow_private:
            for address in addresses:
                if not is_public(address):
                    named = "" if host == address else f" ({address})"
                    why = f"{host}{named} is an address of this machine or of a private network"
                    raise _failed(self._url, why, "--allow-private-urls allows it")
        return addresses[0]

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        if response.status != 200:
            raise _failed(self._url, f"the server answers {response.status} {response.reason}", "check the address")
        kind = (response.getheader("Content-Type") or "").split(";")[0].strip().lower()
        if kind.startswith("text/") and kind != "text/plain":
            raise _failed(self._url, f"it is {kind}, not an image", "give the address of the image itself")
        if (response.getheader("Content-Encoding") or "identity").lower() != "identity":
            raise _failed(self._url, "the server sends it compressed", "save the image and give its path")
        if response.length is not None and response.length > self._limits.most_bytes:
            raise self._too_large()
        body = response.read(self._limits.most_bytes + 1)
        if len(body) > self._limits.most_bytes:
            raise self._too_large()
        if response.length:  # what it had promised and did not send
            raise _failed(self._url, "the server closed the connection too early", "try again")
        return body

    def _too_large(self) -> SourceError:
        return _failed(self._url, f"it has more than {self._limits.most_bytes:,} bytes", "give a smaller image")


class _Connection(http.client.HTTPConnection):
    """A connection to an address that has been looked up and checked before."""

    address = ""
    line: socket.socket | None = None

    def connect(self) -> None:
        self.sock = self.line = socket.create_connection((self.address, self.port), self.timeout)


class _SecureConnection(_Connection):
    default_port = http.client.HTTPS_PORT

    def connect(self) -> None:
        super().connect()
        context = ssl.create_default_context()
        self.sock = self.line = context.wrap_socket(self.sock, server_hostname=self.host)


def _too_slow(url: str, limits: Limits) -> SourceError:
    return _failed(url, f"it took longer than {limits.seconds:g} s", "save the image and give its path")


def _failed(url: str, why: str, hint: str) -> SourceError:
    return SourceError(f"cannot fetch {url}: {why}", hint)


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid ({error.verify_message})"
    if isinstance(error, socket.gaierror):
        return "its host is unknown"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
