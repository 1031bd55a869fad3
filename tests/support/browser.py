"""Drive a headless Chromium over its debugging pipe (the DevTools protocol as JSON, each message ended by a NUL)."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_KEYS = {"ArrowRight": 39, "ArrowLeft": 37, "ArrowDown": 40, "ArrowUp": 38, "Enter": 13, "Escape": 27, "Tab": 9}


class Page:
    """One tab. Everything that it requests or complains of is kept in `requests` and `complaints`."""

    def __init__(self, requests: int, answers: int) -> None:
        self._to, self._from = os.fdopen(requests, "wb", buffering=0), os.fdopen(answers, "rb", buffering=0)
        self._rest, self._count, self._session = b"", 0, ""
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._loaded = False

    def close(self) -> None:
        self._to.close()
        self._from.close()

    def attach(self) -> None:
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self._session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self(f"{domain}.enable")

    def open(self, path: Path, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Load a file at this size of window in this colour scheme, and wait until it is there."""
        self("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self("Emulation.setEmulatedMedia", features=[scheme])
        self._loaded = False
        self("Page.navigate", url=path.as_uri())
        while not self._loaded:
            self._read()

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression, after two frames in which a change would be drawn."""
        wait = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
        code = f"(async () => {{ const value = await ({expression}); await {wait}; return value; }})()"
        answer = self("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """A key of the keyboard, or a character."""
        text = "\r" if key == "Enter" else key if len(key) == 1 else ""
        code = {"key": key, "code": key, "windowsVirtualKeyCode": _KEYS.get(key, ord(key[0].upper()))}
        self("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **code)
        self("Input.dispatchKeyEvent", type="keyUp", **code)
        self.run("null")

    def screenshot(self, out: Path) -> bytes:
        """A PNG of what the window shows."""
        data = base64.b64decode(self("Page.captureScreenshot", format="png")["data"])
        out.write_bytes(data)
        return data

    def __call__(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._to.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._count:
                assert "error" not in answer, answer["error"]
                return dict(answer["result"])

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            data = self._from.read(1 << 16)
            if not data:
                raise EOFError("the browser has ended")
            self._rest += data
        line, self._rest = self._rest.split(b"\0", 1)
        message: dict[str, Any] = json.loads(line)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, method: str, found: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(found["request"]["url"][:200])
        elif method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(found["exceptionDetails"]))
        elif method == "Log.entryAdded":
            self.complaints.append(found["entry"]["text"])
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(str(found["args"]))


@contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """A page of a fresh Chromium, which must be installed, with its profile below the folder `profile`."""
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    assert program, f"the tests marked `browser` need one of {', '.join(_NAMES)}"
    requests_out, requests_in = os.pipe()
    answers_out, answers_in = os.pipe()

    def place() -> None:  # the protocol reads from descriptor 3 and writes to 4
        high = [os.dup2(descriptor, 100 + at) for at, descriptor in enumerate((requests_out, answers_in))]
        os.dup2(high[0], 3)
        os.dup2(high[1], 4)

    options = ["--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    options += ["--no-first-run", "--disable-dev-shm-usage", "--disable-background-networking"]
    process = subprocess.Popen(
        [program, *options, f"--user-data-dir={profile}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=place,
        close_fds=False,
        env=os.environ | {"HOME": str(profile)},
    )
    os.close(requests_out)
    os.close(answers_in)
    page = Page(requests_in, answers_out)
    try:
        page.attach()
        yield page
    finally:
        process.kill()
        process.wait()
        page.close()
