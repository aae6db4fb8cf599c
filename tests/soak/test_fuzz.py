"""Whatever is in a file, commands that read it end soon, in words, and write nowhere else; see `fuzz`.

`pytest -m soak tests/soak/test_fuzz.py` tries 330 inputs and prints the table of docs/measurements/fuzz.md.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from fuzz import KINDS, STORE, faults, state
from tiny import trained

FUZZ = str(Path(__file__).parents[1] / "helpers" / "fuzz.py")


def run(*arguments: str) -> str:
    done = subprocess.run([sys.executable, FUZZ, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    return done.stdout


@pytest.mark.soak
@pytest.mark.timeout(240)
def test_a_few_hostile_inputs_of_each_kind_are_told_in_words() -> None:
    said = run("10", "--seed", "1")
    assert all(f"| {kind} |" in said for kind in KINDS if kind != "trained run")


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_hundreds_of_hostile_inputs_are_told_in_words(tmp_path: Path) -> None:
    trained(tmp_path)
    print(run("330", "--trained", str(tmp_path)))


def test_the_fuzzer_sees_what_it_looks_for(tmp_path: Path) -> None:
    root = tmp_path / "place"
    (root / STORE[0]).mkdir(parents=True)
    before = state(root)
    (root / STORE[0] / "a").write_text("")
    assert before == state(root)
    (tmp_path / "escaped").write_text("")
    after = state(root)
    for broken in (
        faults(None, 0, "", 0, 0),
        faults(-9, 0, "", 0, 0),
        faults(0, 3000, "", 0, 0),
        faults(0, 0, "\x1b[31m", 0, 0),
        faults(0, 0, "\x9b", 0, 0),
        faults(0, 0, "\u202e", 0, 0),
        faults(2, 0, "This is a defect of fvlm", 0, 0),
        faults(1, 0, "Traceback (most recent call last)", 0, 0),
        faults(0, 0, "xyzzy-private-4711", 0, 0),
        faults(0, 0, "", before, after),
    ):
        assert len(broken) == 1
    assert faults(2, 0, "xyzzy-private-4711", 0, 0, named=True) == ()
    assert faults(2, 500, "a.csv:3: not a number\n\té", before, before) == ()
