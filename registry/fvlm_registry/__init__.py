"""The plugin registry: hook specifications, component descriptors, discovery and lookup."""

import pluggy

from fvlm_registry.components import KINDS, Component, Kind

hookimpl = pluggy.HookimplMarker("fvlm")
"""Marks a plugin's hook functions; plugins import it from `fvlm_core.interfaces`."""

__all__ = ["KINDS", "Component", "Kind", "hookimpl"]
