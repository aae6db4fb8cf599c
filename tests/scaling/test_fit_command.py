"""`fvlm fit`: what a user reads, what programs read, and laws of third parties."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import warm
from measured import SIZES, STEPS, TRUTH, grid, points
from PIL import Image
from tiny import run_cli

from fvlm_core.api.views.fit import digits

pytestmark = pytest.mark.usefixtures("quick_fits")

Cli = tuple[int, str, str]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FVLM_RUNS", raising=False)
    return lambda *arguments: run_cli([str(argument) for argument in arguments], monkeypatch, capsys)


@pytest.fixture
def two_sizes(tmp_path: Path) -> Path:
    """Points of two sizes, exact but for the sixth digit: any E, A and alpha with the right floors fit them."""
    file = tmp_path / "two.csv"
    points(TRUTH, [40_000, 120_000], [step * 32 for step in STEPS], noise=1e-6).to_csv(file, index=False)
    return file


REFUSAL = """\
joint-chinchilla: L = E + A/N^alpha + B/D^beta
24 points, 2 runs, 2 sizes; N: as given, D: as given; objective log-huber (delta 0.001); two.csv
reduced: E, A, alpha withheld
  - E, A and alpha are not identifiable from 24 points with 2 values of N, the parameters (40k, 120k): they can \
change together and leave every predicted loss as it is (the Jacobian has rank 4 of 5). It takes points of at least \
three model sizes.
  shown instead: L = floor(size) + B/D^beta
