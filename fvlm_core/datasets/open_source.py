"""A data source by its choice in a recipe. Imports nothing heavy."""

from __future__ import annotations

from fvlm_core.interfaces.data import DataSource, Split
from fvlm_core.recipes.schema import Chosen
from fvlm_registry import registry


def open_source(chosen: Chosen, split: Split, decoder: Chosen | None = None) -> DataSource:
    """List one source. decoder: None for the core's own. Raises `MissingData` when it is not on this machine."""
    found = registry()
    build = found.load(found.find("data", chosen.component).component.target)
    source: DataSource = build(chosen.config, split)
    if decoder is None:
        return source
    from fvlm_core.media.decoders import DecodedSource, open_decoder

    opened = open_decoder(decoder)
    return source if opened is None else DecodedSource(source, opened)
