"""Laws of size, data, compute and learning rate: the truth of exact points, and published extrapolations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fvlm_fits.config import Envelope

from fvlm_core.plugin_api import UsageError
from fvlm_core.scaling.fit.fitting import fit_points, load_model
from fvlm_core.scaling.fit.objective import FitObjective
from fvlm_core.scaling.fit.problem import FitProblem
from fvlm_core.scaling.fit.solver import solve
from fvlm_core.scaling.points.files import read_points
from fvlm_core.scaling.points.points import tidy

SIZES = [1e5, 4e5, 1.6e6, 6.4e6]
SAMPLES = [1e4, 1e5, 1e6, 1e7]


def grid() -> pd.DataFrame:
    """A run of each size with four evaluations."""
    n, d = (axis.ravel() for axis in np.meshgrid(SIZES, SAMPLES, indexing="ij"))
    size = [f"{one:g}" for one in n]
    return pd.DataFrame({"n": n, "d": d, "compute": 6 * n * d, "run": size, "size": size, "loss": 1.0})


def recovered(name: str, truth: dict[str, float], table: pd.DataFrame) -> dict[str, float]:
    """What a fit to exact losses of the law finds."""
    model = load_model(name)
    problem = FitProblem(model, FitObjective("log-huber"), table)
    values = np.array([[truth[slot.parameter.name] for slot in problem.slots]])
    problem = FitProblem(model, FitObjective("log-huber"), table.assign(loss=problem.predict(values)[0]))
    return {
        slot.parameter.name: value for slot, value in zip(problem.slots, solve(problem).values, strict=True)
    }


TRUTHS = {
    "joint-tied": {"E": 0.8, "A": 30.0, "B": 80.0, "alpha": 0.4},
    "kaplan": {"Nc": 3e9, "Dc": 8e10, "aN": 0.1, "aD": 0.13},
    "gadre": {"E": 1.2, "a": 40.0, "b": 90.0, "c": 0.35},
    "repetition": {"E": 0.9, "A": 30.0, "B": 80.0, "alpha": 0.4, "beta": 0.45, "R": 6.0},
}


@pytest.mark.parametrize("name", TRUTHS)
def test_exact_points_give_back_the_truth(name: str) -> None:
    table = grid().assign(unique=3e5)
    assert recovered(name, TRUTHS[name], table) == pytest.approx(TRUTHS[name], rel=1e-3)


def test_overtraining_law_predicts_the_published_held_out_losses(shared: Path) -> None:
    """Gadre et al.: five small runs tell the loss of 1.4B at M = 640 and of 6.9B at M = 20 to .71 % and .73 %."""
    raw = pd.read_csv(shared / "data/gadre_overtraining/models.csv")
    raw = raw[raw["dataset"] == "rpj"]
    raw = raw.assign(
        n=raw["params"], d=raw["tokens"], loss=raw["loss_c4_val"], run=raw["model"], size=raw["model"]
    )
    m = 20 * raw["chinchilla_mult"]
    small = ~raw["model"].isin(["open_lm_1b", "open_lm_7b"])
    smallest = raw["model"] == "d=96_l=8_h=4"
    train = raw[small & ((m == 20) | (smallest & (m == 320)))]
    held_out = raw[
        ((raw["model"] == "open_lm_1b") & (m == 640)) | ((raw["model"] == "open_lm_7b") & (m == 20))
    ]
    assert (len(train), len(held_out)) == (5, 2)
    problem = FitProblem(load_model("gadre"), FitObjective("mse"), train)
    solution = solve(problem)
    predicted = problem.at(held_out).predict(solution.values[None])[0]
    missed = dict(zip(held_out["model"], np.abs(predicted / held_out["loss"] - 1), strict=True))
    assert round(100 * missed["open_lm_1b"], 4) == pytest.approx(0.7103, abs=2e-4)
    assert round(100 * missed["open_lm_7b"], 4) == pytest.approx(0.7320, abs=2e-4)
    known = json.loads((shared / "data/gadre_overtraining/expected.json").read_text())["verified_here"]
    a, b, c, floor = known["rpj_c4_val"]["params"]
    found = {slot.name: value for slot, value in zip(problem.slots, solution.values, strict=True)}
    assert found == pytest.approx({"a": a, "b": b, "c": -c, "E": floor}, rel=5e-4)


def flops(budgets: list[float], sizes: list[float]) -> pd.DataFrame:
    """Exact final losses of L = .8 + 40/N^.4 + 90/D^.5 with 6ND = C."""
    rows: list[dict[str, Any]] = []
    for budget in budgets:
        for n in sizes:
            d = budget / (6 * n)
            loss = 0.8 + 40 / n**0.4 + 90 / d**0.5
            run = f"{budget:g}-{n:g}"
            rows.append(
                {"n": n, "d": d, "compute": budget, "loss": loss, "run": run, "budget": f"{budget:g}"}
            )
    return pd.DataFrame(rows)


def best_size(budget: float) -> float:
    """Where dL/dN = 0: N^.9 = .4*40/(.5*90) (C/6)^.5."""
    return (0.4 * 40 / (0.5 * 90) * (budget / 6) ** 0.5) ** (1 / 0.9)


def test_isoflop_finds_the_best_size_of_each_budget() -> None:
    for budget in (1e13, 1e14):
        middle = best_size(budget)
        table = flops([budget], [middle * 1.4**step for step in (-2, -1, 0, 1, 2)])
        problem = FitProblem(load_model("isoflop"), FitObjective("log-huber"), table)
        values = dict(zip("LNk", solve(problem).values, strict=True))
        assert values["N"] == pytest.approx(middle, rel=0.03)
        checks = problem.model.checks
        assert checks is not None
        assert checks(values, table) == []
        left = table[table["n"] < middle * 0.99]  # whose losses still fall at the largest
        (few,) = checks(values, left)
        assert "2 sizes were tried" in few
        left = flops([budget], [middle * 1.4**step for step in (-4, -3, -2, -1)])
        (beyond,) = checks(values, left)
        assert "the minimum lies above all sizes tried" in beyond
        assert "try larger ones" in beyond
        (apart,) = checks({**values, "N": 2 * table["n"].max()}, table)
        assert "the losses do not follow one" in apart


def test_the_best_learning_rate_is_believed_only_between_the_rates_tried() -> None:
    rates = np.array([1e-3, 2e-3, 4e-3, 8e-3])
    table = pd.DataFrame({"lr": rates, "loss": 2.0 + 0.05 * np.log(rates / 2.5e-3) ** 2, "sweep": "1M"})
    problem = FitProblem(load_model("lr-optimum"), FitObjective("log-huber"), table)
    values = dict(zip(("L", "best", "k"), solve(problem).values, strict=True))
    assert values == pytest.approx({"L": 2.0, "best": 2.5e-3, "k": 0.05}, rel=1e-5)
    relation, checks = problem.model.relation, problem.model.checks
    assert relation is not None
    assert checks is not None
    assert (relation.against, relation.expected) == ("n", -0.5)
    assert checks(values, table) == []
    above = table[table["lr"] > values["best"]]
    above = pd.concat([above, above.assign(lr=4 * above["lr"], loss=above["loss"] + 0.1)])
    assert "below all learning rates tried" in checks(values, above)[0]
    assert "does not bend" in checks({**values, "k": 0.0}, table)[0]


def crossing() -> pd.DataFrame:
    """Curves of four sizes on one law, dense in compute."""
    rows: list[pd.DataFrame] = []
    for n in np.geomspace(1e5, 1e8, 13):
        compute = np.geomspace(1e10, 1e17, 120)
        d = compute / (6 * n)
        loss = 0.8 + 40 / n**0.4 + 90 / d**0.5
        rows.append(pd.DataFrame({"n": n, "d": d, "compute": compute, "loss": loss, "run": f"{n:g}"}))
    return pd.concat(rows, ignore_index=True)


@pytest.mark.parametrize(("of", "exponent"), [("n", 0.5 / 0.9), ("d", 0.4 / 0.9)])
def test_envelope_of_curves_has_the_exponent_of_their_law(of: str, exponent: float) -> None:
    model = load_model("envelope", Envelope(of=of))  # type: ignore[arg-type]
    assert model.derive is not None
    derived = model.derive(tidy(crossing(), "curves").table)
    # The first and the last run are best over a stretch that the curves cut short.
    problem = FitProblem(model, FitObjective("log-huber"), derived.iloc[1:-1])
    values = dict(zip("Ga", solve(problem).values, strict=True))
    assert values["a"] == pytest.approx(exponent, abs=0.02)


def test_an_envelope_of_one_run_is_refused_with_its_name() -> None:
    table = crossing()
    better = table[table["n"] == 1e5].assign(run="better", n=2e5)
    better["loss"] /= 2
    derive = load_model("envelope").derive
    assert derive is not None
    with pytest.raises(UsageError, match="run better is the whole envelope"):
        derive(tidy(pd.concat([table[table["n"] == 1e5], better]), "grid").table)
    with pytest.raises(UsageError, match="takes several runs, and there is 1"):
        derive(tidy(better, "grid").table)


def test_repetition_says_where_the_number_of_different_samples_goes() -> None:
    with pytest.raises(UsageError, match="Add a column unique"):
        FitProblem(load_model("repetition"), FitObjective(), grid())


def test_two_floor_is_what_two_sizes_can_tell(shared: Path) -> None:
    points = read_points([shared / "data/phase1b_export/all_eval_points.csv"])
    problem = FitProblem(load_model("two-floor"), FitObjective("mse"), points.table)
    solution = solve(problem)
    values = {slot.name: value for slot, value in zip(problem.slots, solution.values, strict=True)}
    assert round(float(np.sqrt(solution.total / len(points.table))), 6) == 0.048083
    assert values["beta"] == pytest.approx(0.426, abs=1e-3)
    assert values["floor[135M]"] == pytest.approx(1.1872, abs=5e-4)
    assert values["floor[360M]"] == pytest.approx(1.2715, abs=5e-4)


def test_the_exponent_of_the_best_rate_is_compared_with_the_rule() -> None:
    rows = [
        {"n": n, "d": 1e5, "lr": lr, "step": 100, "run": f"{n:g}-{lr:g}", "size": f"{n:g}"}
        for n in (1e6, 4e6, 1.6e7)
        for lr in (5e-4, 1e-3, 2e-3, 4e-3, 8e-3)
    ]
    table = pd.DataFrame(rows)
    table["loss"] = 2 + 0.05 * np.log(table["lr"] / (2e-3 * (table["n"] / 4e6) ** -0.4)) ** 2
    report = fit_points(tidy(table, "sweep"), load_model("lr-optimum"), draws=20)
    assert report.status == "ok"
    assert report.relation is not None
    assert "exponent = -0.400" in str(report.relation)


def test_the_best_rate_is_the_one_chosen_not_what_a_cosine_leaves_of_it() -> None:
    rows = [
        {"n": 1e6, "d": 1e3 * step, "lr": lr * share, "step": step, "run": f"{lr:g}", "loss": loss}
        for lr in (5e-4, 1e-3, 2e-3, 4e-3, 8e-3)
        for loss in [2 + 0.05 * np.log(lr / 2e-3) ** 2]
        for step, share in ((10, 1.0), (50, 0.5), (100, 0.0))
    ]
    report = fit_points(tidy(pd.DataFrame(rows), "sweep"), load_model("lr-optimum"), draws=20)
    assert report.status == "ok"
    assert report.fits[0].values["best"] == pytest.approx(2e-3, rel=1e-6)
    assert "which schedules had lowered at points of 5 runs" in " ".join(report.points.remarks)


def test_the_exponent_of_the_best_size_is_found_over_budgets() -> None:
    budgets = [1e13, 3e13, 1e14, 3e14]
    shifts = [1.4**step for step in (-2, -1, 0, 1, 2)]
    table = pd.concat([flops([one], [best_size(one) * shift for shift in shifts]) for one in budgets])
    report = fit_points(tidy(table.drop(columns="budget"), "grid"), load_model("isoflop"), draws=20)
    assert report.status == "ok"
    assert len(report.fits) == len(budgets)
    assert "a = 0.55" in str(report.relation) or "a = 0.56" in str(report.relation)
