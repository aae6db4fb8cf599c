"""Runs that commit 846f317 wrote: listed, continued, fitted, reported, exported, and asked about a video.

`runs_of_846f317/` is what that commit left of `old.toml`: "whole" is complete, "half" was stopped at step 6 of 12.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny import run_cli

pytestmark = pytest.mark.usefixtures("quick_fits")

WRITTEN = Path(__file__).with_name("runs_of_846f317")
UNINTERRUPTED = {8: 3.9511, 10: 3.9335, 12: 3.9250}
"""Validation losses of "half" where the same commit trained it without a stop."""

CONTINUED = ("run", "old.toml", "--allow-drift", "software.decoder")
"""PyAV may be a newer one by now."""

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("old")
    shutil.copytree(WRITTEN, folder, dirs_exist_ok=True)
    return folder


@pytest.fixture
def call(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("FVLM_CACHE", str(folder / "cache"))
    return lambda *line: run_cli([*line], monkeypatch, capsys)


def test_an_old_run_continues_as_the_commit_that_wrote_it_would_have(call: Call, folder: Path) -> None:
    code, _, err = call(*CONTINUED)
    assert code == 0, err
    complete = "runs/old/whole/metrics.jsonl"
    added = (folder / complete).read_bytes().removeprefix((WRITTEN / complete).read_bytes())
    assert all(
        json.loads(line)["event_type"] == "attempt" for line in added.splitlines()
    )  # a drift is on record
    rows = [json.loads(line) for line in (folder / "runs/old/half/metrics.jsonl").read_text().splitlines()]
    found = {row["step"]: row["val_loss"] for row in rows if row["event_type"] == "eval" and row["step"] > 6}
    assert found == pytest.approx(UNINTERRUPTED, abs=1e-4)


def test_old_runs_are_read_by_every_command(call: Call, folder: Path) -> None:
    """After the one that continues, which draws the clips as well."""
    call(*CONTINUED)
    video = str(next((folder / "cache").rglob("*.mp4")))
    lines = (
        (("runs", "list"), "old/whole"),
        (("runs", "show", "whole"), "17,080 parameters"),
        (("fit", "--model", "per-size", "--draws", "20"), "per-size"),
        (("eval", "whole"), "coarse_fine  3.9557"),
        (("caption", "--run", "whole", video), '"caption"'),
        (("report", "--out", "report.html"), "report of old"),
        (("export", "--to", "export"), "exported 2 runs"),
    )
    for line, told in lines:
        code, out, err = call(*line)
        assert code == 0, (line, err)
        assert told in out + err, line
