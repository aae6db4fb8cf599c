"""A real browser, for the pages that the project writes."""

from __future__ import annotations

import base64
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
AXE = "FVLM_AXE"
"""Names the file axe.min.js of npm's axe-core, which is not part of this project."""

CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
"""A camera of moving stripes, granted to who asks for it."""

WIDTHS = (390, 1440)
MODES = ("light", "dark")


class Browser:
    """Headless Chromium by its driver."""

    def __init__(self) -> None:
        webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
        binary = next(filter(None, map(shutil.which, BROWSERS)), None)
        driver = shutil.which("chromedriver")
        if binary is None or driver is None:
            pytest.skip(f"needs one of {', '.join(BROWSERS)}, and chromedriver, on the PATH")
        options = webdriver.ChromeOptions()
        for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", *CAMERA):
            options.add_argument(argument)
        options.binary_location = binary
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))

    def show(
        self,
        url: str,
        width: int = 1440,
        mode: str = "light",
        ready: str = "'ready' in document.body.dataset",
    ) -> None:
        """Load a page and wait until it is ready: its charts are there."""
        features = [{"name": "prefers-color-scheme", "value": mode}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        self.driver.get(url)
        self.until(f"return {ready}")
        time.sleep(0.5)

    def until(self, script: str, seconds: float = 60.0) -> Any:
        """Wait until a script gives something true, and return that."""
        end = time.monotonic() + seconds
        while not (found := self.driver.execute_script(script)):
            assert time.monotonic() < end, f"still not so: {script}"
            time.sleep(0.1)
        return found

    def ask(self, script: str, *arguments: Any) -> Any:
        """What a script returns."""
        return self.driver.execute_script(script, *arguments)

    def press(self, key: str, modifiers: int = 0) -> None:
        """A key of the keyboard, as a person presses it."""
        codes = {"Tab": 9, "Enter": 13, " ": 32}
        about = {
            "key": key,
            "code": {" ": "Space"}.get(key, key),
            "windowsVirtualKeyCode": codes[key],
            "modifiers": modifiers,
        }
        text = {"Enter": "\r", " ": " "}.get(key)
        self.driver.execute_cdp_cmd(
            "Input.dispatchKeyEvent", {"type": "keyDown", **about, **({"text": text} if text else {})}
        )
        self.driver.execute_cdp_cmd("Input.dispatchKeyEvent", {"type": "keyUp", **about})

    def errors(self) -> list[str]:
        """What the console says that is worse than a note, since the last time."""
        return [
            one["message"] for one in self.driver.get_log("browser") if one["level"] in ("SEVERE", "WARNING")
        ]

    def requests(self) -> list[str]:
        """Every address that was asked for, since the last time."""
        messages = [json.loads(one["message"])["message"] for one in self.driver.get_log("performance")]
        asked = [
            m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"
        ]
        return [url for url in asked if not url.startswith("data:")]

    def forget(self) -> None:
        """What was said and asked for until now."""
        self.driver.get("about:blank")
        self.driver.get_log("browser")
        self.driver.get_log("performance")

    def barriers(self) -> list[list[str]]:
        """What axe finds serious or worse: how bad, its rule, and where. Skips the test where there is no axe."""
        axe = os.environ.get(AXE)
        if axe is None:
            pytest.skip(f"{AXE} names no axe.min.js: barriers were not looked for")
        self.ask(Path(axe).read_text())
        script = """
        const done = arguments[0];
        axe.run().then((found) => done(found.violations.flatMap(
          (one) => one.nodes.map((node) => [one.impact, one.id, node.html]))));
        """
        found = self.driver.execute_async_script(script)
        return [one for one in found if one[0] in ("serious", "critical")]

    def picture(self, file: Path) -> None:
        """The whole page as a PNG, for people to look at."""
        high, wide = self.ask("const e = document.documentElement; return [e.scrollHeight, e.clientWidth]")
        clip = {"x": 0, "y": 0, "width": wide, "height": high, "scale": 1}
        shot = self.driver.execute_cdp_cmd(
            "Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip}
        )
        file.write_bytes(base64.b64decode(shot["data"]))
