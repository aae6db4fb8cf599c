"""The runs that are kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fvlm_core.api.checks import texts
from fvlm_core.api.explained import public
from fvlm_core.api.places import Root, runs_folder
from fvlm_core.runs.listing import FIELDS, ListedRun, list_entries, select

if TYPE_CHECKING:
    import pandas as pd


@public
def runs(where: str | Sequence[str] | None = None, root: Root = None) -> pd.DataFrame:
    """The runs that are kept, a row each, with all that `fvlm runs list --json` shows.

    where: conditions such as "best_loss < 1.3" or "training.lr = 1e-3": a column, or a key of the recipe (=, ==, !=, <,
    <=, >, >=); of several, all. root: the folder of runs; None: $FVLM_RUNS, else "runs"; the table has it as
    `.attrs["root"]`. Raises `FvlmError`.
    """
    import pandas as pd

    folder = runs_folder(root)
    chosen = meant(list_entries(folder), folder, conditions=texts(where))
    table = pd.DataFrame([entry.to_json() for entry in chosen], columns=["run", *FIELDS])
    table.attrs["root"] = str(folder)
    return table


def meant(
    entries: Sequence[ListedRun],
    root: Path,
    patterns: Sequence[str] = (),
    recipes: Sequence[str] = (),
    states: Sequence[str] = (),
    tags: Sequence[str] = (),
    conditions: Sequence[str] = (),
) -> list[ListedRun]:
    """The runs of a store that meet all that is asked; see `select`. Raises `UsageError` for what is no condition."""
    from fvlm_core.runs.run_filters import meeting
    from fvlm_core.utils.filter_expression import Condition

    wanted = [Condition.parse(text) for text in conditions]
    return meeting(select(entries, patterns, recipes, states, tags), wanted, root)
