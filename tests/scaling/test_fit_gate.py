"""What speaks against a fit is found where it is, and not where it is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from attrs import evolve
from measured import TRUTH, chinchilla

from fvlm_core.api.views.fit import sensitivity_lines
from fvlm_core.plugin_api import FitModel, LRCurve, Parameter, Relation
from fvlm_core.scaling.fit import residual_checks as evidence
from fvlm_core.scaling.fit.constraints import Constraints, freed
from fvlm_core.scaling.fit.fitting import fit_points, load_model
from fvlm_core.scaling.fit.levenberg_marquardt import descend
from fvlm_core.scaling.fit.objective import FitObjective
from fvlm_core.scaling.fit.options import Options
from fvlm_core.scaling.fit.problem import FitProblem
from fvlm_core.scaling.fit.report import FitReport
from fvlm_core.scaling.points.points import tidy
from fvlm_core.testing import law as law_bench
from fvlm_core.utils.errors import UsageError
from fvlm_registry import registry

SIZES = (1e4, 4e4, 1.6e5, 6.4e5)


@pytest.fixture(autouse=True)
def few_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Made points lie near enough to their law."""
    monkeypatch.setattr("fvlm_core.scaling.fit.solver.STARTS", 64)
    monkeypatch.setattr("fvlm_core.scaling.fit.solver.FINALISTS", 4)


def campaign(
    runs_a_size: int = 2,
    points: int = 24,
    noise: float = 0.002,
    seed: int = 0,
    change: Any = None,
) -> pd.DataFrame:
    """Runs on the law of `TRUTH` with independent noise. change: called with the table, returns other losses."""
    rng = np.random.default_rng(seed)
    rows = [
        pd.DataFrame(
            {"n": n, "run": f"{n:.0f}-{copy}", "d": 640 * np.arange(1, points + 1), "schedule": "constant"}
        )
        for n in SIZES
        for copy in range(runs_a_size)
    ]
    table = pd.concat(rows, ignore_index=True)
    loss = chinchilla(table["n"], table["d"], **TRUTH) * np.exp(noise * rng.standard_normal(len(table)))
    table["loss"] = loss
    return table if change is None else change(table)


def report(table: pd.DataFrame, name: str = "joint-chinchilla", **options: Any) -> FitReport:
    return fit_points(tidy(table, "made"), load_model(name), draws=60, options=Options(**options))


def codes(found: FitReport) -> set[str]:
    return {remark.code for fit in found.fits for remark in fit.remarks}


def test_sound_runs_are_believed() -> None:
    for seed in range(2):
        found = report(campaign(seed=seed))
        assert (found.status, found.reasons) == ("ok", ())
        assert not {"change-point", "drift", "runs-disagree"} & codes(found)


def test_a_jump_inside_a_run_is_named_with_its_place_and_withholds_the_law() -> None:
    def jump(table: pd.DataFrame) -> pd.DataFrame:
        later = (table["run"] == "40000-1") & (table["d"] > 640 * 12)
        return table.assign(loss=table["loss"] * np.where(later, 0.95, 1.0))

    found = report(campaign(change=jump), sensitivity=False)
    assert found.status == "reduced"
    (said,) = [reason for reason in found.reasons if "jumps" in reason]
    assert said.startswith("run 40000-1 jumps by -5.")
    assert "between D = 7.68k and 8.32k" in said
    assert set(found.withheld) == {"E", "A", "alpha"}


