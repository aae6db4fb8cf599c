"""A data source by its choice in a recipe. Imports nothing heavy."""

from __future__ import annotations

from fvlm_core.interfaces.data import DataSource, Split
from fvlm_core.recipes.schema import Chosen
from fvlm_registry import registry


def open_source(chosen: Chosen, split: Split) -> DataSource:
    """List one source. Raises `MissingData` when it is not on this machine."""
    found = registry()
    build = found.load(found.find("data", chosen.component).component.target)
    return build(chosen.config, split)
