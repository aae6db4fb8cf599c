"""`fvlm predict`: losses of new runs, budgets under the ledger's cost, and what the points do not carry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from measured import TRUTH, chinchilla, grid
from tiny import run_cli

from fvlm_core.scaling.fit.fitting import fit_points, load_model
from fvlm_core.scaling.fit.problem import FitProblem
from fvlm_core.scaling.points.points import Points, tidy
from fvlm_core.scaling.predict.cost import Cost, Size, cost_of_points, six_nd
from fvlm_core.scaling.predict.optimum import optimum
from fvlm_core.scaling.predict.prediction import Predictor
from fvlm_core.scaling.predict.prediction_gate import ask
from fvlm_core.scaling.predict.question import Asked
from fvlm_core.utils.errors import UsageError

pytestmark = pytest.mark.usefixtures("quick_fits")

SIZES = (40_000, 120_000, 400_000, 1_200_000)


def finals(noise: float, seed: int, sizes: tuple[int, ...] = SIZES, seeds: int = 1) -> Points:
    """The ends of runs of each size on four amounts of data, which cost 5 N + 200,000 FLOPs a sample."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for n in sizes:
        for d in (2_000, 8_000, 32_000, 128_000):
            for again in range(seeds):
                loss = chinchilla(n, d, **TRUTH) * np.exp(noise * rng.standard_normal())
                name = f"{n}-{d}-{again}"
                rows.append({"run": name, "n": n, "d": d, "loss": loss, "compute": d * (5 * n + 2e5)})
    return tidy(pd.DataFrame(rows), "points")


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FVLM_RUNS", raising=False)
    return lambda *arguments: run_cli([str(argument) for argument in arguments], monkeypatch, capsys)


def test_cost_is_the_ledgers_at_sizes_and_between_them_and_not_far_beyond() -> None:
    found = cost_of_points(finals(0.0, 0))
    assert found is not None
    cost = found[0]
    known = np.array(SIZES, float)
    assert cost.flops(known) == pytest.approx(5 * known + 2e5, rel=1e-9)
    assert cost.flops(69_282) == pytest.approx(
        np.sqrt(4e5 * 8e5), rel=1e-3
    )  # the geometric mean, at that of N
    assert np.isnan(cost.flops(2.1 * SIZES[-1]))
    assert cost.about(40_000) == ""
    assert "between" in cost.about(60_000)


def test_optimum_is_that_of_the_closed_form_under_6nd() -> None:
    """N* = G (C/6)^(beta/(alpha+beta)), Hoffmann et al. (2022), equation 4."""
    law = load_model("joint-chinchilla")
    problem = FitProblem(law, fit_points(finals(0.0, 0), law, draws=2).objective, finals(0.0, 0).table)
    values = np.array([[TRUTH[parameter.name] for parameter in law.parameters]])
    a, b = TRUTH["alpha"], TRUTH["beta"]
    scale = (a * TRUTH["A"] / (b * TRUTH["B"])) ** (1 / (a + b))
    budget = 1e12
    found = optimum(problem, values, Cost("6ND", (), ""), budget, 1e3, 1e9)
    assert found.n[0] == pytest.approx(scale * (budget / 6) ** (b / (a + b)), rel=1e-3)
    assert found.d[0] == pytest.approx(budget / 6 / found.n[0])


def test_a_budget_is_spent_under_the_ledgers_cost_and_not_6nd() -> None:
    points = finals(0.003, 1)
    report = fit_points(points, load_model("joint-chinchilla"), draws=100)
    found = cost_of_points(points)
    assert found is not None
    answer = ask(Asked(budget=1e11), report, found[0])
    assert answer.best is not None
    assert answer.best.d == pytest.approx(1e11 / float(found[0].flops(answer.best.n)))
    rule = ask(Asked(budget=1e11), report, six_nd(points)).best
    assert rule is not None
    assert answer.best.n > 1.05 * rule.n  # what a sample costs at every size makes large models cheaper
    assert [one.label for one in answer.sizes] == points.sizes
    assert sum(one.best or 0 for one in answer.sizes) == pytest.approx(1)


@pytest.mark.soak
def test_intervals_of_a_new_run_hold_it() -> None:
    """95 % of new runs: of 60 simulated ones at least 50 lie inside, and a band of the law alone is narrower."""
    law = load_model("joint-chinchilla")
    inside = 0
    for seed in range(60):
        answer = ask(Asked(n=1_200_000, d=256_000), fit_points(finals(0.004, seed), law, draws=60), None)
        assert answer.prediction is not None
        loss = answer.prediction.loss
        assert loss.interval[0] < loss.band[0] <= loss.value <= loss.band[1] < loss.interval[1]
        new = chinchilla(1_200_000, 256_000, **TRUTH) * np.exp(
            0.004 * np.random.default_rng([seed, 9]).standard_normal()
        )
        inside += loss.interval[0] <= new <= loss.interval[1]
    assert inside >= 50


