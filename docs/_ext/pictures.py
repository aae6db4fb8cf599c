"""Pictures of a part of a report, of where a model looks, and of the page of `fvlm demo`, of runs of `captions_small`.

fvlm run captions_small --only 48 --runs RUNS
python docs/_ext/pictures.py RUNS             # report.png, gaze.gif, demo.png in docs/images; by Chromium and selenium

The law is drawn by first_law.py, the figures by gallery.py.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from fvlm_core.data.sources import open_sources
from fvlm_core.evaluation.gaze import GazeMaps
from fvlm_core.evaluation.inference import look
from fvlm_core.interfaces.data import VideoFile
from fvlm_core.media.frames import decode_frames
from fvlm_core.report.demo.server import DemoServer
from fvlm_core.report.demo.watching import Watcher
from fvlm_core.report.html import gather, page
from fvlm_core.runs.store import find_run
from fvlm_core.weights.restore import restore

IMAGES = Path(__file__).parents[1] / "images"
RUN = "captions_small/48"
SAMPLE = 221
"""A validation clip in which something moves."""

WIDTH, HEIGHT = 1180, 1500
SHADES = 128


def report(runs: Path) -> None:
    """What a model says beside what is true, as the report shows it."""
    with TemporaryDirectory() as folder:
        file = Path(folder, "report.html")
        file.write_text(page(gather([find_run(RUN, runs)], draw_fits=False, predictions=1)), encoding="utf-8")
        driver = _browser(WIDTH, HEIGHT)
        driver.get(file.as_uri())
        driver.find_element(By.ID, "predictions").screenshot(str(Path(folder, "part.png")))
        driver.quit()
        _small(Path(folder, "part.png"), "report.png")


def gaze(runs: Path) -> None:
    """Frame by frame, and where the queries of both passes look."""
    restored = restore(find_run(RUN, runs))
    sample = open_sources(restored.config.data).validation[0][SAMPLE]
    frames = decode_frames(sample, restored.model.encoder.spec.image_size, restored.config.data.image_repeats)
    GazeMaps(frames, look(restored, frames)).save(IMAGES / "gaze.gif")


def demo(runs: Path) -> None:
    """The page of the demo, when a clip was watched to its end."""
    restored = restore(find_run(RUN, runs))
    sample = open_sources(restored.config.data).validation[0][SAMPLE]
    assert isinstance(sample.video, VideoFile)
    with TemporaryDirectory() as folder, DemoServer(0, Watcher(restored, RUN), 10_000_000) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        driver = _browser(960, 900)
        driver.get(server.url)
        driver.find_element(By.ID, "file").send_keys(str(sample.video.path))
        driver.execute_script("document.getElementById('go').click()")
        state = driver.find_element(By.ID, "state")
        WebDriverWait(driver, 300).until(lambda _: state.text.startswith("Done"))
        driver.find_element(By.TAG_NAME, "body").screenshot(str(Path(folder, "page.png")))
        driver.quit()
        server.shutdown()
        _small(Path(folder, "page.png"), "demo.png")


def _browser(width: int, height: int) -> webdriver.Chrome:
    options = webdriver.ChromeOptions()
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--hide-scrollbars",
        f"--window-size={width},{height}",
    ):
        options.add_argument(argument)
    service = webdriver.ChromeService(shutil.which("chromedriver") or "chromedriver")
    return webdriver.Chrome(options=options, service=service)


def _small(file: Path, name: str) -> None:
    with Image.open(file) as image:
        small = image.convert("RGB").quantize(SHADES, dither=Image.Dither.NONE)
        small.save(IMAGES / name, optimize=True)


if __name__ == "__main__":
    store = Path(sys.argv[1])
    report(store)
    gaze(store)
    demo(store)
    for name in ("report.png", "gaze.gif", "demo.png"):
        print(f"{name}: {(IMAGES / name).stat().st_size / 1e3:.0f} kB")
