"""A real SLURM for the cases of `pytest -m slurm`, and the option that writes their table."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import warm
from slurm_cluster import Cluster, lacking
from slurm_grid import CASE, PATIENCE, Grid, write_recipe

HEAD = """# On a real SLURM

Written by `pytest -m slurm --write-slurm docs/measurements/slurm.md tests/slurm`: slurmctld, one slurmd for each of two
nodes, with accounting slurmdbd and MariaDB, put up by the tests on one machine, all on loopback. Runs are those of a
grid of nine, 150 steps each, a checkpoint every 10. "equal": sha256 of weights and optimizer, and all metrics rows but
the clock's, are those of a plain `fvlm run`. Seconds on a machine that others were using.

"""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-slurm", metavar="FILE", help="write what came of the cases, as Markdown")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Whatever process a test ran in, its report comes here. One that failed before it told its case has its name."""
    rows: list[str] = []
    for report in (report for of in terminalreporter.stats.values() for report in of):
        if getattr(report, "when", "") == "call" and "tests/slurm/" in report.nodeid:
            case, what = dict(report.user_properties).get(CASE, (report.nodeid.split("::")[-1], ""))
            if what or report.failed:
                rows.append(f"| {case} | {what if report.passed else 'FAILED'} | {report.duration:.0f} |")
    if not rows:
        return
    lines = ["| case | what came of it | s |", "|---|---|--:|", *rows]
    version = subprocess.run(["slurmctld", "-V"], capture_output=True, text=True, check=False).stdout.strip()
    terminalreporter.write_line("\n".join(lines))
    if to := config.getoption("--write-slurm"):
        Path(to).write_text(HEAD + "\n".join(lines) + f"\n\n{version}.\n", encoding="utf-8")


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data, as "cache", and the grid as a plain `fvlm run` trains it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    write_recipe(folder)
    environment = {**os.environ, "FVLM_CACHE": str(folder / "cache")}
    done = warm.fvlm("run", "grid.toml", cwd=folder, env=environment, seconds=PATIENCE)
    assert done.returncode == 0, done.stdout
    return folder


@pytest.fixture(scope="session")
def clusters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Cluster]]:
    """Gives a cluster of the kind asked for. One is up at a time."""
    up: dict[str, Cluster] = {}

    def of(kind: str, **settings: bool) -> Cluster:
        if why := lacking(accounting=settings.get("accounting", False)):
            pytest.skip(why)
        if kind not in up:
            for cluster in up.values():
                cluster.down()
            up.clear()
            cluster = Cluster(tmp_path_factory.mktemp("slurm") / "c", nodes=2, **settings)
            cluster.up()
            up[kind] = cluster
        return up[kind]

    yield of
    for cluster in up.values():
        cluster.down()


def _grid(tmp_path: Path, cluster: Cluster, undisturbed: Path) -> Iterator[Grid]:
    grid = Grid(tmp_path, cluster, undisturbed / "cache", undisturbed / "runs" / "grid")
    yield grid
    grid.close()


@pytest.fixture
def plain(clusters: Callable[..., Cluster], tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Grid]:
    """On a cluster without accounting, which forgets a job ten seconds after its end."""
    cluster = clusters("plain")
    yield from _grid(tmp_path, cluster, request.getfixturevalue("undisturbed"))


@pytest.fixture
def untrained(clusters: Callable[..., Cluster], tmp_path: Path) -> Iterator[Grid]:
    """On the same cluster as `plain`, for what trains nothing: there is no undisturbed grid to compare with."""
    cluster = clusters("plain")
    yield from _grid(tmp_path, cluster, tmp_path)


@pytest.fixture
def signalling(
    clusters: Callable[..., Cluster], tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Grid]:
    """On a cluster that signals every process of a job."""
    cluster = clusters("signalling", signals_all=True)
    yield from _grid(tmp_path, cluster, request.getfixturevalue("undisturbed"))


@pytest.fixture
def accounted(
    clusters: Callable[..., Cluster], tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Grid]:
    """On one with accounting, QOS and limits, which ends jobs that take more memory than they asked for."""
    cluster = clusters("accounted", accounting=True, signals_all=True)
    yield from _grid(tmp_path, cluster, request.getfixturevalue("undisturbed"))
