"""Every file that a run or an export writes has the mode that the user's umask asks for."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import warm
from coarse import coarse_figures
from tiny import RECIPE, run_cli, train


@pytest.fixture(params=[0o002, pytest.param(0o027, marks=pytest.mark.soak)], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_files_follow_the_umask(
    umask: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FVLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("fvlm_core.scaling.fit.solver.STARTS", 64)
    coarse_figures(monkeypatch, 40)
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(RECIPE)
    train(recipe, tmp_path / "runs", "training.steps=2")
    to, runs = str(tmp_path / "weights"), str(tmp_path / "runs")
    for command in (
        ["weights", "export", "tiny/tiny", "--runs", runs, "--to", to],
        ["export", "tiny/tiny", "--runs", runs, "--to", str(tmp_path / "tables")],
        [
            "weights",
            "import",
            f"{to}/model.safetensors",
            "--recipe",
            str(recipe),
            "--to",
            str(tmp_path / "back"),
        ],
        ["runs", "list", "--runs", runs],
    ):
        code, _, said = run_cli(command, monkeypatch, capsys)
        assert code == 0, said
    clips = ("-o", "clips=4", "-o", "validation_clips=4", "-o", "frames=2")
    fvlm = warm.folder() / "fvlm"  # a process of its own: its workers have its umask
    subprocess.run(
        [fvlm, "data", "pack", "shapes", *clips, "--to", tmp_path / "shards"],
        check=True, capture_output=True, umask=umask,
    )  # fmt: skip
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path != recipe]
    assert {"model.safetensors", "optimizer.safetensors", "manifest.json", "README.md"} <= {
        f.name for f in files
    }
    wrong = {
        str(file): oct(file.stat().st_mode) for file in files if file.stat().st_mode & 0o777 != 0o666 & ~umask
    }
    assert not wrong
