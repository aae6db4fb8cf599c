"""Scenes to H.264 files: atomic, in several processes, only what is not there yet."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread

import av
from attrs import frozen
from PIL import Image

from fvlm_core.plugin_api import Progress, Split
from fvlm_shapes.config import CATEGORIES, MOST_CARDS, Category, Level
from fvlm_shapes.scenes import Scene, scene

_QUALITY = "18"
"""x264's constant rate factor. At 18 the gaze task loses nothing against raw pictures, at 28 it does."""

_BATCH = 64
"""Clips that a process draws between two reports; fewer are drawn without a second process."""

_FOLDER_HOLDS = 1000


@frozen
class Film:
    """All clips of one split, drawn or not. folder: where they are kept. categories, cards: of what is asked, where the
    level asks."""

    folder: Path
    level: Level
    seed: int
    split: Split
    frames: int
    categories: tuple[Category, ...] = CATEGORIES
    cards: int = MOST_CARDS

    def scene(self, index: int) -> Scene:
        """What clip `index` shows."""
        return scene(self.level, self.seed, self.split, index, self.frames, self.categories, self.cards)

    def file(self, index: int) -> Path:
        """Where clip `index` is kept."""
        return self.folder / self.split / f"{index // _FOLDER_HOLDS:03d}" / f"{index:06d}.mp4"

    def missing(self, count: int) -> list[int]:
        """Which of the first `count` clips are not there. What a kill has left half done is swept away."""
        there: set[str] = set()
        for start in range(0, count, _FOLDER_HOLDS):
            folder = self.file(start).parent
            folder.mkdir(parents=True, exist_ok=True)
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        os.unlink(entry)
                    elif entry.stat().st_size:
                        there.add(entry.name)
        return [index for index in range(count) if self.file(index).name not in there]

    def draw(self, indices: Sequence[int]) -> int:
        """Draw clips; returns how many. A kill at any moment leaves whole files only."""
        for index in indices:
            file = self.file(index)
            temporary = file.with_name(f".{file.name}.{os.getpid()}")
            _encode(self.scene(index).frames(), temporary)
            temporary.rename(file)
        return len(indices)


def render(film: Film, indices: Sequence[int], progress: Progress) -> None:
    """Draw clips of a film in as many processes as there are cores."""
    what = f"drawing {film.level} clips"
    batches = [indices[start : start + _BATCH] for start in range(0, len(indices), _BATCH)]
    processes = min(len(os.sched_getaffinity(0)), len(batches))
    progress(what, 0, len(indices))
    if processes == 1:
        for number, batch in enumerate(batches):
            progress(what, number * _BATCH + film.draw(batch), len(indices))
        return
    # A fresh interpreter for each process: forking one that has started threads can hang.
    with ProcessPoolExecutor(processes, get_context("spawn"), _follow_the_parent) as pool:
        done = 0
        try:
            for finished in as_completed([pool.submit(film.draw, batch) for batch in batches]):
                done += finished.result()
                progress(what, done, len(indices))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _follow_the_parent() -> None:
    """Leave signals to the parent, and end when it does: a killed parent could not say so."""
    for number in (signal.SIGINT, signal.SIGTERM):  # Ctrl-C, and a scheduler's, reach every process
        signal.signal(number, signal.SIG_IGN)
    parent = parent_process()
    assert parent is not None

    def end() -> None:
        parent.join()
        os._exit(1)

    Thread(target=end, daemon=True).start()


def _encode(pictures: list[Image.Image], file: Path) -> None:
    """One frame a second."""
    # asm=0: with vector instructions, on a busy machine, one file in 5,000 differed from run to run; without, none.
    options = {"crf": _QUALITY, "preset": "veryfast", "threads": "1", "x264-params": "asm=0"}
    with av.open(str(file), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=1, options=options)
        stream.width, stream.height = pictures[0].size
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())
