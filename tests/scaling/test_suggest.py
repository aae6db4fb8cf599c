"""`fvlm suggest`: plans that make predictions surer, within their budget, as recipes that run."""

from __future__ import annotations

import json
import re
import runpy
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from measured import TRUTH, points
from tiny import RECIPE, run_cli

from fvlm_core.recipes.read import read_recipe
from fvlm_core.scaling.fit.fitting import load_model
from fvlm_core.scaling.fit.noise import Noise, measured_noise
from fvlm_core.scaling.fit.objective import FitObjective
from fvlm_core.scaling.fit.problem import FitProblem
from fvlm_core.scaling.points.points import tidy
from fvlm_core.scaling.predict.advice import Choices, PredictionTarget, advise, flops_price
from fvlm_core.scaling.predict.cost import Size
from fvlm_core.scaling.predict.design import Candidate, choose, stakes
from fvlm_core.scaling.predict.optimum import bound
from fvlm_core.scaling.predict.prior import learn, logarithmic, prior
from fvlm_core.scaling.predict.reach import data_per_parameter, ratios_outside

pytestmark = pytest.mark.usefixtures("quick_fits")

SIZES = tuple(Size(f"{n:.0f}", n, 6 * n) for n in (2e7, 6e7, 2e8, 6e8))
GRID = """
[[runs]]
id = "narrow"
[[runs]]
id = "wide"
model.encoder.width = 32
model.llm.width = 32
model.llm.mlp = 64
training.lr = 5e-4
[[runs]]
id = "wide-blind"
in_fits = false
model.blind = true
"""


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FVLM_RUNS", raising=False)
    return lambda *arguments: run_cli([str(argument) for argument in arguments], monkeypatch, capsys)


def problem_of(table: pd.DataFrame) -> FitProblem:
    return logarithmic(
        FitProblem(load_model("joint-chinchilla"), FitObjective(), tidy(table, "points").table)
    )


def test_a_plan_stays_within_its_budget_and_beats_the_grid_by_its_own_measure() -> None:
    choices = Choices(SIZES, flops_price, shortest=1e8, most=10)
    advice = advise(load_model("joint-chinchilla"), choices, 1e19, PredictionTarget(n=3e9, d=6e10))
    assert 0 < advice.suggested.flops <= 1e19
    assert len(advice.suggested.runs) <= 10
    grid = advice.alternatives[0]
    assert grid.flops == pytest.approx(1e19, rel=0.02)
    assert advice.suggested.error < 0.85 * grid.error < advice.before
    again = advise(load_model("joint-chinchilla"), choices, 1e19, PredictionTarget(n=3e9, d=6e10))
    assert again.suggested.runs == advice.suggested.runs


def test_a_plan_knows_the_points_there_are() -> None:
    """Where the large sizes are known already, the next runs are not more of the same, and the target is surer."""
    law, choices = load_model("joint-chinchilla"), Choices(SIZES, flops_price, shortest=1e8, most=6)
    known = points({**TRUTH, "E": 1.5}, [2e8, 6e8], [3e8, 1e9, 3e9, 1e10], noise=0.003)
    known["run"] = [f"run-{at}" for at in range(len(known))]
    before = advise(law, choices, 3e18, PredictionTarget(n=3e9, d=6e10))
    after = advise(law, choices, 3e18, PredictionTarget(n=3e9, d=6e10), points=tidy(known, "points"))
    assert after.before < before.before
    assert after.suggested.error < after.before


