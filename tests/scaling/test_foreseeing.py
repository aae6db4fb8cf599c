"""Predictions of what was not fitted: points kept out, larger runs step by step, and schedules that were not run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from warm import fvlm

from fvlm_core.api.asked_schedule import named_curve
from fvlm_core.api.fit import fit
from fvlm_core.scaling.points.points import tidy
from fvlm_core.utils.errors import FvlmError

TRUTH = (1.7, 480.0, 0.35, 2100.0, 0.37)


def law(n: Any, d: Any) -> Any:
    e, a, alpha, b, beta = TRUTH
    return e + a / n**alpha + b / d**beta


def grid(noise: float = 0.0, truth: Any = law, seed: int = 0) -> pd.DataFrame:
    """One run for each of 6 sizes and 4 amounts of data."""
    n, d = (each.ravel() for each in np.meshgrid(np.geomspace(5e7, 2e9, 6), np.geomspace(1e9, 5e10, 4)))
    loss = truth(n, d) * np.exp(noise * np.random.default_rng(seed).standard_normal(len(n)))
    return pd.DataFrame({"run": [f"r{at}" for at in range(len(n))], "N": n, "D": d, "loss": loss})


def test_points_kept_out_are_not_fitted_and_scored_by_the_textbook_formulas() -> None:
    table = grid(0.004)
    out = table["N"] > 1e9
    found = fit(table, holdout="N > 1e9", draws=50)
    alone = fit(table[~out], draws=50)
    assert found.parameters["value"].tolist() == alone.parameters["value"].tolist()
    value = alone.parameters.set_index("parameter")["value"]
    predicted = (
        value["E"] + value["A"] / table["N"] ** value["alpha"] + value["B"] / table["D"] ** value["beta"]
    )
    apart, measured = (predicted - table["loss"])[out], table["loss"][out]
    scores = found.holdout.set_index("of").loc["all"]
    assert scores["points"] == out.sum()
    assert scores["r2"] == pytest.approx(
        1 - (apart**2).sum() / ((measured - measured.mean()) ** 2).sum(), abs=1e-9
    )
    assert scores["mean"] == pytest.approx((apart / measured).abs().mean(), rel=1e-6)
    assert scores["worst"] == pytest.approx((apart / measured).abs().max(), rel=1e-6)
    assert found.held is not None
    inside = found.held.table["loss"].between(found.held.table["low"], found.held.table["high"])
    assert scores["coverage"] == inside.mean() > 0.7


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("N > 1e12", "no point is where N > 1e12, of 24"),
        ("N > 0", "every point is where N > 0: nothing is left to fit"),
        ("run = q*", 'no point has such a run'),
        ("Nn > 1", "Nn"),
        ("N", "expected KEY OP VALUE"),
    ],
)
def test_a_holdout_that_cannot_be_is_one_sentence(where: str, said: str) -> None:
    with pytest.raises(FvlmError) as raised:
        fit(grid(), holdout=where, draws=10)
    assert said in str(raised.value)


def test_a_pattern_keeps_whole_runs_out_and_each_is_scored(tmp_path: Path) -> None:
    grid(0.002).to_csv(tmp_path / "points.csv", index=False)
    command = ("fit", "--data", "points.csv", "--model", "joint-chinchilla", "--draws", "20", "--json", "-")
    done = fvlm(*command, "--holdout", "run = r2*", "--holdout", "run=r7", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["reports"][0]["holdout"]
    assert {one["of"] for one in found["runs"]} == {"r2", "r20", "r21", "r22", "r23", "r7"}
    assert found["total"]["points"] == 6
    assert found["unpredicted"] == 0
    assert "r21" in done.stderr
    assert "kept out" in done.stderr


def test_a_roll_out_fits_the_smaller_runs_and_foresees_the_larger() -> None:
    """Each step is the fit that a user gets who has only those runs."""
    table = grid(0.004).assign(nd=lambda of: of["N"] * of["D"])
    rolled = fit(table, draws=20).roll_out()
    assert rolled.attrs["scale"] == "N times D"
    for fitted, those in rolled.groupby("fitted"):
        smaller = table.nsmallest(int(fitted), "nd")
        alone = fit(smaller, draws=20, force=True).parameters.set_index("parameter")["value"]
        later = table.set_index("run").loc[those["run"]]
        expected = (
            alone["E"] + alone["A"] / later["N"] ** alone["alpha"] + alone["B"] / later["D"] ** alone["beta"]
        )
        assert those["predicted"].to_numpy() == pytest.approx(expected.to_numpy(), rel=1e-5)
        assert (later["nd"] > smaller["nd"].max()).all()
        far = [
            max(one.N / smaller["N"].max(), one.D / smaller["D"].max(), one.nd / smaller["nd"].max())
            for one in later.itertuples()
        ]
        assert those["factor"].to_numpy() == pytest.approx(np.array(far))
        assert those["error"].to_numpy() == pytest.approx(
            np.log(those["predicted"] / those["measured"]).to_numpy()
        )


def test_the_growth_of_errors_is_found_of_a_law_that_is_wrong_and_not_of_one_that_is_right() -> None:
    right = [fit(grid(0.002, seed=seed), draws=20).roll_out().attrs["growth"] for seed in range(4)]
    bent = lambda n, d: law(n, d) * np.exp(0.02 * np.log(n * d / 5e16) ** 2 / 10)
    wrong = [
        fit(grid(0.002, bent, seed), draws=20, force=True).roll_out().attrs["growth"] for seed in range(4)
    ]
    assert max(right) < 0.004
    assert min(wrong) > 2 * max(right)


def test_beyond_the_points_an_interval_grows_by_what_refits_got_wrong() -> None:
    bent = lambda n, d: law(n, d) * np.exp(0.02 * np.log(n * d / 5e16) ** 2 / 10)
    found = fit(grid(0.002, bent), draws=100, force=True)
    growth = found.roll_out().attrs["growth"]
    near, far = found.predict(2e9, 5e10).answer.prediction, found.predict(1e10, 5e10).answer.prediction
    assert near is not None
    assert far is not None
    (low, high), (under, over) = far.loss.band or (0, 0), far.loss.interval or (0, 0)
    assert np.log(over / under) > 2 * 2.3 * growth * np.log(5.0)  # t of 8 refits: 2.31
    assert np.log(over / under) > np.log(high / low)
    (under, over) = near.loss.interval or (0, 0)
    assert np.log(over / under) < 2 * 2.3 * growth * np.log(5.0)


def test_too_few_runs_give_no_roll_out_and_say_what_it_takes() -> None:
    with pytest.raises(FvlmError, match="no roll-out: at least 3 refits"):
        fit(grid()[::4], "per-size", force=True, draws=10)["50M"].roll_out()


@pytest.fixture(scope="module")
def rates(shared: Path) -> pd.DataFrame:
    """Published loss curves under a cosine and a constant schedule, and one that stays and then falls."""
    tables = []
    for name in ("cosine_24000", "constant_24000", "wsdld_20000_24000"):
        table = pd.read_csv(shared / "data/multipowerlaw/csv_25" / f"{name}.csv")
        tables.append(table[table["step"] != 24_000].iloc[::4].assign(run=name, size="25M"))
    return pd.concat(tables, ignore_index=True)


def test_the_loss_under_a_schedule_that_was_not_run_is_the_measured_one(rates: pd.DataFrame) -> None:
    """The published run decays in a straight line from step 20,000 of 24,000."""
    found = fit(rates, "tissue", warmup_steps=2160, holdout="run = wsd*", draws=50)
    assert found.holdout["mean"].iloc[-1] < 0.004
    asked = {"steps": 24_000, "lr": 3e-4, "n": "25M"}
    answer = found.predict(schedule=f"wsd,decay={4000 / (24_000 - 2160)!r}", **asked)
    last = rates[rates["run"] == "wsdld_20000_24000"].iloc[-1]
    assert answer.loss == pytest.approx(last["loss"], rel=0.004)
    step = np.array([2160, 20_000, 24_000])
    curve = pd.DataFrame({"step": step, "lr": [3e-4, 3e-4, 3e-5]})
    assert found.predict(curve=curve, n="25M").loss == pytest.approx(answer.loss, rel=1e-4)
    flat = found.predict(schedule="constant", **asked)
    assert flat.loss > answer.loss + 0.03


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"schedule": "wds", "steps": 24_000, "lr": 1e-3}, 'did you mean "wsd"'),
        ({"schedule": "wsd,decya=0.1", "steps": 24_000, "lr": 1e-3}, 'did you mean "decay"'),
        ({"schedule": "wsd,decay", "steps": 24_000, "lr": 1e-3}, "KEY=VALUE"),
        ({"schedule": "wsd"}, "takes steps and lr"),
        ({"steps": 24_000}, "by a schedule"),
        ({"schedule": "wsd", "steps": 100, "lr": 1e-3}, "more than the 2,160 steps of the warm-up"),
        ({"schedule": "wsd", "steps": 24_000, "lr": 1e-3, "n": "26M"}, 'did you mean "25M"'),
        ({"curve": pd.DataFrame({"step": [1, 2], "rate": [1, 1]})}, "no column lr"),
        ({"curve": pd.DataFrame({"step": [1, 1], "lr": [1, 1]})}, "step 1 is there twice"),
        ({"curve": pd.DataFrame({"step": [1, 2], "lr": [1, -1]})}, "not negative"),
        ({"curve": "none.csv"}, "no such file"),
    ],
)
def test_a_schedule_that_is_none_is_one_sentence(
    rates: pd.DataFrame, said: dict[str, Any], expected: str
) -> None:
    found = fit(rates, "tissue", warmup_steps=2160, draws=10)
    with pytest.raises(FvlmError) as raised:
        found.predict(**said)
    assert expected in str(raised.value)


def test_laws_without_learning_rates_say_which_have_them() -> None:
    with pytest.raises(FvlmError, match="reads no learning rates"):
        fit(grid(), draws=10).predict(schedule="cosine", steps=1000, lr=1e-3)


def test_a_named_schedule_is_that_of_a_recipe() -> None:
    """Half a cosine to a tenth of the peak after the warm-up: the closed form."""
    points = tidy(grid().rename(columns=str.lower), "here")
    curve = named_curve("cosine", 1000, 2e-3, points, 100)
    step = np.arange(100, 1001)
    expected = 2e-3 * (0.1 + 0.9 * 0.5 * (1 + np.cos(np.pi * (step - 100) / 900)))
    assert curve.at(step.astype(float)) == pytest.approx(expected, rel=1e-12)
    assert curve.at(np.array([50.0])) == pytest.approx([1e-3])
    assert named_curve("cosine,floor=0.5", 1000, 2e-3, points, 0).rates[-1] == pytest.approx(1e-3)
