"""Names of runs as users give them to commands that show runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def recipe_names(names: Sequence[str]) -> list[str]:
    """Recipe files as the names that their runs are kept under; other names as they are. Raises `UsageError`."""
    return [_recipe_name(name) for name in names]


def _recipe_name(name: str) -> str:
    if not name.endswith(".toml") or Path(name).is_dir():
        return name
    from fvlm_core.recipes.read import base_table

    table, file = base_table(name)
    return str(table.get("name", file.stem))
