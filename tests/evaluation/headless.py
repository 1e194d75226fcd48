"""Headless Chromium over the DevTools protocol: open a page, listen to it, ask it questions."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--remote-debugging-port=0", "--remote-allow-origins=*",
)  # fmt: skip
PATIENCE_S = 60.0


def executable() -> str | None:
    """Return the Chromium on the path, None where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if (found := shutil.which(name))), None)


@dataclass
class Page:
    """One tab. `complaints` collects console errors, exceptions and failed loads, in order."""

    socket: Any
    complaints: list[str] = field(default_factory=list)
    requested: list[str] = field(default_factory=list)
    sent: int = 0

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Send one command and wait for its answer; events on the way are recorded."""
        self.sent += 1
        self.socket.send(json.dumps({"id": self.sent, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("id") == self.sent:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']['message']}")
                return dict(message["result"])
            self._hear(message)

    def _hear(self, message: dict[str, Any]) -> None:
        what, told = message.get("method"), message.get("params", {})
        if what == "Runtime.exceptionThrown":
            details = told["exceptionDetails"]
            self.complaints.append(details.get("exception", details).get("description", "thrown"))
        elif what == "Runtime.consoleAPICalled" and told["type"] in ("error", "assert"):
            self.complaints.append(json.dumps(told["args"]))
        elif what == "Log.entryAdded" and told["entry"]["level"] == "error":
            self.complaints.append(told["entry"]["text"])
        elif what == "Network.requestWillBeSent":
            self.requested.append(told["request"]["url"])

    def open(self, path: Path) -> None:
        """Load a file and wait until its script has run to the end."""
        for domain in ("Runtime", "Log", "Network", "Page"):
            self.call(f"{domain}.enable")
        self.call("Page.navigate", url=path.resolve().as_uri())
        self.wait("document.documentElement?.dataset.drawn === 'yes'")

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']['text']}")
        return answer["result"].get("value")

    def wait(self, condition: str) -> None:
        """Wait until a JavaScript condition holds.

        Raises:
            TimeoutError: it did not, within PATIENCE_S.
        """
        end = time.monotonic() + PATIENCE_S
        while not self.evaluate(condition):
            if time.monotonic() > end:
                raise TimeoutError(f"{condition} never held; complaints: {self.complaints}")
            time.sleep(0.05)

    def paper(self, width: int, height: int, dark: bool = False) -> None:
        """Set the size of the window in CSS pixels and the preferred colour scheme."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=width < 600)  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self, path: Path, top: float, width: float, height: float) -> None:
        """Write a PNG of a part of the page; lengths in CSS pixels."""
        clip = {"x": 0, "y": top, "width": width, "height": height, "scale": 1}
        shot = self.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def page(program: str, profile: Path) -> Iterator[Page]:
    """Start Chromium with a fresh profile and yield a blank tab; ends the browser afterwards.

    Args:
        program: path of the executable.
        profile: an empty folder.

    Raises:
        TimeoutError: the browser did not open its port within PATIENCE_S.
    """
    import websocket

    command = [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        port_file, end = profile / "DevToolsActivePort", time.monotonic() + PATIENCE_S
        while not (port_file.exists() and len(port_file.read_text().splitlines()) == 2):
            if process.poll() is not None or time.monotonic() > end:
                raise TimeoutError(f"{program} did not start (exit code {process.poll()})")
            time.sleep(0.05)
        port, browser = port_file.read_text().splitlines()
        socket = websocket.create_connection(f"ws://127.0.0.1:{port}{browser}", timeout=PATIENCE_S)
        tabs = Page(socket).call("Target.getTargets")["targetInfos"]
        tab = next(info["targetId"] for info in tabs if info["type"] == "page")
        socket.close()
        address = f"ws://127.0.0.1:{port}/devtools/page/{tab}"
        socket = websocket.create_connection(address, timeout=PATIENCE_S)
        try:
            yield Page(socket)
        finally:
            socket.close()
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
