"""Predictions of what was not fitted: points kept out, larger runs step by step, and schedules that were not run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tiny import run_cli

from fvlm_core.api.asked_schedule import named_curve
from fvlm_core.api.fit import fit
from fvlm_core.utils.errors import FvlmError

pytestmark = pytest.mark.usefixtures("quick_fits")

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
    assert scores["coverage"] == inside.mean()
    assert inside.mean() > 0.7


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("N > 1e12", "no point is where N > 1e12, of 24"),
        ("N > 0", "every point is where N > 0: nothing is left to fit"),
        ("run = q*", "no point has such a run"),
        ("Nn > 1", "Nn"),
        ("N", "expected KEY OP VALUE"),
        ("N = big", 'holdout "N == big": N is a number'),
        ("run > r2", 'holdout "run > r2": run is text'),
    ],
)
def test_a_holdout_that_cannot_be_is_one_sentence(where: str, said: str) -> None:
    with pytest.raises(FvlmError) as raised:
        fit(grid(), holdout=where, draws=10)
    assert said in str(raised.value)


@pytest.fixture
def told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """`fvlm fit --data points.csv` with more arguments, beside that file: exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    return lambda *more: run_cli(["fit", "--data", "points.csv", *more], monkeypatch, capsys)


def test_a_pattern_keeps_whole_runs_out_and_each_is_scored(
    tmp_path: Path, told: Callable[..., tuple[int, str, str]]
) -> None:
    grid(0.002).to_csv(tmp_path / "points.csv", index=False)
    command = ("--model", "joint-chinchilla", "--draws", "20", "--json", "-")
    code, out, err = told(*command, "--holdout", "run = r2*", "--holdout", "run=r7")
    assert code == 0, err
    found = json.loads(out)["reports"][0]["holdout"]
    assert {one["of"] for one in found["runs"]} == {"r2", "r20", "r21", "r22", "r23", "r7"}
    assert found["total"]["points"] == 6
    assert found["unpredicted"] == 0
    assert "r21" in err
    assert "kept out" in err


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
    right = [fit(grid(0.002, seed=seed), draws=20).roll_out().attrs["growth"] for seed in range(2)]
    bent = lambda n, d: law(n, d) * np.exp(0.02 * np.log(n * d / 5e16) ** 2 / 10)
    wrong = [
        fit(grid(0.002, bent, seed), draws=20, force=True).roll_out().attrs["growth"] for seed in range(2)
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
        fit(grid(0.003)[::3], force=True, draws=10).roll_out()


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
        ({"curve": pd.DataFrame({"step": [1, 2], "lr": [0, 0]})}, "no learning rate is above 0"),
        ({"schedule": "wsd,floor=abc", "steps": 24_000, "lr": 1e-3}, "a share of the peak, 0 to 1, got abc"),
        ({"schedule": "cosine,floor=-3", "steps": 24_000, "lr": 1e-3}, "a share of the peak, 0 to 1"),
        ({"schedule": "cosine,decay=0.1", "steps": 24_000, "lr": 1e-3}, 'the one setting "floor"'),
        ({"schedule": "converging", "steps": 24_000, "lr": 1e-3}, "say it as a --curve"),
        ({"schedule": "wsd", "steps": 24_000, "lr": 1e-3, "d": 1e9}, "d is no part"),
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
    curve = named_curve("cosine", 1000, 2e-3, 100)
    step = np.arange(100, 1001)
    expected = 2e-3 * (0.1 + 0.9 * 0.5 * (1 + np.cos(np.pi * (step - 100) / 900)))
    assert curve.at(step.astype(float)) == pytest.approx(expected, rel=1e-12)
    assert curve.at(np.array([50.0])) == pytest.approx([1e-3])
    assert named_curve("cosine,floor=0.5", 1000, 2e-3, 0).rates[-1] == pytest.approx(1e-3)


def sweeps() -> pd.DataFrame:
    """Learning rates of three sizes: parabolas in ln lr, whose best is .01."""
    rows = [
        {
            "run": f"{n:g}-{lr:g}",
            "N": n,
            "D": 1e9,
            "lr": lr,
            "loss": 3 - 0.1 * np.log10(n) + 0.05 * np.log(lr / 0.01) ** 2,
        }
        for n in (1e7, 1e8, 1e9)
        for lr in (0.0025, 0.005, 0.01, 0.02, 0.04)
    ]
    return pd.DataFrame(rows)


def test_groups_of_all_points_are_those_that_a_holdout_is_scored_by() -> None:
    """A budget's label is made of all its points, and a sweep that is kept out whole has no fit."""
    table = grid(0.002).assign(C=lambda of: np.repeat([1e17, 1e18, 1e19, 1e20], 6)[: len(of)])
    found = fit(table, "isoflop", holdout="run = r3", draws=10, force=True)
    assert found.holdout["points"].tolist() == [1]
    swept = fit(sweeps(), "lr-optimum", holdout="run = *-0.02", draws=10)
    assert swept.holdout.set_index("of").loc["all", "points"] == 3
    assert swept.holdout.set_index("of").loc["all", "worst"] < 1e-6
    whole = fit(sweeps(), "lr-optimum", holdout="N > 5e8", draws=10)
    assert whole.held is not None
    assert whole.held.unpredicted == 5
    assert whole.holdout.empty
    assert "that no fit predicts: 5" in repr(whole)


def test_what_is_kept_out_of_a_law_of_final_points_is_final_points() -> None:
    """gadre reads the end of each run: an evaluation half-way is neither fitted nor scored."""
    half = grid(0.002).assign(D=lambda of: of["D"] / 2, loss=lambda of: of["loss"] * 1.3)
    found = fit(pd.concat([grid(0.002), half]), "gadre", holdout="N > 1e9", where="N > 6e7", draws=10)
    assert found.held is not None
    assert found.report.points.table["run"].is_unique
    assert found.held.table["run"].is_unique
    assert found.held.table["d"].isin(grid()["D"]).all()
    assert found.holdout["worst"].iloc[-1] < 0.05


def test_runs_are_ordered_by_a_column_that_is_named_and_a_wrong_one_is_told(
    tmp_path: Path, told: Callable[..., tuple[int, str, str]]
) -> None:
    table = grid(0.004).assign(price=lambda of: of["N"] * of["D"] * 7, kind="a", free=0.0)
    table.to_csv(tmp_path / "points.csv", index=False)
    command = ("--model", "joint-chinchilla", "--draws", "10", "--json", "o.json")
    code, _, err = told(*command, "--roll-out", "price")
    assert code == 0, err
    found = json.loads((tmp_path / "o.json").read_text())["reports"][0]["roll_out"][""]
    assert found["scale"] == "price"
    for name, said in (
        ("prise", 'did you mean "price"'),
        ("kind", "numbers, got labels"),
        ("free", "24 of 24 points"),
    ):
        code, _, err = told(*command, "--roll-out", name)
        assert (code, said in err) == (2, True), err


def test_a_law_without_a_roll_out_keeps_no_other_from_its_own(
    tmp_path: Path, told: Callable[..., tuple[int, str, str]]
) -> None:
    grid(0.004).to_csv(tmp_path / "points.csv", index=False)
    laws = ("--model", "per-size", "--model", "joint-chinchilla")
    code, out, err = told(*laws, "--draws", "10", "--roll-out", "--json", "o.json")
    assert code == 0, err
    assert "per-size: no roll-out: " in out
    first, second = json.loads((tmp_path / "o.json").read_text())["reports"]
    assert "roll_out" not in first
    assert second["roll_out"][""]["steps"] >= 3


def test_a_standard_error_is_that_of_its_own_row() -> None:
    """What a refit expects of a run that was measured badly is wide, and of the others it is not."""
    sigma = np.where(np.arange(24) % 3, 0.004, 0.04)
    table = grid()
    table["loss"] *= np.exp(sigma * np.random.default_rng(1).standard_normal(24))
    table["se"] = sigma * table["loss"]
    rolled = fit(table, sigma="se", draws=20, force=True).roll_out()
    bad = rolled["run"].str[1:].astype(int) % 3 == 0
    near = rolled["factor"] < 3
    assert rolled.loc[bad & near, "expected"].min() > 2 * rolled.loc[~bad & near, "expected"].median()


def test_beyond_the_steps_a_schedule_is_told_to_be_beyond_whatever_else_the_points_hold(
    rates: pd.DataFrame,
) -> None:
    """N and D beside the steps change nothing of it."""
    asked = {"schedule": "cosine", "steps": 60_000, "lr": 3e-4, "n": "25M"}
    alone = fit(rates, "tissue", warmup_steps=2160, draws=20).predict(**asked)
    beside = fit(rates.assign(N=2.5e7, D=rates["step"] * 1e6), "tissue", warmup_steps=2160, draws=20).predict(
        **asked
    )
    assert alone.answer.prediction is not None
    assert beside.answer.prediction is not None
    assert beside.answer.prediction.loss.interval == pytest.approx(alone.answer.prediction.loss.interval)
    assert "a factor of 2.5" in " ".join(beside.answer.parts)
    assert "warm-up of 2,160 steps, as most runs" in " ".join(beside.answer.warnings)
