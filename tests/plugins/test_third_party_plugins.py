"""Distributions of others: a good one, installed for real, is a full citizen; broken ones are explained."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import warm
from manual import examples
from videos import write_video

HOOK = "from fvlm_core.interfaces import Component, hookimpl\n\n\n@hookimpl\n"
TILES = 'Component("tiles", target="acme_twin.model:build", config="acme_twin.plugin:Config")'

GOOD = ("fvlm-acme-tiles", "tiles", examples("fvlm_encoders"))
"""Distribution, name of its plugin, its files: the encoder of the manual."""

BROKEN: dict[str, tuple[str, str, str, str]] = {
    # distribution: plugin, package, plugin.py, why it is broken
    "fvlm-acme-needy": (
        "needy",
        "acme_needy",
        "import acme_not_installed\n",
        "cannot import acme_needy.plugin: ModuleNotFoundError: No module named 'acme_not_installed' "
        "(acme_needy/plugin.py:1)",
    ),
    "fvlm-acme-old": (
        "old",
        "acme_old",
        HOOK + f"def fvlm_encoders(registry):\n    registry.add({TILES})\n",
        "fvlm_encoders(registry) asks for arguments: expected fvlm_encoders(), which takes none",
    ),
    "fvlm-acme-typo": (
        "typo",
        "acme_typo",
        HOOK + f"def fvlm_encoder():\n    yield {TILES}\n",
        'there is no hook "fvlm_encoder": did you mean "fvlm_encoders"?',
    ),
    "fvlm-acme-usurper": (
        "tiles",
        "acme_usurper",
        HOOK + f"def fvlm_encoders():\n    yield {TILES}\n",
        'the plugin name "tiles" is already taken by fvlm-acme-tiles 0.2.0 (acme_tiles.plugin): '
        "rename the entry point in fvlm-acme-usurper",
    ),
    "fvlm-acme-raiser": (
        "raiser",
        "acme_raiser",
        HOOK + f"def fvlm_encoders():\n    yield {TILES}\n    raise OSError('no licence file')\n",
        "fvlm_encoders failed: OSError: no licence file (acme_raiser/plugin.py:7)",
    ),
}
TWIN = (
    "fvlm-acme-twin",
    "twin",
    {"acme_twin/plugin.py": HOOK + f"def fvlm_encoders():\n    yield {TILES}\n"},
)
"""Works, and offers a component of a name that is taken."""


def write_distribution(folder: Path, name: str, plugin: str, files: dict[str, str]) -> Path:
    package = next(iter(files)).partition("/")[0]
    project = folder / name
    for path, source in files.items():
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_text(source)
    (project / package / "__init__.py").touch()
    (project / "pyproject.toml").write_text(
        f"""
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "0.2.0"
dependencies = ["fvlm"]

[project.entry-points.fvlm]
{plugin} = "{package}.plugin"

[tool.hatch.build.targets.wheel]
packages = ["{package}"]
"""
    )
    return project


def install(target: Path, *projects: Path) -> Path:
    offline = ["--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", "--quiet", *offline, "--target", str(target)]
    subprocess.run([*command, *map(str, projects)], check=True)
    return target


def laid_out(target: Path, name: str, plugin: str, files: dict[str, str]) -> Path:
    """A distribution as pip leaves it, without pip."""
    package = next(iter(files)).partition("/")[0]
    info = f"{name.replace('-', '_')}-0.2.0.dist-info"
    told = {
        f"{package}/__init__.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.4\nName: {name}\nVersion: 0.2.0\nRequires-Dist: fvlm\n",
        f"{info}/entry_points.txt": f"[fvlm]\n{plugin} = {package}.plugin\n",
    }
    for path, text in (told | files).items():
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).write_text(text)
    return target


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH with the good distribution."""
    folder = tmp_path_factory.mktemp("good")
    return install(folder / "site", write_distribution(folder, *GOOD))


