"""Every law is the formula of the paper that it names: written out here with `math`, at numbers of the papers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fvlm_fits.config import Envelope, Repetition, Tissue

from fvlm_core.plugin_api import LRCurve
from fvlm_core.scaling.fit.fitting import load_model
from fvlm_core.scaling.fit.objective import FitObjective
from fvlm_core.scaling.fit.problem import FitProblem

N, D = (1e7, 3e8, 7e10, 1e9), (1.4e12, 2e9, 1e11, 6e8)
UNIQUE = (1.4e12, 5e8, 2e10, 9e9)
TABLE = pd.DataFrame({"n": N, "d": D, "unique": UNIQUE, "loss": 1.0, "size": "s", "run": "", "lr": 2e-3})


def repeated(d: float, unique: float, worth: float) -> float:
    """Muennighoff et al. (2023), equation 5: D' = U + U R* (1 - e^(-R / R*)) after R = D/U - 1 repetitions."""
    u = min(unique, d)
    return u + u * worth * (1 - math.exp(-(d / u - 1) / worth))


FORMULAS: dict[str, tuple[dict[str, float], Callable[..., float]]] = {
    # Hoffmann et al. (2022), equation 10
    "joint-chinchilla": (
        {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28},
        lambda n, d, u, p: p["E"] + p["A"] / n ** p["alpha"] + p["B"] / d ** p["beta"],
    ),
    "joint-tied": (
        {"E": 1.2, "A": 300.0, "B": 500.0, "alpha": 0.3},
        lambda n, d, u, p: p["E"] + p["A"] / n ** p["alpha"] + p["B"] / d ** p["alpha"],
    ),
    # Kaplan et al. (2020), equation 1.5, with the constants of its section 1.2
    "kaplan": (
        {"Nc": 8.8e13, "Dc": 5.4e13, "aN": 0.076, "aD": 0.095},
        lambda n, d, u, p: ((p["Nc"] / n) ** (p["aN"] / p["aD"]) + p["Dc"] / d) ** p["aD"],
    ),
    # Gadre et al. (2024), equation 4: E + (a' M^eta + b' M^-eta) C^-eta with C = 6ND, M = D/N, c = 2 eta
    "gadre": (
        {"E": 1.5, "a": 141.0, "b": 190.0, "c": 0.242},
        lambda n, d, u, p: p["E"]
        + (p["a"] * 6 ** (p["c"] / 2) * (d / n) ** (p["c"] / 2) + p["b"] * (d / n) ** (-p["c"] / 2))
        * (6 * n * d) ** (-p["c"] / 2),
    ),
    "repetition": (
        {"E": 1.87, "A": 521.0, "B": 1488.0, "alpha": 0.35, "beta": 0.35, "R": 15.4},
        lambda n, d, u, p: p["E"] + p["A"] / n ** p["alpha"] + p["B"] / repeated(d, u, p["R"]) ** p["beta"],
    ),
    # Li et al. (2025), arXiv 2506.10972
    "farseer": (
        {"s": -0.05, "q": 0.12, "S": 0.3, "B": 60.0, "b": -0.1, "Q": -3.0, "A": -0.2, "a": 0.1, "E": 0.5},
        lambda n, d, u, p: math.exp(p["s"] * n ** p["q"] + p["S"])
        + math.exp(p["B"] * n ** p["b"] + p["Q"]) * d ** -math.exp(p["A"] * n ** p["a"] + p["E"]),
    ),
    "per-size": (
        {"a": 169.2, "b": 0.45, "E": 1.1},
        lambda n, d, u, p: p["a"] * d ** -p["b"] + p["E"],
    ),
    "two-floor": (
        {"floor": 1.19, "B": 77.0, "beta": 0.426},
        lambda n, d, u, p: p["floor"] + p["B"] * d ** -p["beta"],
    ),
    "lr-optimum": (
        {"L": 2.1, "best": 7e-4, "k": 0.05},
        lambda n, d, u, p: p["L"] + p["k"] * (math.log(2e-3) - math.log(p["best"])) ** 2,
    ),
    "isoflop": (
        {"L": 2.1, "N": 4e8, "k": 0.05},
        lambda n, d, u, p: p["L"] + p["k"] * (math.log(n) - math.log(p["N"])) ** 2,
    ),
}  # fmt: skip


def at(name: str, values: Mapping[str, float], config: Any = None, **more: Any) -> list[float]:
    problem = FitProblem(
        load_model(name, config), FitObjective(), TABLE.assign(budget="one", sweep="one"), **more
    )
    return problem.predict(np.array([[values[slot.parameter.name] for slot in problem.slots]]))[0].tolist()


