"""What models answered at evaluations: metrics with their intervals, and a good, a typical and a bad answer."""

from __future__ import annotations

from collections.abc import Sequence

from fvlm_core.report.html.parts import Block, Cell, Column, Section, Table, number
from fvlm_core.report.html.run_data import Gathered
from fvlm_core.runs.answers import ScoredAnswer, category_rows, metric_means, read_answers
from fvlm_core.utils.errors import UsageError

_LONGEST = 300
"""Characters of a text that the page holds."""


def section(runs: Sequence[Gathered]) -> Section | None:
    """The metrics of each run's last evaluation and some of its answers; None where no run has any."""
    rows = [row for one in runs for row in _means(one)]
    if not rows:
        return None
    columns = (
        Column("run"),
        Column("at step", number=True),
        Column("metric"),
        Column("mean", number=True),
        Column("low", number=True),
        Column("high", number=True),
    )
    caption = (
        "Metrics of the last evaluation: means over the samples that were answered, and the ends of their intervals "
        "at 95 % (Student's)."
    )
    blocks: list[Block] = []
    damaged: list[str] = []
    for at, one in enumerate(runs):
        try:
            table = _samples(one, at)
        except UsageError as error:  # the metrics stand above all the same
            damaged.append(f"answers of {one.label} are passed over: {error}")
            continue
        if table is not None:
            blocks.append(Block(one.label, tables=[table]))
    tables = [Table("metrics", caption, columns, rows)]
    if categories := [row for one in runs for row in _categories(one)]:
        beside = (*columns[:2], Column("category"), *columns[2:], *(_number("chance"), _number("answers")))
        said = (
            "The same by the kind of the question. Chance is what somebody scores who sees nothing, knows the possible "
            "answers, and guesses. Intervals of shares are exact (Clopper-Pearson)."
        )
        tables.append(Table("categories", said, beside, categories))
    means = Block("", warnings=damaged, tables=tables)
    return Section("answers", "Metrics and answers", [means, *blocks])


def _means(one: Gathered) -> list[list[Cell]]:
    row = one.validation.last
    return [
        [
            Cell(one.label),
            number(row["step"], "{:,}"),
            Cell(name),
            *(number(value) for value in (found.mean, found.low, found.high)),
        ]
        for name, found in metric_means(row).items()
    ]


def _categories(one: Gathered) -> list[list[Cell]]:
    row = one.validation.last
    return [
        [
            Cell(one.label),
            number(row["step"], "{:,}"),
            Cell(category),
            Cell(metric),
            *(number(value) for value in (found.mean, found.low, found.high, chance)),
            number(count, "{:,}"),
        ]
        for category, count, chance, metric, found in category_rows(row)
    ]


def _number(title: str) -> Column:
    return Column(title, number=True)


def _samples(one: Gathered, at: int) -> Table | None:
    """The best, the median and the worst answer by the first metric, among equals by the next, of the last evaluation.
    Raises `UsageError`."""
    row = one.validation.last
    names = list(metric_means(row))
    answers = read_answers(one.run.folder, row["step"]) if names else None
    by = names[0] if names else ""
    ranked = sorted(
        (each for each in answers or () if each.scores.get(by) is not None),
        key=lambda each: [each.scores.get(name) or 0.0 for name in names],
    )
    if not ranked:
        return None
    chosen = {"best": ranked[-1], "typical": ranked[len(ranked) // 2], "worst": ranked[0]}
    columns = (
        Column(f"by {by}"),
        Column("sample"),
        Column("question"),
        Column("right answer"),
        Column("the model's"),
        *(Column(name, number=True) for name in names),
    )
    cells = [_answer(which, each, names) for which, each in chosen.items()]
    caption = f"Of {len(ranked)} answers at step {row['step']:,}."
    return Table(f"answers-{at}", caption, columns, cells, plain=True)


def _answer(which: str, each: ScoredAnswer, names: Sequence[str]) -> list[Cell]:
    texts = (each.id, each.prompt, each.reference, each.generated)
    return [Cell(which), *map(_text, texts), *(number(each.scores.get(name)) for name in names)]


def _text(text: str) -> Cell:
    return Cell(text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ...")
