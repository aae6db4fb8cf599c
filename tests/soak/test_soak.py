"""The long proofs of exact resume, by hand: `FVLM_SOAK=DIR pytest -s -m soak tests/soak/test_soak.py` keeps all in
DIR."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from soak import MODES, report
from trainer import STEPS

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]

KILLS = 200


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = Path(os.environ.get("FVLM_SOAK") or tmp_path_factory.mktemp("soak"))
    place.mkdir(parents=True, exist_ok=True)
    yield place
    print(f"\n{report(place)}")


def results(script: str, argument: str, file: Path) -> dict[str, Any]:
    """Run a script of this folder, which writes `file`."""
    file.unlink(missing_ok=True)
    command = [sys.executable, str(Path(__file__).parents[1] / "helpers" / script), argument, str(file)]
    subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True)
    return json.loads(file.read_text())


@pytest.mark.parametrize("mode", MODES)
def test_every_stop_continues_bit_for_bit(mode: str, folder: Path) -> None:
    found = results("matrix.py", mode, folder / f"{mode}.json")
    gaps = {(w, name): gap for w, cases in found["cases"].items() for name, gap in cases.items() if gap}
    assert gaps == {}
    assert {len(cases) for cases in found["cases"].values()} == {STEPS - 1 + 3 + 3 + 1}
    assert len({tuple(hashes) for hashes in found["hashes"].values()}) == 1  # loader workers change nothing


def test_random_kills_lose_nothing(folder: Path) -> None:
    told = results("kills.py", str(KILLS), folder / "kills.json")
    assert told["kills"] == KILLS
    assert told["runs"] > 0
    assert told["acknowledged"] >= told["runs"]
    assert told["kills of something saved"] >= KILLS / 10, "most kills came before anything was acknowledged"
    assert (told["lost"], told["damaged"], told["failed starts"], told["differences"]) == (0, 0, 0, [])
