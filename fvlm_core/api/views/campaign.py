"""A campaign on the terminal: what was bought, how the prediction narrowed, and how it ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from fvlm_core.api.views.console import new_table, print_whole
from fvlm_core.scaling.campaign.record import Finding, Journal, Round, Verdict

if TYPE_CHECKING:
    from rich.console import Console

    from fvlm_core.api.campaign import CampaignResult
    from fvlm_core.scaling.campaign.belief import Question


def print_campaign(console: Console, result: CampaignResult) -> None:
    """Print the question, a row a round, the verdict, and what to know."""
    question = result.prepared.question
    _say(
        console,
        f"{result.name}: the loss at N = {question.n:.4g}, D = {question.d:.4g} within {question.within:.2%}, for "
        f"{question.budget:.3g} FLOPs ({question.law.name})",
        "bold",
    )
    if result.truth is not None:
        values = ", ".join(f"{name} = {value:.4g}" for name, value in result.truth.values.items())
        _say(console, f"simulated: {result.truth.law.name}, {values}, noise {result.truth.noise:.2%}", "dim")
    if result.journal.sweep is not None and result.truth is None:
        _print_round(console, result.journal.sweep, question)
        if result.journal.rate is not None:
            c, k = result.journal.rate
            _say(console, f"best learning rate: {c:.3g} N^{k:.3f}")
    if result.first is not None:
        _print_foreseen(console, result)
    else:
        _print_rounds(console, result)
    for remark in result.remarks:
        _say(console, f"  note: {remark}", "dim")


def say_progress(console: Console) -> Callable[[Journal], None]:
    """Tells of a campaign while it goes on: what was bought, and what it told."""
    told: set[str] = set()

    def tell(journal: Journal) -> None:
        for one in [*([journal.sweep] if journal.sweep else []), *journal.rounds]:
            lines = {f"{one.why}: {bought(one)}": one.losses is None}
            if one.finding is not None:
                lines[f"{one.why}: {found(one.finding)}"] = True
            for line, new in lines.items():
                if line not in told and new:
                    _say(console, line)
                told.add(line)

    return tell


def bought(one: Round) -> str:
    """`9 runs, 1.2e+12 FLOPs`."""
    runs = "1 run" if len(one.runs) == 1 else f"{len(one.runs)} runs"
    return f"{runs}, {one.flops:.3g} FLOPs"


def found(finding: Finding) -> str:
    """What is predicted, or why nothing is."""
    if finding.loss is None or finding.low is None or finding.high is None or finding.half_width is None:
        why = finding.reasons[0] if finding.reasons else "the points tell no law"
        return f"no prediction after {finding.runs} runs: {why}"
    return (
        f"predicted {finding.loss:.4f} [{finding.low:.4f}, {finding.high:.4f}], ±{finding.half_width:.2%}, "
        f"after {finding.runs} runs and {finding.spent:.3g} FLOPs"
    )


def _print_rounds(console: Console, result: CampaignResult) -> None:
    numbers = ("runs", "FLOPs", "of the budget", "predicted", "95 % interval", "half-width")
    table = new_table("", *numbers, right=numbers)
    budget = result.prepared.question.budget
    for one in result.journal.rounds:
        finding = one.finding
        cells = ["", "", ""]
        if finding is not None and finding.loss is not None and finding.half_width is not None:
            cells = [
                f"{finding.loss:.4f}",
                f"{finding.low:.4f} to {finding.high:.4f}",
                f"{finding.half_width:.2%}",
            ]
        elif finding is not None:
            cells = [finding.status if finding.status != "ok" else "no interval", "", ""]
        spent = "" if finding is None else f"{finding.spent / budget:.1%}"
        table.add_row(one.why, str(len(one.runs)), f"{one.flops:.3g}", spent, *cells)
    print_whole(console, table)
    _print_verdict(console, result)


def _print_verdict(console: Console, result: CampaignResult) -> None:
    verdict, finding = result.verdict, result.prediction
    if verdict is None:
        return
    _say(console, f"{verdict.outcome}: {'; '.join(verdict.reasons)}", "bold")
    if finding is not None and finding.fit_loss is not None:
        _say(
            console,
            f"the law alone, as fvlm predict gives it: {finding.fit_loss:.4f} [{finding.fit_low:.4f}, "
            f"{finding.fit_high:.4f}]; runs scatter by {finding.scatter:.2%} about it",
            "dim",
        )
    if result.truth is not None and finding is not None and finding.loss is not None:
        question = result.prepared.question
        right = result.truth.loss(question.n, question.d)
        _say(console, f"the truth: {right:.4f}; the prediction is off by {finding.loss / right - 1:+.2%}")
    if result.folder is not None:
        _say(console, f"campaign: {result.folder}")


def _print_foreseen(console: Console, result: CampaignResult) -> None:
    question = result.prepared.question
    for one in result.journal.rounds:
        _print_round(console, one, question)
    if isinstance(result.first, Round):
        _say(console, "after it, were the losses such as published laws say:", "dim")
        _print_round(console, result.first, question)
    elif isinstance(result.first, Verdict):
        _say(console, f"after it: {'; '.join(result.first.reasons)}")
    _say(console, "nothing was trained or written", "dim")


def _print_round(console: Console, one: Round, question: Question) -> None:
    """What it buys, a line for each size and number of samples."""
    _say(console, f"{one.why}: {bought(one)}, {one.flops / question.budget:.1%} of the budget", "bold")
    numbers = ("N", "D", "FLOPs", "runs")
    table = new_table("size", *numbers, *(["learning rate"] if one.rates else []), right=numbers)
    times = Counter((run.size, run.n, run.d, run.flops, one.rates.get(run.run)) for run in one.runs)
    for (size, n, d, flops, rate), count in sorted(times.items(), key=lambda item: item[0][1:4]):
        cells = [size, f"{n:.4g}", f"{d:,}", f"{flops:.3g}", str(count)]
        table.add_row(*cells, *([f"{rate:g}"] if rate is not None else []))
    print_whole(console, table)


def _say(console: Console, text: str, style: str | None = None) -> None:
    # A terminal wraps at words; in a pipe a line stays a line, for grep.
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=not console.is_terminal)
