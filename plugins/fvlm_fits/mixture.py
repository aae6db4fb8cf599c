"""The law of data mixtures of Ye et al. (2024), "Data Mixing Laws", arXiv 2403.16952, equation 6, and the mixture that
it says is best.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fvlm_core.plugin_api import FitModel, Parameter, UsageError, Variable
from fvlm_fits.config import Mixture

DOMAIN = "domain"
"""The column of labels that says of which domain a loss is."""

SUM = 1e-3
"""How far from 1 proportions may sum."""

STEPS, RATE = 3_000, 0.2
"""Of the exponentiated-gradient descent on the simplex (Kivinen and Warmuth 1997): the losses are convex in it."""


def build(config: Mixture) -> FitModel:
    """The law of the columns of proportions, one fit a domain. The last is what is left of 1: it has no parameter."""
    names = config.proportions
    weights = tuple(f"t_{name}" for name in names[:-1])

    def law(*proportions: Any, **p: Any) -> Any:
        return p["c"] + p["k"] * np.exp(sum(p[t] * r for t, r in zip(weights, proportions, strict=False)))

    def gradient(*proportions: Any, **p: Any) -> dict[str, Any]:
        raised = np.exp(sum(p[t] * r for t, r in zip(weights, proportions, strict=False)))
        slopes = {t: p["k"] * raised * r for t, r in zip(weights, proportions, strict=False)}
        return {"c": np.ones_like(raised), "k": raised, **slopes}

    terms = " + ".join(f"{t}*{name}" for t, name in zip(weights, names, strict=False))
    law.__doc__ = f"L = c + k*exp({terms})"
    kinds = inspect.Parameter
    law.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [kinds(name, kinds.POSITIONAL_OR_KEYWORD) for name in names]
        + [kinds(name, kinds.KEYWORD_ONLY) for name in ("c", "k", *weights)]
    )
    return FitModel(
        "mixture",
        law,
        (
            Parameter("c", 1.0, min=0.0, linear=True, per=DOMAIN),
            Parameter("k", 1.0, min=0.0, log=True, linear=True, per=DOMAIN),
            *(Parameter(name, -1.0, min=-30.0, max=30.0, per=DOMAIN) for name in weights),
        ),
        needs="losses of each domain under more mixtures than there are parameters",
        gradient=gradient,
        variables=tuple(
            Variable(name, "", f"proportion of {name}", positive=False, share=True) for name in names
        ),
        valid=lambda table: summed(table, names),
        concludes=lambda fits: best_mixture(fits, names),
    )


def summed(table: pd.DataFrame, names: Sequence[str]) -> None:
    """Raise `UsageError` unless the proportions of every row are none below 0 and sum to 1."""
    rows = table[list(names)].to_numpy(float)
    wrong = (np.abs(rows.sum(axis=1) - 1) > SUM) | (rows < 0).any(axis=1)
    if wrong.any():
        first = rows[int(np.argmax(wrong))]
        shown = " + ".join(f"{one:g}" for one in first)
        raise UsageError(
            f"the proportions {', '.join(names)} of {wrong.sum()} of {len(rows)} points are no mixture: {shown} = "
            f"{first.sum():g}, and each must be at least 0 and all sum to 1. Divide them by their sum"
        )


def best_mixture(fits: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> list[str]:
    """The mixture of the lowest mean loss over the domains, a line a proportion with its 95 % interval."""
    needed = {"k", *(f"t_{name}" for name in names[:-1])}
    if len(fits) < 2 or not all(
        needed <= {*one} for one in fits.values()
    ):  # one domain, or parameters that are given
        return []
    count = min(len(next(iter(one.values()))) for one in fits.values())
    k = np.stack([np.asarray(one["k"])[:count] for one in fits.values()], axis=1)
    t = np.stack(
        [
            np.stack([np.asarray(one[f"t_{name}"])[:count] for name in names[:-1]], axis=1)
            for one in fits.values()
        ],
        axis=1,
    )
    found = on_simplex(k, np.concatenate([t, np.zeros((*t.shape[:2], 1))], axis=2))
    told: list[str] = []
    for name, best, draws in zip(names, found[0], found[1:].T, strict=True):
        ends = np.quantile(draws, (0.025, 0.975)) if len(draws) > 1 else None
        told.append(f"{name} {best:.3f}" + ("" if ends is None else f" [{ends[0]:.3f}, {ends[1]:.3f}]"))
    return [f"the mixture of the lowest mean loss of {len(fits)} domains: {', '.join(told)}"]


def on_simplex(k: Any, t: Any) -> Any:
    """Proportions [S, J] at which the sum over domains of k exp(t r) is lowest. k: [S, domains]. t: [S, domains, J]."""
    r = np.full((len(k), t.shape[2]), 1.0 / t.shape[2])
    for _ in range(STEPS):
        slope = np.einsum("sd,sdj->sj", k * np.exp(np.einsum("sdj,sj->sd", t, r)), t)
        size = np.abs(slope).max(axis=1, keepdims=True) + 1e-300
        r = r * np.exp(-RATE * slope / np.maximum(size, 1.0))
        r /= r.sum(axis=1, keepdims=True)
    return r
