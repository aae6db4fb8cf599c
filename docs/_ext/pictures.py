"""The pictures of the first page: a part of a report, and where a model looks, of runs of `captions_small`.

fvlm run captions_small --only 48 --runs RUNS
python docs/_ext/pictures.py RUNS             # docs/images/report.png and gaze.gif; needs Chromium and selenium

The law is drawn by first_law.py, the figures by gallery.py.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By

from fvlm_core.data.sources import open_sources
from fvlm_core.evaluation.gaze import GazeMaps
from fvlm_core.evaluation.inference import look
from fvlm_core.media.frames import decode_frames
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
        options = webdriver.ChromeOptions()
        for argument in (
            "--headless=new",
            "--no-sandbox",
            "--hide-scrollbars",
            f"--window-size={WIDTH},{HEIGHT}",
        ):
            options.add_argument(argument)
        driver = webdriver.Chrome(
            options=options, service=webdriver.ChromeService(shutil.which("chromedriver") or "chromedriver")
        )
        driver.get(file.as_uri())
        driver.find_element(By.ID, "predictions").screenshot(str(Path(folder, "part.png")))
        driver.quit()
        with Image.open(Path(folder, "part.png")) as image:
            small = image.convert("RGB").quantize(SHADES, dither=Image.Dither.NONE)
            small.save(IMAGES / "report.png", optimize=True)


def gaze(runs: Path) -> None:
    """Frame by frame, and where the queries of both passes look."""
    restored = restore(find_run(RUN, runs))
    sample = open_sources(restored.config.data).validation[0][SAMPLE]
    frames = decode_frames(sample, restored.model.encoder.spec.image_size, restored.config.data.image_repeats)
    GazeMaps(frames, look(restored, frames)).save(IMAGES / "gaze.gif")


if __name__ == "__main__":
    store = Path(sys.argv[1])
    report(store)
    gaze(store)
    for name in ("report.png", "gaze.gif"):
        print(f"{name}: {(IMAGES / name).stat().st_size / 1e3:.0f} kB")
