"""The hooks of a plugin, one for each kind of component."""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from fvlm_registry.components import Component

_hookspec = pluggy.HookspecMarker("fvlm")


@_hookspec
def fvlm_encoders() -> Iterable[Component]:
    """Vision encoders."""
    return ()


@_hookspec
def fvlm_connectors() -> Iterable[Component]:
    """Connectors."""
    return ()


@_hookspec
def fvlm_llms() -> Iterable[Component]:
    """Language models."""
    return ()


@_hookspec
def fvlm_data_sources() -> Iterable[Component]:
    """Data sources."""
    return ()


@_hookspec
def fvlm_fit_models() -> Iterable[Component]:
    """Fit models."""
    return ()
