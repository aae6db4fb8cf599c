"""Imports run one way: plugins to the interfaces, the core to the registry, and the core names no plugin."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest


def plugin_packages(root: Path) -> list[str]:
    """The packages that entry points name: components of fvlm's own group, and a model in that of lmms-eval."""
    groups = tomllib.loads((root / "pyproject.toml").read_text())["project"]["entry-points"]
    return sorted({module.partition(".")[0] for entries in groups.values() for module in entries.values()})


def test_every_contract_of_the_import_linter_is_kept(root: Path) -> None:
    program = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"Contracts: [1-9]\d* kept, 0 broken", done.stdout)


def test_the_contracts_cover_every_plugin(root: Path) -> None:
    linter = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]
    plugins = plugin_packages(root)
    assert sorted(linter["root_packages"]) == sorted(["fvlm", "fvlm_core", "fvlm_registry", *plugins])
    by_name = {contract["name"]: contract for contract in linter["contracts"]}
    assert sorted(by_name["The core names no plugin"]["forbidden_modules"]) == plugins
    assert set(by_name["The registry knows nothing but descriptors"]["forbidden_modules"]) >= {
        "fvlm_core",
        *plugins,
    }
    assert (
        sorted(by_name["Plugins see fvlm_core.plugin_api and nothing else of the core"]["source_modules"])
        == plugins
    )
    assert sorted(by_name["Plugins do not know each other"]["modules"]) == plugins


@pytest.mark.parametrize("room", ["fvlm", "fvlm_core", "registry/fvlm_registry"])
def test_no_file_of_the_core_names_a_plugin_even_in_a_string(room: str, root: Path) -> None:
    names = re.compile("|".join(rf"\b{package}\b" for package in plugin_packages(root)))
    naming = [
        f"{path.relative_to(root)}:{number}: {line.strip()}"
        for path in sorted((root / room).rglob("*.py"))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if names.search(line)
    ]
    assert naming == []
