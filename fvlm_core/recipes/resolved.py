"""A checked recipe as plain values, every default filled in: what is frozen into the run's folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from fvlm_core.recipes.schema import Chosen, FitSettings, RunRecipe, Source, TextMixture
from fvlm_core.utils.address import Address

RUNTIME = (
    "campaign",
    "description",
    "fits",
    "in_fits",
    "checkpoints",
    "trackers",
    "training.threads",
    "training.workers",
    "training.device",
    "training.parallel",
    "training.log_every",
    "model.size",
)
"""Keys that do not decide what is trained; a run continues under other values of them."""


def resolved(config: RunRecipe) -> dict[str, Any]:
    """The recipe as nested dicts of JSON values, in the layout of the TOML file."""
    return plain(config)


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested JSON values by dotted key: {"training.lr": 0.001, "data.sources[0].name": "shapes"}."""
    if isinstance(value, Mapping):
        items = [(f"{prefix}.{key}" if prefix else str(key), child) for key, child in value.items()]
    elif isinstance(value, list):
        items = [(f"{prefix}[{index}]", child) for index, child in enumerate(value)]
    else:
        return {prefix: value}
    return {key: leaf for name, child in items for key, leaf in flat(child, name).items()}


def plain(value: Any) -> Any:
    """A config, or any part of a recipe, as JSON values."""
    if isinstance(value, Chosen):
        return {"name": value.component, **plain(value.config)}
    if isinstance(value, Source):
        return {**plain(value.source), "weight": value.weight}
    if isinstance(value, TextMixture):
        return {**plain(value.source), "share": value.share}
    if isinstance(value, FitSettings):
        runs = {"runs": value.runs} if value.runs is not None else {}
        return {"model": value.model, "objective": value.objective, **runs, **plain(value.config)}
    if attrs.has(type(value)):
        children = {a.name: plain(getattr(value, a.name)) for a in attrs.fields(type(value))}
        return {key: child for key, child in children.items() if child is not None}
    if isinstance(value, tuple | list):
        return [plain(child) for child in value]
    if isinstance(value, Mapping):
        return {key: plain(child) for key, child in value.items()}
    return str(value) if isinstance(value, Path | Address) else value
