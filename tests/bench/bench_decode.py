"""Frames of videos at one a second, beside other decoders: the processor's seconds of one core, in one process.

    python tests/bench/bench_decode.py              # beside decoding every picture, and those of these that are here:
    pip install decord2 opencv-python-headless torchcodec

Clips of 30 seconds in 720p as the web has them: H.264 with long and with short groups of pictures, HEVC. `--files`
reads others. Each way is asked in turn, in so many rounds; told are medians.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np

from fvlm_core.interfaces.data import VideoFile
from fvlm_core.media.video import _decode

SIDE, WIDE, HIGH, RATE, SECONDS = 224, 1280, 720, 30, 30

CLIPS = {
    "H.264, groups of 250": ("libx264", {"preset": "medium", "crf": "23"}),
    "H.264, groups of 30": ("libx264", {"preset": "veryfast", "crf": "23", "g": "30"}),
    "HEVC": ("libx265", {"preset": "fast", "crf": "26", "x265-params": "log-level=none"}),
}


def write(path: Path, codec: str, options: dict[str, str]) -> None:
    """A picture of blocks that moves, and a square that moves before it."""
    blocks = np.random.default_rng(0).integers(0, 255, (HIGH // 8 + 40, WIDE // 8 + 60, 3), np.uint8)
    large = np.kron(blocks, np.ones((8, 8, 1), np.uint8))
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDE, HIGH, "yuv420p"
        for number in range(SECONDS * RATE):
            top, left = int(40 + 30 * np.sin(number / 20)), 3 * number % 400
            shot = large[top : top + HIGH, left : left + WIDE].copy()
            at = 7 * number % (WIDE - 200)
            shot[100:300, at : at + 200] = (number % 255, 128, 255 - number % 255)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(shot, "rgb24")))
        container.mux(stream.encode())


def fvlm(file: Path, *, every: bool = False) -> int:
    return len(_decode(VideoFile(file, max_frames=64, fps=1.0), SIDE, every=every)[0])


def scaled(width: int, height: int) -> tuple[int, int]:
    return round(width * SIDE / min(width, height)), round(height * SIDE / min(width, height))


def opencv(file: Path) -> int:
    import cv2  # pyright: ignore[reportMissingImports]

    read: Any = cv2.VideoCapture(str(file), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    rate, number, frames = round(read.get(cv2.CAP_PROP_FPS)), 0, []
    while read.grab():
        if number % rate == 0:
            picture = read.retrieve()[1]
            size = scaled(picture.shape[1], picture.shape[0])
            frames.append(cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC))
        number += 1
    return len(np.stack(frames))


def decord(file: Path) -> int:
    import decord as library  # pyright: ignore[reportMissingImports]

    with av.open(str(file)) as container:
        context = container.streams.video[0].codec_context
        width, height = scaled(context.width, context.height)
    read: Any = library.VideoReader(str(file), width=width, height=height, num_threads=1)
    return len(read.get_batch(list(range(0, len(read), round(read.get_avg_fps())))).asnumpy())


def torchcodec(file: Path) -> int:
    from torchcodec.decoders import VideoDecoder  # pyright: ignore[reportMissingImports]

    read: Any = VideoDecoder(str(file), num_ffmpeg_threads=1, seek_mode="approximate")
    told = read.metadata
    return len(read.get_frames_at(list(range(0, told.num_frames, round(told.average_fps)))).data)


WAYS: dict[str, Callable[[Path], int]] = {
    "fvlm": fvlm,
    "every picture decoded": lambda file: fvlm(file, every=True),
    "OpenCV": opencv,
    "decord2": decord,
    "torchcodec": torchcodec,
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--files", nargs="*", type=Path, default=[])
    given = parser.parse_args(arguments)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as folder:
        files = {file.name: file for file in given.files}
        for name, (codec, options) in {} if files else CLIPS.items():
            files[name] = Path(folder, f"{len(files)}.mp4")
            write(files[name], codec, options)
        ways: dict[str, Callable[[Path], int]] = {}
        for name, way in WAYS.items():
            try:
                way(next(iter(files.values())))
            except (ImportError, RuntimeError) as error:
                print(f"{name} is left out: {str(error).splitlines()[0]}")
            else:
                ways[name] = way
        print(f"| {' | '.join(['', *ways, 'fvlm / the fastest of the others'])} |")
        print(f"|---|{'---:|' * (len(ways) + 1)}")
        for title, file in files.items():
            spent: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(given.rounds):
                for name, way in ways.items():
                    begun = time.process_time()
                    way(file)
                    spent[name].append(time.process_time() - begun)
            taken = {name: statistics.median(each) for name, each in spent.items()}
            others = [taken[name] for name in taken if name not in ("fvlm", "every picture decoded")]
            ratio = f"{taken['fvlm'] / min(others):.2f}" if others else ""
            print(f"| {title} | {' | '.join(f'{one:.2f} s' for one in taken.values())} | {ratio} |")


if __name__ == "__main__":
    main()
