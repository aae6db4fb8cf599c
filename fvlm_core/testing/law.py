"""What a scaling law promises; see `FitModel`. Known parameters must come back out of the shared solver."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from attrs import evolve

from fvlm_core.interfaces.fit import FitModel, LRCurve, Parameter
from fvlm_core.scaling.fit.diagnostics import join
from fvlm_core.scaling.fit.identifiability import rank_at
from fvlm_core.scaling.fit.objective import FitObjective, Floats
from fvlm_core.scaling.fit.problem import FitProblem, Slot
from fvlm_core.scaling.fit.solver import solve
from fvlm_core.testing.finding import Promise, expect, promises, skip
from fvlm_core.testing.subject import ComponentUnderTest

PROMISES: list[Promise] = []
RECOVERED = 1e-3
"""Largest relative error of a parameter that the points determine, and of a loss, found from losses without noise."""

SLOPES = 1e-4
"""Largest difference between analytic and numeric derivatives, relative to the largest."""

CURVES = {
    "a": LRCurve(np.array([1.0, 6000.0]), np.array([1e-3, 1e-3])),
    "b": LRCurve(np.array([1.0, 1500.0, 6000.0]), np.array([1e-3, 1e-3, 0.0])),
    "c": LRCurve(np.array([1.0, 3000.0, 3100.0, 6000.0]), np.array([1e-3, 1e-3, 1e-4, 1e-4])),
}
STEPS = (60, 150, 400, 1000, 2000, 3200, 4500, 6000)
SIZES = {"1M": 1e6, "4M": 4e6, "16M": 1.6e7, "64M": 6.4e7}
RATES = (3e-4, 1e-3, 3e-3)
BATCH = 64


class Bench:
    """The law under test, points without losses, and the truth that they will follow."""

    def __init__(self, subject: ComponentUnderTest) -> None:
        self.component = subject.component
        self.config = subject.config
        self.target = subject.load()

    @cached_property
    def model(self) -> Any:
        """The law."""
        return self.target(self.config)

    @cached_property
    def problem(self) -> FitProblem:
        """The law at the points, with losses of the truth and no noise."""
        bare = self.bind(self.points())
        model = self.model
        losses = bare.predict(bare.values(self.truth(bare))[None])[0]
        return self.bind(self.points().assign(**{model.target: losses}))

    def points(self) -> pd.DataFrame:
        """`points`, with the law's own columns."""
        return points(self.model)

    def bind(self, table: pd.DataFrame, model: FitModel | None = None) -> FitProblem:
        """The law at other points."""
        return FitProblem(model or self.model, FitObjective("mse"), table, CURVES)

    def truth(self, problem: FitProblem) -> Floats:
        """theta [P], a way off the law's guess and inside its bounds."""
        shift = np.random.default_rng(5).uniform(0.1, 0.3, len(problem.slots))
        guess = problem.guess()
        moved = [
            _moved(slot, value, part) for slot, value, part in zip(problem.slots, guess, shift, strict=True)
        ]
        return problem.search(np.array(moved))

    @property
    def arguments(self) -> tuple[list[Any], dict[str, Floats]]:
        """Positional arguments [n] and parameters [S, n or 1] of two parameter sets."""
        problem = self.bind(self.points())
        near = np.stack([problem.search(problem.guess()), self.truth(problem)])
        return problem._inputs, problem._spread(problem.values(near))  # pyright: ignore[reportPrivateUsage]


def prepare(subject: ComponentUnderTest) -> Bench:
    """The law under test."""
    return Bench(subject)


