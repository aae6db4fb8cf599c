"""Rows of a pool: the gain of a linear law is the closed one, plans keep to the budget, and bad tables are refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tiny import run_cli

import fvlm
from fvlm_core.plugin_api import FitModel, Parameter
from fvlm_core.scaling.pool import study as studies
from fvlm_core.scaling.pool.belief import Belief
from fvlm_core.scaling.pool.discrepancy import Scatter
from fvlm_core.scaling.pool.outlook import outlook
from fvlm_core.scaling.pool.purchase import campaign, first_of, plan
from fvlm_core.scaling.pool.study import Pool, Study, predicted
from fvlm_core.utils.errors import FvlmError, UsageError


def line(n: Any, d: Any, *, a: Any, b: Any, c: Any) -> Any:
    """a + b N + c D"""
    return a + b * n + c * d


LINE = FitModel("line", line, tuple(Parameter(name, 0.0, -4.0, 4.0, linear=True) for name in "abc"))
TRUTH = (1.0, -0.5, 0.25)


AS_USUAL = 5 / 6
"""How much a row counts whose noise is as large as Student's t with four degrees has it: no other is expected then."""


def straight(rows: int = 40, seed: int = 0) -> Pool:
    """Candidates in the unit square at prices of 1 to 2, and three rows outside to predict."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(rng.uniform(0.1, 1.0, (rows, 2)), columns=["n", "d"])
    goal = pd.DataFrame({"n": [2.0, 2.0, 3.0], "d": [1.0, 2.0, 3.0]})
    price = np.concatenate([rng.uniform(1, 2, rows), np.full(3, np.inf)])
    return Pool(
        pd.concat([table, goal], ignore_index=True).assign(loss=np.nan), price, np.arange(rows + 3) >= rows
    )


def losses(pool: Pool, noise: float = 0.01) -> Any:
    """Of the line, with noise."""
    a, b, c = TRUTH
    rng = np.random.default_rng(5)
    exact = a + b * pool.table["n"] + c * pool.table["d"]
    return exact.to_numpy() + noise * rng.standard_normal(len(exact))


def test_the_gain_of_a_linear_law_is_that_of_the_closed_form() -> None:
    """Bayesian linear regression: covariance (I/s0^2 + X'X/s^2)^-1, before and after one more row."""
    pool, scatter = straight(), Scatter(0.3, 0.0)
    study = Study(LINE, pool.parts(LINE), np.random.default_rng(0))
    known = np.array([0, 1, 2, 3])
    study.bought = [known]
    study.beliefs = [Belief(np.zeros((2, 3)), np.full(2, 0.5), [scatter] * 2, np.full(4, AS_USUAL))]
    sale, wanted = np.arange(4, 40), np.arange(40, 43)
    view = outlook(study, 0, sale, wanted)

    x = np.column_stack([np.ones(43), pool.table[["n", "d"]].to_numpy()])

    def variance(rows: Any) -> float:
        sure = np.where(np.isin(rows, known), AS_USUAL, 1.0) / scatter.noise
        inverse = np.linalg.inv(np.eye(3) / 2.0**2 + x[rows].T @ (sure[:, None] * x[rows]))
        return float(np.trace(x[wanted] @ inverse @ x[wanted].T))

    before = variance(known)
    assert view.total == pytest.approx(before, rel=1e-6)
    closed = [before - variance([*known, row]) for row in sale]
    assert view.taken()[0] == pytest.approx(closed, rel=1e-6)
    view.buy(7)
    view.buy(20)
    assert view.total == pytest.approx(variance([*known, sale[7], sale[20]]), rel=1e-6)


def test_a_plan_counts_on_three_tenths_of_a_departure_only_close_by() -> None:
    """A Gaussian process of a long and a short reach beside a line, by the closed form of its posterior."""
    pool = straight()
    size, smooth = 0.3, 0.9
    study = Study(LINE, pool.parts(LINE), np.random.default_rng(0))
    known, sale, wanted = np.arange(4), np.arange(4, 40), np.arange(40, 43)
    study.bought = [known]
    study.beliefs = [
        Belief(np.zeros((2, 3)), np.full(2, 0.5), [Scatter(size, smooth)] * 2, np.full(4, AS_USUAL))
    ]
    view = outlook(study, 0, sale, wanted)

    x = np.column_stack([np.ones(43), pool.table[["n", "d"]].to_numpy()])
    place = np.log(x[:, 1:])
    place = place / place[:40].std(0)
    square = ((place[:, None] - place[None]) ** 2).sum(-1)
    kernel = 0.7 * np.exp(-square / (2 * 3.0**2)) + 0.3 * np.exp(-square / (2 * 0.5**2))
    prior = 2.0**2 * x @ x.T + size**2 * smooth * kernel

    def variance(rows: Any) -> float:
        own = size**2 * (1 - smooth) / np.where(np.isin(rows, known), AS_USUAL, 1.0)
        measured = prior[np.ix_(rows, rows)] + np.diag(own)
        across = prior[np.ix_(rows, wanted)]
        return float(np.trace(prior[np.ix_(wanted, wanted)] - across.T @ np.linalg.solve(measured, across)))

    before = variance(known)
    assert view.total == pytest.approx(before, rel=1e-4)
    assert view.taken()[0] == pytest.approx([before - variance([*known, row]) for row in sale], rel=1e-3)


def test_pairs_of_draws_lie_about_the_likeliest_parameters_of_a_linear_law() -> None:
    """On opposite sides, as far as the fit goes: chance leaves their mean where it is, whatever the seed."""
    pool = straight()
    for seed in (0, 1):
        study = Study(LINE, pool.parts(LINE), np.random.default_rng(seed))
        study.learn(pool.table.assign(loss=losses(pool)), np.arange(30))
        theta, scatters = study.beliefs[0].theta, study.beliefs[0].scatters
        assert scatters[1::2] == scatters[2::2]
        pairs = [at for at in range(1, len(theta), 2) if scatters[at] == scatters[0]]
        assert pairs
        for at in pairs:
            apart = np.abs(theta[at] - theta[at + 1]).min()
            assert np.abs((theta[at] + theta[at + 1]) / 2 - theta[0]).max() < 0.05 * apart


def test_most_of_a_budget_is_spent_after_the_law_was_fitted_again() -> None:
    """Ten rows of price 1 and ten of 10: half as many as are measured, as long as they cost 0.4 of the plan."""
    price = np.repeat([1.0, 10.0], 10)
    planned = list(range(20))
    assert sorted(first_of(planned, price, 0)) == list(range(11))  # a quarter of 110 pays for 27
    assert len(first_of(planned, price, 200)) == 13  # 0.4 of it for 44, however many are measured
    assert len(first_of([10, 11, 12], price, 200)) == 2  # dear ones, two at least


def test_a_campaign_keeps_to_the_budget_repeats_itself_and_predicts() -> None:
    """Truth known: the target is predicted within what the planner says, several deviations from the pool."""
    pool = straight()
    measured = losses(pool)
    bought, found = campaign(pool, [LINE], 12.0, lambda rows: measured[rows], np.random.default_rng(1))
    again, _ = campaign(pool, [LINE], 12.0, lambda rows: measured[rows], np.random.default_rng(1))
    assert bought == again
    assert len(set(bought)) == len(bought)
    assert pool.price[bought].sum() <= 12.0
    mean, variance = predicted(found, np.arange(40, 43))
    assert np.abs(mean - losses(pool, 0.0)[40:]) == pytest.approx(0, abs=4 * variance.max() ** 0.5)
    assert variance.max() ** 0.5 < 0.2


def test_a_dearer_row_of_the_same_kind_is_not_bought_before_a_cheap_one() -> None:
    """Two copies of every row, one at ten times the price: all that is bought is the cheap copy."""
    pool = straight(20)
    table = pd.concat([pool.table.iloc[:20], pool.table.iloc[:20], pool.table.iloc[20:]], ignore_index=True)
    price = np.concatenate([np.full(20, 1.0), np.full(20, 10.0), np.full(3, np.inf)])
    double = Pool(table, price, np.arange(43) >= 40)
    study = Study(LINE, double.parts(LINE), np.random.default_rng(0))
    study.learn(double.table, [])
    chosen = plan(double, [study], 8.0, np.random.default_rng(0))
    assert chosen
    assert all(one.row < 20 for one in chosen)


def test_groups_are_laws_of_their_own() -> None:
    """A row of one group tells nothing of the other."""
    law = FitModel(
        "lines", line, tuple(Parameter(name, 0.0, -4.0, 4.0, linear=True, per="family") for name in "abc")
    )
    pool = straight(20)
    table = pool.table.assign(family=["x"] * 10 + ["y"] * 10 + ["y"] * 3)
    grouped = Pool(table, pool.price, pool.wanted)
    assert [part.rows.tolist() for part in grouped.parts(law)] == [[*range(10, 23)]]
    study = Study(law, grouped.parts(law), np.random.default_rng(0))
    study.learn(grouped.table, [])
    assert all(one.row >= 10 for one in plan(grouped, [study], 30.0, np.random.default_rng(0)))


def test_a_departure_from_the_law_is_followed_where_rows_are_near() -> None:
    """A truth with a bend that the line has not: what lies between measured rows is predicted better with it."""
    pool = straight(60, seed=3)
    bent = losses(pool, 0.0) + 0.3 * np.sin(3 * pool.table["n"].to_numpy())
    wanted = np.zeros(63, bool)
    wanted[:10] = True
    study = Study(LINE, Pool(pool.table, pool.price, wanted).parts(LINE), np.random.default_rng(0))
    study.learn(pool.table.assign(loss=bent), np.arange(10, 60))
    with_it, without = (
        np.abs(study.predicted(np.arange(10), departure)[0] - bent[:10]).mean() for departure in (True, False)
    )
    assert with_it < without / 2


def test_laws_count_by_how_well_they_explain_the_rows() -> None:
    """The line, and a constant that cannot follow it."""
    pool = straight()

    def flat(n: Any, d: Any, *, a: Any) -> Any:
        """a"""
        return a + 0 * n * d

    constant = FitModel("flat", flat, (Parameter("a", 0.0, -4.0, 4.0, linear=True),))
    laws = [Study(law, pool.parts(law), np.random.default_rng(0)) for law in (LINE, constant)]
    for one in laws:
        one.learn(pool.table.assign(loss=losses(pool)), np.arange(20))
    assert studies.weights_of(laws)[0] > 0.99


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """A pool of three sizes, a target above it, and six measured rows of a published law's kind."""
    rows = [(n, d) for n in (2e7, 8e7, 3.2e8) for d in np.geomspace(5e8, 2e10, 5)]
    pool = pd.DataFrame(rows, columns=["N", "D"])
    pool.assign(price=6 * pool["N"] * pool["D"]).to_csv(tmp_path / "pool.csv", index=False)
    pd.DataFrame({"N": [1.3e9], "D": [3e10]}).to_csv(tmp_path / "target.csv", index=False)
    known = pool.iloc[[0, 1, 2, 5, 6, 10]]
    known.assign(loss=1.7 + 400 * known["N"] ** -0.34 + 410 * known["D"] ** -0.28).to_csv(
        tmp_path / "observed.csv", index=False
    )
    return tmp_path


@pytest.fixture
def ask(
    tables: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Any]:
    """The command: exit code, output, errors."""

    def asked(*extra: str, pool: str = "pool.csv") -> Any:
        words = ["--pool", str(tables / pool), "--cost", "price", "--budget", "1e19", *extra]
        return run_cli(["suggest", *words], monkeypatch, capsys)

    return asked


def test_the_command_and_python_say_the_same(tables: Path, ask: Callable[..., Any]) -> None:
    """Rows, costs within the budget, none that is measured."""
    code, told, _ = ask("--target", str(tables / "target.csv"), "--observed", str(tables / "observed.csv"))
    assert code == 0
    found: Any = fvlm.suggest(
        pool=pd.read_csv(tables / "pool.csv"),
        cost="price",
        target=tables / "target.csv",
        observed=tables / "observed.csv",
        budget=1e19,
    )
    assert repr(found) == told.rstrip("\n")
    assert 0 < found.rows["cost"].sum() <= 1e19
    assert found.advice.measured == 6
    assert found.advice.offered == 9
    assert found.advice.after < found.advice.before
    truth = 1.7 + 400 * 1.3e9**-0.34 + 410 * 3e10**-0.28
    row = found.target.iloc[0]
    assert abs(row["predicted"] - truth) < 3 * row["error"]


def test_a_pool_of_one_size_is_said_not_to_help_and_what_would(tables: Path, ask: Callable[..., Any]) -> None:
    """Nothing of one size tells the exponent of N."""
    pool, known = (pd.read_csv(tables / f"{name}.csv") for name in ("pool", "observed"))
    pool[pool["N"] == 2e7].to_csv(tables / "one.csv", index=False)
    known[known["N"] == 2e7].to_csv(tables / "known.csv", index=False)
    known_too = ("--observed", str(tables / "known.csv"))
    code, told, _ = ask("--target", str(tables / "target.csv"), *known_too, pool="one.csv")
    assert code == 0
    assert "nothing in the pool helps" in told
    assert "another n than the pool's 1" in told


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.assign(price=[-1.0, *t["price"][1:]]), "pool.csv:2: price: expected a cost"),
        (lambda t: t.drop(columns="price"), 'no column "price", which --cost names'),
        (lambda t: t.drop(columns="N"), "no column with N, the parameters"),
        (lambda t: t.assign(D=[None, *t["D"][1:]]), "pool.csv:2: D: expected a finite, positive number"),
    ],
)
def test_a_bad_pool_is_refused_with_one_message(
    tables: Path, ask: Callable[..., Any], change: Any, said: str
) -> None:
    """Exit code 2, file, line and column."""
    change(pd.read_csv(tables / "pool.csv")).to_csv(tables / "pool.csv", index=False)
    code, _, told = ask("--target", str(tables / "target.csv"))
    assert code == 2
    assert said in told


