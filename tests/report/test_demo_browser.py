"""The page of `fvlm demo` in a real browser: a clip is dropped, watched, and stepped through, by keyboard alone too."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Browser
from tiny import RECIPE, train
from videos import write_video

from fvlm_core.api.trained import Trained
from fvlm_core.report.demo.server import DemoServer
from fvlm_core.report.demo.watching import Watcher
from fvlm_core.runs.store import open_run

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]

PICTURES = "FVLM_DEMO_PICTURES"
"""Names a folder that screenshots are kept in, for people to look at."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for all tests."""
    made = Browser()
    yield made
    made.driver.quit()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoServer]:
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FVLM_CACHE", str(folder / "cache"))
        # 5 x 5 patches, so that a look is more than a corner
        (folder / "tiny.toml").write_text(RECIPE.replace("image_size = 42", "image_size = 70"))
        train(folder / "tiny.toml", folder / "runs")
    trained = Trained(open_run(folder / "runs/tiny/tiny"), lambda text: None)
    with DemoServer(0, Watcher(trained.restored, trained.name, 12), 3_000_000) as served:
        thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield served
        served.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def clip(server: DemoServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(
        tmp_path_factory.mktemp("clip") / "a clip.mp4", 40, first=300, fps=10, width=320, height=240
    )


def _watch(browser: Browser, file: Path) -> None:
    browser.driver.find_element("id", "file").send_keys(str(file))
    browser.ask("document.getElementById('go').click()")
    browser.until("return /^Done/.test(document.getElementById('state').textContent)")


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("mode", ["light", "dark"])
def test_a_clip_is_watched_and_its_frames_can_be_stepped_through(
    width: int, mode: str, browser: Browser, server: DemoServer, clip: Path, tmp_path: Path
) -> None:
    browser.forget()
    browser.show(server.url, width, mode)
    _watch(browser, clip)
    texts: Any = "return [...document.querySelectorAll('#said p')].map((p) => p.textContent)"
    last = browser.ask(texts)
    assert len(last) == 2
    assert all(last)
    assert browser.ask("return document.querySelectorAll('#passes canvas').length") == 3
    assert browser.ask("return document.getElementById('number').textContent") == "4"
    pixels = "return document.querySelectorAll('#passes canvas')[arguments[0]].toDataURL()"
    before = [browser.ask(pixels, at) for at in range(3)]
    assert len(set(before)) == 3
    browser.ask(
        "const at = document.getElementById('at'); at.value = 1; at.dispatchEvent(new Event('input'))"
    )
    assert browser.ask("return document.getElementById('number').textContent") == "1"
    assert browser.ask(pixels, 0) != before[0]
    wide = "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    assert browser.ask(wide)
    assert browser.errors() == []
    assert {url.partition("?")[0] for url in browser.requests()} == {server.url, f"{server.url}watch"}
    if folder := os.environ.get(PICTURES):
        browser.picture(Path(folder) / f"demo-{width}-{mode}.png")
    assert browser.barriers() == []


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_the_page_has_no_barrier_before_anything_is_watched_and_where_something_is_wrong(
    mode: str, browser: Browser, server: DemoServer
) -> None:
    browser.show(server.url, 390, mode)
    assert browser.barriers() == []
    browser.ask("document.getElementById('go').click()")
    assert browser.ask("return document.getElementById('state').classList.contains('wrong')")
    assert browser.barriers() == []


def test_what_is_no_video_is_told_on_the_page(browser: Browser, server: DemoServer, tmp_path: Path) -> None:
    browser.show(server.url)
    (tmp_path / "page.mp4").write_text("<html>")
    browser.driver.find_element("id", "file").send_keys(str(tmp_path / "page.mp4"))
    browser.ask("document.getElementById('go').click()")
    browser.until("return document.getElementById('state').classList.contains('wrong')")
    assert "not a video" in browser.ask("return document.getElementById('state').textContent")
    assert not browser.ask("return document.getElementById('go').disabled")


def test_a_file_that_is_too_large_is_told_without_sending_it(
    browser: Browser, server: DemoServer, tmp_path: Path
) -> None:
    browser.show(server.url)
    browser.requests()
    with (tmp_path / "large.mp4").open("wb") as file:
        file.truncate(2 << 30)
    browser.driver.find_element("id", "file").send_keys(str(tmp_path / "large.mp4"))
    browser.ask("document.getElementById('go').click()")
    browser.until("return document.getElementById('state').classList.contains('wrong')")
    assert "2147 MB, and at most 3 MB" in browser.ask("return document.getElementById('state').textContent")
    assert not [url for url in browser.requests() if "watch" in url]


def test_everything_is_reached_by_keyboard(browser: Browser, server: DemoServer, clip: Path) -> None:
    browser.show(server.url)
    _watch(browser, clip)
    browser.ask("document.activeElement.blur()")
    reached: list[str] = []
    for _ in range(8):
        browser.press("Tab")
        reached.append(browser.ask("return document.activeElement.id"))
    assert {"file", "question", "go", "at"} <= set(reached)


def test_a_camera_is_watched_frame_by_frame_and_stopped(browser: Browser, server: DemoServer) -> None:
    """Chromium's own camera of moving stripes, which it grants without asking."""
    browser.forget()
    browser.show(server.url, 390)
    assert browser.ask("return document.getElementById('camera').textContent") == "Watch the camera"
    for wanted in ("return /^Done: 4 frames of the camera/.test(arguments[0])", None):
        browser.ask("document.getElementById('camera').click()")
        if wanted is None:  # stopped by hand, after the first frame
            browser.until("return /frame 1 of 4/.test(document.getElementById('state').textContent)")
            assert browser.ask("return document.getElementById('go').disabled")
            browser.ask("document.getElementById('camera').click()")
        browser.until("return /^Done/.test(document.getElementById('state').textContent)")
        said = browser.ask("return document.getElementById('state').textContent")
        assert wanted is None or browser.ask(wanted, said)
        assert browser.ask("return document.getElementById('preview').hidden")
        assert not browser.ask("return document.getElementById('go').disabled")
        assert all(browser.ask("return [...document.querySelectorAll('#said p')].map((p) => p.textContent)"))
    pixels = "return document.querySelectorAll('#passes canvas')[arguments[0]].toDataURL()"
    assert len({browser.ask(pixels, at) for at in range(3)}) == 3
    if folder := os.environ.get(PICTURES):
        browser.picture(Path(folder) / "demo-camera.png")
    assert browser.errors() == []
    asked = {url.partition("?")[0] for url in browser.requests()}
    assert asked == {server.url, f"{server.url}live"}


def test_a_camera_that_is_refused_is_told(browser: Browser, server: DemoServer) -> None:
    browser.show(server.url)
    browser.ask(
        "navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('Permission denied'))"
    )
    browser.ask("document.getElementById('camera').click()")
    browser.until("return document.getElementById('state').classList.contains('wrong')")
    said = browser.ask("return document.getElementById('state').textContent")
    assert said == "The camera cannot be used: Permission denied"
