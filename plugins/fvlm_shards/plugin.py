"""What this plugin offers: shards by path, and validation sets that were frozen, by name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from fvlm_core.interfaces import Component, hookimpl

_TARGET, _CONFIG = "fvlm_shards.source:build", "fvlm_shards.config:Shards"


@hookimpl
def fvlm_data_sources() -> Iterator[Component]:
    """Shards, and every set that `fvlm data freeze` wrote into the folder FVLM_FROZEN (default: ./frozen)."""
    yield Component(
        "shards",
        target=_TARGET,
        config=_CONFIG,
        summary="tar shards with an index (fvlm data pack), or the founding project's own",
    )
    folder = Path(os.environ.get("FVLM_FROZEN", "frozen")).absolute()
    for file in sorted(folder.glob("*/frozen.json")):
        try:
            yield Component(
                file.parent.name,
                target=_TARGET,
                config=_CONFIG,
                summary=f"frozen validation set in {file.parent}",
                preset={"path": str(file.parent)},
            )
        except ValueError:  # a folder that somebody renamed to what no recipe could write
            continue
