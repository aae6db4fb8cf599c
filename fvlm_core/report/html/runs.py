"""What was run: one row a run, and what went wrong."""

from __future__ import annotations

from collections.abc import Sequence

from fvlm_core.report.html.parts import Block, Cell, Column, Section, Table, duration, number
from fvlm_core.report.html.run_data import Gathered

_COLUMNS = (
    Column("run"),
    Column("state"),
    Column("size"),
    Column("parameters", number=True),
    Column("schedule"),
    Column("seed", number=True),
    Column("steps", number=True),
    Column("samples", number=True),
    Column("best validation loss", number=True),
    Column("at step", number=True),
    Column("last training loss", number=True),
    Column("time", number=True),
)


def section(runs: Sequence[Gathered]) -> Section:
    """The table of all runs, and below it what a reader of its numbers must know."""
    table = Table(
        "runs",
        "Runs. Losses are in nats a supervised token. Time is that of training, h:mm:ss, over all attempts.",
        _COLUMNS,
        [_row(one) for one in runs],
    )
    described = {recipe: text for recipe, text in descriptions(runs).items() if text}
    about = [f"{recipe}: {text}" if len(described) > 1 else text for recipe, text in described.items()]
    controls = [one.label for one in runs if not one.run.in_fits]
    if controls:
        about.append(f"Controls, which enter no scaling fit: {', '.join(controls)}.")
    return Section("what-was-run", "What was run", [Block("", about, _warnings(runs), tables=[table])])


def descriptions(runs: Sequence[Gathered]) -> dict[str, str]:
    """What recipes say of themselves, by name."""
    return {one.run.recipe: str(one.resolved.get("description") or "") for one in runs}


def _row(one: Gathered) -> list[Cell]:
    summary, record = one.summary, one.run.record
    done, planned = one.steps
    last = one.training.loss[-1] if len(one.training.loss) else summary.get("final_train_loss")
    return [
        Cell(one.label),
        Cell(one.state),
        Cell(one.run.size, one.run.total_params),
        number(one.run.total_params, "{:,}"),
        Cell(one.run.schedule),
        number(record.get("seed"), "{}"),
        Cell(f"{done:,}" + (f" of {planned:,}" if planned and planned != done else ""), done),
        number(_samples(one), "{:,.0f}"),
        number(summary.get("best_val_loss"), "{:.4f}"),
        number(summary.get("best_val_step"), "{:,}"),
        number(last, "{:.4f}"),
        duration(one.hours),
    ]


def _samples(one: Gathered) -> float | None:
    seen = [curve.samples[-1] for curve in (one.training, one.validation) if len(curve.samples)]
    return max([*seen, summary]) if (summary := one.summary.get("total_samples") or 0) or seen else None


def _warnings(runs: Sequence[Gathered]) -> list[str]:
    out: list[str] = []
    for one in runs:
        summary = one.summary
        if one.state == "failed":
            out.append(f"{one.label} failed: {one.problem or 'its record of why cannot be read'}")
        out += [
            f"{one.label}: {change['key']} was changed from {change['from']} to {change['to']} while the run was made, "
            f"as accepted at attempt {change['attempt']}"
            for change in summary.get("drift") or ()
        ]
        if rises := summary.get("overfitting"):
            out.append(f"{one.label}: {rises}")
        if spikes := summary.get("loss_spikes"):
            out.append(f"{one.label}: {spikes} spikes of the training loss")
        if unchanged := summary.get("unchanged_steps"):
            out.append(
                f"{one.label}: {unchanged} steps changed no weight, because their numbers were not finite"
            )
    return out
