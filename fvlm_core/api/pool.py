"""Which rows of a pool of candidates to buy next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from fvlm_core.api.views.console import as_html, as_text
from fvlm_core.api.views.pool import print_pool
from fvlm_core.scaling.fit.constraints import freed
from fvlm_core.scaling.fit.fitting import load_model
from fvlm_core.scaling.points.columns import ColumnChoices, named_columns, parse_columns
from fvlm_core.scaling.pool.advice import PoolAdvice, advise_pool
from fvlm_core.scaling.pool.purchase import MOST
from fvlm_core.scaling.pool.tables import read_pool, same_target
from fvlm_core.utils.errors import UsageError
from fvlm_core.utils.paths import user_path

if TYPE_CHECKING:
    import pandas as pd

    from fvlm_core.interfaces.fit import FitModel

    Table = str | PathLike[str] | pd.DataFrame


@frozen(eq=False, repr=False)
class PoolSuggestion:
    """What `fvlm suggest --pool` and `--grid` say: see `PoolAdvice`. again: where rows go that are measured next."""

    advice: PoolAdvice
    again: str = "--observed"

    @property
    def rows(self) -> pd.DataFrame:
        """What to buy, in order: columns that laws read, cost, spent, error, now."""
        return self.advice.rows

    @property
    def target(self) -> pd.DataFrame:
        """What is to be predicted: columns that laws read, predicted, error."""
        return self.advice.target

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return self.advice.to_json()

    def __repr__(self) -> str:
        return as_text(lambda console: print_pool(console, self.advice, self.again))

    def _repr_html_(self) -> str:
        return as_html(lambda console: print_pool(console, self.advice, self.again))


def from_pool(
    pool: Table,
    cost: str,
    target: Table | None,
    budget: float | None,
    observed: Table | None,
    laws: str | FitModel,
    columns: str | Mapping[str, str] | None,
    most: int | None = None,
) -> PoolSuggestion:
    """The answer to `suggest` with a pool. laws: names of fit components, with commas. most: rows. Raises
    `UsageError`."""
    if target is None:
        raise UsageError(
            "a pool needs what is to be predicted from it: --target FILE, rows with the columns of the law"
        )
    if budget is None:
        raise UsageError("say what the rows may cost together, in the unit of the cost column: --budget B")
    named_laws = [load_model(name.strip()) for name in laws.split(",")] if isinstance(laws, str) else [laws]
    models = [freed(law) for law in named_laws]
    same_target(models)
    further = ColumnChoices.of(models).further
    named: dict[str, str] = {}
    if isinstance(columns, str):
        named = parse_columns(columns, further)
    elif columns is not None:
        named = named_columns((f"{name}={header}" for name, header in columns.items()), further)
    known = None if observed is None else _source(observed)
    rows = read_pool(models, _source(pool), cost, _source(target), known, named)
    return PoolSuggestion(advise_pool(rows, models, budget, most or MOST))


def _source(table: Table) -> Path | pd.DataFrame:
    return user_path(Path(table)) if isinstance(table, str | PathLike) else table


def needs(other: str, given: Sequence[tuple[str, Any]]) -> None:
    """Raise `UsageError` for options that only mean something with another one. given: by name."""
    for name, value in given:
        if value not in (None, ()):
            raise UsageError(f"{name} goes with {other}")


def unread(by: str, given: Sequence[tuple[str, Any]]) -> None:
    """Raise `UsageError` for options that say nothing to a plan of this kind. given: by name."""
    names = [name for name, value in given if value not in (None, (), False)]
    if names:
        raise UsageError(
            f"{', '.join(names)}: {'says' if len(names) == 1 else 'say'} nothing to a plan {by}: leave out"
        )