def test_a_run_apart_from_its_twin_is_named() -> None:
    def shift(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(loss=table["loss"] * np.where(table["run"] == "10000-0", 1.04, 1.0))

    found = report(campaign(change=shift))
    assert "runs-disagree" in codes(found)
    assert any("lies 4" in warning or "lies 3.9" in warning for warning in found.warnings)
    assert found.status == "ok", "eight runs are enough for the intervals to hold what differs between runs"


def test_a_law_that_does_not_bend_as_the_points_do_drifts_with_the_cut() -> None:
    def broken(table: pd.DataFrame) -> pd.DataFrame:
        slow = 1 + 0.3 * np.exp(-table["d"] / 2500)
        return table.assign(loss=table["loss"] * slow)

    found = report(campaign(change=broken))
    assert any("drifts with the cut" in reason for reason in found.reasons)


def test_sizes_of_different_schedules_withhold_what_depends_on_size() -> None:
    def schedules(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(schedule=np.where(table["n"] == SIZES[0], "cosine", "constant"))

    found = report(campaign(change=schedules), sensitivity=False)
    assert found.status == "reduced"
    assert any("different learning-rate schedules" in reason for reason in found.reasons)


def test_one_point_and_one_run_are_refused_and_a_per_size_law_is_only_warned_about() -> None:
    one = campaign().head(1)
    assert report(one).status == "refused"
    single = campaign(runs_a_size=1)
    single = single[single["n"] == SIZES[0]]
    assert report(single).status in ("reduced", "refused")
    by_size = report(single, "per-size")
    assert by_size.status == "ok"
    assert "one-run" in codes(by_size)


def test_offsets_take_up_what_differs_between_runs() -> None:
    rng = np.random.default_rng(3)
    shifts = {run: 0.02 * rng.standard_normal() for run in campaign()["run"].unique()}

    def shift(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(loss=table["loss"] * np.exp(table["run"].map(shifts)))

    table = campaign(change=shift)
    with_offsets = report(table, offsets=True, force=True)
    without = report(table, force=True, sensitivity=False)
    (fit,) = with_offsets.fits
    offsets = {name[7:-1]: value for name, value in fit.values.items() if name.startswith("offset[")}
    assert len(offsets) == len(SIZES)  # the second run of a size has minus the first one's
    for run, value in offsets.items():
        twin = run[:-1] + "1"
        assert value == pytest.approx((shifts[run] - shifts[twin]) / 2, abs=0.002)
    assert fit.rmse < 0.5 * without.fits[0].rmse
    told = [*with_offsets.reasons, *with_offsets.warnings, *sensitivity_lines(fit)]
    assert not [line for line in told if "offset[" in line and ("drift" in line or "without" in line)]


def test_a_parameter_without_influence_has_no_standard_error() -> None:
    """Larger models that are worse: A is 0, and alpha can be anything."""

    def worse(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(loss=table["loss"] * (table["n"] / SIZES[0]) ** 0.3)

    (fit,) = report(campaign(change=worse), force=True, sensitivity=False).fits
    found = {one.name: one for one in fit.estimates}
    assert found["A"].bound == "min"
    assert found["alpha"].stderr is None
    assert found["beta"].stderr is not None


def test_a_parameter_that_the_law_does_not_use_is_named_as_such() -> None:
    def flat(d: Any, *, E: Any, B: Any, K: Any) -> Any:
        """L = E + B/D"""
        return E + B / d + 0 * K

    parameters = (Parameter("E", 1.0), Parameter("B", 100.0), Parameter("K", 2.0))
    law = FitModel("flat", flat, parameters, needs="four or more amounts of data")
    found = fit_points(tidy(campaign(runs_a_size=1), "made"), law, draws=10)
    (reason,) = found.reasons
    assert "K is not identifiable: it makes no difference to any predicted loss at these points" in reason
    assert "rank 2 of 3" in reason
    assert "The law does not use it" in reason
    assert "amounts of data" not in reason


def test_given_and_tied_parameters_are_kept_and_shown() -> None:
    table = campaign(noise=0.0)
    asked = Constraints(fixed=("alpha=0.35", "B=3*A"))
    found = report(table, constraints=asked, sensitivity=False)
    (fit,) = found.fits
    assert fit.values["alpha"] == 0.35
    assert fit.values["B"] == pytest.approx(3 * fit.values["A"], rel=1e-9)
    assert fit.values["E"] == pytest.approx(TRUTH["E"], rel=1e-3)  # the truth has B = 3 A
    assert {estimate.given for estimate in fit.estimates} == {"", "0.35", "3*A"}


def _rates(name: str) -> tuple[pd.DataFrame, dict[str, LRCurve]]:
    """Points with every column that a law reads: curves that cross, or budgets with a best size and a best rate."""
    law = load_model(name)
    table = law_bench.points(law)
    if name == "mixture":
        proportions = table[["p1", "p2", "p3"]]
        table[["p1", "p2", "p3"]] = proportions.div(proportions.sum(axis=1), axis=0)
    if law.target not in ("loss", "n"):  # an accuracy that rises with compute
        table[law.target] = 0.2 + 0.5 / (1 + np.exp(-0.3 * (np.log(table["step"]) - 7)))
    if name == "envelope":
        return table.assign(loss=2 + 100 * table["n"] ** -0.3 + 100 * table["d"] ** -0.3), {}
    table["compute"] = 1e15 * table["step"].clip(lower=1000).round(-3)
    table["d"] = np.where(table["step"] > 900, table["compute"] / 6 / table["n"], table["d"])
    bend = 0.1 * np.log(table["n"] / 8e6) ** 2 + 0.05 * np.log(table["lr"] / 1e-3) ** 2
    table["loss"] = 2 + bend + 30 * table["d"] ** -0.3
    runs = (table["size"] + "/" + table["run"]).unique()
    return table, {run: law_bench.CURVES[run[-1]] for run in runs}


LAWS = [offer.component.name for offer in registry().offered("fit")]


@pytest.mark.parametrize("name", LAWS)
def test_a_law_with_one_parameter_given_is_the_law_there(name: str) -> None:
    table, _ = _rates(name)
    law = load_model(name)
    whole = FitProblem(law, FitObjective("mse"), table.assign(budget="1"), law_bench.CURVES)
    losses = whole.predict(whole.guess()[None])[0]
    for parameter in law.parameters:
        given = freed(Constraints(fixed=(f"{parameter.name}={parameter.guess!r}",)).apply(law))
        part = FitProblem(given, FitObjective("mse"), table.assign(budget="1"), law_bench.CURVES)
        found = part.predict(np.repeat(part.guess()[None], 3, 0))
        assert found == pytest.approx(np.stack([losses] * 3), rel=1e-9)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.soak] * (name == "multi-power")) for name in LAWS]
)
def test_every_parameter_of_every_law_can_be_given(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From few starts in few steps: where the others end is no matter here."""
    monkeypatch.setattr("fvlm_core.scaling.fit.solver.STARTS", 16)
    monkeypatch.setattr("fvlm_core.scaling.fit.solver.FINALISTS", 2)
    monkeypatch.setattr("fvlm_core.scaling.fit.solver.SURE", 20)  # more points than this need no polish
    for user in ("solver", "uncertainty"):
        monkeypatch.setattr(
            f"fvlm_core.scaling.fit.{user}.descend",
            lambda *given, **how: descend(*given, **how | {"steps": 10}),
        )
    table, curves = _rates(name)
    model = load_model(name)
    if model.split == "size":  # of single groups two are as good as four
        table = table[table["size"].isin(table["size"].unique()[:2])]
    points = evolve(tidy(table, "made"), curves=curves)
    for every_second in (model.parameters[::2], model.parameters[1::2]):
        given = {parameter.name: f"{parameter.guess:.6g}" for parameter in every_second}
        constraints = Constraints(fixed=tuple(f"{name}={value}" for name, value in given.items()))
        asked = Options(constraints=constraints, force=True, sensitivity=False)
        found = fit_points(points, model, draws=2, options=asked)
        assert found.fits
        for fit in found.fits:
            known = {one.name: (one.value, one.stderr) for one in fit.estimates if one.name in given}
            assert known == {name: (float(value), None) for name, value in given.items()}
            assert not given.keys() & {slot.parameter.name for slot in fit.problem.slots}


@pytest.mark.parametrize("name", LAWS)
def test_every_parameter_of_every_law_can_be_bounded(name: str) -> None:
    model = load_model(name)
    for parameter in model.parameters:
        most = 3 * max(abs(parameter.guess), 1.0)
        for bounds in (f"{parameter.name}={parameter.guess}:{most}", f"{parameter.name}=:{most}"):
            bounded = Constraints(bounds=(bounds,)).apply(model)
            [found] = [one for one in bounded.parameters if one.name == parameter.name]
            assert (found.max, found.log) == (most, parameter.log)


def test_a_relation_of_a_given_parameter_says_so() -> None:
    table, _ = _rates("lr-optimum")
    asked = Options(constraints=Constraints(fixed=("best=0.001",)), force=True, sensitivity=False)
    found = fit_points(tidy(table, "made"), load_model("lr-optimum"), draws=2, options=asked)
    assert str(found.relation) == "best across groups: it is given, not fitted"


@pytest.mark.parametrize(
    ("fixed", "bounds", "said"),
    [
        (("alhpa=1",), (), 'no parameter "alhpa": did you mean "alpha"?'),
        (("alpha",), (), 'expected NAME=VALUE or NAME=EXPRESSION, got "alpha"'),
        (("alpha=__import__('os')",), (), "expected a number, or an expression of"),
        (("alpha=gamma",), (), "gamma is not one of them"),
        ((), ("E=2:1",), "expected LOW < HIGH"),
        ((), ("E=low:1",), "expected NAME=LOW:HIGH"),
        ((), ("A=-1:5",), "expected LOW < HIGH, LOW at least 0"),
    ],
)
def test_constraints_that_make_no_sense_are_explained(
    fixed: tuple[str, ...], bounds: tuple[str, ...], said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        Constraints(fixed, bounds).apply(load_model("joint-chinchilla"))
    assert said in str(caught.value)


def test_a_relation_across_groups_gives_the_exponent_of_their_optima() -> None:
    def parabola(n: Any, *, floor: Any, bend: Any, best: Any) -> Any:
        """L = floor + bend (ln N - ln best)^2"""
        return floor + bend * (np.log(n) - np.log(best)) ** 2

    law = FitModel(
        "bowl",
        parabola,
        (
            Parameter("floor", 2.0, min=0.0, linear=True, per="budget"),
            Parameter("bend", 0.1, min=0.0, linear=True, per="budget"),
            Parameter("best", 1e6, min=1.0, log=True, per="budget"),
        ),
        relation=Relation("best", "compute", "a", expected=0.5),
    )
    rng = np.random.default_rng(0)
    rows = [
        {"n": n, "d": c / (6 * n), "compute": c, "loss": 2 + 0.1 * np.log(n / (c / 6e2) ** 0.45) ** 2}
        for c in (1e15, 1e16, 1e17)
        for n in (c / 6e2) ** 0.45 * np.geomspace(0.2, 5, 7)
    ]
    table = pd.DataFrame(rows)
    table["loss"] *= np.exp(0.0005 * rng.standard_normal(len(table)))
    found = fit_points(tidy(table, "bowls"), law, "mse", draws=100, options=Options(sensitivity=False))
    assert [fit.group for fit in found.fits] == ["1e+15", "1e+16", "1e+17"]
    assert found.relation is not None
    assert found.relation.exponent == pytest.approx(0.45, abs=0.01)
    assert "0.5 lies outside" in str(found.relation)


def test_points_of_one_budget_are_told_from_the_next() -> None:
    from fvlm_core.scaling.fit.budgets import with_budgets

    compute = np.array([1.0, 1.04, 0.99, 3.0, 3.1, 3.35, 10.0]) * 1e16
    table = with_budgets(pd.DataFrame({"compute": compute, "n": 1e8}), "made")
    assert table["budget"].tolist() == ["1e+16"] * 3 + ["3.05e+16"] * 2 + ["3.35e+16", "1e+17"]


def test_steps_of_noise_are_no_jump() -> None:
    rng = np.random.default_rng(0)
    false = 0
    table = pd.DataFrame(
        {"size": "a", "run": np.repeat(["x", "y"], 30), "d": np.tile(np.arange(30.0) + 1, 2)}
    )
    for _ in range(200):
        walk = np.zeros(60)
        for at in range(1, 60):
            walk[at] = 0.8 * walk[at - 1] + 0.003 * rng.standard_normal()
        false += len(evidence.jumps(table, walk))
    assert false <= 4  # 400 runs
