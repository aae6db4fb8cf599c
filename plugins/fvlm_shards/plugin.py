"""What this plugin offers: shards by path, and validation sets that were frozen, by name."""

from __future__ import annotations

from collections.abc import Iterator

from fvlm_core.plugin_api import Component, environment_path, hookimpl

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
    for file in sorted(environment_path("FVLM_FROZEN", "frozen").glob("*/frozen.json")):
        place = file.parent.absolute()
        try:
            yield Component(
                place.name,
                target=_TARGET,
                config=_CONFIG,
                summary=f"frozen validation set in {place}",
                preset={"path": str(place)},
            )
        except ValueError:  # a folder that somebody renamed to what no recipe could write
            continue
