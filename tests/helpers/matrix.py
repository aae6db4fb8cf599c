"""Stops of every kind in one long-lived process or pair: `python tests/helpers/matrix.py single|ddp|fsdp2 RESULTS
[WORKERS]`.

For each number of data workers: an undisturbed run, then the same run stopped and continued, compared bit for bit.
RESULTS is added to.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from trainer import EPOCH, STEPS, Killed, difference, go, opened, outcome, small

import fvlm_core.runs.checkpoint as checkpoint
from fvlm_core.execution import attempt
from fvlm_core.training.process_group import Ranks, join, leave

WORKERS = (0, 2, 4)


@contextmanager
def dying_in_save(function: str, step: int, saves: bool) -> Iterator[None]:
    """A save of this step dies where the checkpoint's `function` is called, as a killed process would leave it.

    saves: whether this process is the one that saves.
    """
    plain: Callable[..., Any] = getattr(checkpoint, function)
    died: list[Any] = []

    def dies(*arguments: Any) -> Any:
        if any(isinstance(one, Path) and f".tmp-{step}-" in str(one) for one in arguments):
            died.append(arguments)
            raise Killed
        return plain(*arguments)

    setattr(checkpoint, function, dies)
    try:
        yield
    finally:
        setattr(checkpoint, function, plain)
    assert bool(died) == saves, f"{function} was never called: nothing died there"


def cases(train: Callable[..., Any], saves: bool) -> dict[str, Callable[[Path], Any]]:
    """What disturbs a run, by name; the run is finished afterwards."""

    def saving(function: str) -> Callable[[Path], Any]:
        def dies(root: Path) -> None:
            with dying_in_save(function, 10, saves):
                train(root, die=0)

        return dies

    def resumed_twice(root: Path) -> None:
        train(root, at=4)
        train(root, die=9)
        train(root, at=13)

    stops = {f"stop after step {k}": (lambda root, k=k: train(root, at=k)) for k in range(1, STEPS)}
    kills = {f"kill after step {k}": (lambda root, k=k: train(root, die=k)) for k in (3, EPOCH, 12)}
    return {
        **stops,
        **kills,
        "killed while files are written": saving("save_file"),
        "killed while files are hashed": saving("sha256"),
        "killed before the rename": saving("sync_folder"),
        "a resume of a resume of a resume": resumed_twice,
    }


def counted_once() -> None:
    """Count the FLOPs of a sample once for all cases; that is a fifth of what a case costs."""
    known: list[Any] = []
    plain = attempt.flops_per_sample

    def count(*of: Any) -> Any:
        if not known:
            known.append(plain(*of))
        return known[0]

    attempt.flops_per_sample = count


def matrix(mode: str, workers: int, folder: Path, ranks: Ranks) -> tuple[list[str], dict[str, str]]:
    """The hashes of the undisturbed run, and what differs in each case, "" where nothing does."""
    keys = [f"training.parallel={mode}"] if mode != "single" else []
    data = ranks.in_turn(lambda: opened(small(folder), folder / "none"))
    recipe = small(folder, *keys, f"training.workers={workers}")

    def train(root: Path, **how: Any) -> None:
        ranks.exchange(None)
        go(recipe, root, data, ranks=ranks, **how)
        ranks.exchange(None)

    whole = folder / f"whole-{workers}"
    train(whole)
    expected = outcome(recipe, whole)
    gaps: dict[str, str] = {}
    for number, (name, disturb) in enumerate(cases(train, ranks.first).items()):
        root = folder / f"cut-{workers}-{number}"
        disturb(root)
        if ranks.first:
            (last,) = sorted(root.glob("small/small/checkpoints/step-*"))[-1:] or [Path("step-0")]
            assert int(last.name.removeprefix("step-")) < STEPS, f"{name}: nothing disturbed the run"
        train(root)
        gaps[name] = difference(outcome(recipe, root), expected)
        ranks.exchange(None)
        if ranks.first:
            shutil.rmtree(root)
            print(f"{mode}, {workers} workers, {name}: {gaps[name] or 'equal'}", flush=True)
    return [expected["model"], expected["optimizer"]], gaps


def _rank(rank: int, mode: str, folder: Path, results: Path, workers: list[int]) -> None:
    torch.set_num_threads(1)
    size = 1 if mode == "single" else 2
    if size > 1:
        store = dist.FileStore(str(folder / "store"), size)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=size)
    begun = time.monotonic()
    counted_once()
    ranks = join()
    for count in workers:
        hashes, gaps = matrix(mode, count, folder, ranks)
        if ranks.first:
            found = json.loads(results.read_text()) if results.exists() else {}
            found.setdefault("hashes", {})[str(count)] = hashes
            found.setdefault("cases", {})[str(count)] = gaps
            found.setdefault("seconds", {})[str(count)] = time.monotonic() - begun
            results.write_text(json.dumps(found))
        begun = time.monotonic()
    leave()


def main(mode: str, results: Path, workers: list[int]) -> None:
    """Fork the ranks from this process, which has imported everything."""
    folder = Path(tempfile.mkdtemp())
    os.environ["FVLM_CACHE"] = str(folder / "cache")
    context = multiprocessing.get_context("fork")
    count = 1 if mode == "single" else 2
    ranks = [
        context.Process(target=_rank, args=(rank, mode, folder, results, workers)) for rank in range(count)
    ]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join()
    shutil.rmtree(folder)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), [int(count) for count in sys.argv[3:]] or list(WORKERS))
