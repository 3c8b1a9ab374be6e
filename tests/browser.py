"""A real browser without a window, driven through its DevTools socket: Chromium, where the machine has one.

with Browser() as browser:
    browser.open("http://127.0.0.1:5080/")
    browser.evaluate("document.title")
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until
from websockets.sync.client import connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # tests may run as root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--no-first-run",
    "--remote-debugging-port=0",
)


def program() -> str:
    """Return the browser's path; skip the test where there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"there is no browser on this machine ({', '.join(NAMES)}): apt install chromium")
    return found


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Browser:
    """One browser with one page."""

    def __init__(self, wide: int = 1440, high: int = 900) -> None:
        path = program()
        self._number, self._session = 0, ""
        self.errors: list[str] = []
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
            process = subprocess.Popen(
                [path, *OPTIONS, f"--user-data-dir={folder}", f"--window-size={wide},{high}", "about:blank"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            stack.callback(_end, process)
            told = Path(folder, "DevToolsActivePort")
            wait_until(lambda: told.exists() and len(told.read_text().splitlines()) > 1, 60)
            port, path = told.read_text().splitlines()[:2]
            address = f"ws://127.0.0.1:{port}{path}"
            self._socket = stack.enter_context(connect(address, max_size=None, compression=None))
            target = self._ask("Target.createTarget", url="about:blank")["targetId"]
            self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log"):
                self._ask(f"{domain}.enable")
            self.resize(wide, high)
            self._stack = stack.pop_all()

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def _ask(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        self._socket.send(json.dumps(message | ({"sessionId": self._session} if self._session else {})))
        while True:
            answer = json.loads(self._socket.recv(timeout=60))
            self._note(answer)
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result

    def _note(self, answer: dict[str, Any]) -> None:
        if answer.get("method") == "Runtime.exceptionThrown":
            self.errors.append(str(answer["params"]["exceptionDetails"]))
        elif answer.get("method") == "Log.entryAdded" and answer["params"]["entry"]["level"] == "error":
            self.errors.append(answer["params"]["entry"]["text"])

    def resize(self, wide: int, high: int) -> None:
        self._ask("Emulation.setDeviceMetricsOverride", width=wide, height=high, deviceScaleFactor=1, mobile=False)

    def open(self, url: str) -> None:
        self._ask("Page.navigate", url=url)
        wait_until(lambda: self.evaluate("document.readyState") == "complete", 30)

    def evaluate(self, code: str) -> Any:
        """Return what a JavaScript expression gives, promises awaited."""
        answer = self._ask("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def texts(self, selector: str) -> list[str]:
        """Return the texts of all elements that a selector finds."""
        found: list[str] = self.evaluate(f"[...document.querySelectorAll({selector!r})].map(e => e.textContent)")
        return found

    def await_text(self, selector: str, text: str, timeout_s: float = 20) -> None:
        """Wait until one of the elements holds the text."""
        wait_until(lambda: any(text in found for found in self.texts(selector)), timeout_s, 0.02)

    def middle_of(self, selector: str) -> tuple[float, float, float]:
        """Scroll to an element; return the middle of it, and its width."""
        code = f"""(() => {{ const e = document.querySelector({selector!r}); e.scrollIntoView({{block: 'center'}});
          const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2, b.width]; }})()"""
        x, y, width = self.evaluate(code)
        return x, y, width

    def mouse(self, kind: str, x: float, y: float) -> None:
        pressed = 0 if kind == "mouseReleased" else 1
        self._ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=pressed, clickCount=1)

    def click(self, selector: str) -> None:
        x, y, _ = self.middle_of(selector)
        self.mouse("mousePressed", x, y)
        self.mouse("mouseReleased", x, y)

    def drag(self, selector: str, to: float, steps: int = 12) -> None:
        """Drag a slider from where its knob is to a place between 0 and 1."""
        x, y, width = self.middle_of(selector)
        at = float(self.evaluate(f"(e => (e.value - e.min) / (e.max - e.min))(document.querySelector({selector!r}))"))
        knob = 12  # its width in page.css
        place = lambda t: x - width / 2 + knob / 2 + t * (width - knob)  # noqa: E731
        self.mouse("mousePressed", place(at), y)
        for i in range(1, steps + 1):
            self.mouse("mouseMoved", place(at + (to - at) * i / steps), y)
        self.mouse("mouseReleased", place(to), y)

    def type(self, selector: str, text: str) -> None:
        """Type a line and press Enter."""
        self.click(selector)
        self._ask("Input.insertText", text=text)
        self.press("Enter")

    def fill(self, selector: str, text: str) -> None:
        """Type a line over what a field holds, and press Enter."""
        self.click(selector)
        self.evaluate(f"document.querySelector({selector!r}).select()")
        self._ask("Input.insertText", text=text)
        self.press("Enter")

    def press(self, key: str) -> None:
        """Press a key of the keyboard and let it go: a letter, or Enter, ArrowLeft and so on."""
        self.key("keyDown", key)
        self.key("keyUp", key)

    def key(self, kind: str, key: str) -> None:
        """Press a key (keyDown) or let it go (keyUp)."""
        text = (
            {"text": {"Enter": "\r"}.get(key, key)} if kind == "keyDown" and (len(key) == 1 or key == "Enter") else {}
        )
        code = {"Enter": {"code": "Enter", "windowsVirtualKeyCode": 13}}.get(key, {})
        self._ask("Input.dispatchKeyEvent", type=kind, key=key, **text, **code)

    def screenshot(self) -> bytes:
        """Return a PNG of what the window shows."""
        return base64.b64decode(self._ask("Page.captureScreenshot", format="png")["data"])