@pytest.fixture(scope="session")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH with the broken distributions and the one that causes a clash."""
    site = tmp_path_factory.mktemp("broken")
    for name, (plugin, package, source, _) in BROKEN.items():
        laid_out(site, name, plugin, {f"{package}/plugin.py": source})
    return laid_out(site, *TWIN)


def run(
    *arguments: str | Path, sites: tuple[Path, ...], **environment: str
) -> subprocess.CompletedProcess[str]:
    """`fvlm` with the sites installed."""
    return warm.fvlm(*arguments, env=installed(sites) | environment)


def installed(sites: tuple[Path, ...]) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(map(str, sites))}


def listed(*sites: Path) -> dict[str, Any]:
    return json.loads(listing(*sites))


@cache
def listing(*sites: Path) -> str:
    done = run("plugins", "list", "--json", sites=sites)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def lookup(names: str, *sites: Path) -> list[str]:
    """The targets of encoders, or the errors of their names."""
    program = (
        "import json, sys; from fvlm_registry import registry, LookupFailure\ntold = []\n"
        "for name in sys.argv[1].split():\n"
        "    try: told.append(registry().find('encoder', name).component.target)\n"
        "    except LookupFailure as failure: told.append(str(failure))\n"
        "print(json.dumps(told))"
    )
    done = subprocess.run(
        [warm.python(), "-c", program, names],
        env=installed(sites),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_the_good_encoder_has_at_most_40_lines() -> None:
    assert sum(len(source.splitlines()) for source in GOOD[2].values()) <= 40


def test_a_third_party_encoder_is_listed_with_its_distribution(good: Path) -> None:
    [encoder] = [row for row in listed(good)["components"] if row["name"] == "tiles"]
    assert encoder.pop("load_seconds") < 1
    assert encoder == {
        "kind": "encoder",
        "name": "tiles",
        "qualified": "tiles:tiles",
        "ambiguous": False,
        "plugin": "tiles",
        "distribution": "fvlm-acme-tiles",
        "version": "0.2.0",
        "summary": "linear tiles",
        "provides": ["patches", "query"],
        "needs": [],
        "status": "ok",
    }
    assert lookup("tiles", good) == ["acme_tiles.model:Tiles"]


def test_broken_plugins_are_named_with_distribution_version_and_reason(good: Path, broken: Path) -> None:
    rows = {row["distribution"]: row for row in listed(good, broken)["plugins"] if row["status"] != "ok"}
    theirs = {name: row for name, row in rows.items() if name != "fvlm"}
    assert set(theirs) == set(BROKEN)
    for distribution, (plugin, package, _, reason) in BROKEN.items():
        row = theirs[distribution]
        assert (row["name"], row["version"], row["module"]) == (plugin, "0.2.0", f"{package}.plugin")
        assert (row["status"], row["reason"]) == ("broken", reason)


def test_broken_plugins_take_nothing_from_the_others(good: Path, broken: Path) -> None:
    alone, beside = listed(), listed(good, broken)

    def ours(listing: dict[str, Any]) -> list[dict[str, Any]]:
        rows = [*listing["components"], *listing["plugins"]]
        kept = [row for row in rows if row["distribution"] == "fvlm"]
        return [{key: value for key, value in row.items() if key != "load_seconds"} for row in kept]

    assert ours(beside) == ours(alone)
    theirs = {row["qualified"] for row in beside["components"] if row["distribution"] != "fvlm"}
    assert theirs == {"tiles:tiles", "twin:tiles"}


def test_a_component_name_of_two_distributions_is_an_error_only_for_who_writes_it(
    good: Path, broken: Path
) -> None:
    assert listed(good, broken)["clashes"] == [
        {"kind": "encoder", "name": "tiles", "write": ["tiles:tiles", "twin:tiles"]}
    ]
    bare, ours, theirs, other = lookup("tiles tiles:tiles twin:tiles dinov2", good, broken)
    assert bare == (
        '"tiles" is offered by two plugins: write "tiles:tiles" (fvlm-acme-tiles 0.2.0) '
        'or "twin:tiles" (fvlm-acme-twin 0.2.0)'
    )
    assert (ours, theirs) == ("acme_tiles.model:Tiles", "acme_twin.model:build")
    assert [other] == lookup("dinov2")


def test_the_order_of_installation_decides_nothing(good: Path, broken: Path) -> None:
    def untimed(listing: dict[str, Any]) -> str:
        for row in [*listing["components"], *listing["plugins"]]:
            del row["load_seconds"]
        return json.dumps(listing)

    assert untimed(listed(good, broken)) == untimed(listed(broken, good))


def test_the_table_for_people_says_the_same(good: Path, broken: Path) -> None:
    done = run("plugins", "list", sites=(good, broken))
    assert (done.returncode, done.stderr) == (0, "")
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "encoder tiles:tiles tiles linear tiles" in lines
    for distribution, (plugin, _, _, reason) in BROKEN.items():
        position = lines.index(f"{plugin} is broken ({distribution} 0.2.0)")
        assert lines[position + 1] == " ".join(reason.split())
    assert (
        'encoder "tiles" is offered by 2 plugins: write "tiles:tiles" (fvlm-acme-tiles 0.2.0) '
        'or "twin:tiles" (fvlm-acme-twin 0.2.0)'
    ) in lines
    assert "\x1b" not in done.stdout
    assert "Traceback" not in done.stdout


def test_fvlm_debug_shows_why_a_plugin_is_broken(good: Path, broken: Path) -> None:
    done = run("plugins", "list", sites=(good, broken), FVLM_DEBUG="1")
    assert "    raise OSError('no licence file')" in done.stdout


@pytest.mark.parametrize("columns", [50, 80, 160])
def test_the_table_fits_the_terminal(columns: int, good: Path, broken: Path) -> None:
    terminal = {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": str(columns)}
    done = run("plugins", "list", sites=(good, broken), **terminal)
    text = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
    assert "\x1b" in done.stdout
    assert max(map(len, text.splitlines())) <= columns
    for name in ("tiles:tiles", "twin:tiles", *(plugin for plugin, *_ in BROKEN.values())):
        assert name in text.split()


RECIPE = """
name = "third-party"

