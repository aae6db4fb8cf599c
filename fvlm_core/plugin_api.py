"""Everything a plugin may import. All else in `fvlm_core` is private to it, and may change without notice.

The names stand in `plugin_api.pyi`, each with the module that has it. They load on first use, so that a plugin's
`plugin.py` and `config.py` can import from here and stay light: encoders, connectors, language models and what they
give back import torch, `style` imports matplotlib, and nothing else does.
"""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path
from typing import Any

_MODULE = {
    alias.name: str(node.module)
    for node in ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")).body
    if isinstance(node, ast.ImportFrom)
    for alias in node.names
}
__all__ = sorted(_MODULE)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _MODULE:
        return getattr(import_module(_MODULE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
