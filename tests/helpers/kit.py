"""Plugins made by `fvlm plugins new`, put on the path as an installer leaves them, and wrong ones made of them."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import Any

import pytest

from fvlm_core.templates.distribution import write
from fvlm_registry import Component
from fvlm_registry.listing import HOOKS

KINDS = (
    "encoder",
    "connector",
    "llm",
    "data",
    "objective",
    "optimizer",
    "schedule",
    "callback",
    "metric",
    "section",
    "fit",
)


def package(folder: Path) -> Path:
    """The package in a distribution's folder."""
    [found] = [path for path in folder.iterdir() if path.name.startswith("fvlm_")]
    return found


def install(folder: Path, site: Path) -> None:
    """A distribution as an installer leaves it: its package and its metadata in a folder of the path."""
    own = package(folder)
    site.mkdir(exist_ok=True)
    (site / own.name).symlink_to(own)
    name = own.name.removeprefix("fvlm_").replace("_", "-")
    info = site / f"{own.name}-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: fvlm-{name}\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text(f"[fvlm]\n{name} = {own.name}.plugin\n")


def write_plugin(folder: Path, package: str, files: dict[str, str]) -> Path:
    """A distribution of these files as an installer leaves it: the folder for the path."""
    own = folder / "source" / package
    own.mkdir(parents=True)
    for name, text in {"__init__.py": "", **files}.items():
        (own / name).write_text(text)
    install(own.parent, folder / "site")
    return folder / "site"


def component(
    kind: str, name: str, folder: Path, patch: pytest.MonkeyPatch, *changes: tuple[str, str]
) -> Component:
    """The descriptor of a new plugin's component, importable, its code changed by replacing one text by another."""
    write(name, kind, folder / name)
    own = package(folder / name)
    for old, new in changes:
        [file] = [file for file in own.glob("*.py") if old in file.read_text()]
        file.write_text(file.read_text().replace(old, new))
    patch.syspath_prepend(folder / name)
    module: Any = importlib.import_module(f"{own.name}.plugin")
    [hook] = [hook for hook, of in HOOKS.items() if of == kind]
    [found] = getattr(module, hook)()
    return found


def code_lines(folder: Path) -> int:
    """Lines of a package's own code: no blank line, comment or docstring."""
    total = 0
    for file in package(folder).glob("*.py"):
        tree = ast.parse(file.read_text())
        prose: set[int] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                prose |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        for number, line in enumerate(file.read_text().splitlines(), 1):
            total += bool(line.strip()) and not line.strip().startswith("#") and number not in prose
    return total
