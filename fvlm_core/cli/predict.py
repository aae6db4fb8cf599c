"""`fvlm predict`: the loss of a run that was not made, and the best use of a budget."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fvlm_core.cli.console import stdout
from fvlm_core.cli.costs import cost_option
from fvlm_core.cli.counts import COUNT
from fvlm_core.cli.fit_options import fit_options
from fvlm_core.cli.help import Command
from fvlm_core.cli.offered import completing
from fvlm_core.cli.path_types import FILE_PATH, RECIPE_OR_PATH
from fvlm_core.cli.points_options import points_options

if TYPE_CHECKING:
    from fvlm_core.api.points import PointsRequest
    from fvlm_core.scaling.points.points import Points
    from fvlm_core.scaling.predict.inference import InferenceAnswer
    from fvlm_core.scaling.predict.prediction_gate import Answer


@click.command("predict", cls=Command)
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
@click.option(
    "--at",
    multiple=True,
    metavar="NAME=VALUE,...",
    help="The other columns that the law reads: V=64,T=8, and its group: domain=code. May be repeated.",
)
@click.option(
    "--schedule",
    metavar="NAME[,KEY=VALUE...]",
    help="For laws that read learning rates: those of a schedule, cosine or wsd,decay=0.1, with --steps and --lr.",
)
@click.option(
    "--curve",
    "curve_file",
    type=FILE_PATH,
    metavar="FILE",
    help="The same, of a table with columns step and lr.",
)
@click.option("--steps", type=COUNT, metavar="STEPS", help="Of the run under --schedule, warm-up included.")
@click.option("--lr", type=COUNT, metavar="RATE", help="Its peak learning rate.")
@click.option(
    "--inference",
    metavar="FLOPS|TIME",
    help="What one request may cost, 5e12 FLOPs, 50ms or 2s: the best size, frames and visual tokens for it, of laws "
    "that read tokens (visual-tokens, video).",
)
@click.option(
    "--rate",
    type=COUNT,
    metavar="FLOPS",
    help="With --inference in milliseconds: FLOPs a second that the machine reaches.",
)
@click.option(
    "--text-tokens",
    type=COUNT,
    metavar="TOKENS",
    help="With --inference: tokens of text that a request reads and writes beside the visual ones.",
)
@click.option(
    "--encoder-flops",
    type=COUNT,
    metavar="FLOPS",
    help="With --inference and without --recipe: what the encoder takes for a frame.",
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
@click.option(
    "--verbose", is_flag=True, help="Print all notes and warnings, and not only the first ten lines."
)
@click.option("--strict", is_flag=True, help="Exit with 1 when the answer is refused or reduced.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
def command(
    law: str,
    size: str | None,
    d: float | None,
    budget: float | None,
    at: tuple[str, ...],
    schedule: str | None,
    curve_file: Path | None,
    steps: float | None,
    lr: float | None,
    inference: str | None,
    rate: float | None,
    text_tokens: float | None,
    encoder_flops: float | None,
    cost_name: str,
    recipes: tuple[str, ...],
    verbose: bool,
    strict: bool,
    as_json: bool,
    request: PointsRequest,
    **chosen: Any,
) -> int:
    """Predict the loss at --n and --d, or the best use of a --budget or of --inference, with 95 % intervals.

    A law is fitted to the points first. An answer that the points do not carry is refused, with the reasons; that is a
    result, and exits with 0. --force prints it with the reasons.
    """
    from fvlm_core.api.asked_schedule import AskedRates
    from fvlm_core.api.costs import choose_cost, plan_recipes
    from fvlm_core.api.fit import asked
    from fvlm_core.api.inference import InferenceQuestion, check_inference, infer
    from fvlm_core.api.points import load_points
    from fvlm_core.cli.console import note
    from fvlm_core.scaling.fit.fitting import fit_points, load_model
    from fvlm_core.scaling.predict.prediction_gate import ask, ask_under, refuse_untold
    from fvlm_core.scaling.predict.question import Asked, check_question, parse_at
    from fvlm_core.utils.errors import UsageError

    model = load_model(law)
    said = parse_at(at, model)
    rates = AskedRates(schedule, curve_file, steps, lr)
    served = {"--rate": rate, "--text-tokens": text_tokens, "--encoder-flops": encoder_flops}
    if inference is not None:
        others = {
            "--n": size,
            "--budget": budget,
            "--schedule, --curve, --steps or --lr": rates.given or None,
        }
        for name in (name for name, value in others.items() if value is not None):
            raise click.UsageError(f"{name} is no part of a question of inference, which chooses the size")
        question = InferenceQuestion(inference, rate, text_tokens, encoder_flops, d, said, recipes)
        check_inference(model, question)
        points = load_points(request, [model], note)
        objective, draws, options = asked(**chosen)
        found = infer(fit_points(points, model, objective, draws, options), question)
        return _shown(found, as_json, strict, verbose)
    for name in (name for name, value in served.items() if value is not None):
        raise click.UsageError(f"{name} goes with --inference")
    if rates.given:
        rates.check()
        for name, value in (("--d", d), ("--budget", budget), ("--recipe", recipes or None)):
            if value is not None:
                raise click.UsageError(
                    f"{name} is no part of a question of learning rates: say --n and the rates"
                )
        points = load_points(request, [model], note)
        objective, draws, options = asked(**chosen)
        report = fit_points(points, model, objective, draws, options)
        curve, told = rates.curve(points, request.warmup_steps)
        answer = ask_under(curve, report, size or "", said, [told])
        return _shown(answer, as_json, strict, verbose)
    refuse_untold(model, said)
    try:
        # --n is read once the points have named their sizes.
        check_question(Asked(None if size is None else 1.0, d, budget, said), model)
    except UsageError as error:
        raise click.UsageError(str(error)) from None
    points = load_points(request, [model], note)
    n, named = (None, "") if size is None else _n(size, points)
    plans = plan_recipes(recipes)[1] if recipes else []
    cost, remarks = choose_cost(cost_name, points, [plan for planned in plans for plan in planned], recipes)
    objective, draws, options = asked(**chosen)
    report = fit_points(points, model, objective, draws, options)
    answer = ask(Asked(n, d, budget, said), report, cost, [*filter(None, [named]), *remarks])
    return _shown(answer, as_json, strict, verbose)


def _shown(answer: Answer | InferenceAnswer, as_json: bool, strict: bool, verbose: bool) -> int:
    from fvlm_core.api.views.answer import print_answer
    from fvlm_core.api.views.inference import print_inference
    from fvlm_core.scaling.predict.inference import InferenceAnswer

    if as_json:
        import json

        click.echo(json.dumps(answer.to_json(), indent=2))
    elif isinstance(answer, InferenceAnswer):
        print_inference(stdout(), answer, verbose)
    else:
        print_answer(stdout(), answer, verbose)
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
