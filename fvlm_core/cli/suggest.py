"""`fvlm suggest`: which runs to make next, so that a prediction becomes surest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fvlm_core.cli.counts import COUNT, Finite
from fvlm_core.cli.help import Command
from fvlm_core.cli.offered import completing
from fvlm_core.cli.path_types import ANY_PATH, FILE_PATH, RECIPE_OR_PATH
from fvlm_core.cli.points_options import points_options

if TYPE_CHECKING:
    from fvlm_core.api.points import PointsRequest
    from fvlm_core.api.pool import PoolSuggestion


@click.command("suggest", cls=Command)
@click.argument("recipes", type=RECIPE_OR_PATH, nargs=-1, metavar="[RECIPE]...")
@click.option(
    "--budget",
    type=COUNT,
    metavar="FLOPS",
    help="Training FLOPs that the runs may take together; with --pool, in the unit of its costs.",
)
@click.option("--hours", type=COUNT, metavar="H", help="Hours that they may take one after the other.")
@click.option(
    "--rate",
    type=COUNT,
    metavar="FLOPS_PER_SECOND",
    help="With --hours: how fast training is. Default: as measured in the runs there are, else as planned.",
)
@click.option("--target-n", type=COUNT, metavar="N", help="Predict the loss of a model of N parameters ...")
@click.option("--target-d", type=COUNT, metavar="D", help="... trained on D.")
@click.option(
    "--target-budget", type=COUNT, metavar="FLOPS", help="Predict the best loss that this budget can reach."
)
@click.option("--sizes", metavar="N,N,...", help="Candidate sizes, where no recipe has them: 20M,40M,80M.")
@click.option(
    "--model",
    "law",
    default="joint-chinchilla",
    show_default=True,
    metavar="NAME",
    shell_complete=completing("fit"),
    help="The law: a fit component; with --pool several, with commas between.",
)
@click.option(
    "--cost",
    "cost_name",
    default="ledger",
    show_default=True,
    metavar="ledger|6ND|COLUMN|FORMULA",
    help="FLOPs of a sample: the ledger's, from points or planned from recipes; or 6ND, for text whose D is tokens. "
    "With --pool: its column of costs. With --grid: a formula of its columns, V*T.",
)
@click.option(
    "--pool",
    type=ANY_PATH,
    metavar="FILE",
    help="Candidate rows with the law's columns and a cost: buy of these, one after the other.",
)
@click.option("--target", type=ANY_PATH, metavar="FILE", help="With --pool: the rows to predict.")
@click.option(
    "--observed", type=ANY_PATH, metavar="FILE", help="With --pool: the rows that are measured so far."
)
@click.option(
    "--grid",
    multiple=True,
    metavar="NAME=VALUE,VALUE,...",
    help="Values that may be run of a column that the law reads: V=16,64,256. For every column. May be repeated.",
)
@click.option(
    "--at",
    multiple=True,
    metavar="NAME=VALUE,...",
    help="With --grid, or a law of other columns than N and D: what is to be predicted, V=1024,T=8. May be repeated.",
)
@click.option(
    "--max-runs", type=click.IntRange(1, 200), help="At most so many runs. Default: 12; of a pool, 60."
)
@click.option(
    "--shortest",
    type=COUNT,
    metavar="D",
    help="D of the shortest run. Default: the shortest run there is, or 100 steps.",
)
@click.option(
    "--longest", type=COUNT, metavar="D", help="D of the longest run. Default: whatever the budget pays for."
)
@click.option(
    "--largest-share",
    type=Finite(0, 1, min_open=True),
    default=0.9,
    show_default=True,
    help="The part of the budget that one run may take.",
)
@click.option(
    "--noise",
    type=Finite(0, 1, min_open=True),
    help="How much losses differ from run to run, as a part of them. Default: as measured, else 0.005.",
)
@click.option("--fresh", is_flag=True, help="Plan as if no run had been made yet.")
@points_options
@click.option(
    "--out",
    type=FILE_PATH,
    metavar="FILE.toml",
    help="Where the recipe goes. Default: NAME-next.toml here.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def command(
    recipes: tuple[str, ...],
    budget: float | None,
    hours: float | None,
    rate: float | None,
    target_n: float | None,
    target_d: float | None,
    target_budget: float | None,
    sizes: str | None,
    law: str,
    cost_name: str,
    pool: Path | None,
    target: Path | None,
    observed: Path | None,
    grid: tuple[str, ...],
    at: tuple[str, ...],
    max_runs: int | None,
    shortest: float | None,
    longest: float | None,
    largest_share: float,
    noise: float | None,
    fresh: bool,
    out: Path | None,
    as_json: bool,
    request: PointsRequest,
) -> None:
    """Say which runs shrink the uncertainty of a prediction most, within a budget.

    With RECIPE (files, or names of shipped recipes), their sizes are the candidates and the runs are written as a
    recipe that `fvlm run` reads. Runs and points there are already count; where there are none, published laws say
    how a loss may scale. Make the runs, and ask again: a plan made from measurements is better than one made from
    none.

    With --pool, --target and --cost COLUMN, the candidates are the rows of a table, whatever the law reads; with
    --grid, --at and --cost FORMULA, all combinations of some values of its columns.
    """
    from fvlm_core.api.checks import one_of
    from fvlm_core.api.costs import COSTS
    from fvlm_core.api.grid import RUNS, Asked, from_grid
    from fvlm_core.api.pool import from_pool, needs, unread
    from fvlm_core.api.suggest import measured_rate, points_there
    from fvlm_core.api.suggesting import Question, answered
    from fvlm_core.api.views.suggestion import print_suggestion
    from fvlm_core.cli.console import note, stdout
    from fvlm_core.scaling.fit.fitting import load_model
    from fvlm_core.scaling.pool.grid import parse_grid
    from fvlm_core.scaling.predict.advice import check_law, of_sizes_and_data
    from fvlm_core.scaling.predict.question import parse_at
    from fvlm_core.utils.errors import UsageError

    elsewhere = [("--hours", hours), ("--rate", rate), ("--target-budget", target_budget), ("--sizes", sizes),
                 ("--shortest", shortest), ("--longest", longest), ("--noise", noise), ("--out", out),
                 ("--sigma", request.sigma), ("--weight", request.weight)]  # fmt: skip
    if pool is not None:
        of_pool = [("RECIPE", recipes), ("--data", request.files), ("--where", request.where), ("--fresh", fresh),
                   ("--target-n", target_n), ("--target-d", target_d), ("--grid", grid), ("--at", at)]  # fmt: skip
        unread("from a pool", [*elsewhere, *of_pool])
        _show(from_pool(pool, cost_name, target, budget, observed, law, request.columns, max_runs), as_json)
        return
    needs("--pool, a table of candidate rows", [("--target", target), ("--observed", observed)])
    model = load_model(law)
    if grid or (recipes and not of_sizes_and_data(model)):
        unread("over a grid" if grid else f"of {model.name}", elsewhere)
        asked = Asked(
            model, parse_grid(grid, model) if grid else {}, recipes, cost_name, budget, parse_at(at, model), target_n,
            target_d, max_runs,
        )  # fmt: skip
        _show(from_grid(asked, None if fresh else points_there(request, note, [model])), as_json)
        return
    check_law(model)
    needs("--grid, values to try of the law's columns", [("--at", at or None)])
    one_of("--cost", cost_name, COSTS)
    try:
        question = Question(
            recipes=recipes,
            budget=budget,
            hours=hours,
            rate=rate,
            target=(target_n, target_d, target_budget),
            sizes=sizes,
            law=model,
            cost=cost_name,
            most=max_runs or RUNS,
            shortest=shortest,
            longest=longest,
            largest=largest_share,
            noise=noise,
            out=out,
        )
    except UsageError as error:
        raise click.UsageError(str(error)) from None
    known = None if fresh else points_there(request, note)
    suggestion = answered(question, known, lambda: measured_rate(request))
    suggestion.save()
    if as_json:
        click.echo(json.dumps(suggestion.to_json(), indent=2))
    else:
        print_suggestion(stdout(), suggestion)


def _show(found: PoolSuggestion, as_json: bool) -> None:
    from fvlm_core.api.views.pool import print_pool
    from fvlm_core.cli.console import stdout

    if as_json:
        click.echo(json.dumps(found.to_json(), indent=2))
    else:
        print_pool(stdout(), found.advice, found.again)