"""


def test_a_refusal_says_identifiable_and_why_and_exits_0(cli: Any, two_sizes: Path) -> None:
    code, out, err = cli("fit", "--model", "joint-chinchilla", "--data", two_sizes.name)
    assert (code, err) == (0, "")
    told = "\n".join(line.rstrip() for line in out.splitlines())
    assert told.startswith(REFUSAL), told
    assert [line.split() for line in told.splitlines() if line.endswith("withheld")][1:] == [
        ["E", "withheld"],
        ["A", "withheld"],
        ["alpha", "withheld"],
    ]
    assert "floor[40k]" in told
    assert f"{TRUTH['beta']:#.5g}" in told
    assert told.endswith("plot: scaling_law_plot.png")


def test_the_json_holds_the_numbers_and_null_for_what_is_withheld(
    cli: Any, two_sizes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fvlm_core.scaling.fit.uncertainty.MOST_COUNTS", 100_000)
    code, _, _ = cli("fit", "--data", two_sizes.name, "--json", "out/fit.json")
    assert code == 0
    record = json.loads(Path("out/fit.json").read_text(), parse_constant=pytest.fail)
    fits = {"per_size_fits", "joint_chinchilla_fit", "chinchilla_reference"}
    assert {*fits, "points", "reports", "fvlm"} == set(record)
    joint = record["joint_chinchilla_fit"]
    assert [joint[name] for name in ("E", "A", "alpha")] == [None, None, None]
    assert joint["beta"] == pytest.approx(TRUTH["beta"], rel=1e-4)
    assert "identifiable" in joint["note"]
    parts = joint["note"].split("; ")
    assert len(set(parts)) == len(parts)
    per_size, joint_report = record["reports"]
    assert per_size["status"] == "ok"
    fit = per_size["fits"][0]
    assert fit["parameters"]["b"]["value"] == pytest.approx(TRUTH["beta"], rel=1e-4)
    assert set(fit["parameters"]["b"]) == {"value", "stderr", "interval", "bound"}
    assert (fit["n_points"], fit["converged"], fit["bootstrap"]["draws"]) == (12, True, 1000)
    assert (joint_report["status"], joint_report["withheld"]) == ("reduced", ["E", "A", "alpha"])
    assert joint_report["policy"] == {"points": "all"}
    assert joint_report["options"]["bootstrap"] == "auto"
    assert len(joint_report["data"]["fingerprint"]) == 16
    assert {"fvlm", "numpy", "scipy"} <= set(joint_report["versions"])
    assert joint_report["objective"]["delta"] == 0.001
    assert {warning["code"] for warning in fit["warnings"]} == {"one-run", "few-points"}
    assert Image.open("out/scaling_law_plot.png").size == (1600, 1000)


def test_a_group_that_is_withheld_does_not_seem_to_withhold_the_others(cli: Any, tmp_path: Path) -> None:
    table = points(TRUTH, [40_000, 120_000], [step * 32 for step in STEPS])
    table[(table["n"] < 50_000) | (table["d"] == table["d"].max())].to_csv("one-short.csv", index=False)
    code, out, _ = cli("fit", "--model", "per-size", "--data", "one-short.csv", "--draws", "20")
    assert code == 0
    assert "reduced: a, b, E withheld where the reasons name a size\n  - 120k: " in out
    assert [line for line in out.splitlines() if line.rstrip().endswith("withheld")] == []


def test_runs_are_fitted_by_default_and_controls_are_not(cli: Any, tmp_path: Path) -> None:
    grid(tmp_path / "runs")
    code, out, _ = cli("fit", "--json", "fit.json")
    assert code == 0
    assert "36 points, 3 runs, 3 sizes; N: total parameters, D: training samples" in out
    assert "note: left out, because they are not meant for fits: blind" in out
    joint = json.loads(Path("fit.json").read_text())["joint_chinchilla_fit"]
    for name, value in TRUTH.items():
        assert joint[name] == pytest.approx(value, rel=1e-3)
    assert "take all 3 sizes there are" in out


def test_the_plot_of_runs_lies_with_the_runs_and_follows_the_environment(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid(tmp_path / "elsewhere")
    monkeypatch.setenv("FVLM_RUNS", "elsewhere")
    code, out, _ = cli("fit", "--model", "per-size")
    assert code == 0
    assert out.splitlines()[-1] == "plot: elsewhere/scaling_law_plot.png"
    assert Path("elsewhere/scaling_law_plot.png").is_file()


@pytest.mark.parametrize(
    ("number", "significant", "shown"),
    [
        (12846.3, 5, "12846"),
        (169.2, 2, "169"),
        (0.45305, 5, "0.45305"),
        (0.9999996, 5, "1.0000"),
        (798485.0, 4, "798485"),
        (1.7e8, 2, "1.7e+08"),
        (-3.25e-6, 3, "-3.25e-06"),
        (0.0, 5, "0"),
    ],
)
def test_numbers_are_shown_with_the_digits_they_deserve(number: float, significant: int, shown: str) -> None:
    assert digits(number, significant) == shown


@pytest.mark.parametrize("arguments", [("--delta", "nan"), ("--delta", "inf"), ("--fix", "E=nan")])
def test_nan_and_infinity_are_no_numbers(arguments: tuple[str, str], cli: Any, two_sizes: Path) -> None:
    code, out, err = cli("fit", "--model", "joint-chinchilla", "--data", "two.csv", *arguments)
    assert (code, out) == (2, "")
    assert "expected a" in err


@pytest.mark.parametrize(("option", "file"), [("--json", "two.csv/fit.json"), ("--plot", "two.csv/plot.png")])
def test_a_file_that_cannot_be_written_is_said_before_anything_is_fitted(
    option: str, file: str, cli: Any, two_sizes: Path
) -> None:
    code, out, err = cli("fit", "--model", "per-size", "--data", "two.csv", option, file)
    assert (code, out) == (2, "")
    assert err.startswith(f"{file}: cannot be written: ")


MISUSE = {
    "unknown_model": (
        ["--model", "per-sise", "--data", "two.csv"],
        'none of the fit models is called "per-sise": did you mean "per-size"?\n'
        "  fit models: accuracy, envelope, farseer, gadre, isoflop, joint-chinchilla, joint-tied, kaplan, lr-batch, "
        "lr-optimum, mixture, multi-power, per-size, repetition, tissue, two-floor, video, visual-tokens",
    ),
    "no_runs": (
        [],
        "runs: no runs are kept there. Train some with `fvlm run recipes/quickstart.toml`, "
        "or name another folder with --runs DIR",
    ),
    "no_file": (["--data", "absent.csv"], "absent.csv: there is no such file"),
    "plot_suffix": (
        ["--data", "two.csv", "--plot", "a.gif"],
        "a.gif: expected a file name ending in .png, .pdf, .svg",
    ),
    "no_sizes": (
        ["--model", "joint-chinchilla", "--data", "sizeless.csv"],
        'sizeless.csv: fit "joint-chinchilla" needs N, the parameters of every point; 2 of 2 have none (a).\n'
        "Put run_summaries.csv (columns run_id, total_params) beside the file, or add a column N.",
    ),
}


@pytest.mark.parametrize("name", MISUSE)
def test_misuse_is_one_message_and_exit_code_2(name: str, cli: Any, two_sizes: Path, tmp_path: Path) -> None:
    (tmp_path / "sizeless.csv").write_text("run,D,loss\na,1000,3\na,2000,2.5\n")
    arguments, expected = MISUSE[name]
    code, out, err = cli("fit", *arguments)
    assert (code, out, err.strip()) == (2, "", expected)


def test_data_and_runs_exclude_each_other(cli: Any, two_sizes: Path) -> None:
    code, _, err = cli("fit", "--data", two_sizes, "--runs", "runs")
    assert code == 2
    assert "--data and --runs exclude each other" in err


LAW = """
    import numpy as np
    from attrs import frozen
    from fvlm_core.plugin_api import Component, FitModel, Parameter, hookimpl


    @frozen
    class Config:
        offset: float = 0.0


    def law(d, *, floor, rate):
        '''L = floor - rate ln D'''
        return floor - rate * np.log(d)


    def build(config):
        parameters = [Parameter("floor", 5.0, linear=True, per="size"), Parameter("rate", 0.1, 0.0, linear=True)]
        return FitModel("log-law", law, parameters)


    @hookimpl
    def fvlm_fit_models():
        yield Component("log-law", target="acme_law:build", config="acme_law:Config", summary="linear in ln D")
"""


def test_a_third_partys_law_of_25_lines_is_fitted_by_name(tmp_path: Path) -> None:
    assert len(dedent(LAW).strip().splitlines()) <= 25
    (tmp_path / "acme_law.py").write_text(dedent(LAW))
    info = tmp_path / "acme_law-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-law\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[fvlm]\nacme = acme_law\n")
    rows = [
        f"{n},{d},{floor - 0.2 * math.log(d)}"
        for n, floor in zip(SIZES.values(), (5.0, 4.5, 4.2), strict=True)
        for d in (1e3, 3e3, 1e4, 3e4, 1e5)
    ]
    (tmp_path / "points.csv").write_text("N,D,loss\n" + "\n".join(rows) + "\n")
    law = ("--model", "log-law", "--data", "points.csv", "--json", "fit.json")
    done = warm.fvlm("fit", *law, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert "log-law: L = floor - rate ln D" in done.stdout
    (fit,) = json.loads((tmp_path / "fit.json").read_text())["reports"][0]["fits"]
    values = {name: found["value"] for name, found in fit["parameters"].items()}
    assert values == pytest.approx(
        {"floor[40k]": 5.0, "floor[120k]": 4.5, "floor[400k]": 4.2, "rate": 0.2}, rel=1e-6
    )
