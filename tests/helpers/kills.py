"""Random SIGKILLs of a small run: `python tests/helpers/kills.py KILLS RESULTS`.

Each trainer is forked from this process, which has imported everything, and killed at a random moment; runs that get to
their end are compared with an undisturbed one, and the next run begins.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from matrix import counted_once
from trainer import difference, go, opened, outcome, small

import fvlm_core.training.state as state
from fvlm_core.execution import attempt
from fvlm_core.execution.begun import run_folder
from fvlm_core.model.build import compose, make_chat
from fvlm_core.runs.checkpoint import latest_checkpoint

OVERRIDES = ["checkpoints.every=2", "eval.every=10"]


def _train(recipe: Any, root: Path, data: Any, acknowledged: Path) -> None:
    torch.set_num_threads(1)
    plain = state.save_checkpoint

    def saved(folder: Path, what: Any) -> Path:
        final = plain(folder, what)
        with acknowledged.open("ab", buffering=0) as out:
            out.write(f"{what.state['step']}\n".encode())
        return final

    state.save_checkpoint = saved
    go(recipe, root, data)


def _warm_up(config: Any, sources: Any) -> None:
    """Import and count here what every forked trainer would otherwise import and count again: 10 s of each."""
    counted_once()
    chat = make_chat(config.model, sources.texts)
    attempt.flops_per_sample(config, sources, chat)
    model = compose(config.model, chat.vocabulary, 0)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(
            parameter
        )  # no backward pass: autograd's threads do not survive a fork
    optimizer.step()


def main(kills: int, results: Path) -> None:
    """See the module."""
    folder = Path(tempfile.mkdtemp())
    os.environ["FVLM_CACHE"] = str(folder / "cache")
    context = multiprocessing.get_context("fork")
    generator = random.Random(20)
    data = opened(small(folder), folder / "none")
    _warm_up(small(folder).runs[0].config, data["small"])
    recipes = [small(folder, *OVERRIDES, f"training.workers={workers}") for workers in (0, 2)]

    def start(recipe: Any, root: Path) -> Any:
        process = context.Process(target=_train, args=(recipe, root, data, root / "acknowledged"))
        root.mkdir(exist_ok=True)
        process.start()
        return process

    whole = folder / "whole"
    begun = time.monotonic()
    process = start(recipes[0], whole)
    process.join()
    longest = time.monotonic() - begun  # of a whole run
    expected = outcome(recipes[0], whole)
    told: dict[str, Any] = {
        "kills": 0, "kills of something saved": 0, "runs": 0, "acknowledged": 0, "lost": 0, "damaged": 0,
        "failed starts": 0,
        "differences": [], "unfinished saves cleared": 0, "whole run, seconds": longest,
    }  # fmt: skip
    while told["kills"] < kills or process.exitcode != 0:
        recipe, root = recipes[told["runs"] % 2], folder / f"run-{told['runs']}"
        process, landed = start(recipe, root), False
        process.join(generator.uniform(0.0, 0.6 * longest) if told["kills"] < kills else None)
        if process.exitcode is None:
            process.kill()
            process.join()
            landed = process.exitcode == -signal.SIGKILL  # else it came to its end just before
            told["kills"] += landed
        checkpoints = run_folder(root, recipe, recipe.runs[0]) / "checkpoints"
        file = root / "acknowledged"
        steps = [int(step) for step in file.read_text().split()] if file.exists() else []
        told["kills of something saved"] += landed and bool(steps)
        newest, damaged = latest_checkpoint(checkpoints)
        told["damaged"] += len(damaged)
        told["unfinished saves cleared"] += len(list(checkpoints.glob(".tmp-*")))
        if steps and (newest is None or int(newest.name.removeprefix("step-")) < max(steps)):
            told["lost"] += 1
        if process.exitcode == 0:
            gap = difference(outcome(recipe, root), expected)
            told["differences"] += [gap] if gap else []
            told["acknowledged"] += len(steps)
            told["runs"] += 1
            shutil.rmtree(root)
        elif process.exitcode > 0:
            told["failed starts"] += 1
        results.write_text(json.dumps(told))
    shutil.rmtree(folder)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
