"""The plan of the house: rooms in one order, no circle of files, and what is said of them in words and in pictures."""

from __future__ import annotations

import re
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest
from rooms import ROOMS_PICTURE, draw_rooms, rooms

PLUGINS = sorted(path.name for path in (Path(__file__).parents[2] / "plugins").iterdir() if path.is_dir())


@pytest.mark.parametrize("package", ["fvlm", "fvlm_core", "fvlm_registry", *PLUGINS])
def test_no_files_import_each_other_in_a_circle(package: str) -> None:
    """Imports inside functions count, those for types alone do not."""
    graph = grimp.build_graph(package, exclude_type_checking_imports=True, cache_dir=None)
    TopologicalSorter(
        {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    ).prepare()


def test_no_file_lies_loose_in_the_core(root: Path) -> None:
    loose = {path.name for path in (root / "fvlm_core").glob("*.py*")}
    assert loose == {"__init__.py", "__main__.py", "plugin_api.py", "plugin_api.pyi"}


def test_the_tree_that_is_shown_is_the_core_s_in_its_order(root: Path) -> None:
    section = (
        (root / "docs/explanation/architecture.md").read_text().partition("```text")[2].partition("```")[0]
    )
    named = re.findall(r"^  (\w+)/ ", section, re.MULTILINE)
    folders = {path.parent.name for path in (root / "fvlm_core").glob("*/__init__.py")}
    assert set(named) == folders
    assert named == [room for room in rooms(root) if room in folders]


def test_the_order_of_the_rooms_is_checked_for_all_of_them(root: Path) -> None:
    contracts = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (contract for contract in contracts if contract["type"] == "layers")
    assert layers["exhaustive"]


def test_the_picture_shows_the_rooms_as_they_are(root: Path, tmp_path: Path) -> None:
    draw_rooms(root, tmp_path / "rooms.svg")
    names = re.compile(r">([a-z_]+)</text>")
    assert names.findall((tmp_path / "rooms.svg").read_text()) == names.findall(
        (root / ROOMS_PICTURE).read_text()
    ), "python tests/helpers/rooms.py draws it anew"


def test_files_are_of_a_size_to_be_read(root: Path) -> None:
    lengths = sorted(
        len(path.read_text().splitlines())
        for path in (root / "fvlm_core").rglob("*.py")
        if "templates" not in path.parts
    )
    assert 60 <= lengths[len(lengths) // 2] <= 200
    assert lengths[-1] <= 400


def test_every_name_of_the_plugin_api_is_that_of_its_module() -> None:
    from fvlm_core import plugin_api

    for name in plugin_api.__all__:
        assert getattr(plugin_api, name) is not None
