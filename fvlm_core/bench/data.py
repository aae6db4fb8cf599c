"""How fast samples are read, beside bare loops over the same bytes: pairs in one process, so that load cancels.

In several such processes, because a process of either loop is fast or slow by a fifth for its whole life: where its
memory happens to lie decides it.

    python -m fvlm_core.bench.data FOLDER shards|mp4|loader ROUNDS      # one process, as JSON
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from attrs import frozen
from av.video.reformatter import Interpolation
from numpy.typing import NDArray
from PIL import Image

from fvlm_core.bench.processes import run
from fvlm_core.data.collate import Example, Preparer, collate
from fvlm_core.data.loader import TrainingData, micro_batches
from fvlm_core.data.mixture import Mixture
from fvlm_core.data.planning import RankShare
from fvlm_core.datasets.shards.index import Index
from fvlm_core.datasets.shards.manifest import INDEX
from fvlm_core.datasets.shards.pack import pack
from fvlm_core.datasets.shards.settings import PackSettings
from fvlm_core.interfaces.chat import EncodedChat
from fvlm_core.interfaces.data import DataSource, Sample, StoredFrames, Turn, VideoFile
from fvlm_core.media.pictures import decode_stored, read_stored
from fvlm_core.media.video import decode

CLIPS, SECONDS, WIDTH, HEIGHT, FPS = 4, 10, 480, 270, 25
SIDE = 224
BATCH = 4
REPEATS = 20


@frozen
class Paired:
    """fvlm against a bare loop.

    frames, bare: frames a second of each, medians; of the core's own time, or by the clock where there are workers.
    ratio: the first over the second, the median of the processes' medians; low, high: the smallest and largest of
    these. least: what is promised.
    """

    name: str
    frames: float
    bare: float
    ratio: float
    low: float
    high: float
    least: float

    @property
    def holds(self) -> bool:
        """Whether the promise was kept."""
        return self.ratio >= self.least


class StoredSource(DataSource):
    """The samples of a pack, by its index alone."""

    name = "bench"

    def __init__(self, folder: Path) -> None:
        self.index = Index(folder / INDEX)
        self.files = sorted(folder.glob("*.tar"))

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: int) -> Sample:
        entry = self.index[index]
        stored = StoredFrames(self.files[entry.shard], entry.starts, entry.sizes, entry.times)
        return Sample(entry.id, self.name, _TURNS, stored)


class ClipFolder(DataSource):
    """The clips of a folder."""

    name = "bench"

    def __init__(self, folder: Path) -> None:
        self.files = sorted(folder.glob("*.mp4"))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:
        return Sample(self.files[index].stem, self.name, _TURNS, VideoFile(self.files[index]))


_TURNS = (Turn("user", "?"), Turn("assistant", "!"))


@frozen
class ShortChat:
    """Ten tokens for every chat: what is measured is pictures."""

    vocabulary: int = 10
    end_of_turn: int = 0

    def encode(self, turns: Any) -> EncodedChat:
        """Always the same."""
        return EncodedChat(np.arange(10), np.ones(10, np.bool_), np.ones(10, np.bool_))


NAMES = {
    "shards": "packed shards, one core, against a bare Pillow loop",
    "mp4": "MP4, one core, against a bare PyAV loop",
    "loader": "loader with 2 workers, against bare decode + collate",
}
LEAST = 0.9


def bench_data(
    scratch: Path, rounds: int, processes: int, progress: Callable[[str, int, int], None]
) -> list[Paired]:
    """Shards against Pillow, MP4 against PyAV, the loader with two workers against decoding and collating in turn.

    rounds: pairs in each of `processes` processes. Raises `FvlmError` when one of them fails.
    """
    clips = scratch / "clips"
    clips.mkdir()
    for number in range(CLIPS):
        progress("writing clips", number, CLIPS)
        _write_clip(clips / f"{number}.mp4", number)
    progress("writing clips", CLIPS, CLIPS)
    pack(ClipFolder(clips), {}, scratch / "pack", PackSettings(samples=4), processes=2, progress=progress)
    found: list[Paired] = []
    for kind, name in NAMES.items():
        measured: list[tuple[float, float, float]] = []
        for number in range(processes):
            progress(name, number, processes)
            measured.append(_in_a_process(scratch, kind, rounds))
        progress(name, processes, processes)
        frames, bare, ratio = (statistics.median(one[at] for one in measured) for at in range(3))
        ratios = [one[2] for one in measured]
        found.append(Paired(name, frames, bare, ratio, min(ratios), max(ratios), LEAST))
    return found


def _in_a_process(scratch: Path, kind: str, rounds: int) -> tuple[float, float, float]:
    _, printed = run([sys.executable, "-m", __name__, str(scratch), kind, str(rounds)])
    frames, bare, ratio = json.loads(printed.splitlines()[-1])
    return frames, bare, ratio


def measure(scratch: Path, kind: str, rounds: int) -> tuple[float, float, float]:
    """Frames a second of fvlm and of the bare loop, and their ratio, medians of the rounds of this process."""
    stored = StoredSource(scratch / "pack")
    videos = ClipFolder(scratch / "clips")

    def shards() -> int:
        return sum(
            len(decode_stored(_stored(stored[n % len(stored)]), SIDE)) for n in range(REPEATS * len(stored))
        )

    files = [read_stored(_stored(stored[n])) for n in range(len(stored))]

    def pillow() -> int:
        return sum(len(np.stack([_bare_picture(one) for one in sample])) for sample in REPEATS * files)

    def mp4() -> int:
        return sum(len(decode(VideoFile(file), SIDE)) for file in videos.files)

    def pyav() -> int:
        return sum(len(np.stack(list(_bare_clip(file)))) for file in videos.files)

    preparer = Preparer(cast(Any, ShortChat()), SIDE, "all", 64)
    epochs = 40  # the first batches of a loader are those that its workers start with

    def loader() -> int:
        data = TrainingData((stored,), Mixture([len(stored)], [1.0], 0), preparer)
        with closing(micro_batches(data, RankShare(BATCH, BATCH), 0, 2, pin=False)) as batches:
            next(batches)  # the workers have started
            begun = time.perf_counter()
            counted = sum(len(next(batches).batch.frames) for _ in range(epochs * CLIPS // BATCH))
            _timed["loader"] = time.perf_counter() - begun
        return counted

    def in_turn() -> int:
        mixture = Mixture([len(stored)], [1.0], 0)
        total = 0
        for first in range(BATCH, BATCH + epochs * CLIPS, BATCH):
            examples: list[Example] = []
            for place in range(first, first + BATCH):
                frames = np.stack(
                    [_bare_picture(c) for c in read_stored(_stored(stored[mixture.at(place)[1]]))]
                )
                text = np.arange(10)
                yes = np.ones(10, np.bool_)
                examples.append(Example("", frames.transpose(0, 3, 1, 2), text, yes, yes))
            total += len(collate(examples).frames)
        return total

    loops = {"shards": (shards, pillow), "mp4": (mp4, pyav), "loader": (loader, in_turn)}
    return _paired(*loops[kind], rounds, time.perf_counter if kind == "loader" else time.process_time)


_timed: dict[str, float] = {}
"""Seconds of a loop that leaves out its own start."""


def _paired(
    ours: Callable[[], int], bare: Callable[[], int], rounds: int, clock: Callable[[], float]
) -> tuple[float, float, float]:
    """Both in turn, `rounds` times, each first in half of them.

    clock: the processor's own time unless there are several processes, so that what else the machine does cancels.
    """
    ours()
    bare()
    rates: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        for which in (0, 1) if number % 2 else (1, 0):
            begun = clock()
            _timed.clear()
            frames = (ours, bare)[which]()
            rates[which].append(frames / _timed.get("loader", clock() - begun))
    ratio = statistics.median(a / b for a, b in zip(*rates, strict=True))
    return statistics.median(rates[0]), statistics.median(rates[1]), ratio


def _bare_picture(content: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(BytesIO(content)).convert("RGB"))


def _bare_clip(file: Path) -> Iterator[NDArray[np.uint8]]:
    """One frame a second of a clip whose rate is known: nothing is checked."""
    with av.open(str(file)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        wide = round(WIDTH * SIDE / HEIGHT)
        left = (wide - SIDE) // 2
        for number, frame in enumerate(container.decode(stream)):
            if number % FPS == 0:
                small = frame.reformat(wide, SIDE, "rgb24", interpolation=Interpolation.BICUBIC)
                scaled = cast(NDArray[np.uint8], small.to_ndarray())
                yield scaled[:, left : left + SIDE].transpose(2, 0, 1)


def _write_clip(file: Path, seed: int) -> None:
    """Moving textures, as H.264: of the sharpness and size of common web video."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (24, 40, 3), np.uint8))
    texture = np.asarray(coarse.resize((2 * WIDTH, 2 * HEIGHT), Image.Resampling.BICUBIC)).astype(np.int16)
    texture = np.clip(texture + generator.integers(-12, 13, texture.shape), 0, 255).astype(np.uint8)
    with av.open(str(file), "w") as container:
        stream = container.add_stream(
            "libx264", rate=FPS, options={"crf": "23", "preset": "veryfast", "threads": "1"}
        )
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(SECONDS * FPS):
            left, top = (2 * number) % WIDTH, number % HEIGHT
            picture = np.ascontiguousarray(texture[top : top + HEIGHT, left : left + WIDTH])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())


def _stored(sample: Sample) -> StoredFrames:
    assert isinstance(sample.video, StoredFrames)
    return sample.video


def main(arguments: Sequence[str]) -> None:
    """One process's measurement, printed."""
    scratch, kind, rounds = arguments
    print(json.dumps(measure(Path(scratch), kind, int(rounds))))


if __name__ == "__main__":
    main(sys.argv[1:])
