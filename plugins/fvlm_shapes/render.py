"""Scenes to H.264 files: atomic, in several processes, only what is not there yet."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import av
from PIL import Image

from fvlm_core.interfaces import Progress, Split
from fvlm_shapes.config import Level
from fvlm_shapes.scenes import scene

_QUALITY = "18"
"""x264's constant rate factor. At 18 the gaze task loses nothing against raw pictures, at 28 it does."""

_BATCH = 64
"""Clips that a process draws between two reports."""


def clip_file(folder: Path, split: Split, index: int) -> Path:
    """Where clip `index` of a split is kept."""
    return folder / split / f"{index // 1000:03d}" / f"{index:06d}.mp4"


def render(
    folder: Path,
    level: Level,
    seed: int,
    frames: int,
    wanted: Sequence[tuple[Split, int]],
    progress: Progress,
) -> None:
    """Draw the wanted (split, index) clips into `folder`. A kill at any moment leaves whole files only."""
    what = f"drawing {level} clips"
    processes = min(os.cpu_count() or 1, -(-len(wanted) // _BATCH))
    batches = [wanted[start : start + _BATCH] for start in range(0, len(wanted), _BATCH)]
    done = 0
    progress(what, done, len(wanted))
    # A fresh interpreter for each process: forking one that has started threads can hang.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        running = {pool.submit(_render_batch, folder, level, seed, frames, batch): batch for batch in batches}
        for finished in as_completed(running):
            finished.result()
            done += len(running[finished])
            progress(what, done, len(wanted))


def _render_batch(
    folder: Path, level: Level, seed: int, frames: int, batch: Sequence[tuple[Split, int]]
) -> None:
    for split, index in batch:
        file = clip_file(folder, split, index)
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{file.name}.{os.getpid()}")
        _encode(scene(level, seed, split, index, frames).frames(), temporary)
        temporary.rename(file)


def _encode(pictures: list[Image.Image], file: Path) -> None:
    """One frame a second, each a key frame or close to one: clips are decoded whole."""
    options = {"crf": _QUALITY, "preset": "veryfast", "threads": "1"}
    with av.open(str(file), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=1, options=options)
        stream.width, stream.height = pictures[0].size
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            for packet in stream.encode(av.VideoFrame.from_image(picture)):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