def test_expected_errors_are_those_of_simulated_fits() -> None:
    """The linearised error at the truth, against the spread of 200 weighted least-squares fits by `learn`."""
    table = points(
        {**TRUTH, "E": 1.5, "A": 300, "B": 400, "alpha": 0.35, "beta": 0.3}, [2e7, 1e8, 6e8], [3e8, 2e9, 1e10]
    )
    table["run"] = [f"run-{at}" for at in range(len(table))]
    problem, noise = problem_of(table), Noise(0.004, 0.0)
    after = learn(prior(problem, 200), problem, noise)
    there = bound(problem, np.array([2e9]), np.array([3e10]))
    drawn = np.log(there.predict(problem.values(after.theta))[:, 0])
    runs = [Candidate("", n, d, 1.0, 1.0) for n, d in zip(table["n"], table["d"], strict=True)]
    known = stakes(
        problem, prior(problem, 200), runs, noise, (np.full(200, 2e9), np.full(200, 3e10)), trust=1.0
    )
    slope = np.einsum("sps->ps", bound(problem, np.full(200, 2e9), np.full(200, 3e10)).jacobian(after.theta))
    information = after.information + prior(problem, 200).precision
    expected = np.sqrt(np.median(np.einsum("ps,spq,qs->s", slope, np.linalg.inv(information), slope)))
    assert known.error(range(len(runs))) > 0
    assert np.std(drawn) == pytest.approx(expected, rel=0.25)


def test_checkpoints_of_one_run_are_not_counted_as_runs() -> None:
    """However often a run is evaluated, what it shares with itself is known once."""
    noise = Noise(0.005, 0.002, 0.5)
    one = Candidate("", 1e8, 2e9, 1.0, 1.0)
    problem = problem_of(points(TRUTH, [2e7, 6e8], [3e8, 1e10]))
    target = (np.full(16, 1e8), np.full(16, 2e9))
    beliefs = prior(problem, 16)
    ends, curves, runs = (
        stakes(problem, beliefs, [candidate], noise, target).error([0] * times)
        for candidate, times in (
            (one, 1),
            (Candidate("", 1e8, 2e9, 1.0, 1.0, evaluations=400), 1),
            (one, 8),
        )
    )
    assert runs < 0.5 * ends
    assert curves > 0.8 * ends
    assert curves > noise.run


@pytest.mark.parametrize(("most", "budget"), [(2, 2e18), (3, 3e18)])
def test_exchanges_find_the_best_of_all_designs_of_few_runs(most: int, budget: float) -> None:
    """Of three runs greedy starts alone lead to a standard error that is 1.6 times as large."""
    problem = problem_of(points(TRUTH, [2e7, 6e8], [3e8, 1e10]))
    runs = [Candidate("", n, d, n * d, n * d) for n in (2e7, 1e8, 6e8) for d in (3e8, 2e9, 1e10)]
    known = stakes(
        problem, prior(problem, 24), runs, Noise(0.005, 0.0), (np.full(24, 3e9), np.full(24, 6e10))
    )
    prices = np.array([run.price for run in runs])
    designs = [list(one) for one in combinations_with_replacement(range(9), most)]
    best = min(known.error(one) for one in designs if prices[one].sum() <= budget)
    assert known.error(choose(known, prices, budget, most)) == pytest.approx(best, rel=1e-3)


def test_noise_is_told_apart_into_runs_and_evaluations() -> None:
    rng = np.random.default_rng(0)
    rows = [(f"run-{run}", at) for run in range(200) for at in range(10)]
    table = pd.DataFrame(rows, columns=["run", "d"]).assign(size="a")
    apart = 0.01 * np.repeat(rng.standard_normal(200), 10) + 0.002 * rng.standard_normal(2_000)
    found = measured_noise(table, apart, 5)
    assert found is not None
    assert found.run == pytest.approx(0.01, rel=0.1)
    assert found.point == pytest.approx(0.002, rel=0.1)
    assert found.lag1 < 0.1


