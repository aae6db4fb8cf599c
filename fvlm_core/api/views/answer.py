"""What a law answers, in words and a table."""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING

from fvlm_core.api.views.console import new_table
from fvlm_core.api.views.facts import told

if TYPE_CHECKING:
    from rich.console import Console

    from fvlm_core.scaling.predict.prediction import Best, Estimated, Prediction
    from fvlm_core.scaling.predict.prediction_gate import Answer

SHOWN = 12
"""Sizes in the table of a budget."""


def print_answer(console: Console, answer: Answer, verbose: bool = False) -> None:
    """Print an answer: what was asked of what, the numbers or why there are none, then what to know. verbose: all that
    there is to say, and not the first ten lines of it."""
    report = answer.report
    say(console, f"{report.model.name}: {report.model.form}", "bold")
    say(
        console,
        "; ".join(
            filter(
                None,
                [
                    f"{len(report.points.table)} points",
                    report.points.counted(report.model),
                    f"objective {report.objective}",
                    report.points.source,
                ],
            )
        ),
        "dim",
    )
    if answer.cost is not None:
        say(console, f"cost: {answer.cost}", "dim")
    said = " ".join(answer.reasons)
    kinds = (answer.reasons, [warning for warning in answer.warnings if warning not in said])
    (reasons, warnings), hidden = told(kinds, verbose)
    if answer.status != "ok":
        say(console, answer.status, "bold yellow")
        for reason in reasons:
            say(console, f"  - {reason}")
    if answer.prediction is not None:
        _prediction(console, answer.prediction, report.model.target)
    if answer.best is not None:
        _best(console, answer.best)
    if answer.sizes:
        _sizes(console, answer)
    if answer.parts:
        say(console, f"95 % intervals of a new run hold: {'; '.join(answer.parts)}", "dim")
    for warning in warnings:
        say(console, f"  warning: {warning}", "yellow")
    if hidden:
        say(console, f"  and {hidden} more line{'' if hidden == 1 else 's'}: --verbose prints all", "dim")


def _prediction(console: Console, one: Prediction, target: str) -> None:
    size = f" ({one.label})" if one.label else ""
    said = [f"N = {one.n:.4g}{size}" if one.n == one.n else "", f"D = {one.d:.4g}" if one.d == one.d else ""]
    said += [
        f"{name} = {value:.4g}" if isinstance(value, float) else f"{name} = {value}"
        for name, value in one.at.items()
    ]
    said += [] if one.compute is None else [f"C = {one.compute:.3g} FLOPs"]
    say(console, ", ".join(filter(None, said)))
    say(console, f"{target} {loss_words(one.loss)}", "bold")
    if one.loss.band is not None:
        low, high = one.loss.band
        say(console, f"  the law alone: {low:.4f} to {high:.4f}", "dim")


def _best(console: Console, best: Best) -> None:
    say(console, f"budget {best.budget:.3g} FLOPs, best use:")
    for name, value, ends in (("N*", best.n, best.n_interval), ("D*", best.d, best.d_interval)):
        sure = "no interval" if ends is None else f"95 % {counted(ends[0])} to {counted(ends[1])}"
        say(console, f"  {name} = {counted(value)}, {sure}", "bold")
    say(console, f"  loss {loss_words(best.loss)}", "bold")


def counted(number: float) -> str:
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
        say(console, f"{more} sizes farther from N* are in the answer as JSON (--json)", "dim")


def loss_words(loss: Estimated) -> str:
    """`2.1034, 95 % of new runs 2.0911 to 2.1158`."""
    if loss.interval is None:
        return f"{loss.value:.4f}, no interval"
    low, high = loss.interval
    return f"{loss.value:.4f}, 95 % of new runs {low:.4f} to {high:.4f}"


def say(console: Console, text: str, style: str | None = None) -> None:
    """Print a line."""
    # A terminal wraps at words; in a pipe a line stays a line, for grep.
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=not console.is_terminal)
