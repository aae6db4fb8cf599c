"""Two machines that share a store by NFS, and the option that writes down what was seen there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nfs_machines import CASE, Machines, lacking

HEAD = """# On a real NFS

Written by `pytest -m nfs --write-nfs docs/measurements/nfs.md tests/nfs`: two machines (user-mode Linux, kernels of
their own) mount one store from a server (nfs-ganesha), all on one machine. "shared": `vers=4.2`. "alone":
`vers=3,nolock`, where each machine has locks of its own and no error says so. The server forgets a machine 10 s after
its last word. No training was tried: there it takes 90 s to import torch. Seconds on a machine that others were using.

"""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-nfs", metavar="FILE", help="write what was seen, as Markdown")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    rows: list[str] = []
    for report in (report for of in terminalreporter.stats.values() for report in of):
        if getattr(report, "when", "") == "call" and "tests/nfs/" in report.nodeid:
            none = ("?", report.nodeid.split("::")[-1], "")  # it failed before it told its case
            locks, case, what = dict(report.user_properties).get(CASE, none)
            if what or report.failed:
                rows.append(f"| {locks} | {case} | {what if report.passed else 'FAILED'} |")
    if not rows:
        return
    lines = ["| locks | case | what came of it |", "|---|---|---|", *rows]
    terminalreporter.write_line("\n".join(lines))
    if to := config.getoption("--write-nfs"):
        Path(to).write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture(scope="session")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    if why := lacking():
        pytest.skip(why)
    made = Machines(tmp_path_factory.mktemp("nfs") / "m")
    yield made
    made.down()
