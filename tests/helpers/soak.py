"""The report of a soak: `python tests/helpers/soak.py FOLDER` prints the tables of the results in FOLDER as
Markdown."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

MODES = {"single": "one process", "ddp": "DDP, 2 ranks", "fsdp2": "FSDP2, 2 ranks"}

HEAD = """# Resuming, measured

Printed by `python tests/helpers/soak.py` from what the scripts of `tests/soak/test_soak.py` wrote; a column that is
missing was not run. A run of 20 steps (a model of a few thousand parameters,
whose connector draws the mode of each sample at random; 7 steps an epoch; an evaluation and a checkpoint every 5) is
stopped, continued to its end, and compared with one left alone: sha256 of weights and of the optimizer's state,
and every metrics row but for what the clock decides (losses, tokens, FLOPs, rates, gradient norm, the hash over all
sample ids). Stops and ends of the first table happen inside long-lived processes (a request as a signal makes it, an
exception that nothing handles); the SIGKILLs of the second are real. On CPU, torch {torch}.
"""


def matrix_table(results: dict[str, dict[str, Any]]) -> str:
    """Cases by kind of stop: how many were equal of how many."""
    kinds = {
        "asked to stop after each of steps 1-19": "stop after",
        "ended after step 3, 7 (an epoch's end), 12, nothing saved": "kill after",
        "ended during a checkpoint (writing, hashing, before the rename)": "killed",
        "resume of a resume of a resume": "a resume of",
    }
    columns = [(mode, workers) for mode in results for workers in results[mode]["cases"]]
    head = "| disturbed how | " + " | ".join(f"{MODES[m]}, {w} workers" for m, w in columns) + " |"
    lines = [head, "|---" * (len(columns) + 1) + "|"]
    for kind, begins in kinds.items():
        cells: list[str] = []
        for mode, workers in columns:
            found = [gap for name, gap in results[mode]["cases"][workers].items() if name.startswith(begins)]
            assert found, f"{mode}, {workers} workers: no case is called {begins}..."
            cells.append(f"{found.count('')} of {len(found)} equal")
        lines.append(f"| {kind} | " + " | ".join(cells) + " |")
    hashes = [results[mode]["hashes"][workers][0][:12] for mode, workers in columns]
    lines.append("| sha256 of the weights | " + " | ".join(f"`{each}`" for each in hashes) + " |")
    times = {mode: sum(found["seconds"].values()) for mode, found in results.items()}
    seconds = ", ".join(f"{MODES[mode]} {time:.0f} s" for mode, time in times.items())
    total = sum(len(each) for found in results.values() for each in found["cases"].values())
    return "\n".join([*lines, "", f"{total} cases; {seconds}, on a machine that others were using."])


def kills_table(told: dict[str, Any]) -> str:
    """The random kills."""
    rows = {
        "SIGKILLs at random moments": told["kills"],
        "of these, of runs that had acknowledged a checkpoint": told["kills of something saved"],
        "runs finished between them": told["runs"],
        "checkpoints acknowledged by those runs": told["acknowledged"],
        "acknowledged checkpoints lost": told["lost"],
        "damaged checkpoints": told["damaged"],
        "unfinished saves found and cleared": told["unfinished saves cleared"],
        "starts that were refused or failed": told["failed starts"],
        "finished runs that differ from the undisturbed one (weights, optimizer, rows)": len(
            told["differences"]
        ),
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])


def report(folder: Path) -> str:
    """Everything in `folder` as one page."""
    import torch

    matrices = {
        mode: json.loads((folder / f"{mode}.json").read_text())
        for mode in MODES
        if (folder / f"{mode}.json").exists()
    }
    parts = [HEAD.format(torch=torch.__version__)]
    if matrices:
        parts += ["## Stops of every kind\n", matrix_table(matrices) + "\n"]
    if (folder / "kills.json").exists():
        told = json.loads((folder / "kills.json").read_text())
        parts += ["## Random kills\n", kills_table(told) + "\n"]
    return "\n".join(parts)


if __name__ == "__main__":
    print(report(Path(sys.argv[1])), end="")
