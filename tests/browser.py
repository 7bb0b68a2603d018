"""A headless Chromium, driven over the WebDriver protocol: just enough to load a page, use it and listen."""

import json
import re
import shutil
import subprocess
from types import TracebackType
from typing import Any

import requests

ENTER, SPACE = "\ue007", " "
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the protocol's name for a reference
ARGUMENTS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run")
MISSING = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]


class Browser:
    """A window of `width` x `height` pixels; `colours` is the scheme that its user prefers."""

    def __init__(self, *, width: int = 1280, height: int = 800, colours: str = "light") -> None:
        self.driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True)
        assert self.driver.stdout is not None
        found = (re.search(r"started successfully on port (\d+)", line) for line in self.driver.stdout)
        self.url = f"http://127.0.0.1:{next(match[1] for match in found if match)}/session"
        options = {"binary": shutil.which("chromium"), "args": list(ARGUMENTS)}
        logs = {"browser": "ALL", "performance": "ALL"}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": logs}
        try:
            self.url += f"/{self._post('', capabilities={'alwaysMatch': wanted})['sessionId']}"
        except BaseException:
            self.driver.kill()
            raise
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.command("Emulation.setDeviceMetricsOverride", **metrics)
        self.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": colours}])

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            requests.delete(self.url, timeout=30)
        finally:
            self.driver.terminate()
            self.driver.wait(timeout=30)
            self.driver.stdout.close()

    def open(self, url: str) -> None:
        self._post("/url", url=url)

    def run(self, script: str, *arguments: Any) -> Any:
        """What a function body in JavaScript returns."""
        return self._post("/execute/sync", script=script, args=list(arguments))

    def click(self, selector: str) -> None:
        self._post(f"/element/{self._element(selector)}/click")

    def press(self, selector: str, key: str) -> None:
        """Press a key on the element."""
        self._post(f"/element/{self._element(selector)}/value", text=key)

    def command(self, name: str, **parameters: Any) -> Any:
        """A command of the DevTools protocol."""
        return self._post("/goog/cdp/execute", cmd=name, params=parameters)

    def messages(self) -> list[str]:
        """What came to the console since last asked."""
        return [entry["message"] for entry in self._post("/se/log", type="browser")]

    def requested(self) -> list[str]:
        """The addresses that were asked for since last asked."""
        events = [json.loads(entry["message"])["message"] for entry in self._post("/se/log", type="performance")]
        return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]

    def _element(self, selector: str) -> str:
        return str(self._post("/element", using="css selector", value=selector)[ELEMENT])

    def _post(self, path: str, **body: Any) -> Any:
        answer = requests.post(self.url + path, json=body, timeout=60).json()["value"]
        assert not (isinstance(answer, dict) and "error" in answer), answer
        return answer
