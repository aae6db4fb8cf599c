"""The fits of a recipe, as `fvlm run` shows them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fvlm_core.cli.console import stdout

if TYPE_CHECKING:
    from fvlm_core.execution.sequential import Outcome
    from fvlm_core.recipes.read import Recipe
    from fvlm_core.scaling.fit.report import FitReport


def fit_outcomes(recipe: Recipe, outcomes: list[Outcome], root: Path, heading: str = "") -> list[FitReport]:
    """The recipe's fits on its own runs, printed, drawn and kept beside them. heading: of the picture."""
    from fvlm_core.api.train import fits_of, keep_fits
    from fvlm_core.api.views.fit import print_fit
    from fvlm_core.api.views.foreseen import print_holdout

    folder = root / recipe.name
    fits = fits_of(recipe, outcomes, folder)
    for fit in fits:
        print_fit(stdout(), fit.report)
        if fit.held is not None:
            print_holdout(stdout(), fit.held)
    numbers, plot = keep_fits(fits, folder, heading)
    stdout().print(f"fits: {numbers}", soft_wrap=True)
    stdout().print(f"plot: {plot}", soft_wrap=True)
    return [fit.report for fit in fits]
