"""How fast `fvlm runs` is over a store of many runs, start-up included.

    python tests/bench/bench_runs.py [--runs 10000] [--keep DIR]

Writes a store of synthetic runs (100 a recipe, each with a record and a summary; those of the first recipe with 220
rows of metrics and the losses of 1,000 validation samples), then times commands: the listing cold and warm, after one
run has changed, and the comparison of 50 runs. Medians of 5, each paired with `fvlm --version`; memory is the largest
resident size of the process. On a busy machine the CPU's seconds say more.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

FVLM = str(Path(sys.executable).with_name("fvlm"))
SAMPLES, STEPS, EVERY = 1000, 2000, 100
REPEATS = 5


def write_store(root: Path, runs: int) -> None:
    """Runs `recipe000/v00-s0` ...: 20 variants of 5 seeds a recipe."""
    random = np.random.default_rng(0)
    ids = [f"shapes/{number:06d}" for number in range(SAMPLES)]
    tokens = random.integers(20, 60, SAMPLES)
    own = random.gamma(4, 0.35, SAMPLES) * tokens
    settings = {f"group{a}": {f"key{b}": a * b for b in range(12)} for a in range(8)}
    for number in range(runs):
        recipe, index = divmod(number, 100)
        variant, seed = divmod(index, 5)
        folder = root / f"recipe{recipe:03d}" / f"v{variant:02d}-s{seed}"
        (folder / "validation").mkdir(parents=True)
        shift = 0.01 * variant + random.normal(0, 0.01)
        losses = own * (1 + shift) + random.normal(0, 2, SAMPLES)
        best = float(losses.sum() / tokens.sum())
        record = {
            "id": folder.name, "recipe": folder.parent.name, "order": index, "seed": 42 + seed, "size": "135M",
            "total_params": 157_310_976, "schedule": "constant", "in_fits": True, "steps": STEPS,
            "data": {"train": [], "validation": [{"source": "shapes", "samples": SAMPLES, "fingerprint": "f"}]},
            "resolved": {**settings, "variant": variant, "training": {"seed": 42, "schedule": "constant"}},
        }  # fmt: skip
        summary = {
            "run_id": folder.name, "total_steps": STEPS, "planned_steps": STEPS, "total_samples": 32 * STEPS,
            "best_val_loss": best, "best_val_step": STEPS, "wall_time_hours": 1.0, "complete": True,
        }  # fmt: skip
        (folder / "recipe.json").write_text(json.dumps(record, indent=2))
        (folder / "summary.json").write_text(json.dumps(summary, indent=2))
        columns = {"step": STEPS, "ids": ids, "losses": losses.tolist(), "tokens": tokens.tolist()}
        if number < 100:  # only these are compared; 10,000 of them would be 500 MB of nothing new
            (folder / "validation" / f"step-{STEPS:08d}.json").write_text(json.dumps(columns))
            (folder / "metrics.jsonl").write_text("\n".join(_rows(folder.name, best)) + "\n")


def _rows(name: str, best: float) -> list[str]:
    rows = [{"run_id": name, "attempt": 1, "event_type": "attempt", "step": 0}]
    for step in range(10, STEPS + 1, 10):
        seen = {"run_id": name, "attempt": 1, "step": step, "samples_seen": 32 * step, "flops": 1e12 * step}
        padding = {f"column{at}": step / (at + 1) for at in range(25)}
        rows.append({**seen, "event_type": "train", "train_loss": 2.0, **padding})
        if step % EVERY == 0:
            loss = best + 3 * (step**-0.3 - STEPS**-0.3)
            rows.append({**seen, "event_type": "eval", "val_loss": loss, **padding})
    return [json.dumps(row) for row in rows]


def measure(*arguments: str) -> str:
    """Medians of the seconds of a command and of `fvlm --version` beside it, and the most memory."""
    pairs = [(_run([FVLM, *arguments]), _run([FVLM, "--version"])) for _ in range(REPEATS)]
    own, bare = zip(*pairs, strict=True)
    wall, cpu, memory = zip(*own, strict=True)
    beside = statistics.median(seconds for seconds, _, _ in bare)
    return (
        f"{statistics.median(wall):6.2f} s   {statistics.median(cpu):5.2f} s of CPU   "
        f"fvlm --version {beside:.2f} s   {max(memory):4.0f} MB"
    )


def _run(command: list[str]) -> tuple[float, float, float]:
    """Seconds, seconds of CPU, MB."""
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begun
    if status:
        raise SystemExit(f"{' '.join(command)}: exit status {status}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    """Write, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--keep", type=Path, help="Where the store goes; there already: it is used as it is.")
    options = parser.parse_args()
    root = options.keep or Path(tempfile.mkdtemp())
    if not (root / "recipe000").exists():
        write_store(root, options.runs)
    at = ["--runs", str(root)]
    try:
        shutil.rmtree(root / ".cache", ignore_errors=True)
        print(f"runs list, no index yet     {_run([FVLM, 'runs', 'list', *at])[0]:6.2f} s")
        cases = {
            "runs list": ["list"],
            "runs list --json": ["list", "--json"],
            "runs list --where size=135M --sort best": ["list", "--where", "size=135M", "--sort", "best"],
            "runs show": ["show", "recipe000/v00-s0"],
            "runs compare of 50": [
                "compare",
                *[f"recipe000/v{v:02d}-s{s}" for v in range(10) for s in range(5)],
            ],
        }
        for name, arguments in cases.items():
            print(f"{name:40} {measure('runs', *arguments, *at)}")
        summary = root / "recipe000" / "v00-s0" / "summary.json"
        os.utime(summary)
        print(f"runs list, one run changed  {_run([FVLM, 'runs', 'list', *at])[0]:6.2f} s")
    finally:
        if options.keep is None:
            shutil.rmtree(root)


if __name__ == "__main__":
    main()