@pytest.mark.parametrize("name", FORMULAS)
def test_a_law_is_its_published_formula(name: str) -> None:
    values, formula = FORMULAS[name]
    expected = [formula(n, d, u, values) for n, d, u in zip(N, D, UNIQUE, strict=True)]
    assert at(name, values) == pytest.approx(expected, rel=1e-12)


def test_samples_that_are_all_different_are_no_repetitions() -> None:
    """U is D at most: more samples than a run has seen do not count."""
    values = FORMULAS["repetition"][0]
    plain = {name: value for name, value in values.items() if name != "R"}
    many = Repetition(unique_samples=1e15)
    assert at("repetition", values, many) == pytest.approx(at("joint-chinchilla", plain))


STEPS = np.array([4.0, 9.0, 20.0])
CURVE = LRCurve(np.array([0.0, 10.0, 20.0]), np.array([1e-3, 1e-3, 2e-4]), 3)
RATES = [*[1e-3 * k / 3 for k in range(3)], *[1e-3] * 8, *[1e-3 - 8e-5 * k for k in range(1, 11)]]
"""Step by step: a warm-up of three steps, level up to step 10, then down to a fifth."""


def scheduled(name: str, values: Mapping[str, float], config: Any = None) -> list[float]:
    points = pd.DataFrame({"step": STEPS, "run": "r", "size": "s", "loss": 1.0, "n": 1e6, "d": STEPS})
    problem = FitProblem(load_model(name, config), FitObjective(), points, {"r": CURVE})
    return problem.predict(np.array([[values[slot.parameter.name] for slot in problem.slots]]))[0].tolist()


def test_the_annealing_law_is_its_published_sums() -> None:
    """Tissue et al. (2024), equation 1: S1 the rates so far, S2 the sum of a momentum of their falls that decays by
    lambda a step. A warm-up counts as if it had been at its peak."""
    values = {"L0": 2.0, "A": 0.4, "C": 0.7, "alpha": 0.5}
    rates = [1e-3 if step < 3 else rate for step, rate in enumerate(RATES)]
    expected: list[float] = []
    for last in STEPS.astype(int):
        momentum = annealed = 0.0
        for step in range(1, last + 1):
            momentum = 0.9 * momentum + rates[step - 1] - rates[step]
            annealed += momentum
        summed = math.fsum(rates[: last + 1])
        expected.append(values["L0"] + values["A"] * summed ** -values["alpha"] - values["C"] * annealed)
    assert scheduled("tissue", values, Tissue(decay=0.9)) == pytest.approx(expected, rel=1e-9)


def test_the_multi_power_law_is_its_published_sum() -> None:
    """Luo et al. (2025), equations 1 and 2, term by term; the warm-up's rises belong to the sum."""
    p = {"L0": 2.0, "A": 0.5, "B": 300.0, "C": 2.0, "alpha": 0.45, "beta": 0.6, "gamma": 0.65}
    expected: list[float] = []
    for last in STEPS.astype(int):
        fall = 0.0
        for k in range(1, last + 1):
            onwards = math.fsum(RATES[k : last + 1])
            lived = (1 + p["C"] * RATES[k] ** -p["gamma"] * onwards) ** -p["beta"]
            fall += (RATES[k - 1] - RATES[k]) * (1 - lived)
        summed = math.fsum(RATES[: last + 1])
        expected.append(p["L0"] + p["A"] * summed ** -p["alpha"] - p["B"] * fall)
    assert scheduled("multi-power", p) == pytest.approx(expected, rel=2e-3)


def test_the_envelope_is_the_run_of_the_lowest_loss_at_each_compute() -> None:
    """Two runs that cross at C = 1e12: each is best on its side, and stands for the middle of that in ln C."""
    compute = np.geomspace(1e10, 1e14, 401)
    steep, flat = 3 - 0.2 * np.log10(compute / 1e12), 3 - 0.1 * np.log10(compute / 1e12)
    rows = [
        pd.DataFrame(
            {"n": n, "d": compute / 6 / n, "compute": compute, "loss": loss, "run": run, "size": run}
        )
        for n, run, loss in ((1e5, "small", flat), (1e6, "large", steep))
    ]
    derive = load_model("envelope", Envelope(of="n")).derive
    assert derive is not None
    found = derive(pd.concat(rows, ignore_index=True))
    assert found["run"].tolist() == ["small", "large"]
    assert np.log10(found["compute"]).tolist() == pytest.approx([11.0, 13.0], abs=0.01)
    assert found["d"].tolist() == pytest.approx((found["compute"] / 6 / found["n"]).tolist(), rel=0.02)