def test_what_goes_with_a_pool_is_refused_without_its_other_half(
    tables: Path, ask: Callable[..., Any]
) -> None:
    """A pool without a target, a target without a pool."""
    code, _, told = ask()
    assert code == 2
    assert "--target" in told
    with pytest.raises(UsageError, match="target goes with pool"):
        fvlm.suggest(target=tables / "target.csv", budget=1e19)
    with pytest.raises(UsageError, match="--budget"):
        fvlm.suggest(pool=tables / "pool.csv", cost="price", target=tables / "target.csv")


def test_laws_whose_features_are_of_columns_plan_and_others_say_what_they_need(
    tables: Path, ask: Callable[..., Any]
) -> None:
    """`repetition` reads the unique data of a row; frontiers and sizes are of whole runs."""
    for name in ("pool", "target", "observed"):
        table = pd.read_csv(tables / f"{name}.csv")
        table.assign(unique=table["D"] / 4).to_csv(tables / f"{name}.csv", index=False)
    both = ("--target", str(tables / "target.csv"), "--observed", str(tables / "observed.csv"))
    code, told, _ = ask(*both, "--model", "repetition")
    assert code == 0
    assert "repetition: what to measure next" in told
    for law, said in (
        ("envelope", "is fitted to points that it makes of runs"),
        ("per-size", "has parameters of each size"),
    ):
        code, _, told = ask(*both, "--model", law)
        assert code == 2
        assert said in told


