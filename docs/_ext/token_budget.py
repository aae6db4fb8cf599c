"""The tables of docs/measurements/token_budget.md, made of the runs of `fvlm run token_budget_small`.

python docs/_ext/token_budget.py RUNS     # RUNS: the folder of runs, as `fvlm run --runs` was given it
python docs/_ext/token_budget.py          # what to answer with, from the measurements kept beside the page
"""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path

from attrs import evolve

import fvlm
from fvlm_core.planning.plan import plan
from fvlm_core.recipes.read import read_recipe
from fvlm_core.report.html.token_choice import advice
from fvlm_core.report.html.token_settings import Setting

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


def chosen() -> str:
    """What the kept losses say is to be chosen, as the report says it: costs are those of the recipe."""
    with (KEPT / "all_eval_points.csv").open(encoding="utf-8") as file:
        last = {row["run_id"]: float(row["val_loss"]) for row in csv.DictReader(file)}
    recipe = read_recipe(RECIPE, [])
    found: dict[str, list[Setting]] = {}
    for run, planned in zip(recipe.runs, plan(recipe), strict=True):
        config = run.config
        spec = config.model.connector.config.spec(config.model.encoder.config.spec())
        one = Setting(
            name=run.id.rpartition("-s")[0],
            size=planned.size,
            connector=config.model.connector.name,
            tokens=spec.tokens_per_frame,
            frames=planned.frames,
            blind=config.model.blind,
            seeds=(run.seed,),
            losses=(last[run.id],),
            accuracies=(),
            flops=sum(planned.flops_per_sample.values()),
            answering=planned.answer_flops_per_sample / planned.frames,
            seconds=None,
            compared=repr(config.data),
        )
        found.setdefault(one.name, []).append(one)
    together = [
        evolve(
            own[0],
            seeds=tuple(one.seeds[0] for one in own),
            losses=tuple(one.losses[0] for one in own),
        )
        for own in found.values()
    ]
    block = advice(together)
    assert block is not None
    *concluded, _ = block.words  # the last explains the tables, as the page itself does
    lines = [*(f"- {words}" for words in concluded), ""]
    for made in block.tables:
        columns = [column.title for column in made.columns]
        rows = [[cell.text for cell in row] for row in made.rows]
        rule = ["---:" if column.number else "---" for column in made.columns]
        lines += [made.caption, "", *(f"| {' | '.join(row)} |" for row in (columns, rule, *rows)), ""]
    return "\n".join(lines).rstrip()


def put(text: str, begin: str, made: str) -> str:
    """The page with what stands between this mark and the next end made anew."""
    between = re.compile(rf"(<!-- {begin} -->\n).*?(<!-- end -->)", re.DOTALL)
    return between.sub(lambda found: f"{found[1]}{made}\n{found[2]}", text)


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    if len(sys.argv) > 1:
        store = Path(sys.argv[1])
        for frames, baseline in TABLES:
            text = put(text, f"{frames} frames against {baseline}", table(store, frames, baseline))
        for file in fvlm.export(KEPT, RECIPE, root=store):
            if file.suffix == ".png":
                file.unlink()
            else:
                print(file)
    PAGE.write_text(put(text, "what to answer with", chosen()), encoding="utf-8")
