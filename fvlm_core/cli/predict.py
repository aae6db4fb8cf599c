"""`fvlm predict`: the loss of a run that was not made, and the best use of a budget."""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING, Any

import click

from fvlm_core.cli.console import new_table, stdout
from fvlm_core.cli.costs import cost_option
from fvlm_core.cli.counts import COUNT
from fvlm_core.cli.fit_options import fit_options
from fvlm_core.cli.offered import completing
from fvlm_core.cli.path_types import RECIPE_OR_PATH
from fvlm_core.cli.points_options import points_options

if TYPE_CHECKING:
    from rich.console import Console

    from fvlm_core.cli.points_options import PointsRequest
    from fvlm_core.scaling.points.points import Points
    from fvlm_core.scaling.predict.prediction import Best, Estimated, Prediction
    from fvlm_core.scaling.predict.prediction_gate import Answer

SHOWN = 12
"""Sizes in the table of a budget."""


@click.command("predict")
@click.option(
    "--model",
    "law",
    default="joint-chinchilla",
    show_default=True,
    metavar="NAME",
    shell_complete=completing("fit"),
    help="The law: a fit component.",
)
@click.option(
    "--n",
    "size",
    metavar="N|SIZE",
    help="Parameters of the model, 1.7B, or the name of a size that the points have: 360M.",
)
@click.option(
    "--d", "d", type=COUNT, metavar="D", help="What it trains on, in the unit of the points' D: 702k, 20B."
)
@click.option(
    "--budget",
    type=COUNT,
    metavar="FLOPS",
    help="Training FLOPs: alone, for the best N and D; with --n, for that size.",
)
@cost_option
@click.option(
    "--recipe",
    "recipes",
    type=RECIPE_OR_PATH,
    multiple=True,
    metavar="RECIPE",
    help="Plan this recipe's sizes and use their cost (a file, or the name of a shipped one). May be repeated.",
)
@points_options
@fit_options
@click.option("--strict", is_flag=True, help="Exit with 1 when the answer is refused or reduced.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
def command(
    law: str,
    size: str | None,
    d: float | None,
    budget: float | None,
    cost_name: str,
    recipes: tuple[str, ...],
    strict: bool,
    as_json: bool,
    request: PointsRequest,
    **chosen: Any,
) -> int:
    """Predict the loss at --n and --d, or the best use of a --budget, with the 95 % interval of a new run.

    A law is fitted to the points first. An answer that the points do not carry is refused, with the reasons; that is a
    result, and exits with 0. --force prints it with the reasons.
    """
    asked_for = (size is not None, d is not None, budget is not None)
    if asked_for not in ((True, True, False), (False, False, True), (True, False, True)):
        raise click.UsageError(
            "ask for the loss of a size on some data (--n and --d), of a size under a budget (--n and --budget), "
            "or for the best use of a budget (--budget alone)"
        )
    from fvlm_core.cli.costs import choose_cost, plan_recipes
    from fvlm_core.cli.fit_options import asked
    from fvlm_core.cli.points_options import load_points
    from fvlm_core.scaling.fit.fitting import fit_points, load_model
    from fvlm_core.scaling.predict.prediction_gate import Asked, ask, refuse_untold

    model = load_model(law)
    refuse_untold(model)
    points = load_points(request, [model])
    n, named = (None, "") if size is None else _n(size, points)
    plans = plan_recipes(recipes)[1] if recipes else []
    cost, remarks = choose_cost(cost_name, points, [plan for planned in plans for plan in planned], recipes)
    objective, draws, options = asked(chosen)
    report = fit_points(points, model, objective, draws, options)
    answer = ask(Asked(n, d, budget), report, cost, [*filter(None, [named]), *remarks])
    if as_json:
        import json

        click.echo(json.dumps(answer.to_json(), indent=2))
    else:
        print_answer(stdout(), answer)
    return 1 if strict and answer.status != "ok" else 0


def _n(text: str, points: Points) -> tuple[float, str]:
    """N by the name of a size, else as a number, and what is to be said of it. Raises `click.UsageError`."""
    from fvlm_core.scaling.predict.prediction_gate import known_size

    found = known_size(text, points.table)
    if found is not None:
        return found
    try:
        return COUNT.convert(text, None, None), ""
    except click.UsageError as error:
        sizes = ", ".join(points.sizes)
        raise click.UsageError(f"--n: {error.message}; the points have the sizes {sizes}") from None


def print_answer(console: Console, answer: Answer) -> None:
    """Print an answer: what was asked of what, the numbers or why there are none, then what to know."""
    report = answer.report
    _say(console, f"{report.model.name}: {report.model.form}", "bold")
    _say(
        console,
        f"{len(report.points.table)} points; {report.points.counted}; objective {report.objective}; "
        f"{report.points.source}",
        "dim",
    )
    if answer.cost is not None:
        _say(console, f"cost: {answer.cost}", "dim")
    if answer.status != "ok":
        _say(console, answer.status, "bold yellow")
        for reason in answer.reasons:
            _say(console, f"  - {reason}")
    if answer.prediction is not None:
        _prediction(console, answer.prediction)
    if answer.best is not None:
        _best(console, answer.best)
    if answer.sizes:
        _sizes(console, answer)
    if answer.parts:
        _say(console, f"95 % intervals of a new run hold: {'; '.join(answer.parts)}", "dim")
    said = " ".join(answer.reasons)
    for warning in answer.warnings:
        if warning in said:
            continue
        _say(console, f"  warning: {warning}", "yellow")


def _prediction(console: Console, one: Prediction) -> None:
    size = f" ({one.label})" if one.label else ""
    flops = "" if one.compute is None else f", C = {one.compute:.3g} FLOPs"
    _say(console, f"N = {one.n:.4g}{size}, D = {one.d:.4g}{flops}")
    _say(console, f"loss {_loss(one.loss)}", "bold")
    if one.loss.band is not None:
        low, high = one.loss.band
        _say(console, f"  the law alone: {low:.4f} to {high:.4f}", "dim")


def _best(console: Console, best: Best) -> None:
    _say(console, f"budget {best.budget:.3g} FLOPs, best use:")
    for name, value, ends in (("N*", best.n, best.n_interval), ("D*", best.d, best.d_interval)):
        sure = "no interval" if ends is None else f"95 % {_count(ends[0])} to {_count(ends[1])}"
        _say(console, f"  {name} = {_count(value)}, {sure}", "bold")
    _say(console, f"  loss {_loss(best.loss)}", "bold")


def _count(number: float) -> str:
    """`3.28B`: three digits, as the options take them."""
    from fvlm_core.scaling.points.points import size_label

    return size_label(float(f"{number:.3g}"))


def _sizes(console: Console, answer: Answer) -> None:
    """The sizes nearest to the best N, smallest first."""
    sizes = answer.sizes
    if answer.best is not None:
        best = answer.best.n
        near = sorted(sizes, key=lambda one: abs(log(one.n / best)))[:SHOWN]
        sizes = tuple(sorted(near, key=lambda one: one.n))
    numbers = ("N", "D", "loss", "95 % of a new run", "best in")
    table = new_table("sizes that exist", *numbers, right=numbers)
    for one in sizes:
        ends = one.loss.interval
        share = "" if one.best is None else f"{one.best:.0%}"
        table.add_row(
            one.label,
            f"{one.n:.4g}",
            f"{one.d:.3g}",
            f"{one.loss.value:.4f}",
            "none" if ends is None else f"{ends[0]:.4f} to {ends[1]:.4f}",
            share,
        )
    console.print(table)
    if len(sizes) < len(answer.sizes):
        more = len(answer.sizes) - len(sizes)
        _say(console, f"{more} sizes farther from N* are in the answer as JSON (--json)", "dim")


def _loss(loss: Estimated) -> str:
    if loss.interval is None:
        return f"{loss.value:.4f}, no interval"
    low, high = loss.interval
    return f"{loss.value:.4f}, 95 % of new runs {low:.4f} to {high:.4f}"


def _say(console: Console, text: str, style: str | None = None) -> None:
    # A terminal wraps at words; in a pipe a line stays a line, for grep.
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=not console.is_terminal)