def test_options_that_say_nothing_to_a_pool_are_refused(tables: Path, ask: Callable[..., Any]) -> None:
    code, _, told = ask("--target", str(tables / "target.csv"), "--hours", "3", "--fresh")
    assert code == 2
    assert "--hours, --fresh: say nothing to a plan from a pool" in told


def test_columns_of_a_pool_may_be_called_otherwise(tables: Path, ask: Callable[..., Any]) -> None:
    for name in ("pool", "target"):
        pd.read_csv(tables / f"{name}.csv").rename(columns={"D": "seen"}).to_csv(
            tables / f"{name}.csv", index=False
        )
    code, told, _ = ask("--target", str(tables / "target.csv"), "--columns", "D=seen")
    assert code == 0
    assert "15 offered" in told


def test_a_grid_is_every_combination_at_the_cost_of_its_formula() -> None:
    """A linear law: the corner nearest to the target tells most, and none in the middle is bought."""
    known = pd.DataFrame({"n": [0.4, 0.5, 0.6, 0.5], "d": [0.5, 0.4, 0.5, 0.6]})
    known["loss"] = losses(Pool(known, np.zeros(4), np.zeros(4, bool)))
    values = [0.2, 0.4, 0.6, 0.8, 1.0]
    found: Any = fvlm.suggest(
        data=known,
        law=LINE,
        grid={"N": values, "d": values},
        cost="1 + 0*N",
        budget=3,
        target_n=3.0,
        target_d=3.0,
    )
    assert found.advice.offered == 25  # none of the four is on the grid
    assert (found.rows["cost"] == 1.0).all()
    assert len(found.rows) <= 3
    assert tuple(found.rows.loc[0, ["n", "d"]]) == (1.0, 1.0)
    assert all({row.n, row.d} & {0.2, 1.0} for row in found.rows.itertuples())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"grid": {"N": [1.0]}}, "say which values may be run: --grid D=VALUE,VALUE"),
        ({"grid": {"N": [1.0], "D": [-1.0]}}, "expected a positive number for D"),
        ({"grid": {"N": [1.0], "D": [1.0], "V": [1]}}, 'reads no column "V"'),
        ({"cost": "N*W"}, '"W" is not one of them'),
        ({"cost": "1 - N"}, "is 0 at N = 1, D = 1: expected a cost"),
        ({"cost": "ledger"}, "say what a run of the grid costs"),
        ({"budget": None}, "say what the runs may take together"),
        ({"target_d": None}, "say --target-d NUMBER"),
        ({"hours": 3}, "hours: says nothing to a plan over a grid"),
    ],
)
def test_a_grid_that_says_too_little_or_something_else_is_explained(
    change: dict[str, Any], said: str
) -> None:
    known = pd.DataFrame({"n": [0.4, 0.5], "d": [0.5, 0.4], "loss": [1.0, 1.1]})
    asked: dict[str, Any] = {
        "grid": {"N": [1.0, 2.0], "D": [1.0]},
        "cost": "N",
        "budget": 5,
        "target_n": 3.0,
        "target_d": 3.0,
    }
    with pytest.raises(FvlmError, match=re.escape(said)):
        fvlm.suggest(data=known, law=LINE, **(asked | change))


