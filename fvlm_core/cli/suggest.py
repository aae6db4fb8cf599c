"""`fvlm suggest`: which runs to make next, so that a prediction becomes surest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fvlm_core.cli.counts import COUNT, Finite
from fvlm_core.cli.offered import completing
from fvlm_core.cli.path_types import ANY_PATH, FILE_PATH, RECIPE_OR_PATH
from fvlm_core.cli.points_options import points_options

if TYPE_CHECKING:
    from fvlm_core.api.points import PointsRequest


@click.command("suggest")
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
    metavar="ledger|6ND|COLUMN",
    help="FLOPs of a sample: the ledger's, from points or planned from recipes; or 6ND, for text whose D is tokens. "
    "With --pool: its column of costs.",
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
    "--max-runs", type=click.IntRange(1, 200), default=12, show_default=True, help="At most so many runs."
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
    max_runs: int,
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

    With --pool, --target and --cost COLUMN, the candidates are the rows of a table, whatever the law reads.
    """
    from fvlm_core.api.checks import one_of
    from fvlm_core.api.costs import COSTS
    from fvlm_core.api.pool import from_pool, without_pool
    from fvlm_core.api.suggest import measured_rate, points_there
    from fvlm_core.api.suggesting import Question, answered
    from fvlm_core.api.views.pool import print_pool
    from fvlm_core.api.views.suggestion import print_suggestion
    from fvlm_core.cli.console import note, stdout
    from fvlm_core.utils.errors import UsageError

    if pool is not None:
        suggested = from_pool(pool, cost_name, target, budget, observed, law, request.columns)
        if as_json:
            click.echo(json.dumps(suggested.to_json(), indent=2))
        else:
            print_pool(stdout(), suggested.advice)
        return
    without_pool([("--target", target), ("--observed", observed)])
    one_of("--cost", cost_name, COSTS)
    try:
        question = Question(
            recipes=recipes,
            budget=budget,
            hours=hours,
            rate=rate,
            target=(target_n, target_d, target_budget),
            sizes=sizes,
            law=law,
            cost=cost_name,
            most=max_runs,
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
