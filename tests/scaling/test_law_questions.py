"""Every law that is offered: fitted, drawn, and asked for a prediction, which it gives or says what it would need."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from coarse import coarse_figures
from tiny import run_cli

import fvlm
from fvlm_core.interfaces.fit import FitModel, Parameter
from fvlm_core.scaling.fit.levenberg_marquardt import descend
from fvlm_core.scaling.predict import roll_out
from fvlm_core.scaling.predict.prediction import Predictor
from fvlm_core.utils.errors import UsageError
from fvlm_registry import registry

pytestmark = pytest.mark.usefixtures("quick_fits")

LAWS = [offer.component.name for offer in registry().offered("fit")]

NEEDS = {
    "tissue": "the step",
    "multi-power": "the step",
    "repetition": "unique",
    "lr-optimum": "the learning rate",
    "isoflop": "its budget",
}

SAY = {
    "visual-tokens": "V=NUMBER",
    "video": "T=NUMBER,V=NUMBER",
    "lr-batch": "lr=NUMBER,batch=NUMBER",
    "accuracy": "loss=NUMBER",
    "envelope": "compute=NUMBER",
    "mixture": "p1=NUMBER,p2=NUMBER,p3=NUMBER,domain=LABEL",
}
"""What has to be said beside N and D."""


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table with every column that a law reads: three sizes, three rates, repeated data, falling learning rates."""
    rows: list[dict[str, object]] = []
    for n in (1e7, 3e7, 1e8):
        for peak in (5e-4, 1e-3, 2e-3):
            for at, d in enumerate(np.geomspace(1e9, 1.6e10, 5)):
                rate = peak * (1 - at / 6)
                loss = 1.5 + 300 / n**0.34 + 400 / d**0.3 + 0.05 * np.log(peak / 1e-3) ** 2 + 2 * rate
                rows.append(
                    {
                        "model_size": f"{round(n / 0.9e6)}M", "run": f"{n:.0f}-{peak}", "N": n, "D": d, "loss": loss,
                        "step": 100 * (at + 1), "lr": rate, "C": 6 * n * d, "unique": d / (1 + at % 3),
                        "visual_tokens": 16 * 4**at, "frames": 4 * 2 ** (at % 3), "tokens_per_frame": 16 * (1 + at),
                        "batch_size": 1e5 * (1 + at), "accuracy": 0.2 + 0.1 * at,
                        "domain": "web", "p1": 0.1 * at + 1e-10 * n, "p2": 0.4 - 0.1 * at, "p3": 0.6 - 1e-10 * n,
                    }
                )  # fmt: skip
    file = tmp_path_factory.mktemp("table") / "all.csv"
    pd.DataFrame(rows).to_csv(file, index=False)
    return file


