"""The default figure of every kind of law shows the law: its curves are those of its formula."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fvlm_fits.config import Mixture
from matplotlib.figure import Figure
from matplotlib.text import Text

from fvlm_core.report.figures import law_figure
from fvlm_core.report.figures.style import caption_of
from fvlm_core.scaling.fit.fitting import fit_points, load_model
from fvlm_core.scaling.fit.options import Options
from fvlm_core.scaling.points.points import tidy


@pytest.fixture(scope="module", autouse=True)
def few_starts() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fvlm_core.scaling.fit.solver.STARTS", 64)
        patch.setattr("fvlm_core.scaling.fit.solver.FINALISTS", 4)
        yield


def drawn(law: str, table: pd.DataFrame, config: Any = None) -> Figure:
    found = fit_points(
        tidy(table, "made"), load_model(law, config), draws=10, options=Options(sensitivity=False)
    )
    return law_figure([found])


def curves(figure: Figure, place: int) -> list[tuple[Any, Any]]:
    """x and y of the lines of a panel that are no points."""
    lines = [line for line in figure.axes[place].lines if np.size(line.get_xdata()) > 50]
    return [(np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)) for line in lines]


def words(figure: Figure) -> str:
    """All that is said in a figure, and beside it."""
    inside = " ".join(" ".join(text.get_text().split()) for text in figure.findobj(Text))
    return f"{inside} {' '.join(caption_of(figure))}"


def test_repeated_data_are_a_curve_for_each_amount_of_them() -> None:
    n, d, unique = np.array([*product((1e7, 1e8, 1e9), (2e9, 1e10, 5e10), (1e8, 1e9))], float).T
    worth = unique + unique * 15 * (1 - np.exp(-(d / unique - 1) / 15))
    rng = np.random.default_rng(0)
    loss = (1.9 + 521 / n**0.35 + 1488 / worth**0.35) * np.exp(1e-4 * rng.standard_normal(len(n)))
    figure = drawn("repetition", pd.DataFrame({"n": n, "d": d, "unique": unique, "loss": loss}))
    found = curves(figure, 0)
    assert len(found) == 3 * 2
    for x, y in found:
        assert (np.diff(y) < 0).all()  # more data, however often repeated, never harm
        law = [
            1.9 + 521 / size**0.35 + 1488 / (u + u * 15 * (1 - np.exp(-(x / u - 1) / 15))) ** 0.35
            for size, u in product((1e7, 1e8, 1e9), (1e8, 1e9))
        ]
        assert min(float(np.abs(y / one - 1).max()) for one in law) < 3e-3
    assert "unique held" in words(figure)


def test_the_other_shares_of_a_mixture_shrink_as_one_grows() -> None:
    rng = np.random.default_rng(1)
    shares = rng.dirichlet((2, 2, 2), 14)
    true = {"web": (2.0, 0.8, (-2.0, -0.3, 0.1)), "code": (1.2, 1.2, (0.0, -3.0, -0.2))}
    rows = [
        (*p, domain, c + k * np.exp(np.dot(t, p)) * np.exp(1e-4 * rng.standard_normal()))
        for p in shares
        for domain, (c, k, t) in true.items()
    ]
    figure = drawn("mixture", pd.DataFrame(rows, columns=["p1", "p2", "p3", "domain", "loss"]), Mixture())
    assert "the others in proportion" in words(figure)
    middle = np.median(shares, axis=0)
    for place in range(3):
        for x, y in curves(figure, place):
            others = np.delete(middle, place) / np.delete(middle, place).sum()
            p = np.insert(np.outer(others, 1 - x), place, x, axis=0)
            law = [c + k * np.exp(np.array(t) @ p) for c, k, t in true.values()]
            assert min(float(np.abs(y / one - 1).max()) for one in law) < 0.02


def test_sweeps_without_a_minimum_are_one_panel_and_one_reason() -> None:
    rows = [
        (n, 1e9, lr, 2 + 300 / n**0.3 + 0.05 * np.log(lr / 1e-2) ** 2)
        for n in (1e7, 3e7, 1e8, 3e8)
        for lr in (1e-3, 2e-3, 4e-3)
    ]
    figure = drawn("lr-optimum", pd.DataFrame(rows, columns=["n", "d", "lr", "loss"]))
    assert len(figure.axes) == 1
    assert "10M, 30M, 100M, 300M: the minimum lies above all learning rates tried" in words(figure)
    assert words(figure).count("the minimum lies above") == 1


def test_a_frontier_that_ends_says_where_and_why() -> None:
    rows = [
        (n, d, 6 * n * d, 1.7 + 400 / n**0.34 + 410 / d**0.28)
        for n in (2e7, 6e7, 2e8)
        for d in np.geomspace(4e8, 4e10, 6)
    ]
    table = pd.DataFrame(rows, columns=["n", "d", "compute", "loss"])
    table["loss"] *= np.exp(0.002 * np.random.default_rng(0).standard_normal(len(table)))
    found = fit_points(
        tidy(table, "made"), load_model("joint-chinchilla"), draws=10, options=Options(sensitivity=False)
    )
    figure = law_figure([found], "frontier")
    assert "is drawn from C =" in words(figure)
    assert "beyond the sizes whose cost is known" in words(figure)
