"""Runs beside each other: what differs, by how much, and whether it is more than noise."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from fvlm_core.api.checks import texts
from fvlm_core.api.explained import public
from fvlm_core.api.places import Root, runs_folder, warn
from fvlm_core.api.views.comparison import show_tables
from fvlm_core.api.views.console import as_html, as_text
from fvlm_core.utils.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from fvlm_core.comparison import ComparisonTable
    from fvlm_core.runs.sound import PassedOver


@public
def compare(
    *runs: str | PathLike[str],
    baseline: str | None = None,
    metric: str = "val_loss",
    factors: str | Sequence[str] = (),
    columns: str | Sequence[str] = (),
    root: Root = None,
) -> CompareResult:
    """Runs beside a baseline, as `fvlm runs compare` shows them; the arguments are its options.

    runs: "recipe/id", ids, recipes (all their runs), patterns, folders. root: see `runs`. Raises `FvlmError`.
    """
    if not runs:
        raise UsageError("name the runs to compare: an id, a recipe or a pattern")
    [table] = compared(
        [str(run) for run in runs],
        runs_folder(root),
        baseline,
        [metric],
        texts(factors),
        warn,
        texts(columns),
    )
    return CompareResult(table)


def compared(
    names: Sequence[str],
    root: Path,
    baseline: str | None,
    metrics: Sequence[str],
    factors: tuple[str, ...],
    note: PassedOver,
    columns: Sequence[str] = (),
) -> list[ComparisonTable]:
    """A table a metric. note: is told of runs that cannot be read. columns: those to show; none: all that say
    something. Raises `UsageError` for a column that there is not."""
    from fvlm_core.comparison import compare, table
    from fvlm_core.runs.select import recipe_names, select_runs

    runs = select_runs(recipe_names(names), root, note)
    tables = [table(compare(runs, baseline, metric, factors)) for metric in metrics]
    return [one.only(columns) for one in tables] if columns else tables


@frozen(eq=False, repr=False)
class CompareResult:
    """Variants beside a baseline, then effects of a 2x2. comparison: everything, as the core has it."""

    comparison: ComparisonTable

    @property
    def table(self) -> pd.DataFrame:
        """A row a variant or an effect (`kind`), all values as numbers; NaN where nothing is known."""
        import pandas as pd

        found = self.comparison
        return pd.DataFrame([{key: row[key] for key in found.keys} for row in found.rows])

    @property
    def notes(self) -> tuple[str, ...]:
        """What must be said below the table."""
        return self.comparison.notes

    @public
    def plot(self, ax: Axes | None = None, style: str = "screen") -> Axes:
        """The variants on one panel, to go on with: the metric of each with the interval of its difference, its seeds
        as small points, the baseline as a line.

        ax: matplotlib's; None: one of a figure of its own, with the settings of the style. Raises `FvlmError` where
        nothing was measured.
        """
        from fvlm_core.report.figures.ablations import ablations_panel
        from fvlm_core.report.figures.look import look_called

        return ablations_panel(self.comparison, ax, look_called(style))

    @public
    def caption(self) -> str:
        """What the figure shows: paragraphs."""
        from fvlm_core.report.figures.style import caption_of

        return "\n\n".join(caption_of(self.plot().figure.get_figure(root=True)))

    def to_dict(self) -> dict[str, Any]:
        """Everything, as `fvlm runs compare --format json` prints it."""
        return self.comparison.to_json()

    def __repr__(self) -> str:
        return as_text(lambda console: show_tables(console, [self.comparison]))

    def _repr_html_(self) -> str:
        return as_html(lambda console: show_tables(console, [self.comparison]))