def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few starts and steps, and no polish: here laws are asked, not solved."""
    monkeypatch.setattr("fvlm_core.scaling.fit.solver.STARTS", 16)
    monkeypatch.setattr("fvlm_core.scaling.fit.solver.FINALISTS", 2)
    monkeypatch.setattr("fvlm_core.scaling.fit.solver.SURE", 20)
    monkeypatch.setattr(
        "fvlm_core.scaling.fit.solver.descend", lambda *given, **how: descend(*given, **how | {"steps": 20})
    )


@pytest.mark.parametrize("law", LAWS)
def test_every_law_is_fitted_and_drawn(
    law: str, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    coarse_figures(monkeypatch, 50)
    quick(monkeypatch)
    call = ["fit", "--data", str(table), "--model", law, "--draws", "5"]
    code, out, err = run_cli(call, monkeypatch, capsys)
    assert "defect" not in err
    assert "Traceback" not in err
    assert (code, "plot: scaling_law_plot.png" in out) == (0, True) or (code, law) == (2, "envelope"), err


@pytest.mark.parametrize("law", LAWS)
def test_every_law_predicts_or_says_what_it_needs(
    law: str, table: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    quick(monkeypatch)
    call = [
        "predict",
        "--data",
        str(table),
        "--model",
        law,
        "--n",
        "33M",
        "--d",
        "8e9",
        "--draws",
        "5",
        "--force",
    ]
    code, out, err = run_cli(call, monkeypatch, capsys)
    if law in NEEDS:
        assert code == 2
        assert f'"{law}" (' in err
        assert f"from more than N and D: {NEEDS[law]}" in err
        assert len(err.splitlines()) == 1
    elif law in SAY:
        assert (code, f"say it with --at {SAY[law]}" in err) == (2, True), err
    else:
        assert code == 0, err
        assert "N = 3e+07 (33M), D = 8e+09" in out
        assert '"33M" is a size of the points: N = 30,000,000' in out


@pytest.mark.parametrize(
    ("law", "asked", "told"),
    [
        ("accuracy", ["--at", "loss=2", "--n", "1e9"], '"accuracy" reads no N: leave --n out'),
        ("accuracy", ["--at", "loss=2", "--d", "1e9"], '"accuracy" reads no D: leave --d out'),
        ("accuracy", ["--at", "loss=2", "--budget", "1e20"], "reads no D, so that a budget means nothing to it"),
        ("visual-tokens", ["--at", "V=64", "--n", "1e9", "--budget", "1e20"], "reads no D, so that a budget"),
        ("visual-tokens", ["--at", "V=64", "--n", "1e9", "--d", "1e9"], "reads no D: leave --d out"),
    ],
)  # fmt: skip
def test_what_a_law_does_not_read_is_refused_by_name(
    law: str,
    asked: list[str],
    told: str,
    table: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, _, err = run_cli(["predict", "--data", str(table), "--model", law, *asked], monkeypatch, capsys)
    assert (code, told in err) == (2, True), err


def experts(x: Any, *, E: Any, B: Any) -> Any:
    """L = E + B/x"""
    return E + B / x


@pytest.mark.parametrize("split", [True, False])
def test_labels_that_are_numbers_are_asked_for_however_they_are_written(split: bool) -> None:
    law = FitModel(
        "experts",
        experts,
        (
            Parameter("E", 1.0, linear=True, per="experts"),
            Parameter("B", 1.0, linear=True, per="experts" if split else None),
        ),
        variables=("x",),
    )
    x, of = np.tile(np.geomspace(1, 100, 8), 3), np.repeat([8.0, 16.0, 64.0], 8)
    noise = 0.01 * np.random.default_rng(0).standard_normal(24)
    rows = pd.DataFrame({"x": x, "experts": of, "loss": 1 + of / 50 + 2 / x + noise})
    found = fvlm.fit(rows, law, objective="mse", draws=10)
    for label in (8, 8.0, "8", "8.0"):
        assert found.predict(at={"x": 10, "experts": label}).loss == pytest.approx(1.36, abs=0.02)
    with pytest.raises(
        UsageError, match=r"--at experts=32: no point is of that experts; there are 8, 16, 64"
    ):
        found.predict(at={"x": 10, "experts": 32})


def test_values_that_a_law_does_not_read_neither_stop_it_nor_drop_points() -> None:
    law = FitModel(
        "frames",
        experts,
        (Parameter("E", 1.0, linear=True), Parameter("B", 1.0, linear=True)),
        variables=("x", "err"),
        target="err",
    )
    x = np.geomspace(1, 100, 20)
    rows = pd.DataFrame({"x": x, "err": 1 + 2 / x + 0.001 * np.random.default_rng(0).standard_normal(20)})
    alone = fvlm.fit(rows, law, objective="mse", draws=5)
    rows = rows.assign(N=np.where(x > 8, 1e8, np.nan), D=np.where(x > 50, 0.0, -1.0), loss=-1.0)
    beside = fvlm.fit(rows, law, objective="mse", draws=5)
    assert len(beside.points) == 20
    assert beside.parameters["value"].tolist() == pytest.approx(alone.parameters["value"].tolist())
    told = " ".join(beside.report.points.remarks)
    assert "left out" not in told
    assert "D: no number above 0, and taken as not known, since no law reads it: 20" in told
    with pytest.raises(UsageError, match="expected a finite, positive number"):
        fvlm.fit(rows.assign(loss=1.0), "joint-chinchilla", draws=5)


def test_a_prediction_is_called_by_what_is_predicted_beside_what_was_said(table: Path) -> None:
    loss = np.linspace(0.5, 2.2, 40)
    accuracy = 0.6 / (1 + np.exp(6 * (loss - 1.1))) + 0.25
    found = fvlm.fit(pd.DataFrame({"loss": loss, "accuracy": accuracy}), "accuracy", draws=5)
    told = found.predict(at={"loss": 1.1}).to_dict()["prediction"]
    assert told["loss"] == 1.1
    assert told["accuracy"]["value"] == pytest.approx(0.55, abs=1e-4)


def three(n: Any, d: Any, x: Any, *, E: Any, A: Any, B: Any, F: Any) -> Any:
    """L = E + A/N^.3 + B/D^.3 + F/x"""
    return E + A / n**0.3 + B / d**0.3 + F / x


def test_each_size_under_a_budget_keeps_what_was_said_and_many_points_are_placed_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    law = FitModel(
        "three", three, tuple(Parameter(name, 1.0, linear=True) for name in "EABF"), variables=("x",)
    )
    n, d, x = np.array([*product((1e7, 1e8, 1e9), (1e9, 1e10), (1, 2, 8))], float).T
    loss = three(n, d, x, E=1.5, A=300, B=400, F=0.3)
    loss = loss * np.exp(0.002 * np.random.default_rng(0).standard_normal(len(n)))
    rows = pd.DataFrame({"N": n, "D": d, "x": x, "loss": loss})
    found = fvlm.fit(rows, law, draws=20)
    told = found.predict(budget=6e18, at={"x": 4}, cost="6ND").to_dict()
    assert len(told["sizes"]) == 3
    assert all(one["x"] == 4.0 for one in [*told["sizes"], told["optimum"]])
    predictor = Predictor(found.report.fits[0], None)
    table = found.report.points.table.assign(n=1e10)
    each = [predictor.over(table.iloc[[at]])[2][0] for at in range(len(table))]
    measured: list[str] = []
    count = roll_out._measures  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(roll_out, "_measures", lambda *of: measured.append("once") or count(*of))
    assert predictor.over(table)[2].tolist() == pytest.approx(each)
    assert measured == ["once"]


def test_a_size_is_asked_for_by_its_name_or_as_a_number(
    table: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["predict", "--data", str(table), "--d", "8e9", "--draws", "5", "--force", "--n"]
    code, out, _ = run_cli([*call, "30000000"], monkeypatch, capsys)
    assert (code, "N = 3e+07 (33M)" in out, "is a size of the points" in out) == (0, True, False)
    for size in ("huge", "-3M", "0"):
        code, _, err = run_cli([*call, size], monkeypatch, capsys)
        assert code == 2
        assert f'--n: expected a positive number such as 360M, 1.7B or 1.6e16, got "{size}"' in err
        assert "the points have the sizes 11M, 33M, 111M" in err
