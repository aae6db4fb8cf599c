"""Shards from an S3 server on loopback against the same shards on the local disk: warm throughput, in pairs, and cold
start.

    python tests/bench/bench_remote_shards.py [--pairs 9] [--write docs/measurements/remote_shards.md]

Needs `moto_server` on the path, or MOTO_SERVER.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, cast

import numpy as np

from fvlm_core.interfaces.data import DataSource, FrameArray, Sample, Turn

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

SIDE, FRAMES, BATCH, CLIPS = 224, 8, 8, 256
HEAD = """# Shards read where they lie

`python tests/bench/bench_remote_shards.py --pairs {pairs} --write docs/measurements/remote_shards.md`, with moto's S3
server on loopback. {clips} clips of {frames} frames of {side} px, {megabytes:.1f} MB; micro-batches of {batch} by two
data workers. Warm: all is in the cache; loops of one epoch, one from each, in pairs. Cold: nothing is; from
opening the source to the first micro-batch.

"""


class Clips(DataSource):
    """Noise on a coarse pattern: pictures of some 12 kB, as photographs have."""

    name = "noise"

    def __len__(self) -> int:
        return CLIPS

    def __getitem__(self, index: int) -> Sample:
        chance = np.random.default_rng(index)
        small = chance.integers(0, 256, (FRAMES, 28, 28, 3), np.uint8)
        frames = small.repeat(8, 1).repeat(8, 2)
        frames = frames // 2 + chance.integers(0, 32, frames.shape, np.uint8)
        turns = (Turn("user", "What is it?"), Turn("assistant", f"Noise {index}."))
        return Sample(f"{index}", self.name, turns, FrameArray(frames, 1.0))


def packed(folder: Path) -> Path:
    """The clips as a pack."""
    from fvlm_core.datasets.shards.pack import pack
    from fvlm_core.datasets.shards.settings import PackSettings

    pack(Clips(), {}, folder, PackSettings(size=SIDE, samples=32), processes=1)
    return folder


def batches(path: Any) -> tuple[Any, float]:
    """The micro-batches of a source without end, and when its opening began."""
    from fvlm_shards.config import Shards
    from fvlm_shards.source import build

    from fvlm_core.bench.data import ShortChat
    from fvlm_core.data.collate import Preparer
    from fvlm_core.data.loader import TrainingData, micro_batches
    from fvlm_core.data.mixture import Mixture
    from fvlm_core.data.planning import RankShare

    begun = time.perf_counter()
    source = build(Shards(path=path, holdout=0), "train")
    preparer = Preparer(cast(Any, ShortChat()), SIDE, "all", 64)
    data = TrainingData((source,), Mixture([len(source)], [1.0], 0), preparer)
    return micro_batches(data, RankShare(BATCH, BATCH), 0, 2, pin=False), begun


def first(path: Any) -> float:
    """Seconds to the first micro-batch."""
    made, begun = batches(path)
    next(made)
    return time.perf_counter() - begun


def epoch(made: Any) -> float:
    """Frames a second of an epoch."""
    begun = time.perf_counter()
    frames = sum(len(next(made).batch.frames) for _ in range(CLIPS // BATCH))
    return frames / (time.perf_counter() - begun)


def decoding(path: Any) -> Any:
    """What decodes all samples of a source in this process; gives the processor's own seconds."""
    from fvlm_shards.config import Shards
    from fvlm_shards.source import build

    from fvlm_core.media.frames import decode_frames

    source = build(Shards(path=path, holdout=0), "train")

    def all_of_it() -> float:
        begun = time.process_time()
        for index in range(len(source)):
            decode_frames(source[index], SIDE)
        return time.process_time() - begun

    return all_of_it


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--write", type=Path)
    asked = parser.parse_args()
    from far_server import s3_server, s3_variables, upload

    from fvlm_core.utils.address import Address

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        os.environ["FVLM_CACHE"] = str(folder / "cache")
        local = packed(folder / "pack")
        size = sum(file.stat().st_size for file in local.iterdir())
        with s3_server(folder) as endpoint:
            os.environ.update(s3_variables(endpoint))
            upload(local, "bucket")
            there = Address("s3://bucket")
            here_first, there_first = [], []
            for _ in range(5):
                shutil.rmtree(folder / "cache", ignore_errors=True)
                here_first.append(first(local))
                there_first.append(first(there))
            one, other = batches(local)[0], batches(there)[0]
            epoch(other), epoch(one)
            pairs: list[tuple[float, float]] = []
            for number in range(asked.pairs):
                order = (one, other) if number % 2 else (other, one)
                rates = {id(made): epoch(made) for made in order}
                pairs.append((rates[id(one)], rates[id(other)]))
            ours, theirs = decoding(local), decoding(there)
            theirs()
            costs = [(ours(), theirs()) for _ in range(asked.pairs)]
    dearer = sorted(one / other for one, other in costs)
    ratios = sorted(theirs / ours for ours, theirs in pairs)
    later = sorted(b - a for a, b in zip(here_first, there_first, strict=True))
    text = HEAD.format(
        pairs=asked.pairs, clips=CLIPS, frames=FRAMES, side=SIDE, megabytes=size / 1e6, batch=BATCH
    )
    mine, its = (statistics.median(cost[at] for cost in costs) / CLIPS * 1e3 for at in (0, 1))
    text += "\n".join([
        "| what | local | S3 | |",
        "|---|--:|--:|--:|",
        f"| warm, frames a second (median of {asked.pairs}) | {statistics.median(p[0] for p in pairs):,.0f} | "
        f"{statistics.median(p[1] for p in pairs):,.0f} | {statistics.median(ratios):.3f} of local "
        f"({ratios[0]:.3f} to {ratios[-1]:.3f}) |",
        f"| warm, one process, own milliseconds a sample | {mine:.2f} | "
        f"{its:.2f} | {statistics.median(dearer):.3f} of the speed "
        f"({dearer[0]:.3f} to {dearer[-1]:.3f}) |",
        f"| cold, seconds to the first micro-batch (median of 5) | {statistics.median(here_first):.2f} | "
        f"{statistics.median(there_first):.2f} | {statistics.median(later):+.2f} s (at most {later[-1]:+.2f}) |",
        "",
    ])  # fmt: skip
    print(text)
    if asked.write:
        asked.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
