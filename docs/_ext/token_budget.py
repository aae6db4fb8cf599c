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
COLUMNS = "variant,seeds,value,sd,difference,these-weights,seeds-and-samples,verdict"


def table(runs: Path, frames: int) -> str:
    """What is compared at this number of frames, as Markdown, without the notes below it."""
    command = ["fvlm", "runs", "compare", f"{RECIPE}/*-{frames}f*", "--baseline", f"foveated-1-{frames}f"]
    command += ["--columns", COLUMNS, "--format", "markdown", "--runs", str(runs)]
    printed = subprocess.run(command, capture_output=True, check=True, encoding="utf-8").stdout
    return "\n".join(line for line in printed.splitlines() if line.startswith("|"))


if __name__ == "__main__":
    store = Path(sys.argv[1])
    text = PAGE.read_text(encoding="utf-8")
    for count in (4, 8):
        between = re.compile(rf"(<!-- {count} frames -->\n).*?(\n<!-- end -->)", re.DOTALL)
        made = table(store, count)
        text = between.sub(lambda found, made=made: f"{found[1]}{made}{found[2]}", text)
    PAGE.write_text(text, encoding="utf-8")
    for file in fvlm.export(KEPT, RECIPE, root=store):
        if file.suffix == ".png":
            file.unlink()
        print(file)