def test_the_recipe_runs_what_was_suggested(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(RECIPE + GRID)
    arguments = (
        "suggest",
        "tiny.toml",
        "--budget",
        "1e11",
        "--target-n",
        "100k",
        "--target-d",
        "20k",
        "--shortest",
        "400",
    )
    code, out, err = cli(*arguments, "--max-runs", "5", "--json")
    assert (code, err) == (0, "")
    plan = json.loads(out)
    assert plan["recipe"] == "tiny-next.toml"
    written = read_recipe("tiny-next.toml")
    suggested = plan["suggested"]["runs"]
    assert len({run.id for run in written.runs}) == len(written.runs) == len(suggested)
    assert [run.config.training.steps for run in written.runs] == [round(run["d"] / 4) for run in suggested]
    originals = {run.id: run.config for run in read_recipe("tiny.toml").runs}
    smallest = min(run["n"] for run in suggested)
    for run, asked in zip(written.runs, suggested, strict=True):
        like = originals["narrow" if asked["n"] == smallest else "wide"]
        assert run.config.model == like.model
        assert run.config.data == like.data
        assert run.config.training.lr == like.training.lr
    assert len({run.config.training.seed for run in written.runs}) == len(written.runs)
    assert sum(run["flops"] for run in suggested) <= 1e11
    code, _, err = cli(*arguments)
    assert code == 2
    assert "is there already" in err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--budget", "1e19"), "--target-n and --target-d"),
        (("--budget", "1e19", "--hours", "3", "--target-n", "1B", "--target-d", "2B"), "one of them"),
        (("--budget", "1e19", "--target-n", "1B", "--target-d", "2B"), "cost of a run is not known"),
        (("--budget", "1e19", "--target-n", "1B", "--target-d", "2B", "--cost", "6ND"), "no candidate size"),
        (
            ("--hours", "3", "--target-n", "1B", "--target-d", "2B", "--cost", "6ND", "--sizes", "1M,2M"),
            "--rate FLOPS_PER_SECOND",
        ),
        (
            (
                "--budget",
                "10",
                "--target-n",
                "1B",
                "--target-d",
                "2B",
                "--cost",
                "6ND",
                "--sizes",
                "1M",
                "--shortest",
                "1k",
            ),
            "pays for no run",
        ),
    ],
)
def test_misuse_is_explained(cli: Any, arguments: tuple[str, ...], told: str) -> None:
    code, _, err = cli("suggest", *arguments)
    assert code == 2
    assert told in err


@pytest.mark.parametrize("sizes", [3, 8])
def test_suggest_and_predict_say_the_same_of_the_noise(cli: Any, sizes: int) -> None:
    """Of three runs nobody can tell how runs scatter about a law of five parameters; of eight one can."""
    sizes_of = [2e7 * 2**at for at in range(sizes)]
    points(TRUTH, sizes_of, [2e8 * 2**step for step in range(7)], noise=0.001).to_csv(
        "points.csv", index=False
    )
    data = ("--data", "points.csv", "--cost", "6ND")
    asked = ("--budget", "1e20", "--target-n", "6e8", "--target-d", "2e10", "--max-runs", "3")
    predicted = cli("predict", *data, "--n", "4e7", "--d", "2e9", "--force", "--draws", "50")[1]
    suggested = cli("suggest", *data, *asked)[1]
    source = "assumed" if sizes == 3 else "measured"
    for told in (predicted, suggested):
        assert f"run to run, {source}: 0." in told
        assert "evaluations about their run's curve, " in told
    given = json.loads(cli("suggest", *data, *asked, "--noise", "0.01", "--json")[1])["noise"]
    assert (given["run_source"], given["point_source"], given["run"]) == ("given", "assumed", 0.01)


def test_points_that_name_no_run_are_runs_of_one_evaluation(cli: Any) -> None:
    """Seven runs of each size are no run of seven evaluations, and the shortest of them is as short as it was."""
    table = points(TRUTH, [size.n for size in SIZES], [2e8 * 2**step for step in range(7)]).drop(
        columns="run"
    )
    table.to_csv("points.csv", index=False)
    code, out, _ = cli(
        *("suggest", "--data", "points.csv", "--cost", "6ND", "--budget", "1e18", "--json"),
        *("--target-n", "6e8", "--target-d", "2e10"),
    )
    assert code == 0
    runs = json.loads(out)["suggested"]["runs"]
    assert {run["evaluations"] for run in runs} == {1}
    assert (
        min(run["d"] for run in runs) < 1e10
    )  # the longest run of each size, not the shortest one, is longer


