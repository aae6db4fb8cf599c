"""The best use of a budget of inference, in words and a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fvlm_core.api.views.answer import counted, loss_words, say
from fvlm_core.api.views.console import new_table
from fvlm_core.api.views.facts import told

if TYPE_CHECKING:
    from rich.console import Console

    from fvlm_core.scaling.predict.inference import InferenceAnswer


def print_inference(console: Console, answer: InferenceAnswer, verbose: bool = False) -> None:
    """Print an answer: what was asked of what, the best choice, the table of near-equal ones, then what to know."""
    report, budget = answer.report, answer.budget
    say(console, f"{report.model.name}: {report.model.form}", "bold")
    say(console, f"{len(report.points.table)} points; {report.points.source}", "dim")
    say(console, f"cost of a request: {answer.cost.source}", "dim")
    (reasons, warnings), hidden = told((answer.reasons, answer.warnings), verbose)
    if answer.status != "ok":
        say(console, answer.status, "bold yellow")
        for reason in reasons:
            say(console, f"  - {reason}")
    if answer.best is not None and answer.loss is not None:
        best, times = answer.best, budget.milliseconds
        spent = "" if times is None else f" ({times:.4g} ms at {budget.rate:.3g} FLOPs a second)"
        say(console, f"budget {budget.flops:.3g} FLOPs a request{spent}, best use:")
        found = zip(answer.intervals.items(), (best.n, best.frames, best.tokens), strict=True)
        for (name, ends), value in found:
            if name == "frames":  # of a law of single pictures
                continue
            sure = "no interval" if ends is None else f"95 % {counted(ends[0])} to {counted(ends[1])}"
            named = f" ({best.label})" if name == "N" and best.label else ""
            say(console, f"  {name}* = {counted(value)}{named}, {sure}", "bold")
        say(console, f"  {report.model.target} {loss_words(answer.loss)}", "bold")
        _table(console, answer)
    for warning in warnings:
        say(console, f"  warning: {warning}", "yellow")
    if hidden:
        say(console, f"  and {hidden} more line{'' if hidden == 1 else 's'}: --verbose prints all", "dim")


def _table(console: Console, answer: InferenceAnswer) -> None:
    _, frames, tokens = answer.intervals
    several = frames != "frames"
    numbers = (
        "N",
        *([frames] if several else []),
        tokens,
        "FLOPs",
        answer.report.model.target,
        "worse by",
        "95 %",
        "best in",
    )
    relative = all(fit.problem.relative for fit in answer.report.fits)
    table = new_table("models that exist", *numbers, right=numbers)

    def apart(value: float) -> str:
        return f"{100 * value:.2f} %" if relative else f"{value:.4f}"

    for one in answer.near:
        ends = one.worse_interval
        table.add_row(
            one.label,
            f"{one.n:.4g}",
            *([str(one.frames)] if several else []),
            str(one.tokens),
            f"{one.flops:.3g}",
            f"{one.loss:.4f}",
            apart(one.worse),
            "none" if ends is None else f"{apart(ends[0])} to {apart(ends[1])}",
            "" if one.best is None else f"{one.best:.0%}",
        )
    console.print(table)
