"""Two ranks: batches and losses of one process, checkpoints for any number of ranks, failures that all share.

The checks are the functions of `pair.py`; both processes are started once for all of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PAIR = Path(__file__).with_name("pair.py")
CHECKS = [
    line.removeprefix("def ").partition("(")[0]
    for line in PAIR.read_text().splitlines()
    if line.startswith("def ") and line.endswith("(pair: Pair) -> None:")
]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    file = tmp_path_factory.mktemp("pair") / "results.json"
    out = subprocess.run(
        [sys.executable, str(PAIR), str(file)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert file.exists(), out.stderr
    return json.loads(file.read_text())


@pytest.mark.parametrize("check", CHECKS)
def test_two_ranks(check: str, results: dict[str, str]) -> None:
    assert results.get(check, "never reached") == ""