def repeated_rows(epochs: tuple[float, ...] = (1, 4, 16)) -> pd.DataFrame:
    """Two sizes on one amount of data, of which more or less is repeated: rows that differ in `unique` alone."""
    sizes = (7e7, 2e8, 6e8)
    rows = [{"N": n, "D": 1e10, "unique": 1e10 / times, "price": 1.0} for n in sizes for times in epochs]
    table = pd.DataFrame(rows)
    loss = 1.9 + 520 / table["N"] ** 0.35 + 1490 / (table["unique"] * 4) ** 0.35
    return table.assign(loss=loss)


def test_rows_that_differ_only_in_what_a_feature_reads_are_told_apart() -> None:
    """What is measured is off sale, and not another row of its N and D; the plan says which row is meant."""
    table = repeated_rows()
    pool, measured = table.drop(columns="loss"), table[table["unique"] == 1e10].drop(columns="price")
    target = pd.DataFrame({"N": [2e9], "D": [4e10], "unique": [1e9]})
    for laws in ("repetition", "joint-chinchilla,repetition"):
        plan: Any = fvlm.suggest(
            pool=pool.iloc[::-1], cost="price", target=target, budget=100, observed=measured, law=laws
        )
        assert plan.rows["unique"].max() < 1e10
        assert "unique" in plan.target


def test_what_a_feature_reads_may_be_called_otherwise() -> None:
    """The error that asks for `--columns unique=HEADER` names an option that works."""
    table = repeated_rows().rename(columns={"unique": "fresh (B)"}).drop(columns="loss")
    table["fresh (B)"] /= 1e9
    how: Any = {"cost": "price", "budget": 5, "law": "repetition"}
    with pytest.raises(FvlmError, match="--columns unique=HEADER"):
        fvlm.suggest(pool=table, target=table.iloc[:1], **how)
    plan: Any = fvlm.suggest(pool=table, target=table.iloc[:1], columns="unique=fresh (B)*1e9", **how)
    assert set(plan.rows["unique"]) <= {1e10, 2.5e9, 6.25e8}