@pytest.mark.soak
def test_simulated_campaigns_end_nearer_to_the_truth_than_even_grids(root: Path) -> None:
    """A small version of the study in docs/howto/planning.md, on campaigns of its own."""
    bench = runpy.run_path(str(root / "tests" / "bench" / "bench_suggest.py"))
    found = bench["study"]("base", 12, 77_000)
    middle = found.median()
    assert middle["pilot, then plan"] < 0.9 * middle["grid"]


@pytest.mark.soak
def test_the_study_of_the_documentation(root: Path) -> None:
    bench = runpy.run_path(str(root / "tests" / "bench" / "bench_suggest.py"))
    middle = bench["study"]("base", 100, bench["SEED"]).median()
    assert middle["pilot, then plan"] <= 0.75 * middle["grid"]


def test_a_plan_says_d_per_parameter_beside_that_of_the_points_and_how_to_go_on(cli: Any) -> None:
    table = points(TRUTH, [2e7, 6e7, 2e8], [2e9, 4e9, 8e9])  # 10 to 400 samples a parameter
    table["run"] = [f"run-{at}" for at in range(len(table))]
    table.to_csv("points.csv", index=False)
    asked = ["suggest", "--data", "points.csv", "--cost", "6ND", "--sizes", "2M,20M,2B", "--budget", "1e20"]
    asked += ["--target-n", "3B", "--target-d", "60B"]
    code, out, err = cli(*asked)
    assert code == 0, err
    assert out.splitlines()[2].split() == ["size", "N", "D", "D/N", "FLOPs", "runs"]
    assert "D/N of the points there are: 10 to 400" in out
    ratios = [float(line.split()[3]) for line in out.splitlines()[3:] if re.match(r"(2M|20M|2B) ", line)]
    far = [ratio for ratio in ratios if max(ratio / 400, 10 / ratio) > 3]
    assert far
    [said] = [line for line in out.splitlines() if line.startswith("  note: D/N of ")]
    assert "is more than a factor of 3 outside that of the points, 10 to 400; farthest " in said
    assert out.splitlines()[-2].startswith("next: train these, add their rows to the points and ask again;")
    assert out.splitlines()[-1] == "  fvlm suggest RECIPE... --budget 1e+20 --target-n 3e+09 --target-d 6e+10"
    assert json.loads(cli(*asked, "--json")[1])["d_per_n"] == [10.0, 400.0]


@pytest.mark.parametrize(("ratio", "said"), [(30.0, False), (1200.0, False), (1210.0, True), (3.3, True)])
def test_a_factor_of_three_outside_the_points_goes_without_saying(ratio: float, said: bool) -> None:
    run = Candidate("20M", 2e7, 2e7 * ratio, 1.0, 1.0)
    assert bool(ratios_outside([run], (10.0, 400.0))) == said
    assert data_per_parameter(pd.DataFrame({"n": [1e6, np.nan, 2e6], "d": [1e7, 1e9, np.nan]})) == (
        10.0,
        10.0,
    )
    assert data_per_parameter(pd.DataFrame({"n": [np.nan], "d": [1.0]})) is None


def test_a_plan_for_a_recipe_whose_fits_name_its_own_runs_is_a_recipe_that_runs(cli: Any) -> None:
    fits = '[[fits]]\nmodel = "per-size"\nruns = "n*"\n[[fits]]\nmodel = "per-size"\nholdout = "wide"\n'
    Path("grid.toml").write_text(RECIPE + GRID + fits)
    code, _, err = cli("suggest", "grid.toml", "--budget", "1e13", "--target-n", "1M", "--target-d", "1M")
    assert code == 0, err
    again = read_recipe("grid-next.toml" if Path("grid-next.toml").exists() else "tiny-next.toml")
    assert [(fit.model, fit.runs, fit.holdout) for fit in again.fits] == [("per-size", None, None)]
