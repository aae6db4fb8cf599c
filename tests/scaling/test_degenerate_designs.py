"""What points do not determine has no interval and no standard error, in any law, and nothing reaches the terminal."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import test_law_gradients as laws

from fvlm_core.scaling.fit.fitting import fit_points, load_model
from fvlm_core.scaling.fit.objective import FitObjective
from fvlm_core.scaling.fit.options import Options
from fvlm_core.scaling.fit.problem import FitProblem
from fvlm_core.scaling.fit.report import FitReport
from fvlm_core.scaling.fit.solver import solve
from fvlm_core.scaling.fit.uncertainty import FAR, standard_errors
from fvlm_core.scaling.points.points import tidy

LAWS = [law for law in laws.LAWS if law not in ("multi-power", "tissue")]
"""Those that read no curve of learning rates."""

EVEN, TENS = np.geomspace(1e7, 1e9, 12), np.geomspace(1e9, 1e10, 12)
DESIGNS = {
    "one size": (np.full(12, 1e8), TENS),
    "sizes alike to 1e-5": (1e8 * (1 + 1e-6 * np.arange(12)), TENS),
    "one D": (EVEN, np.full(12, 3e9)),
    "D in proportion to N": (EVEN, 20 * EVEN),
    "D nearly in proportion to N": (EVEN, 20 * EVEN * (1 + 1e-4 * np.sin(np.arange(12)))),
    "two sizes": (np.tile([1e7, 1e8], 6), np.repeat(TENS[::2], 2)),
    "four copies of three points": (np.repeat([1e7, 1e8, 1e9], 4), np.repeat([1e9, 1e10, 3e9], 4)),
}


@pytest.fixture(autouse=True)
def few_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a fit arrives is no matter here: what it claims is."""
    monkeypatch.setattr("fvlm_core.scaling.fit.solver.STARTS", 16)
    monkeypatch.setattr("fvlm_core.scaling.fit.solver.FINALISTS", 2)


def points(design: str) -> pd.DataFrame:
    n, d = DESIGNS[design]
    table = pd.DataFrame({"n": n, "d": d, "run": [f"r{at}" for at in range(12)], "schedule": ""})
    table["size"] = [f"{size / 1e6:.8g}M" for size in n]
    table["step"], table["compute"], table["unique"] = d / 1e6, 6 * n * d, d / 2
    table["lr"] = np.where(np.arange(12) % 2, 1e-3, 3e-3)
    table["V"], table["T"], table["batch"], table["domain"] = 64.0, 8.0, 1e5, "web"
    table["p1"], table["p2"], table["p3"], table["accuracy"] = 0.5, 0.3, 0.2, 0.3 + 0.01 * np.arange(12)
    truth = 1.7 + 480 / n**0.35 + 2100 / d**0.37 + 0.02 * np.log(table["lr"] / 2e-3) ** 2
    return table.assign(loss=truth * np.exp(0.003 * np.random.default_rng(0).standard_normal(12)))


def fitted(law: str, design: str) -> FitReport:
    with warnings.catch_warnings(action="error"):
        options = Options(force=True, sensitivity=False)
        return fit_points(tidy(points(design), "made"), load_model(law), draws=10, options=options)


@pytest.mark.parametrize(
    ("design", "law"),
    [
        pytest.param(design, law, marks=[pytest.mark.soak] * (at == 0 and law in ("lr-batch", "video")))
        for at, design in enumerate(["one size", "four copies of three points"])
        for law in LAWS
    ],
)  # those of the most parameters search long where nothing is to be found, and do so of copies alone
def test_nothing_that_points_do_not_determine_is_said_to_be_known(law: str, design: str) -> None:
    check(fitted(law, design))


@pytest.mark.parametrize(
    "design", [name for name in DESIGNS if name not in ("one size", "four copies of three points")]
)
def test_near_degeneracy_of_the_joint_law_is_told_like_degeneracy(design: str) -> None:
    report = fitted("joint-chinchilla", design)
    check(report)
    told = " ".join(report.warnings)
    assert "not identifiable from these points" in told, told
    assert any(one.interval.missing for one in report.fits[0].estimates)


def check(report: FitReport) -> None:
    for fit in report.fits:
        logs = {slot.parameter.name for slot in fit.problem.slots if slot.parameter.log}
        for one in fit.estimates:
            if one.interval.missing:
                assert (one.interval.low, one.interval.high, one.stderr) == (None, None, None)
                assert one.given or one.name in " ".join(remark.text for remark in fit.remarks)
            if one.stderr is not None:
                assert np.isfinite(one.stderr)
                reach = FAR * one.value if one.name.split("[")[0] in logs else 1e3
                assert one.stderr <= reach, one


def test_standard_errors_of_a_sound_design_are_those_of_the_textbook() -> None:
    """Of least squares, H = J'J: the sandwich of White (1980), straight from its formula, by `numpy.linalg.inv`."""
    n, d = (values.ravel() for values in np.meshgrid([1e7, 3e7, 1e8, 1e9], [1e9, 3e9, 1e10, 1e11]))
    loss = 1.7 + 480 / n**0.35 + 2100 / d**0.37
    loss *= np.exp(0.003 * np.random.default_rng(1).standard_normal(len(n)))
    table = pd.DataFrame({"n": n, "d": d, "loss": loss, "size": n.astype(str), "run": ""})
    problem = FitProblem(load_model("joint-chinchilla"), FitObjective("log-mse"), table)
    solution = solve(problem)
    jacobian = problem.jacobian(solution.theta[None])[0]
    inverse = np.linalg.inv(jacobian @ jacobian.T)
    apart = problem.residuals(solution.theta[None])[0]
    variance = inverse @ (jacobian * apart**2) @ jacobian.T @ inverse * len(n) / (len(n) - 5)
    expected = np.sqrt(np.diag(variance)) * np.where(problem.logs, solution.values, 1.0)
    assert standard_errors(problem, solution) == pytest.approx(tuple(expected), rel=1e-6)
