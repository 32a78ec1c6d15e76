"""A headless Chromium that looks at the page, and all that it asked for."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.keys import Keys

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--window-size=1280,800",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
PATIENT_S = 20.0


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A browser with an empty profile; skips where there is none."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("Chromium and its driver are not installed (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options=options, service=Service(driver, env={**os.environ, "TMPDIR": "/tmp"}))
    try:
        yield Browser(opened)
    finally:
        opened.quit()


class Browser:
    """What a test asks of it."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver
        self.asked: set[str] = set()  # HOST:PORT of every request

    def run(self, script: str) -> Any:
        return self.driver.execute_script(script)  # type: ignore[no-untyped-call]

    def text(self, selector: str) -> str:
        return str(self.run(f"return document.querySelector({json.dumps(selector)}).textContent"))

    def press(self, key: str) -> None:
        self.driver.switch_to.active_element.send_keys(getattr(Keys, key, key))

    def until(self, condition: Callable[[], Any], what: str = "", limit_s: float = PATIENT_S) -> Any:
        deadline_s = time.monotonic() + limit_s
        while not (found := condition()):
            assert time.monotonic() < deadline_s, what or self.text("body")
            time.sleep(0.1)
        return found

    def pixels(self, canvas: str) -> str:
        """What a canvas shows, as one text."""
        return str(self.run(f"return document.getElementById({json.dumps(canvas)}).toDataURL()"))

    def drawn(self, canvas: str) -> bool:
        """Whether any pixel of a canvas is not empty."""
        script = (
            f"const c = document.getElementById({json.dumps(canvas)});"
            "const pen = new OffscreenCanvas(c.width, c.height).getContext('2d', { willReadFrequently: true });"
            "pen.drawImage(c, 0, 0);"
            "return pen.getImageData(0, 0, c.width, c.height).data.some((v, i) => i % 4 === 3 && v)"
        )
        return bool(self.run(script))

    def prefer(self, scheme: str) -> None:
        """The system's theme."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def errors(self) -> list[str]:
        """What the console has complained of since the last call."""
        entries = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [entry["message"] for entry in entries if entry["level"] in ("SEVERE", "WARNING")]

    def hosts(self) -> set[str]:
        """Every HOST:PORT that was asked for anything."""
        for entry in self.driver.get_log("performance"):  # type: ignore[no-untyped-call]
            message = json.loads(entry["message"])["message"]
            params = message["params"]
            url = params.get("url") if message["method"] == "Network.webSocketCreated" else None
            if message["method"] == "Network.requestWillBeSent":
                url = params["request"]["url"]
            if url and urlsplit(url).scheme in ("http", "https", "ws", "wss"):
                self.asked.add(urlsplit(url).netloc)
        return self.asked
