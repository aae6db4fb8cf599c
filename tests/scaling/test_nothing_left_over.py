"""No residual, no interval: where points leave nothing over, nothing that is printed claims to know how sure it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import test_law_gradients as laws
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import run_cli

from fvlm_core.plugin_api import LawReport
from fvlm_core.report.figures import load_figure
from fvlm_core.report.figures.view import view
from fvlm_core.scaling.fit.constraints import Constraints
from fvlm_core.scaling.fit.diagnostics import lag1
from fvlm_core.scaling.fit.fitting import fit_points, load_model
from fvlm_core.scaling.fit.identifiability import design_rank, rank_at
from fvlm_core.scaling.fit.objective import FitObjective
from fvlm_core.scaling.fit.options import Options
from fvlm_core.scaling.fit.problem import FitProblem
from fvlm_core.scaling.fit.report import FitReport
from fvlm_core.scaling.fit.resampling import SCHEMES
from fvlm_core.scaling.points.points import tidy
from fvlm_core.scaling.predict.cost import Cost
from fvlm_core.scaling.predict.prediction_gate import ask
from fvlm_core.scaling.predict.question import Asked

FAST = [law for law in laws.LAWS if law not in ("envelope", "multi-power")]
JOINT = load_model("joint-chinchilla")


@pytest.fixture(autouse=True)
def few_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a fit arrives is no matter here: what it claims is."""
    monkeypatch.setattr("fvlm_core.scaling.fit.solver.STARTS", 32)
    monkeypatch.setattr("fvlm_core.scaling.fit.solver.FINALISTS", 4)


