"""The tables of docs/measurements/token_budget.md, made of the runs of `fvlm run token_budget_small`.

python docs/_ext/token_budget.py RUNS     # RUNS: the folder of runs, as `fvlm run --runs` was given it
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import fvlm

DOCS = Path(__file__).parents[1]
PAGE = DOCS / "measurements" / "token_budget.md"
KEPT = DOCS / "measurements" / "token_budget"
RECIPE = "token_budget_small"
COLUMNS = "variant,seeds,value,sd,difference,seeds-and-samples,verdict"
TABLES = (("4", "pooled-1"), ("4", "blind"), ("8", "blind"))
"""Frames, and the baseline."""


def table(runs: Path, frames: str, baseline: str) -> str:
    """What is compared at this number of frames, as Markdown, without the notes below it."""
    command = ["fvlm", "runs", "compare", f"{RECIPE}/*-{frames}f*", "--baseline", f"{baseline}-{frames}f"]
    command += ["--columns", COLUMNS, "--format", "markdown", "--runs", str(runs)]
    printed = subprocess.run(command, capture_output=True, check=True, encoding="utf-8").stdout
    return "\n".join(line for line in printed.splitlines() if line.startswith("|"))


if __name__ == "__main__":
    store = Path(sys.argv[1])
    text = PAGE.read_text(encoding="utf-8")
    for frames, baseline in TABLES:
        begin = f"<!-- {frames} frames against {baseline} -->\n"
        between = re.compile(rf"({begin}).*?(<!-- end -->)", re.DOTALL)
        made = table(store, frames, baseline)
        text = between.sub(lambda found, made=made: f"{found[1]}{made}\n{found[2]}", text)
    PAGE.write_text(text, encoding="utf-8")
    for file in fvlm.export(KEPT, RECIPE, root=store):
        if file.suffix == ".png":
            file.unlink()
        else:
            print(file)
