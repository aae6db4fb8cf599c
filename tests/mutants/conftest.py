"""The option that writes the table of mutants."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mutants.table import MUTANT, page


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-mutants", metavar="FILE", help="write what became of every mutant, as Markdown")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Whatever process a test ran in, its report comes here."""
    reports = [report for of in terminalreporter.stats.values() for report in of]
    found = {
        name: (killed, seconds)
        for report in reports
        for key, (name, killed, seconds) in getattr(report, "user_properties", ())
        if key == MUTANT and report.when == "call"
    }
    if not found:
        return
    killed = sum(died for died, _ in found.values())
    terminalreporter.write_line(f"{killed} of {len(found)} mutants are killed")
    if to := config.getoption("--write-mutants"):
        Path(to).write_text(page(found), encoding="utf-8")