def measured(law: str, spare: int, noise: float, seed: int) -> FitReport:
    """A fit to as many points as parameters, and `spare` more (of each group of a law of single groups)."""
    rng = np.random.default_rng(seed)
    table, model = laws.table(), load_model(law)
    if law not in ("tissue", "multi-power"):
        rows = len(table)
        sizes = np.array([1e6, 3e6, 9e6, 2e7])[np.arange(rows) % 4]
        table = table.assign(
            n=sizes, size=[f"{n / 1e6:g}M" for n in sizes], run="", d=np.geomspace(1e3, 1e6, rows)
        )
        table["lr"] = np.geomspace(1e-4, 1e-2, rows)
        table["unique"] = table["d"] / np.where(np.arange(rows) % 3, 5.0, 1.0)
        table["compute"] = np.repeat([1e15, 1e16], rows // 2)
        table["budget"] = table["compute"].map("{:.3g}".format)
    table["sweep"] = table["size"]
    by = model.split or "source"
    table["source"] = "all"
    groups: list[pd.DataFrame] = []
    for _, rows in table.groupby(by, sort=False):
        slots = FitProblem(model, FitObjective(), rows.reset_index(drop=True), laws.CURVES).slots
        for _ in range(30):  # until the points tell every slot, where any do
            chosen = np.sort(rng.permutation(len(rows))[: len(slots) + spare])
            part = rows.iloc[chosen].reset_index(drop=True)
            told = FitProblem(model, FitObjective(), part, laws.CURVES)
            if told.slots == slots and design_rank(told).full:
                break
        groups.append(part)
    table = pd.concat(groups, ignore_index=True)
    problem = FitProblem(model, FitObjective(), table, laws.CURVES)
    exact = problem.predict(problem.guess()[None])[0]
    table["loss"] = exact * np.exp(noise * rng.standard_normal(len(table)))
    if model.split == "budget":
        table["d"] = table["compute"] / 6 / table["n"]
    if model.split == "sweep":
        table["d"] = 1e6
    points = evolve(tidy(table.drop(columns=["source", "budget", "sweep"]), "made"), curves=laws.CURVES)
    return fit_points(points, model, draws=20, options=Options(force=True))


def claims_nothing(report: FitReport) -> None:
    """What holds of every report: an interval has a width, and where there is none nothing claims to be sure."""
    for fit in report.fits:
        slots = [at for at, bound in enumerate(fit.solution.bounds) if bound is None]
        free = rank_at(fit.problem, fit.solution.theta, slots).rank
        for one in fit.estimates:
            ends = one.interval
            if ends.missing:
                assert (ends.low, ends.high, one.stderr) == (None, None, None), one
            elif ends.low is not None and ends.high is not None:
                assert ends.high > ends.low, one
        if fit.n_points <= free:
            assert all(one.interval.missing for one in fit.estimates)
            assert (fit.criteria.aic, fit.lag1, fit.profiles()) == (None, 0.0, ())
            assert {"no-interval"} <= {remark.code for remark in fit.remarks}
            assert not {"drift", "unsteady", "autocorrelated"} & {remark.code for remark in fit.remarks}
    relation = report.relation
    if relation is not None and (relation.interval.missing or len(relation.groups) < 3):
        assert "lies" not in str(relation)


@pytest.mark.parametrize("law", FAST)
def test_as_many_points_as_parameters_leave_no_interval_in_any_law(law: str) -> None:
    report = measured(law, 0, 0.01, 0)
    claims_nothing(report)
    spare = [
        any(fit.solution.bounds) for fit in report.fits
    ]  # a parameter that rests on its bound leaves a residual
    assert (
        any(spare)
        or any(one.interval.missing for fit in report.fits for one in fit.estimates)
        or not report.fits
    )


@given(law=st.sampled_from(FAST), spare=st.integers(0, 3), noise=st.sampled_from([0.0, 1e-9, 0.003]),
       seed=st.integers(0, 2**16))  # fmt: skip
@settings(max_examples=4, deadline=None, derandomize=True)
def test_no_interval_is_without_width(law: str, spare: int, noise: float, seed: int) -> None:
    report = measured(law, spare, noise, seed)
    claims_nothing(report)
    text = json.dumps(report.to_json())
    assert "NaN" not in text
    assert "Infinity" not in text


@pytest.mark.parametrize("scheme", SCHEMES)
def test_made_points_without_noise_have_no_interval_however_many(scheme: Any) -> None:
    table = joint([1e7, 1e8, 1e9, 1e10], [1e9, 1e10, 1e11], 0.0)
    asked = Options(bootstrap=scheme, sensitivity=False)
    report = fit_points(tidy(table, "made"), JOINT, draws=20, options=asked)
    (fit,) = report.fits
    assert all("last digit" in one.interval.missing for one in fit.estimates)
    assert all("last digit" in warning or "no interval" not in warning for warning in report.warnings)


@pytest.mark.parametrize("scheme", ["cluster", "wild"])
def test_one_run_drawn_as_a_whole_gives_no_interval(scheme: Any) -> None:
    rng = np.random.default_rng(0)
    d = np.geomspace(1e3, 1e6, 12)
    loss = (1 + 20 * d**-0.4) * np.exp(0.003 * rng.standard_normal(12))
    table = pd.DataFrame({"n": 1e6, "d": d, "loss": loss, "run": "only"})
    asked = Options(bootstrap=scheme, sensitivity=False)
    report = fit_points(tidy(table, "one"), load_model("per-size"), draws=50, options=asked)
    assert all(one.interval.missing for one in report.fits[0].estimates)


def test_what_a_single_point_tells_has_no_interval_where_others_have() -> None:
    rng = np.random.default_rng(1)
    d = np.tile(np.geomspace(1e4, 1e7, 12), 2)
    n = np.repeat([1e6, 4e6], 12)
    table = pd.DataFrame({"n": n, "d": d, "loss": 1 + 20 * d**-0.5 + 1e2 / n**0.5})
    table["loss"] *= np.exp(0.003 * rng.standard_normal(len(table)))
    alone = pd.DataFrame({"n": [1.6e7], "d": [1e9], "loss": [1.03]})  # where the power of D has vanished
    law, asked = load_model("two-floor"), Options(sensitivity=False)
    report = fit_points(tidy(pd.concat([table, alone]), "one"), law, draws=100, options=asked)
    (fit,) = report.fits
    found = {one.name: one.interval for one in fit.estimates}
    assert "fitted exactly" in found["floor[16M]"].missing
    assert not found["floor[1M]"].missing
    best, low, high = fit.predict(pd.DataFrame({"n": [1.6e7], "d": [1e9], "size": ["16M"]}))
    assert best[0] == pytest.approx(1.03)
    assert np.isnan([low[0], high[0]]).all()


@pytest.mark.parametrize("fixed", ["alpha=0.35", "E=1.7"])
def test_a_given_parameter_has_no_interval_and_a_tied_one_that_of_its_partner(fixed: str) -> None:
    table = joint([1e7, 1e8, 1e9, 1e10], [1e9, 1e10, 1e11], 0.003)
    asked = Options(constraints=Constraints(fixed=(fixed, "beta=alpha")), sensitivity=False)
    (fit,) = fit_points(tidy(table, "made"), JOINT, draws=50, options=asked).fits
    found = {one.name: one.interval for one in fit.estimates}
    assert found[fixed.split("=")[0]].missing == "it is given"
    if fixed.startswith("alpha"):
        assert found["beta"].missing
    else:
        assert found["beta"].low == pytest.approx(found["alpha"].low, rel=0.2)


def joint(sizes: list[float], data: list[float], noise: float) -> pd.DataFrame:
    n, d = (axis.ravel() for axis in np.meshgrid(sizes, data, indexing="ij"))
    loss = 1.7 + 480 / n**0.35 + 2100 / d**0.37
    return pd.DataFrame(
        {"n": n, "d": d, "loss": loss * np.exp(noise * np.random.default_rng(0).standard_normal(len(n)))}
    )


def test_a_prediction_from_nothing_left_over_has_no_interval_and_says_so() -> None:
    table = joint([1e7, 1e8, 1e9], [1e9, 1e10, 1e11], 0.003).iloc[[0, 1, 2, 3, 6]]
    report = fit_points(tidy(table, "five"), JOINT, draws=20, options=Options(force=True))
    answer = ask(Asked(n=1e9, d=1e10), report, Cost("6ND", (), "made"))
    assert answer.prediction is not None
    assert (answer.prediction.loss.band, answer.prediction.loss.interval) == (None, None)
    assert "5 points for 5 parameters" in " ".join(answer.warnings)
    assert "Infinity" not in json.dumps(answer.to_json())
    assert answer.noise is not None
    assert answer.noise.run_source == "assumed"


@pytest.fixture(scope="module")
def exact(shared: Path) -> LawReport:
    """Three rates for each parabola of three parameters, as a figure gets to see them."""
    table = pd.read_csv(shared / "cases/tables/exact_parabolas.csv").rename(columns=str.lower)
    return view(fit_points(tidy(table, "cases"), load_model("lr-optimum"), draws=2))


@pytest.mark.parametrize(
    "name", ["lr-sweep", "profiles", "parameter-pairs", "sensitivity", "loss-data", "isoflop"]
)
def test_figures_cope_and_say_why(name: str, exact: LawReport) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    from fvlm_core.report.figures.style import caption_of

    figure = FigureCanvasAgg(Figure()).figure
    load_figure(name)([exact], figure)
    figure.draw_without_rendering()
    written = [text.get_text() for text in figure.findobj(Text)]
    said = " ".join(" ".join(text.split()) for text in [*written, *caption_of(figure)])
    assert "leave no residual" in said or name in ("isoflop", "sensitivity")


def test_exact_parabolas_give_best_rates_without_intervals_and_no_verdict(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    file = shared / "cases/tables/exact_parabolas.csv"
    code, told, _ = run_cli(
        ["fit", "--data", str(file), "--model", "lr-optimum", "--json", "fit.json"], monkeypatch, capsys
    )
    assert code == 0
    # The vertex of the parabola through three points, by hand (numpy's polynomial of degree 2 in ln lr).
    table = pd.read_csv(file)
    record = json.loads(Path("fit.json").read_text())["reports"][0]
    for fit, (_, rows) in zip(record["fits"], table.groupby("N"), strict=True):
        bend, slope, _ = np.polyfit(np.log(rows["lr"]), rows["loss"], 2)
        found = fit["parameters"]["best"]
        assert found["value"] == pytest.approx(np.exp(-slope / 2 / bend), rel=1e-6)
        assert (found["interval"], found["stderr"]) == ([None, None], None)
        assert "3 points for 3 parameters" in found["no_interval"]
    assert "no interval" in told
    assert "lies" not in told
    assert "unbounded" not in told


@pytest.mark.parametrize(("exponent", "inside"), [(-0.5, True), (-0.2, False)])
def test_an_exponent_is_judged_by_its_groups_scatter_where_they_have_no_errors(
    exponent: float, inside: bool
) -> None:
    """Five sizes of three rates: nothing is left over of any, three are of the line through the five. How wide the
    interval is, and that it holds the truth as often, is in test_intervals."""
    rng = np.random.default_rng(0)
    rows = [
        {"n": n, "d": 1e9, "lr": lr, "loss": 2 + 0.1 * np.log(lr / best) ** 2}
        for n in np.geomspace(1e6, 1e8, 5)
        for best in [1e-3 * (n / 1e7) ** exponent * np.exp(0.1 * rng.standard_normal())]
        for lr in best * np.array([0.4, 1.2, 3.0])
    ]
    points, law = tidy(pd.DataFrame(rows), "sweep"), load_model("lr-optimum")
    found = fit_points(points, law, draws=2, options=Options(sensitivity=False)).relation
    assert found is not None
    low, high = found.interval.low, found.interval.high
    assert low is not None
    assert high is not None
    assert low < exponent < high
    assert (low <= -0.5 <= high) == inside
    assert ("-0.5 lies inside" in str(found)) == inside


@given(
    series=st.lists(st.floats(-1e3, 1e3) | st.just(float("nan")), min_size=1, max_size=12),
    runs=st.integers(1, 3),
)
@settings(max_examples=60, deadline=None)
def test_an_autocorrelation_lies_between_minus_one_and_one(series: list[float], runs: int) -> None:
    values = np.array(series)
    table = pd.DataFrame({"size": "a", "run": [f"r{at % runs}" for at in range(len(values))]})
    rho, pairs = lag1(table, values)
    assert -1 < rho < 1
    assert pairs <= max(0, len(values) - 1)


@pytest.mark.parametrize(
    ("series", "low", "high"),
    [([1.0] * 9, 0.9, 1.0), ([1.0, 1.0], 0.5, 1.0), ([1.0, -1.0] * 5, -1.0, -0.9), (list(range(1, 20)), 0.9, 1.0),
     ([1.0], 0.0, 0.0), ([0.0] * 4, 0.0, 0.0), ([0.5, 1.0, 0.9, 0.5], 0.6, 1.0), ([1.0, float("nan"), 1.0], 0.0, 0.0)],
)  # fmt: skip
def test_the_autocorrelation_of_plain_series_is_what_it_should_be(
    series: list[float], low: float, high: float
) -> None:
    rho, _ = lag1(pd.DataFrame({"size": "a", "run": ["r"] * len(series)}), np.array(series, float))
    assert low <= rho <= high
    assert abs(rho) < 1
