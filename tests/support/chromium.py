"""A headless Chromium, driven by the DevTools protocol over pipes: JSON with a NUL behind each message."""

from __future__ import annotations

import base64
import itertools
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NO_BROWSER = "no chromium, chromium-browser or google-chrome on PATH"
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
)
PATIENCE = 60
"""Seconds after which something that should have happened long ago counts as failed."""
_PLUMBING = "import os, sys; a, b, *run = sys.argv[1:]; os.dup2(int(a), 3); os.dup2(int(b), 4); os.execv(run[0], run)"
"""The browser expects its ends of the pipes at 3 and 4."""
_KEYS = {
    "Enter": (13, "\r"),
    "Tab": (9, ""),
    "Escape": (27, ""),
    "ArrowRight": (39, ""),
    "ArrowLeft": (37, ""),
    "Home": (36, ""),
    "End": (35, ""),
}
"""Keys by name: their codes, and what they write."""
_CENTRE = """(() => {
  const node = document.querySelector(%s);
  node.scrollIntoView({block: "center"});
  const box = node.getBoundingClientRect();
  return [box.x + box.width / 2, box.y + box.height / 2];
})()"""
_FILL = """(() => {
  const node = document.querySelector(%s);
  node.focus();
  node.value = %s;
  for (const kind of ["input", "change"]) node.dispatchEvent(new Event(kind, {bubbles: true}));
})()"""


class Browser:
    """One browser process; `page` opens pages that share nothing with each other."""

    def __init__(self, profile: Path) -> None:
        to_read, to_write = os.pipe(), os.pipe()  # what the browser reads, and what it writes
        command = [sys.executable, "-S", "-c", _PLUMBING, str(to_read[0]), str(to_write[1]), str(BROWSER), *FLAGS]
        self._process = subprocess.Popen(
            [*command, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(to_read[0], to_write[1]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read[0])
        os.close(to_write[1])
        self._out, self._in = os.fdopen(to_read[1], "wb"), os.fdopen(to_write[0], "rb", buffering=0)
        self._numbers = itertools.count(1)
        self._answers: dict[int, queue.Queue[dict[str, Any]]] = {}
        self._pages: dict[str, Page] = {}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def send(self, method: str, session: str | None = None, **given: Any) -> Any:
        """Send a command and wait for its result."""
        number, answers = next(self._numbers), queue.Queue[dict[str, Any]]()
        self._answers[number] = answers
        message = {"id": number, "method": method, "params": given} | ({"sessionId": session} if session else {})
        self._out.write(json.dumps(message).encode() + b"\0")
        self._out.flush()
        answer = answers.get(timeout=PATIENCE)
        del self._answers[number]
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    @contextmanager
    def page(self, width: int = 1280, height: int = 900, dark: bool = False, language: str = "en-US") -> Iterator[Page]:
        """A page with cookies and storage of its own."""
        context = self.send("Target.createBrowserContext")["browserContextId"]
        target = self.send("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, session)
        try:
            page.prepare(width, height, dark, language)
            yield page
        finally:
            del self._pages[session]
            self.send("Target.disposeBrowserContext", browserContextId=context)

    def close(self) -> None:
        """End the process."""
        self._out.close()  # a browser whose pipe is closed ends
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(10)
        self._in.close()

    def _read(self) -> None:
        rest = b""
        while chunk := self._in.read(1 << 16):
            *messages, rest = (rest + chunk).split(b"\0")
            for message in map(json.loads, messages):
                if "id" in message:
                    self._answers[message["id"]].put(message)
                elif message.get("sessionId") in self._pages:
                    self._pages[message["sessionId"]].heard(message["method"], message["params"])


class Page:
    """One page. ``complaints`` are errors on its console: exceptions, policies broken, files that did not come."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session
        self.complaints: list[str] = []
        self.addresses: list[str] = []
        """Everything it asked for."""

    def send(self, method: str, **given: Any) -> Any:
        """Send a command about this page."""
        return self._browser.send(method, self._session, **given)

    def prepare(self, width: int, height: int, dark: bool, language: str) -> None:
        """Set what the page finds itself in."""
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        mobile = width < 600
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        agent = self.send("Runtime.evaluate", expression="navigator.userAgent")["result"]["value"]
        self.send("Emulation.setUserAgentOverride", userAgent=agent, acceptLanguage=language)

    def heard(self, method: str, event: dict[str, Any]) -> None:
        """Take note of an event."""
        if method == "Runtime.exceptionThrown":
            details = event["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Runtime.consoleAPICalled" and event["type"] in ("error", "warning", "assert"):
            self.complaints.append(str([part.get("value", part.get("description")) for part in event["args"]]))
        elif method == "Log.entryAdded" and event["entry"]["level"] in ("error", "warning"):
            self.complaints.append(f"{event['entry']['text']} {event['entry'].get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self.addresses.append(event["request"]["url"])

    def open(self, url: str) -> None:
        """Go to an address, and wait until the page has begun to work."""
        self.send("Page.navigate", url=url)
        self.until("document.documentElement?.dataset.ready === ''")

    def value(self, script: str) -> Any:
        """What an expression, or a promise, comes to."""
        found = self.send(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True, userGesture=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, script: str) -> Any:
        """Wait until an expression is true, and return what it is."""
        deadline = time.monotonic() + PATIENCE
        while not (found := self.value(script)):
            assert time.monotonic() < deadline, f"{script} did not come true; {self.complaints}; {self.seen()}"
            time.sleep(0.02)
        return found

    def seen(self) -> str:
        """The text that is shown."""
        return str(self.value("document.body.innerText"))

    def press(self, key: str, **how: int) -> None:
        """Press and release a key, where the focus is."""
        code, text = _KEYS[key]
        about = {"key": key, "code": key, "windowsVirtualKeyCode": code, **how}
        self.send("Input.dispatchKeyEvent", type="keyDown", **about, **({"text": text} if text else {}))
        self.send("Input.dispatchKeyEvent", type="keyUp", **about)

    def click(self, selector: str) -> None:
        """Press the mouse in the middle of an element."""
        place = self.value(_CENTRE % json.dumps(selector))
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def fill(self, selector: str, text: str) -> None:
        """Put text into a field, as typing or choosing does."""
        self.value(_FILL % (json.dumps(selector), json.dumps(text)))

    def picture(self) -> bytes:
        """The whole page as PNG."""
        return base64.b64decode(self.send("Page.captureScreenshot", captureBeyondViewport=True)["data"])
