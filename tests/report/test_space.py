"""A Space under gradio, where there is no fvlm: its page says what `fvlm caption` says, and tells what is no video.

Needs gradio beside everything else: `pip install gradio`, which takes no Pillow from 13.0 on.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit

import bare
import pytest
from browser import MODES, WIDTHS, Browser
from tiny import RECIPE, train
from videos import write_video

from fvlm_core.api.trained import Trained
from fvlm_core.hf.space import write_space
from fvlm_core.runs.store import open_run

try:
    metadata.distribution("gradio")
except metadata.PackageNotFoundError:
    pytest.skip("gradio is not installed: the page of a Space was not tried", allow_module_level=True)

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]
PICTURES = "FVLM_DEMO_PICTURES"
"""Names a folder that screenshots are kept in, for people to look at."""
ASK = """
import json, sys
from gradio_client import Client, handle_file

url, question, *files = sys.argv[1:]
client, told = Client(url, verbose=False), []
for file in files:
    job = client.submit(handle_file(file), question, api_name="/watch")
    try:
        job.result(timeout=300)
        told.append([said[-2:] for said in job.outputs()])
    except Exception as error:
        told.append(f"{type(error).__name__}: {error}")
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trained run, its Space, and an interpreter without fvlm."""
    folder = tmp_path_factory.mktemp("space")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FVLM_CACHE", str(folder / "cache"))
        (folder / "tiny.toml").write_text(RECIPE.replace("image_size = 42", "image_size = 70"))
        train(folder / "tiny.toml", folder / "runs")
    write_space(open_run(folder / "runs/tiny/tiny"), folder / "space")
    write_video(folder / "clip.mp4", 40, first=300, fps=10, width=320, height=240)
    bare.environment(folder / "bare", "torch", "transformers", "av", "pillow", "gradio")
    return folder


@pytest.fixture(scope="module")
def url(place: Path) -> Iterator[str]:
    """Where the Space answers. A traceback in what it prints is an error."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    given = {"GRADIO_SERVER_PORT": str(port), "GRADIO_TEMP_DIR": str(place / "temporary")}
    said = place / "said"
    with said.open("wb") as log:
        app = subprocess.Popen(
            [place / "bare/bin/python", "app.py"],
            cwd=place / "space",
            env=bare.plain() | given,
            stdout=log,
            stderr=log,
        )
    try:
        end = time.monotonic() + 300
        while "Running on" not in said.read_text():
            assert app.poll() is None, said.read_text()
            assert time.monotonic() < end, said.read_text()
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/"
        assert "Traceback" not in said.read_text()
    finally:
        app.kill()
        app.wait()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for all tests."""
    made = Browser()
    yield made
    made.driver.quit()


def _ask(place: Path, url: str, question: str, *files: Path) -> list[object]:
    """For each file the texts after each frame, or what is wrong with it."""
    return json.loads(
        bare.run(place / "bare/bin/python", "-c", ASK, url, question, *files, cwd=place).splitlines()[-1]
    )


def test_after_every_frame_it_says_what_the_model_says_of_the_clip_so_far(place: Path, url: str) -> None:
    trained = Trained(open_run(place / "runs/tiny/tiny"), lambda text: None)
    frames = trained.frames(place / "clip.mp4")
    expected = [
        [
            trained.generate(frames[: at + 1], "What moves?", tokens=64, mode=mode)
            for mode in ("coarse_only", "coarse_fine")
        ]
        for at in range(4)
    ]
    assert len({*map(tuple, expected)}) > 1
    assert _ask(place, url, "What moves?", place / "clip.mp4") == [expected]


def test_what_is_no_video_is_told_without_paths_and_the_next_one_is_watched(
    place: Path, url: str, tmp_path: Path
) -> None:
    clip = (place / "clip.mp4").read_bytes()
    bomb = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\1\0\0\0\1\0\0\x08\2\0\0\0" + b"\0" * 50
    wrong = {"text": b"hello " * 99, "empty": b"", "half": clip[: len(clip) // 2], "bomb": bomb}
    files = [tmp_path / f"{name}.mp4" for name in wrong]
    for file, content in zip(files, wrong.values(), strict=True):
        file.write_bytes(content)
    with (tmp_path / "large.mp4").open("wb") as large:
        large.truncate(2 << 30)
    *told, last = _ask(place, url, "", *files, tmp_path / "large.mp4", place / "clip.mp4")
    for said, expected in zip(
        told,
        ["not a video", "empty file", "not a video", "not a picture", "exceeds the maximum file size"],
        strict=True,
    ):
        assert expected in str(said)
        assert str(place) not in str(said)
    assert len(last) == 4  # pyright: ignore[reportArgumentType]
    assert "letters" in str(_ask(place, url, "x" * 2001, place / "clip.mp4"))


def _send(browser: Browser, url: str, file: Path, width: int = 1440, mode: str = "light") -> None:
    """Open the page, give it a file, and ask."""
    ready = "document.querySelector('button.primary') && document.querySelector('input[type=file]')"
    browser.show(url, width, mode, f"!!({ready})")
    browser.driver.find_element("css selector", "input[type=file]").send_keys(str(file))
    browser.until("return !!document.querySelector('video')")
    time.sleep(1)  # the page takes the name of the file a moment later
    browser.ask("document.querySelector('button.primary').click()")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("mode", MODES)
def test_the_page_shows_text_and_gaze_and_asks_no_other_host(
    width: int, mode: str, browser: Browser, url: str, place: Path
) -> None:
    browser.forget()
    _send(browser, url, place / "clip.mp4", width, mode)
    shown = (
        "const said = [...document.querySelectorAll('textarea')].slice(1).map((t) => t.value);"
        "const drawn = [...document.querySelectorAll('img')].filter((i) => i.src.includes('/file='));"
        "const large = drawn.every((i) => i.naturalWidth >= 448);"
        "return said.every(Boolean) && drawn.length === 3 && large && [...drawn.map((i) => i.src), ...said]"
    )
    found = browser.until(shown)
    assert len(set(found)) == 5
    browser.until(
        f"return JSON.stringify((() => {{{shown}}})()) !== {json.dumps(json.dumps(found, separators=(',', ':')))}"
    )
    assert browser.ask("return document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert {urlsplit(one).netloc for one in browser.requests()} - {""} == {urlsplit(url).netloc}
    if folder := os.environ.get(PICTURES):
        browser.picture(Path(folder) / f"space-{width}-{mode}.png")


def test_what_is_no_video_is_told_on_the_page(browser: Browser, url: str, tmp_path: Path) -> None:
    (tmp_path / "page.mp4").write_text("<html>")
    _send(browser, url, tmp_path / "page.mp4")
    browser.until("return /not a video/.test(document.body.innerText)")
    assert not re.search(r"Traceback|/page\.mp4", browser.ask("return document.body.innerText"))
