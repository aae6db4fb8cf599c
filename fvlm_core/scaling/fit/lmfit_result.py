"""A fitted law as lmfit's own result: parameters, covariance, correlations, and what `lmfit.fit_report` prints."""

from __future__ import annotations

import re

import numpy as np
from lmfit import Parameters
from lmfit.minimizer import MinimizerResult

from fvlm_core.scaling.fit.objective import Floats
from fvlm_core.scaling.fit.problem import Slot
from fvlm_core.scaling.fit.report import FittedLaw
from fvlm_core.scaling.fit.uncertainty import influences


def lmfit_result(fit: FittedLaw) -> MinimizerResult:
    """The best fit as lmfit would return it.

    residual: in the objective's own terms (of ln L, but for `mse`) [n]. covar: the sandwich covariance that the
    standard errors are of, of the slots that the points tell (`var_names`) [k, k]. chisqr, redchi, aic and bic are
    lmfit's definitions on these residuals, whatever the objective; `fit.criteria` holds those of the objective.
    """
    problem, solution = fit.problem, fit.solution
    residual = problem.residuals(solution.theta[None])[0]
    names = _names(problem.slots)
    parameters = Parameters()
    for name, slot, value in zip(names, problem.slots, solution.values, strict=True):
        parameters.add(name, value=float(value), min=slot.parameter.min, max=slot.parameter.max)
    told, covariance = _covariance(fit)
    for row, at in enumerate(told):
        parameter = parameters[names[at]]
        parameter.stderr = float(np.sqrt(covariance[row, row]))
        parameter.correl = {
            names[other]: float(
                covariance[row, column] / np.sqrt(covariance[row, row] * covariance[column, column])
            )
            for column, other in enumerate(told)
            if other != at
        }
    count, free = len(residual), sum(bound is None for bound in solution.bounds)
    squares = float(residual @ residual)
    likelihood = count * np.log(max(squares, np.finfo(float).tiny) / count)
    return MinimizerResult(
        params=parameters,
        init_values=dict(zip(names, map(float, problem.guess()), strict=True)),
        var_names=[names[at] for at in told],
        covar=covariance,
        residual=residual,
        ndata=count,
        nvarys=free,
        nfree=count - free,
        chisqr=squares,
        redchi=squares / max(1, count - free),
        aic=float(likelihood + 2 * free),
        bic=float(likelihood + np.log(count) * free),
        success=solution.converged,
        errorbars=bool(told),
        aborted=False,
        method=f"{problem.objective}, many starts",
        nfev=0,
        message="" if solution.converged else "the gradient does not vanish",
    )


def _covariance(fit: FittedLaw) -> tuple[list[int], Floats]:
    """The slots that the points tell, and the covariance of their values [k, k]."""
    problem, values = fit.problem, fit.solution.values
    told, shares, size, small = influences(problem, fit.solution)
    logs = np.array([problem.slots[at].parameter.log for at in told], bool)
    unit = np.where(logs, values[told], 1.0) * small / size if told else np.zeros(0)
    spread = shares * unit[:, None]
    return told, spread @ spread.T


def _names(slots: tuple[Slot, ...]) -> list[str]:
    """Names that lmfit accepts: `floor_135M`."""
    names: list[str] = []
    for at, slot in enumerate(slots):
        name = re.sub(r"\W", "_", f"{slot.parameter.name}_{slot.key}" if slot.key else slot.parameter.name)
        names.append(f"{name}_{at}" if name in names else name)
    return names
