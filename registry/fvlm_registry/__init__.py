"""The plugin registry: hook specifications, component descriptors, discovery and lookup by name.

What a plugin's `plugin.py` needs (`Component`, `hookimpl`) is here at once; the rest loads on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import pluggy

from fvlm_registry.components import KINDS, Component, Kind

if TYPE_CHECKING:
    from fvlm_registry.discovery import Offer, Plugin
    from fvlm_registry.libraries import missing_library
    from fvlm_registry.lookup import LookupFailure, MissingLibrary, Registry, register, registry

hookimpl = pluggy.HookimplMarker("fvlm")
"""Marks a plugin's hook functions; plugins import it from `fvlm_core.plugin_api`."""

__all__ = [
    "KINDS",
    "Component",
    "Kind",
    "LookupFailure",
    "MissingLibrary",
    "Offer",
    "Plugin",
    "Registry",
    "hookimpl",
    "missing_library",
    "register",
    "registry",
]

_HOME = {
    "LookupFailure": "lookup",
    "MissingLibrary": "lookup",
    "Offer": "discovery",
    "Plugin": "discovery",
    "Registry": "lookup",
    "missing_library": "libraries",
    "register": "lookup",
    "registry": "lookup",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"fvlm_registry.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