def test_far_extrapolation_is_refused_and_says_how_far(cli: Any, tmp_path: Path) -> None:
    finals(0.003, 2).table.to_csv("points.csv", index=False)
    arguments = ("predict", "--data", "points.csv", "--n", "7B", "--d", "64k", "--draws", "50")
    code, out, _ = cli(*arguments)
    assert code == 0
    assert "refused" in out
    assert "N = 7e+09 is a factor of 5.83e+03 above the largest of the points, 1.2e+06" in out
    code, out, _ = cli(*arguments, "--strict", "--json")
    assert code == 1
    answer = json.loads(out)
    assert (answer["status"], answer["prediction"], answer["optimum"]) == ("refused", None, None)
    code, out, _ = cli(*arguments, "--force", "--json")
    answer = json.loads(out)
    assert code == 0
    assert answer["prediction"]["loss"]["value"] > 0
    assert "factor of 5.83e+03" in answer["reasons"][0]


def test_what_the_gate_withholds_is_not_predicted_but_sizes_that_were_run_are(cli: Any) -> None:
    finals(0.003, 3, SIZES[:2]).table.to_csv("two.csv", index=False)
    code, out, _ = cli("predict", "--data", "two.csv", "--budget", "1e11", "--draws", "50")
    assert code == 0
    assert "not identifiable" in out
    assert "says nothing of the best use of a budget" in out
    code, out, _ = cli("predict", "--data", "two.csv", "--n", "120k", "--d", "64k", "--draws", "50", "--json")
    answer = json.loads(out)
    assert (code, answer["status"]) == (0, "reduced")
    assert answer["prediction"]["loss"]["value"] == pytest.approx(
        chinchilla(120_000, 64_000, **TRUTH), rel=0.02
    )


def test_runs_are_predicted_from_their_own_flops(cli: Any, tmp_path: Path) -> None:
    grid(tmp_path / "runs")
    code, out, _ = cli("predict", "--n", "400k", "--budget", "2e10", "--draws", "50", "--json", "--force")
    answer = json.loads(out)
    assert code == 0
    assert answer["prediction"]["D"] == pytest.approx(2e10 / (6 * 400_000))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--n", "1M"), "--n and --d"),
        (("--n", "1M", "--d", "2k", "--budget", "1e9"), "--n and --d"),
        (("--n", "-3", "--d", "2k"), "expected a positive number"),
        (("--budget", "1e9"), "do not hold their FLOPs"),
    ],
)
def test_misuse_is_explained(cli: Any, arguments: tuple[str, ...], told: str) -> None:
    finals(0.003, 2).table.drop(columns="compute").to_csv("points.csv", index=False)
    code, _, err = cli("predict", "--data", "points.csv", "--draws", "50", *arguments)
    assert code == 2
    assert told in err


def test_values_of_n_that_differ_in_the_last_digits_are_one_size(cli: Any) -> None:
    """As read off a picture: seventy values of N of seven sizes are no seventy sizes."""
    table = finals(0.003, 2, SIZES, seeds=3).table.drop(columns="size")
    table["n"] *= 1 + 1e-3 * np.random.default_rng(0).random(len(table))
    table.to_csv("points.csv", index=False)
    code, out, _ = cli("predict", "--data", "points.csv", "--budget", "1e11", "--draws", "50", "--json")
    answer = json.loads(out)
    assert code == 0
    assert [one["N"] for one in answer["sizes"]] == pytest.approx(SIZES, rel=2e-3)
    # 48 labels are no line for people either
    assert len(answer["cost"]) < 80


def test_the_share_in_which_a_size_is_best_knows_how_sure_the_law_is() -> None:
    """The draws of small random weights lie closer to the estimate than its error: taken as they are, one size would
    win almost always."""
    points = finals(0.01, 1)
    fit = fit_points(points, load_model("joint-chinchilla"), draws=400).fits[0]
    predictor = Predictor(fit, six_nd(points))
    middle = predictor.best(2e10, 4e4, 1.2e6).n
    close = [middle * ratio for ratio in (0.8, 0.9, 1.0, 1.1, 1.2)]
    answer = predictor.among(2e10, [(str(n), n) for n in close])
    drawn = fit.drawn.values
    assert fit.drawn.scale > 2
    losses = [
        drawn[:, 0] + drawn[:, 1] * n ** -drawn[:, 3] + drawn[:, 2] * (2e10 / 6 / n) ** -drawn[:, 4]
        for n in close
    ]
    narrow = np.bincount(np.argmin(losses, axis=0), minlength=len(close)) / len(drawn)
    assert max(one.best or 0 for one in answer) < max(narrow)


def test_a_refusal_says_nothing_twice(cli: Any) -> None:
    table = finals(0.003, 3, SIZES[:2]).table.assign(
        schedule=lambda points: np.where(points["n"] < 1e5, "a", "b")
    )
    table.to_csv("two.csv", index=False)
    code, out, _ = cli("predict", "--data", "two.csv", "--n", "1M", "--d", "64k", "--draws", "50")
    assert code == 0
    assert out.count("different learning-rate schedules") == 1


def test_one_known_size_has_no_cost_beside_it() -> None:
    cost = Cost("ledger", (Size("one", 1e6, 1e7),), "here")
    assert np.isnan(cost.flops(2e6))
    report = fit_points(finals(0.003, 2), load_model("joint-chinchilla"), draws=20)
    with pytest.raises(UsageError, match="not known"):
        ask(Asked(n=4e5, budget=1e11), report, cost)
