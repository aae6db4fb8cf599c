"""What every kind of component promises, a file each. What a plugin imports is in `fvlm_core.plugin_api`."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    """For plugins from before `plugin_api` was its name."""
    found = getattr(import_module("fvlm_core.plugin_api"), name)
    warnings.warn(
        f"fvlm_core.interfaces.{name} is fvlm_core.plugin_api.{name} by now", DeprecationWarning, stacklevel=2
    )
    return found
