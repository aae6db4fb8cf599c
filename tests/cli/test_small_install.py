"""What few need may be absent: all else works without it, and who asks for it is told what installs it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest
import warm
from tiny import RECIPE, run_cli

from fvlm_registry import missing_library

CHEAP = """
import json, os, sys
absent = sys.argv[1].split(",")
for name in [*absent, *(name for name in sys.modules if name.partition(".")[0] in absent)]:
    sys.modules[name] = None
for name in [name for name in sys.modules if name.startswith("fvlm")]:
    del sys.modules[name]  # imported anew, without them
from fvlm_core.cli.main import main
for line in json.loads(sys.argv[2]):
    sys.argv = ["fvlm", *line]
    print(line[0], main(), flush=True)
print([name for name in ("timm", "torchvision") if sys.modules.get(name)])
"""


@pytest.mark.parametrize("fresh", [False, pytest.param(True, marks=pytest.mark.soak)])
def test_without_timm_and_torchvision_all_but_timm_s_encoders_works(fresh: bool, tmp_path: Path) -> None:
    """fresh: transformers, too, is imported without them."""
    (tmp_path / "tiny.toml").write_text(RECIPE)
    (tmp_path / "timm.toml").write_text(
        RECIPE.replace('name = "dinov2"', 'name = "timm:vit_tiny_patch16_224"').replace("= 42", "= 48")
    )
    points = "\n".join(
        f"{n},{d},{2 + 400 / n**0.34 + 400 / d**0.28}" for n in (1e6, 2e6, 4e6) for d in (1e7, 1e8, 1e9)
    )
    (tmp_path / "points.csv").write_text(f"N,D,loss\n{points}\n")
    lines = [
        ["run", "tiny.toml"],
        ["report", "--out", "report.html"],
        ["fit", "--data", "points.csv", "--draws", "20"],
        ["run", "timm.toml"],
    ]
    done = subprocess.run(
        [sys.executable if fresh else warm.python(), "-c", CHEAP, "timm,torchvision", json.dumps(lines)],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    codes = re.findall(r"^(run|report|fit) (\d)$", done.stdout, re.MULTILINE)
    assert [int(code) for _, code in codes] == [0, 0, 0, 2], done.stderr
    assert done.stdout.endswith("[]\n")
    assert re.search(r"^timm is not installed: pip install 'timm>=[\d.]+'$", done.stderr, re.MULTILINE)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("library", ["tensorboard", "wandb", "trackio", "mlflow"])
def test_a_tracker_without_its_library_stops_before_anything_is_made(
    library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, library, None)  # as if it were not installed
    for name in [
        name for name in sys.modules if name.startswith((f"fvlm_{library}.tr", "torch.utils.tensorboard"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(
        RECIPE.replace('name = "tiny"', f'name = "tiny"\ntrackers = [{{ name = "{library}" }}]', 1)
    )
    code, _, told = run_cli(["run", str(recipe), "--runs", str(tmp_path / "runs")], monkeypatch, capsys)
    assert code == 2
    assert told.endswith(f"{library} is not installed: pip install 'fvlm[{library}]'\n")
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").rglob("recipe.json"))


def test_a_metric_without_its_library_stops_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [
        name for name in sys.modules if name.startswith(("fvlm_answer_metrics.ngrams", "sacrebleu"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sacrebleu", None)  # as if it were not installed
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(RECIPE + 'metrics = [{ name = "chrf" }, { name = "exact-match" }]\n')
    code, _, told = run_cli(["run", str(recipe), "--runs", str(tmp_path / "runs")], monkeypatch, capsys)
    assert code == 2
    assert told.splitlines()[1].startswith('metric chrf: "')
    assert told.endswith("sacrebleu is not installed: pip install 'fvlm[metrics]'\n")
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").rglob("recipe.json"))


def test_only_what_a_plugin_s_distribution_asks_for_is_told() -> None:
    for name, told in (
        ("timm", "pip install 'timm"),
        ("submitit", "pip install 'fvlm[slurm]'"),
        ("no_such", None),
    ):
        error = ModuleNotFoundError("x", name=f"{name}.part" if name not in sys.modules else name)
        found = missing_library(error) if sys.modules.get(name) is None else "loaded"
        assert found == "loaded" or (found is None) == (told is None)
        assert found in (None, "loaded") or told in found
    assert missing_library(ImportError("cannot import name x")) is None


PAGE = Path(__file__).parents[2] / "docs/howto/small_install.md"


def test_the_steps_of_a_small_install_name_every_dependency_but_timm() -> None:
    """The list in the documentation is the package's own, so that pip is asked for all of it and never for timm."""
    own = [line for line in requires("fvlm") or () if "extra ==" not in line]
    listed = re.search(r"requirements-small\.txt -->\n```text\n(.*?)\n```", PAGE.read_text(), re.DOTALL)
    assert listed
    normal = lambda lines: sorted(line.replace("_", "-").lower() for line in lines)
    assert normal(listed[1].splitlines()) == normal(line for line in own if not line.startswith("timm"))
