"""Every promise has a test that fails when it is broken: `pytest -m mutants` breaks them one by one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mutants.mutant import PROMISED_SHARE, ROOT, Mutant, copy_tree, mutants, run
from mutants.table import MUTANT

EVERY = mutants()


def test_every_mutant_changes_the_code_as_it_is() -> None:
    """A list that no longer fits the code would kill nothing and say so nowhere."""
    for mutant in EVERY:
        assert mutant.applied((ROOT / mutant.file).read_text()) != (ROOT / mutant.file).read_text()
        assert all((ROOT / test.partition("::")[0]).is_file() for test in mutant.tests), str(mutant)


def test_at_most_one_mutant_in_twenty_is_known_to_survive() -> None:
    assert len([mutant for mutant in EVERY if mutant.survives]) <= (1 - PROMISED_SHARE) * len(EVERY)


def test_each_promise_is_named_once() -> None:
    names = [str(mutant) for mutant in EVERY]
    assert sorted(names) == sorted(set(names))


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source tree of this worker's own, to be changed."""
    tree = tmp_path_factory.mktemp("mutants") / "tree"
    copy_tree(tree)
    return tree


@pytest.mark.mutants
@pytest.mark.timeout(1000)
@pytest.mark.parametrize("mutant", EVERY, ids=str)
def test_a_mutant_is_killed(
    mutant: Mutant, tree: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    os.environ["FVLM_REQUIRE_SHARED"] = "0"
    log = tmp_path / "log"
    begun = time.monotonic()
    code = run(mutant, mutant.tests, tree, log)
    record_property(MUTANT, [str(mutant), code != 0, round(time.monotonic() - begun, 1)])
    told = log.read_text()[-3000:]
    # 2: the change is no Python; 4, 5: no such test. 130, 143: what is told to end has ended the test with it.
    assert code in (0, 1, 130, 143, None), told
    if mutant.survives:
        assert code == 0, "it is killed by now: its entry needs no reason why not"
    else:
        assert code != 0, (
            f"{mutant.file}: {mutant.before!r} -> {mutant.after!r} went unnoticed by {mutant.tests}"
        )


@pytest.mark.mutants
@pytest.mark.timeout(3000)
def test_without_a_mutant_the_same_tests_pass(tree: Path, tmp_path: Path) -> None:
    """A mutant is killed by what it breaks, not by a test that fails anyway."""
    files = sorted({test for mutant in EVERY for test in mutant.tests})
    assert run(None, files, tree, tmp_path / "log", seconds=2900) == 0, (tmp_path / "log").read_text()[-3000:]
