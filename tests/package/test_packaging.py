"""The wheel holds what an installed fvlm needs, under the names it is imported by, and nothing else."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
from configparser import ConfigParser
from pathlib import Path
from zipfile import ZipFile

import pytest
import warm


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built offline from the source tree."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def sdist(root: Path, tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Paths in the source distribution, built offline, below its one folder."""
    folder = tmp_path_factory.mktemp("sdist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(folder)]
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    [built] = folder.glob("*.tar.gz")
    with tarfile.open(built) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    """Paths in the wheel."""
    return set(ZipFile(wheel).namelist())


@pytest.fixture(scope="module")
def project(root: Path) -> dict[str, dict[str, dict[str, str]]]:
    """The `project` table of `pyproject.toml`."""
    return tomllib.loads((root / "pyproject.toml").read_text())["project"]


def test_the_wheel_installs_only_names_that_say_fvlm(names: set[str], root: Path) -> None:
    plugins = {folder.name for folder in (root / "plugins").iterdir() if any(folder.glob("*.py"))}
    packages = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert packages == {"fvlm", "fvlm_core", "fvlm_registry"} | plugins
    assert all(package.startswith("fvlm") for package in packages)
    assert not [name for name in names if "/tests/" in name or name.endswith(".pyc")]


def test_the_wheel_holds_every_module(names: set[str], root: Path) -> None:
    for folder, parent in (
        ("fvlm", root),
        ("fvlm_core", root),
        ("registry", root / "registry"),
        ("plugins", root / "plugins"),
    ):
        modules = [path.relative_to(parent).as_posix() for path in (root / folder).rglob("*.py")]
        assert modules
        assert set(modules) <= names


def test_the_wheel_holds_the_recipes(names: set[str], root: Path) -> None:
    recipes = {f"fvlm_core/_recipes/{path.name}" for path in (root / "recipes").glob("*.toml")}
    assert recipes
    assert {name for name in names if name.startswith("fvlm_core/_recipes/")} == recipes


def test_the_wheel_holds_the_templates_of_new_plugins(names: set[str], root: Path) -> None:
    templates = {path.relative_to(root).as_posix() for path in (root / "fvlm_core/templates").rglob("*.txt")}
    assert len(templates) > 10
    assert templates <= names


def test_the_wheel_registers_the_command_and_the_plugins(
    wheel: Path, names: set[str], project: dict[str, dict[str, dict[str, str]]]
) -> None:
    [path] = [name for name in names if name.endswith(".dist-info/entry_points.txt")]
    entries = ConfigParser()
    entries.read_string(ZipFile(wheel).read(path).decode())
    assert dict(entries["console_scripts"]) == {"fvlm": "fvlm_core.cli.main:program"}
    assert {group: dict(entries[group]) for group in project["entry-points"]} == project["entry-points"]
    for module in entries["fvlm"].values():
        assert module.partition(":")[0].replace(".", "/") + ".py" in names


def test_type_checkers_are_told_that_every_package_is_typed(names: set[str]) -> None:
    packages = {name.partition("/")[0] for name in names if name.endswith(".py")}
    assert {f"{package}/py.typed" for package in packages} <= names


def test_the_source_distribution_holds_what_a_packager_tests_and_reads(sdist: set[str], root: Path) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "tests", "docs", "recipes", "fvlm", "fvlm_core", "plugins", "registry"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.splitlines()
    assert set(tracked) | {"CITATION.cff", "LICENSE", "README.md", "pyproject.toml"} <= sdist


def test_the_page_of_an_index_has_no_picture_and_no_link_that_leads_nowhere(
    wheel: Path, names: set[str]
) -> None:
    [path] = [name for name in names if name.endswith(".dist-info/METADATA")]
    fields, _, page = ZipFile(wheel).read(path).decode().partition("\n\n")
    assert page.startswith("# fvlm")
    targets = re.findall(r"\]\(([^)]*)\)", page)
    assert all(target.startswith("https://") for target in targets)
    assert "![" not in page
    assert "`docs/howto/scaling.md`" in page
    assert "Project-URL: " in fields


def test_the_wheel_holds_the_licence(names: set[str]) -> None:
    assert [name for name in names if name.endswith(".dist-info/licenses/LICENSE")]


def test_what_the_wheel_holds_runs_without_the_source_tree(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    ZipFile(wheel).extractall(site)
    program = (
        "from importlib import metadata; import fvlm_core, fvlm_registry\n"
        "print(fvlm_core.__file__)\n"
        "print(metadata.distribution('fvlm').locate_file(''))\n"
        "print({p.name: p.reason for p in fvlm_registry.registry().plugins if p.distribution == 'fvlm'"
        " and p.status != 'ok'})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=True,
    )
    core, metadata, broken = done.stdout.splitlines()
    assert Path(core) == site / "fvlm_core/__init__.py"
    assert Path(metadata) == site
    assert broken == "{}"


def test_what_the_wheel_holds_lists_and_shows_its_recipes(wheel: Path, tmp_path: Path, root: Path) -> None:
    site = tmp_path / "site"
    ZipFile(wheel).extractall(site)

    def said(*arguments: str) -> str:
        command = [warm.python(), "-m", "fvlm_core", "recipes", *arguments]
        environment = os.environ | {"PYTHONPATH": str(site)}
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        ).stdout

    entries = json.loads(said("list", "--json"))
    assert {entry["name"] for entry in entries} == {
        path.stem for path in (root / "recipes").glob("*.toml") if not path.name.startswith("_")
    }
    assert all(str(site) in entry["file"] and entry["problem"] is None for entry in entries)
    assert said("show", "phase1b_360m") == (root / "recipes" / "phase1b_360m.toml").read_text()
