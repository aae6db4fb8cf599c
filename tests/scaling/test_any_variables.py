"""Laws over whatever columns they declare: read, fitted, asked and drawn; nothing is asked of a table that its law does
not read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import warm
from scipy.optimize import curve_fit

import fvlm
from fvlm_core.interfaces.fit import FitModel, Parameter, Variable
from fvlm_core.scaling.fit.fitting import fit_points
from fvlm_core.scaling.fit.objective import ObjectiveName
from fvlm_core.scaling.fit.options import Options
from fvlm_core.scaling.points.points import tidy
from fvlm_core.utils.errors import FvlmError, UsageError

pytestmark = pytest.mark.usefixtures("quick_fits")

ALONE = Options(sensitivity=False)


# A user's law over three columns of their own: 20 lines.
def own(V: Any, T: Any, P: Any, *, E: Any, A: Any, B: Any, C: Any, a: Any, b: Any, c: Any) -> Any:
    """L = E + A/V^a + B/T^b + C/P^c"""
    return E + A / V**a + B / T**b + C / P**c


OWN = FitModel(
    "own",
    own,
    (
        Parameter("E", 1.0, min=0, linear=True),
        *(Parameter(name, 1.0, min=0, log=True, linear=True) for name in "ABC"),
        *(Parameter(name, 0.5, min=0.01, max=5) for name in "abc"),
    ),
    variables=(Variable("V", "tokens", "visual tokens", headers=("visual_tokens",)), "T", "P"),
)

TRUTH = {"E": 1.5, "A": 2.0, "B": 1.2, "C": 0.9, "a": 0.6, "b": 0.4, "c": 0.3}


def made(noise: float = 0.003, **columns: str) -> pd.DataFrame:
    grid = [(v, t, p) for v in (16, 64, 256, 1024) for t in (1, 4, 16, 64) for p in (10, 100, 1e3, 1e4)]
    V, T, P = np.array(grid, float).T
    loss = own(V, T, P, **TRUTH) * np.exp(noise * np.random.default_rng(0).standard_normal(len(V)))
    return pd.DataFrame({"V": V, "T": T, "P": P, "loss": loss}).rename(columns=columns)


@pytest.fixture(scope="module")
def fitted() -> Any:
    return fvlm.fit(made(V="visual_tokens"), OWN, draws=100)


def test_a_users_law_over_three_columns_is_fitted_without_n_and_d(fitted: Any) -> None:
    found = fitted.parameters.set_index("parameter")
    assert fitted.status == "ok"
    for name, value in TRUTH.items():
        assert found.loc[name, "value"] == pytest.approx(value, rel=0.1)
        assert found.loc[name, "low"] < found.loc[name, "value"] < found.loc[name, "high"]
    said = repr(fitted)
    assert "sizes" not in said
    assert "N: " not in said


def test_its_prediction_is_its_formula_at_what_was_said(fitted: Any) -> None:
    answer = fitted.predict(at={"V": 2048, "T": 8, "P": 100})
    assert answer.loss == pytest.approx(own(2048.0, 8.0, 100.0, **TRUTH), rel=0.01)
    low, high = answer.interval
    assert low < own(2048.0, 8.0, 100.0, **TRUTH) < high
    assert answer.to_dict()["prediction"]["V"] == 2048.0
    far = fitted.predict(at={"V": 1e6, "T": 8, "P": 100})
    assert far.status == "refused"
    assert "V = 1e+06 is a factor of 977 above the largest of the points" in far.reasons[0]


@pytest.mark.parametrize(
    ("at", "told"),
    [
        ({"V": 64, "T": 8}, "reads P: say it with --at P=NUMBER"),
        ({"V": 64, "T": 8, "P": 1, "W": 2}, 'reads no column "W"; it reads V, T, P'),
        ({"V": -1, "T": 8, "P": 1}, "expected a positive number for V, the visual tokens"),
    ],
)
def test_a_question_that_says_too_little_or_something_else_is_explained(
    fitted: Any, at: dict[str, float], told: str
) -> None:
    with pytest.raises(FvlmError, match=told):
        fitted.predict(at=at)


def test_every_figure_draws_it_or_says_why_not(fitted: Any, tmp_path: Path) -> None:
    from fvlm_core.report.catalogue import names

    for name in names():
        assert fitted.figure(name).findobj()
    whole = fitted.figure()
    panels = [axes for axes in whole.axes if axes.lines]
    assert [axes.get_xlabel() for axes in panels] == ["visual tokens, V (tokens)", "T", "P"]
    for axes in panels:  # a curve through points that are moved along the law to it
        (marks, curve) = axes.lines[:2]
        x, y = (np.asarray(part, float) for part in marks.get_data())
        along, height = (np.log(np.asarray(part, float)) for part in curve.get_data())
        drawn = np.interp(np.log(x), along, height)
        assert np.abs(np.log(y) - drawn).max() < 0.02


def test_columns_of_a_law_are_found_by_their_names_or_as_they_are_given(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    made(V="vt", T="t").to_csv(file, index=False)
    found = fvlm.fit(str(file), OWN, columns={"V": "vt"}, draws=2)
    assert {"V", "T", "P"} <= {*found.points.columns}
    with pytest.raises(FvlmError, match="no column is called"):
        fvlm.fit(str(file), OWN, columns={"W": "vt"})
    with pytest.raises(
        FvlmError, match='no column with V, the visual tokens: expected "V" or "visual_tokens"'
    ):
        fvlm.fit(str(file), OWN)
    made().assign(V=-1.0).to_csv(file, index=False)
    with pytest.raises(FvlmError, match="expected a finite, positive number"):
        fvlm.fit(str(file), OWN)


def test_columns_that_no_law_reads_are_not_asked_for_and_may_be_several() -> None:
    """Two candidates of D, and a loss beside the target, hinder nobody who reads neither."""
    table = made().assign(tokens=1.0, dataset_size=2.0, val_loss=1.0)
    table["val/loss"] = 2.0
    reads = FitModel(
        "error", own, OWN.parameters, variables=(*OWN.variables, Variable("error")), target="error"
    )
    assert fvlm.fit(table.rename(columns={"loss": "error"}), reads, draws=2).status == "ok"


def test_a_negative_target_is_fitted_with_plain_residuals_and_that_is_said() -> None:
    def lower(V: Any, *, E: Any, A: Any, a: Any) -> Any:
        """u = E + A/V^a"""
        return E + A / V**a

    law = FitModel(
        "lower",
        lower,
        (
            Parameter("E", 0.0, linear=True), Parameter("A", 1.0, min=0, log=True, linear=True),
            Parameter("a", 0.5, 0.01, 3),
        ),
        variables=("V", Variable("u", positive=False, headers=("unigram_normalized_loss",))),
        target="u",
    )  # fmt: skip
    V = np.geomspace(1, 1e4, 40)
    u = lower(V, E=-5.0, A=4.0, a=0.3) + 0.01 * np.random.default_rng(1).standard_normal(40)
    found = fvlm.fit(pd.DataFrame({"V": V, "unigram_normalized_loss": u}), law, draws=200)
    assert any(
        "the objective is mse, squared residuals, instead of log-huber" in line for line in found.warnings
    )
    best, covariance = curve_fit(lambda V, E, A, a: E + A / V**a, V, u, (-4, 3, 0.4))
    assert found.parameters["value"].tolist() == pytest.approx(best.tolist(), rel=1e-5)
    assert found.parameters["stderr"].tolist() == pytest.approx(
        np.sqrt(np.diag(covariance)).tolist(), rel=0.35
    )
    ends = found.predict(at={"V": 2e4}).interval
    assert ends is not None
    low, high = ends
    assert low < -5.0 + 4.0 * 2e4**-0.3 < high < 0
    assert found.figure().axes


def test_parameters_may_differ_by_any_column_and_others_be_shared() -> None:
    """Two domains with floors of their own and one exponent: as least squares with a dummy variable finds."""

    def floors(T: Any, *, E: Any, B: Any, b: Any) -> Any:
        """L = E(domain) + B/T^b"""
        return E + B / T**b

    law = FitModel(
        "floors",
        floors,
        (
            Parameter("E", 1.0, min=0, linear=True, per="domain"),
            Parameter("B", 1.0, min=0, log=True, linear=True),
            Parameter("b", 0.5, min=0.01, max=3),
        ),
        variables=("T",),
    )
    T = np.tile(np.geomspace(1, 100, 12), 2)
    of = np.repeat([0, 1], 12)
    loss = np.where(of == 0, 1.0, 2.0) + 3 / T**0.5 + 0.01 * np.random.default_rng(2).standard_normal(24)
    table = pd.DataFrame({"T": T, "group": np.array(["web", "code"])[of], "loss": loss})
    found = fvlm.fit(table, law, columns={"domain": "group"}, objective="mse", draws=50)
    best, _ = curve_fit(
        lambda X, web, code, B, b: np.where(X[1] == 0, web, code) + B / X[0] ** b,
        (T, of),
        loss,
        (1, 2, 3, 0.5),
    )
    values = found.parameters.set_index("parameter")["value"]
    names = ["E[web]", "E[code]", "B", "b"]
    assert [values[name] for name in names] == pytest.approx(best.tolist(), rel=1e-5)
    assert found.predict(at={"T": 50, "domain": "code"}).loss == pytest.approx(
        best[1] + best[2] / 50 ** best[3]
    )
    with pytest.raises(UsageError, match="no point is of that domain"):
        found.predict(at={"T": 50, "domain": "cod"})
    with pytest.raises(UsageError, match="domain=LABEL"):
        found.predict(at={"T": 50})


def test_a_law_all_of_whose_parameters_differ_by_a_column_is_fitted_for_each() -> None:
    def line(T: Any, *, E: Any, B: Any) -> Any:
        """L = E + B/T"""
        return E + B / T

    law = FitModel(
        "line",
        line,
        (Parameter("E", 1.0, linear=True, per="experts"), Parameter("B", 1.0, linear=True, per="experts")),
        variables=("T",),
    )
    T = np.tile(np.geomspace(1, 100, 6), 2)
    experts = np.repeat([8.0, 64.0], 6)
    noise = 0.01 * np.random.default_rng(3).standard_normal(12)
    table = pd.DataFrame({"T": T, "experts": experts, "loss": 1 + experts / 64 + 2 / T + noise})
    found = fvlm.fit(table, law, objective="mse", draws=20)
    assert found.groups == ["8", "64"]
    assert found.predict(at={"T": 10, "experts": "64"}).loss == pytest.approx(2.2, abs=0.05)


def test_standard_errors_of_rows_weigh_them_as_least_squares_does() -> None:
    table = made(0.01)
    sigma = np.where(np.arange(len(table)) % 2, 0.002, 0.05)
    table["loss"] += sigma * np.random.default_rng(5).standard_normal(len(table))
    found = fvlm.fit(table.assign(se=sigma), OWN, sigma="se", objective="mse", draws=20)
    columns = table[["V", "T", "P"]].to_numpy(float).T
    best, _ = curve_fit(
        lambda X, E, A, B, C, a, b, c: own(*X, E=E, A=A, B=B, C=C, a=a, b=b, c=c),
        columns, table["loss"], list(TRUTH.values()), sigma=sigma,
    )  # fmt: skip
    assert found.parameters["value"].tolist() == pytest.approx(best.tolist(), rel=1e-4)


@pytest.mark.parametrize("objective", ["log-huber", "log-mse", "mse"])
def test_a_row_of_weight_two_counts_as_two_rows(objective: ObjectiveName) -> None:
    table = made(0.01).iloc[::2]
    twice = pd.concat([table, table.iloc[:10]]).reset_index(drop=True)
    twice["copy"] = np.arange(len(twice))  # rows that differ in a column are no copies
    weight = np.where(np.arange(len(table)) < 10, 2.0, 1.0)
    one = fvlm.fit(table.assign(w=weight), OWN, weight="w", objective=objective, draws=2)
    other = fvlm.fit(twice, OWN, objective=objective, draws=2)
    assert one.parameters["value"].tolist() == pytest.approx(other.parameters["value"].tolist(), rel=1e-5)


def test_weights_and_standard_errors_must_be_positive() -> None:
    with pytest.raises(FvlmError, match="expected a finite, positive number"):
        fvlm.fit(made().assign(w=0.0), OWN, weight="w")
    with pytest.raises(FvlmError, match='no column "se"'):
        fvlm.fit(made(), OWN, sigma="se")


def test_points_with_other_values_of_a_laws_columns_have_another_fingerprint() -> None:
    here, there = (
        tidy(table, "made").of_law(OWN) for table in (made(), made().assign(V=lambda t: t["V"] * 2))
    )
    assert here.fingerprint() != there.fingerprint()
    plain = made().assign(n=1e6, d=1e9)
    assert tidy(plain, "a").fingerprint() == tidy(plain.assign(V=1.0), "b").fingerprint()


def test_names_with_a_meaning_of_their_own_are_no_variables() -> None:
    for name in ("size", "Sigma", "C", "N", "two words"):
        with pytest.raises(FvlmError, match="variable"):
            Variable(name)
    with pytest.raises(FvlmError, match=r'Declare others: variables=\("V",\)'):
        FitModel("own", own, OWN.parameters)
    with pytest.raises(FvlmError, match="variables V and v differ in case alone"):
        FitModel("own", own, OWN.parameters, variables=(*OWN.variables, "v"))


@pytest.mark.parametrize(("column", "what"), [("V", "reads"), ("loss", "predicts")])
def test_a_column_that_groups_differ_by_is_no_number_of_the_law(column: str, what: str) -> None:
    floors = (Parameter("E", 1.0, per=column), *OWN.parameters[1:])
    with pytest.raises(FvlmError, match=f'per="{column}".*the law {what} it as a number'):
        FitModel("own", own, floors, variables=OWN.variables)


@pytest.mark.soak
def test_2700_rows_and_20_parameters_take_seconds() -> None:
    from time import process_time

    count = 6
    names = [f"x{at}" for at in range(count)]
    given = {"np": np}
    formula = " + ".join(f"A{at}*{x}**-a{at}" for at, x in enumerate(names))
    parts = ", ".join(f"A{at}, a{at}" for at in range(count))
    exec(
        f'def law({", ".join(names)}, *, E, {parts}, k, m, r, s, t, u, v):\n    "L = E + powers"\n'
        f"    return E + {formula} + k*x0**-m*x1**-m + r*np.exp(-s*x2) + t*np.log(1 + u*x3) + v*np.log(x4)",
        given,
    )
    law: Any = given["law"]
    parameters = [Parameter("E", 1.0, min=0, linear=True)]
    for at in range(count):
        parameters += [
            Parameter(f"A{at}", 1.0, min=0, log=True, linear=True),
            Parameter(f"a{at}", 0.4, 0.01, 3),
        ]
    parameters += [Parameter("k", 1.0, min=0, log=True, linear=True), Parameter("m", 0.3, 0.01, 3)]
    parameters += [Parameter("r", 0.1, min=0, log=True, linear=True), Parameter("s", 0.3, 0.01, 3)]
    parameters += [Parameter("t", 0.1, min=0, log=True, linear=True), Parameter("u", 0.3, 0.01, 3)]
    parameters += [Parameter("v", 0.01, linear=True)]
    assert len(parameters) == 20
    rng = np.random.default_rng(0)
    table = {name: np.exp(rng.uniform(0, 6, 2700)) for name in names}
    table["loss"] = law(**table, **{p.name: p.guess for p in parameters})
    table["loss"] *= np.exp(0.002 * rng.standard_normal(2700))
    start = process_time()
    report = fit_points(
        tidy(pd.DataFrame(table), "made"), FitModel("twenty", law, tuple(parameters), variables=tuple(names))
    )
    assert process_time() - start < 10
    assert report.fits


LAW = '''
from attrs import frozen
from fvlm_core.plugin_api import Component, FitModel, Parameter, hookimpl

@frozen
class Config:
    pass

def law(V, T, P, *, E, A, B, C, a, b, c):
    """L = E + A/V^a + B/T^b + C/P^c"""
    return E + A / V**a + B / T**b + C / P**c

def build(config):
    scales = [Parameter(name, 1.0, 0.0, log=True, linear=True) for name in "ABC"]
    exponents = [Parameter(name, 0.5, 0.01, 5.0) for name in "abc"]
    floor = Parameter("E", 1.0, 0.0, linear=True)
    return FitModel("three", law, [floor, *scales, *exponents], variables=("V", "T", "P"))

@hookimpl
def fvlm_fit_models():
    yield Component("three", target="acme_three:build", config="acme_three:Config", summary="three columns")
'''


def test_a_third_partys_law_over_three_columns_is_at_most_25_lines(tmp_path: Path) -> None:
    """And is fitted, asked, drawn, planned and reported, from a file of rows."""
    assert len(LAW.strip().splitlines()) <= 25
    (tmp_path / "acme_three.py").write_text(LAW)
    info = tmp_path / "acme_three-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-three\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[fvlm]\nacme = acme_three\n")
    table = made(V="visual_tokens")
    table.to_csv(tmp_path / "points.csv", index=False)
    env = os.environ | {"PYTHONPATH": str(tmp_path)}

    def asked(command: str, *more: str, data: str = "points.csv") -> Any:
        law = ("--model", "three", "--data", data, "--columns", "V=visual_tokens")
        return warm.fvlm(command, *law, *more, cwd=tmp_path, env=env)

    figures = ("--figures", "law,residuals", "--format", "svg")
    done = asked("fit", "--draws", "50", "--json", "fit.json", *figures)
    assert done.returncode == 0, done.stderr
    (fit,) = json.loads((tmp_path / "fit.json").read_text())["reports"][0]["fits"]
    for name, value in TRUTH.items():
        assert fit["parameters"][name]["value"] == pytest.approx(value, rel=0.1)
    assert {file.name for file in (tmp_path / "figures").glob("*.svg")} == {"law.svg", "residuals.svg"}

    found = asked("predict", "--draws", "50", "--at", "V=2048,T=8", "--at", "P=100", "--json")
    assert found.returncode == 0, found.stderr
    loss = json.loads(found.stdout)["prediction"]["loss"]
    assert loss["value"] == pytest.approx(own(2048.0, 8.0, 100.0, **TRUTH), rel=0.01)
    wrong = asked("predict", "--at", "V=2048")
    assert (wrong.returncode, "say it with --at T=NUMBER,P=NUMBER" in wrong.stderr) == (2, True)

    few = table[(table["visual_tokens"] < 1000) & (table["T"] < 64)].iloc[::2]
    few.to_csv(tmp_path / "few.csv", index=False)
    grid = ("--grid", "V=16,64,256,1024", "--grid", "T=1,4,16,64,P=10,100,1k,10k", "--cost", "V*T")
    target = ("--at", "V=4096,T=64,P=10k")
    planned = asked("suggest", *grid, *target, "--budget", "5000", "--json", data="few.csv")
    assert planned.returncode == 0, planned.stderr
    plan = json.loads(planned.stdout)
    assert (plan["measured"], plan["offered"]) == (len(few), 64 - len(few))
    measured = {tuple(row) for row in few[["visual_tokens", "T", "P"]].to_numpy(float)}
    for row in plan["rows"]:
        assert row["cost"] == row["V"] * row["T"]
        assert (row["V"], row["T"], row["P"]) not in measured
    assert 0 < plan["spent"] <= 5000
    assert plan["error_after"] < plan["error_before"]
    (goal,) = plan["target"]
    assert abs(goal["predicted"] - own(4096.0, 64.0, 1e4, **TRUTH)) < 3 * goal["error"]
    nothing = asked("suggest", "--budget", "5", *target)
    assert (nothing.returncode, "--grid V=VALUE,VALUE --grid T=VALUE,VALUE" in nothing.stderr) == (2, True)

    page = warm.fvlm("report", "--fit", "fit.json", cwd=tmp_path, env=env)
    assert page.returncode == 0, page.stderr
    text = (tmp_path / "report.html").read_text()
    assert "L = E + A/V^a + B/T^b + C/P^c. 64 points; objective log-huber." in text
    assert "The law at the largest V, T = 10, with its 95 % band." in text
    assert "The points are others" not in text


def memory(h: Any, b: Any, *, E: Any, A: Any, a: Any, k: Any) -> Any:
    """M = E + A*h^a + k*b"""
    return E + A * h**a + k * b


def test_a_target_in_a_small_unit_has_the_parameters_that_it_has_in_a_large_one() -> None:
    """Bytes, FLOPs or nanoseconds: a floor of 1e12 was said to make no difference, for a unit of it makes none."""
    law = FitModel(
        "memory",
        memory,
        (
            Parameter("E", 1.0, 0.0, linear=True),
            Parameter("A", 1.0, 0.0, log=True, linear=True),
            Parameter("a", 1.0, 0.1, 3.0),
            Parameter("k", 1.0, 0.0, linear=True),
        ),
        variables=("h", "b", Variable("mem", "bytes")),
        target="mem",
    )
    h, b = (part.ravel() for part in np.meshgrid([256, 512, 1024, 2048, 4096], [1.0, 4.0, 16.0, 64.0]))
    noise = np.exp(0.005 * np.random.default_rng(0).standard_normal(len(h)))
    gigabytes = (1 + 3e-6 * h**2 + 5e-3 * b) * noise
    found = [
        fvlm.fit(pd.DataFrame({"h": h, "b": b, "mem": gigabytes * unit}), law, draws=50)
        for unit in (1, 1e9, 1e12)
    ]
    assert [one.status for one in found] == ["ok"] * 3
    first, *others = (one.parameters.set_index("parameter") for one in found)
    for other, unit in zip(others, (1e9, 1e12), strict=True):
        for name, times in (("E", unit), ("A", unit), ("a", 1), ("k", unit)):
            close = pytest.approx((first.loc[name, ["value", "stderr"]] * times).tolist(), rel=1e-3)
            assert other.loc[name, ["value", "stderr"]].tolist() == close
