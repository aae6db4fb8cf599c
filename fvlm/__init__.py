"""The Python API of fvlm: runs, trained models, recipes and scaling laws from a notebook.

The names stand in `__init__.pyi`, each with the module that has it. They load on first use, so that `import fvlm` costs
nothing: neither torch, pandas, scipy nor matplotlib, nor the list of names itself.
"""

from __future__ import annotations


def __getattr__(name: str) -> object:
    names = _modules()
    if name == "__all__":
        return sorted(names)
    if name not in names:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = globals()[name] = getattr(import_module(names[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted(_modules())


def _modules() -> dict[str, str]:
    """The module of every name."""
    import ast
    from pathlib import Path

    return {
        alias.name: str(node.module)
        for node in ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