def points(law: FitModel | None = None) -> pd.DataFrame:
    """Runs of four sizes at three rates over three schedules, with every column that the law may read; None: that any
    law may read undeclared."""
    rows = [
        {
            "n": n * (1 + 0.1 * at),
            "d": float(BATCH * step),
            "step": float(step),
            "run": run,
            "size": size,
            "lr": rate,
            "schedule": "constant",
            "unique": 40_000.0,
            "loss": 3.0,
        }
        for size, n in SIZES.items()
        for at, (run, rate) in enumerate(zip(CURVES, RATES, strict=True))
        for step in STEPS
    ]
    table = pd.DataFrame(rows)
    table["compute"] = 6 * table["n"] * table["d"]
    table["budget"] = table["step"].map("{:g}".format)
    table["sweep"] = table["size"]
    rng = np.random.default_rng(7)
    for one in law.variables if law else ():
        if one.name not in table:
            table[one.name] = np.exp(rng.uniform(0.0, 5.0, len(table)))
    for at, label in enumerate(law.labels if law else ()):
        if label not in table:
            table[label] = pd.Series(np.arange(len(table)) // (at + 1) % 2).map({0: "one", 1: "other"})
    return table


@promises(PROMISES, "build(config) makes a law", FitModel, "The component's target is")
def _build(bench: Bench) -> None:
    made = bench.model
    expect(isinstance(made, FitModel), f"{bench.component.target} makes a {type(made).__name__}")


@promises(PROMISES, "its formula can be shown", FitModel, "of its docstring is the formula")
def _form(bench: Bench) -> None:
    form = bench.model.form
    expect("=" in form, f'the first line of its docstring is "{form}"')


@promises(PROMISES, "many parameter sets are evaluated at once", FitModel, "once: the result broadcasts to")
def _broadcasts(bench: Bench) -> None:
    inputs, parameters = bench.arguments
    with np.errstate(all="ignore"):
        found = np.asarray(bench.model.law(*inputs, **parameters))
    rows = len(bench.points())
    try:
        every = np.broadcast_to(found, (2, rows))
    except ValueError:
        expect(False, f"2 parameter sets at {rows} points give {list(found.shape)}")
        return
    for at in range(2):
        with np.errstate(all="ignore"):
            alone = bench.model.law(*inputs, **{name: v[at : at + 1] for name, v in parameters.items()})
        same = np.allclose(np.broadcast_to(alone, (1, rows))[0], every[at], rtol=1e-9, equal_nan=True)
        expect(same, "a parameter set alone gives other losses than among others")


@promises(PROMISES, "the law is a pure function", FitModel, "law: a pure function")
def _pure(bench: Bench) -> None:
    inputs, parameters = bench.arguments
    before = [np.copy(one) for one in inputs if isinstance(one, np.ndarray)]
    with np.errstate(all="ignore"):
        once, twice = (np.asarray(bench.model.law(*inputs, **parameters)) for _ in range(2))
    expect(np.array_equal(once, twice, equal_nan=True), "two calls give different losses")
    after = [one for one in inputs if isinstance(one, np.ndarray)]
    same = all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    expect(same, "it writes into the columns it is given")


@promises(PROMISES, "a loss depends on its own point", FitModel, "A point's loss may depend on")
def _own_row(bench: Bench) -> None:
    if bench.model.features:
        skip("it reads features, which are made from all points")
    problem = bench.bind(bench.points())
    truth = problem.values(bench.truth(problem))
    whole = problem.predict(truth[None])[0]
    places = {slot.name: at for at, slot in enumerate(problem.slots)}
    for some, which in _parts(bench.points()):
        other = bench.bind(bench.points().iloc[some].reset_index(drop=True))
        found = other.predict(truth[None, [places[slot.name] for slot in other.slots]])[0]
        same = np.allclose(found, whole[some], rtol=1e-9, equal_nan=True)
        expect(same, f"{which} get other losses than among all points")


@promises(PROMISES, "it gives losses where it begins to search", Parameter, "guess: a plausible value")
def _finite(bench: Bench) -> None:
    problem = bench.bind(bench.points())
    found = problem.predict(problem.guess()[None])
    expect(bool(np.isfinite(found).all()), "at its guess the law is no number at some points")


@promises(PROMISES, "every parameter is used", FitModel, "Every parameter changes the loss of some point")
def _used(bench: Bench) -> None:
    problem = bench.bind(bench.points())
    ends = np.stack([problem.guess(), problem.values(bench.truth(problem))])
    idle: list[str] = []
    for parameter in bench.model.parameters:
        own = np.array([slot.parameter.name == parameter.name for slot in problem.slots])
        found = problem.predict(np.concatenate([ends, np.where(own, ends[::-1], ends)]))
        if np.array_equal(found[:2], found[2:], equal_nan=True):
            idle.append(parameter.name)
    if idle:
        expect(False, f"no loss of the {len(problem.table)} points tried changes with {join(idle)}")


@promises(PROMISES, "linear parameters are linear", Parameter, "linear: the law is affine")
def _linear(bench: Bench) -> None:
    problem = bench.problem
    linear = [at for at, slot in enumerate(problem.slots) if slot.parameter.linear]
    if not linear:
        skip("none of its parameters says so")
    values = problem.values(bench.truth(problem))
    for at in linear:
        tried = np.repeat(values[None], 3, 0)
        tried[:, at] = values[at] * np.array([1.0, 2.0, 3.0])
        low, mid, high = problem.predict(tried)
        bend = np.abs(high - 2 * mid + low).max()
        name = problem.slots[at].name
        expect(bend <= 1e-6 * np.abs(high).max(), f"{name}: doubling its change does not double the loss's")


@promises(PROMISES, "its gradient is that of its formula", FitModel, "gradient: called as the law is")
def _gradient(bench: Bench) -> None:
    model = bench.model
    if model.gradient is None:
        skip("it has none: central differences are used")
    problem = bench.problem
    plain = bench.bind(problem.table, evolve(model, gradient=None))
    theta = np.stack([bench.truth(problem), problem.search(problem.guess())])
    missing = [one.name for one in model.parameters if one.name not in _slopes(bench)]
    expect(not missing, f"it has no derivative by {', '.join(missing)}")
    exact, measured = problem.jacobian(theta), plain.jacobian(theta)
    size = np.abs(measured).max(axis=2)
    apart = np.abs(exact - measured).max(axis=2) / np.maximum(size, 1e-6 * size.max() + 1e-300)
    worst = int(apart.max(axis=0).argmax())
    row = int(apart[:, worst].argmax())
    at = int(np.abs(exact - measured)[row, worst].argmax())
    got, wanted = (float(slopes[row, worst, at]) for slopes in (exact, measured))
    name = problem.slots[worst].parameter.name
    expect(apart.max() <= SLOPES, f"by {name} it gives {got:.6g}; central differences give {wanted:.6g}")


@promises(PROMISES, "known parameters are found again", FitModel, "A scaling law that")
def _recovers(bench: Bench) -> None:
    problem = bench.problem
    theta = bench.truth(problem)
    truth = problem.values(theta)
    losses = problem.predict(truth[None])[0]
    expect(bool(np.isfinite(losses).all()), f"near its guess ({_listed(problem, truth)}) it gives no losses")
    found = solve(problem)
    apart = np.abs(problem.predict(found.values[None])[0] - losses).max() / np.abs(losses).max()
    expect(
        apart <= RECOVERED,
        f"losses of {_listed(problem, truth)} are fitted by {_listed(problem, found.values)}, off by {apart:.2g}",
    )
    slots = list(range(len(problem.slots)))
    rank = rank_at(problem, theta, slots)
    error = np.abs(found.values - truth) / np.maximum(np.abs(truth), 1e-12)
    for at in slots:
        if at not in rank.undetermined:
            name = problem.slots[at].name
            expect(error[at] <= RECOVERED, f"{name} = {truth[at]:.6g} is found as {found.values[at]:.6g}")


def _parts(table: pd.DataFrame) -> list[tuple[Any, str]]:
    """Places of some of the points, and which they are: whatever is of all points (a mean, a largest value, the first
    row, how many there are) is another one in some of them."""
    order = np.random.default_rng(1).permutation(len(table))
    step, n, rate = (table[column].to_numpy() for column in ("step", "n", "lr"))
    inner = (step > step.min()) & (step < step.max()) & (n > 2 * n.min()) & (n < n.max() / 2)
    return [
        (order, "the points in another order"),
        (order[::2], "half of the points, in another order,"),
        (np.flatnonzero(inner), "the points without the smallest and the largest"),
        (np.flatnonzero(rate == np.median(rate)), "the points of one rate"),
        *((order[at : at + 1], "single points by themselves") for at in range(0, len(order), 7)),
    ]


def _slopes(bench: Bench) -> Any:
    inputs, parameters = bench.arguments
    with np.errstate(all="ignore"):
        return bench.model.gradient(*inputs, **parameters)


def _moved(slot: Slot, value: float, part: float) -> float:
    """A value a way off the guess, inside the bounds."""
    parameter = slot.parameter
    if parameter.log or parameter.min >= 0:
        moved = value * float(np.exp(part)) if value else part
    else:
        moved = value + part * max(abs(value), 1.0)
    if not parameter.min <= moved <= parameter.max:
        moved = value - (moved - value)
    return float(np.clip(moved, parameter.min, parameter.max))


def _listed(problem: FitProblem, values: Floats) -> str:
    shown = [f"{slot.name} = {v:.4g}" for slot, v in zip(problem.slots, values, strict=True)]
    return ", ".join(shown[:4]) + (", ..." if len(shown) > 4 else "")
