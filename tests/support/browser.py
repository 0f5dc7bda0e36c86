"""A headless Chromium that tests drive with a keyboard, over its own debugging protocol.

https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.support.waiting import until

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
needs_chromium = pytest.mark.skipif(
    not CHROMIUM and os.environ.get("CI") != "true", reason="there is no chromium"
)
OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--disable-background-networking", "--hide-scrollbars", "--remote-debugging-port=0"),
)
#: Seconds for what a page does; a machine that is busy needs them.
PATIENCE_S = 60.0
#: The keys that tests press, with what the protocol wants to know of each.
KEYS = {
    "Tab": ("Tab", 9, ""),
    "Enter": ("Enter", 13, "\r"),
    "Escape": ("Escape", 27, ""),
    "Space": (" ", 32, " "),
}


class Browser:
    """One tab."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._numbers = count(1)
        for domain in ("Page", "Runtime"):
            self._call(f"{domain}.enable")

    def open(self, url: str) -> None:
        """Go to an address, and wait until it is loaded."""
        self._call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def see(self, script: str) -> Any:
        """Return the value of an expression in the page."""
        answer = self._call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, script: str, timeout_s: float = PATIENCE_S) -> None:
        """Wait until an expression is true."""
        until(lambda: self.see(f"Boolean({script})") or None, script, timeout_s)

    def press(self, key: str) -> None:
        """Press and release a key, as a person does."""
        name, code, text = KEYS[key]
        pressed = {"key": name, "code": key, "windowsVirtualKeyCode": code}
        self._call("Input.dispatchKeyEvent", type="keyDown", text=text, **pressed)
        self._call("Input.dispatchKeyEvent", type="keyUp", **pressed)

    def type(self, text: str) -> None:
        """Write into the field that has the focus."""
        self._call("Input.insertText", text=text)

    def prefer(self, scheme: str, width: int = 1280, height: int = 900) -> None:
        """Prefer `dark` or `light`, in a window of this size."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._call("Emulation.setEmulatedMedia", features=features)
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._call("Emulation.setDeviceMetricsOverride", **size)

    def picture(self, file: Path) -> None:
        """Write a picture of what is seen."""
        answer = self._call("Page.captureScreenshot", format="png")
        file.write_bytes(base64.b64decode(answer["data"]))

    def _call(self, method: str, **parameters: Any) -> Any:
        id = next(self._numbers)
        self._connection.send(json.dumps({"id": id, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._connection.recv(PATIENCE_S))
            if answer.get("id") == id:
                assert "error" not in answer, answer["error"]
                return answer["result"]


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """Start a browser with an empty profile in a folder, and end it."""
    profile = folder / "profile"
    with subprocess.Popen(
        [CHROMIUM, *OPTIONS, f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            port = _port(profile)
            with connect(f"ws://127.0.0.1:{port}{_tab(port)}", max_size=None) as connection:
                yield Browser(connection)
        finally:
            process.terminate()


def _port(profile: Path) -> int:
    """Return the port that the browser has chosen and written down."""
    file = profile / "DevToolsActivePort"

    def written() -> int | None:
        lines = file.read_text().splitlines() if file.exists() else []
        return int(lines[0]) if len(lines) > 1 else None

    return until(written, "the browser's port", PATIENCE_S)


def _tab(port: int) -> str:
    """Return the path of the first tab's socket."""

    def found() -> str | None:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
            tabs = [each for each in json.load(answer) if each["type"] == "page"]
        return tabs[0]["webSocketDebuggerUrl"].split("/", 3)[3] if tabs else None

    return "/" + until(found, "the browser's tab", PATIENCE_S)