[model.encoder]
name = "tiles:tiles"
width = 24
grid = 3
[model.connector]
name = "foveated"
query_dim = 16
[model.llm]
name = "smollm2"
weights = "seeded"
tokenizer = "from-data"
width = 32
mlp = 64
depth = 1
heads = 2

[[data.sources]]
name = "pairs"
folder = "videos"
validation = 2

[training]
steps = 4
batch_size = 4
micro_batch_size = 4
precision = "float32"
threads = 1
workers = 0
[eval]
every = 2
samples = 2

[[runs]]
id = "foveated"
[[runs]]
id = "bare-name"
model.encoder.name = "NAME"
[[runs]]
id = "mean"
model.connector = { name = "mean" }
"""
"""Everything that is not the language model or the foveated connector comes from third parties."""


@pytest.fixture(scope="session")
def more(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH with the data source and the connector of the manual, a distribution each."""
    site = tmp_path_factory.mktemp("more")
    laid_out(site, "fvlm-acme-pairs", "pairs", examples("fvlm_data_sources"))
    return laid_out(site, "fvlm-acme-mean", "mean", examples("fvlm_connectors"))


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe with ten clips beside it."""
    (tmp_path / "videos").mkdir()
    clip = write_video(tmp_path / "clip.mp4", frames=50)
    for index in range(10):
        shutil.copy(clip, tmp_path / "videos" / f"{index}.mp4")
        (tmp_path / "videos" / f"{index}.txt").write_text(f"the clip called {index}")
    path = tmp_path / "third_party.toml"
    path.write_text(RECIPE.replace("NAME", "tiles"))
    return path


def test_third_party_components_train_by_name_in_a_recipe(good: Path, more: Path, recipe: Path) -> None:
    runs = recipe.parent / "runs"
    done = run("run", recipe, "--runs", runs, sites=(good, more))
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("foveated", "bare-name", "mean"):
        summary = json.loads((runs / "third-party" / name / "summary.json").read_text())
        assert summary["total_steps"] == 4
        assert 0 < summary["best_val_loss"] < 20


def test_broken_plugins_beside_it_do_not_stop_a_run(
    good: Path, more: Path, broken: Path, recipe: Path
) -> None:
    recipe.write_text(RECIPE.partition("[[runs]]")[0])
    done = run("run", recipe, "--runs", recipe.parent / "runs", sites=(good, more, broken))
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_ambiguous_name_in_a_recipe_is_an_error_at_its_line(
    good: Path, more: Path, broken: Path, recipe: Path
) -> None:
    done = run("run", recipe, "--runs", recipe.parent / "runs", sites=(good, more, broken))
    assert done.returncode == 2
    line = 1 + recipe.read_text().splitlines().index('model.encoder.name = "tiles"')
    assert done.stderr.startswith(f"{recipe}:{line}: ")
    assert 'write "tiles:tiles" (fvlm-acme-tiles 0.2.0) or "twin:tiles" (fvlm-acme-twin 0.2.0)' in done.stderr


AT_WORK: dict[str, tuple[str, str, str, str]] = {
    # where: module, the line before which it fails, what is raised, what is said of it
    "in the model": (
        "acme_mean/model.py", "        mean = features", "RuntimeError('no beams left')",
        "unexpected RuntimeError: no beams left",
    ),
    "in a data worker": (
        "acme_pairs/source.py", "        return Sample(", "ValueError('two captions')",
        "unexpected ValueError: two captions",
    ),
    "in a data worker, as torch does": (
        "acme_pairs/source.py", "        return Sample(", "RuntimeError('no such clip')",
        "reading data failed: RuntimeError: no such clip",
    ),
}  # fmt: skip
BROKEN_AT_WORK = "__import__('torch').utils.data.get_worker_info()"
"""True in a data worker: in the process itself, samples are read to make the tokenizer and the validation set."""


@pytest.mark.parametrize(
    "where",
    [pytest.param(where, marks=[pytest.mark.soak] if "torch" in where else []) for where in AT_WORK],
)
def test_a_plugin_that_fails_at_work_is_named_with_its_file_and_line(
    where: str, good: Path, recipe: Path, tmp_path: Path
) -> None:
    module, before, error, said = AT_WORK[where]
    plugin = "mean" if "mean" in module else "pairs"
    line = 0
    site = tmp_path / "site"
    for name, hook in (("pairs", "fvlm_data_sources"), ("mean", "fvlm_connectors")):
        files = examples(hook)
        if module in files:
            lines = files[module].splitlines()
            at = next(number for number, line in enumerate(lines) if line.startswith(before))
            condition = BROKEN_AT_WORK if name == "pairs" else True
            lines.insert(at, f"        if {condition}: raise {error}")
            files[module] = "\n".join(lines)
            line = at + 1
        laid_out(site, f"fvlm-acme-{name}", name, files)
    text = RECIPE.partition("[[runs]]")[0].replace("workers = 0", "workers = 1")
    start, _, rest = text.partition('name = "foveated"\nquery_dim = 16')
    recipe.write_text(f'{start}name = "mean"{rest}')
    done = run("run", recipe, "--runs", tmp_path / "runs", sites=(good, site))
    where_and_what = f'at {site / module}:{line}, in plugin "{plugin}" (fvlm-acme-{plugin} 0.2.0)'
    assert done.returncode == 1
    assert done.stderr.splitlines()[-2:] == [
        said,
        f"  {where_and_what}; FVLM_DEBUG=1 shows the whole traceback",
    ]
    assert "Traceback" not in done.stdout + done.stderr
