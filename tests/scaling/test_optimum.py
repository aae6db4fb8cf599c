"""The best use of a budget and what a run costs, against their closed forms."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from linear_law import table

from fvlm_core.scaling.fit.fitting import fit_points, load_model
from fvlm_core.scaling.fit.objective import FitObjective
from fvlm_core.scaling.fit.options import Options
from fvlm_core.scaling.fit.problem import FitProblem
from fvlm_core.scaling.points.points import tidy
from fvlm_core.scaling.predict.cost import Cost, Size
from fvlm_core.scaling.predict.optimum import optimum
from fvlm_core.scaling.predict.prediction_gate import ask
from fvlm_core.scaling.predict.question import Asked

E, A, B, ALPHA, BETA = 0.4, 20.0, 60.0, 0.35, 0.6
LAW = FitProblem(load_model("joint-chinchilla"), FitObjective(), table([1e3, 1e4], [2.0, 1.0]))
VALUES = np.array([[E, A, B, ALPHA, BETA]])


def powers(low: float, high: float) -> Cost:
    """Costs that grow as N^.5 up to 1e6 parameters, and as N^`high` beyond; as N^`low` below 1e5."""
    at = [1e4, 1e5, 1e6, 1e7]
    flops = [100 * 10**-low, 100.0, 100 * 10**0.5, 100 * 10 ** (0.5 + high)]
    return Cost("ledger", tuple(Size(f"{n:g}", n, f) for n, f in zip(at, flops, strict=True)), "made")


def best_size(budget: float, times: float, power: float) -> float:
    """Where d/dN of A N^-a + B (times N^power / C)^b vanishes, for a cost of times N^power a sample."""
    return (ALPHA * A / (power * BETA * B) * (budget / times) ** BETA) ** (1 / (ALPHA + power * BETA))


@pytest.mark.parametrize("power", [0.6, 1.0, 1.4])
def test_the_optimum_is_that_of_the_closed_form_under_any_power_of_n(power: float) -> None:
    sizes = tuple(Size(f"{n:g}", n, 7.0 * n**power) for n in (1e3, 1e6, 1e9))
    for budget in (1e9, 1e11):
        n = best_size(budget, 7.0, power)
        assert 1e3 < n < 1e9
        found = optimum(LAW, VALUES, Cost("ledger", sizes, "made"), budget, 1e3, 1e9)
        d = budget / (7.0 * n**power)
        assert found.n[0] == pytest.approx(n, rel=2e-3)
        assert found.d[0] == pytest.approx(budget / (7.0 * found.n[0] ** power))
        assert found.loss[0] == pytest.approx(E + A * n**-ALPHA + B * d**-BETA, rel=1e-6)
        assert found.edge[0] == 0


@pytest.mark.parametrize(("budget", "edge"), [(1e6, -1), (1e10, 0), (1e18, 1)])
def test_an_optimum_beyond_the_sizes_looked_at_is_said_to_be_at_that_end(budget: float, edge: int) -> None:
    """Of little compute the best model is smaller than the smallest, of much it is larger than the largest."""
    cost, low, high = Cost("6ND", (), "made"), 1e4, 1e7
    n = best_size(budget, 6.0, 1.0)
    assert np.sign(n - np.clip(n, low, high)) == edge
    found = optimum(LAW, VALUES, cost, budget, low, high)
    assert found.edge[0] == edge
    assert found.n[0] == pytest.approx(np.clip(n, low, high), rel=2e-3)


def test_the_advice_names_the_end_at_which_the_optimum_lies() -> None:
    n, d = (axis.ravel() for axis in np.meshgrid([1e4, 1e5, 1e6], [1e3, 1e4, 1e5]))
    scatter = np.exp(0.002 * np.random.default_rng(0).standard_normal(9))
    points = pd.DataFrame({"n": n, "d": d, "loss": (E + A * n**-ALPHA + B * d**-BETA) * scatter})
    options = Options(sensitivity=False, force=True)
    report = fit_points(tidy(points, "made"), LAW.model, "log-mse", 20, options)
    cost = Cost("6ND", (Size("10k", 1e4, 6e4), Size("1M", 1e6, 6e6)), "made")
    for budget, told, not_told in ((1e5, "smallest", "largest"), (1e17, "largest", "smallest")):
        answer = ask(Asked(budget=budget), report, cost)
        (said,) = [line for line in answer.warnings if "the optimum is there or beyond" in line]
        assert f"at the {told} N" in said
        assert not_told not in said
        assert answer.best is not None
        assert answer.best.edge == (1 if told == "largest" else -1)


@pytest.mark.parametrize(("low", "high"), [(0.2, 1.5), (1.1, 0.3)])
def test_a_cost_goes_on_beyond_its_sizes_as_it_does_next_to_them(low: float, high: float) -> None:
    """By the slope of the nearest two sizes in ln N, a factor of 2 and no farther; straight in between."""
    cost = powers(low, high)
    assert cost.flops(7e3) == pytest.approx(100 * 0.07**low)
    assert cost.flops(1.9e7) == pytest.approx(100 * 10**0.5 * 19**high)
    assert cost.flops(3e4) == pytest.approx(100 * 0.3**low)
    assert cost.flops(4e5) == pytest.approx(100 * 4**0.5)
    assert np.isnan(cost.flops(4.9e3))
    assert np.isnan(cost.flops(2.1e7))
