"""A law along one of the columns that it reads, the others held: curves, and the points moved along the law to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from attrs import frozen

from fvlm_core.interfaces.figure import LawFit, LawReport
from fvlm_core.scaling.points.points import size_label

CURVE = 120
"""Points of a curve."""

LEVELS = 3
"""Values of a second column that curves are drawn at."""

GROUPS = 7
"""Curves of a law of groups, at most."""


@frozen(eq=False)
class Slice:
    """One curve. label: what is held at which value. x, best, low, high: [K], low and high NaN without an interval.
    at, measured: [m] its points."""

    label: str
    x: Any
    best: Any
    low: Any
    high: Any
    at: Any
    measured: Any


def columns(report: LawReport) -> list[str]:
    """The columns that the law can be drawn along: those it reads, of several values; none where it reads features."""
    if not report.fits:
        return [column for column in report.law.columns if _known(report.points, column)]
    law = report.fits[0].law
    return [column for column in law.columns if not law.features and _known(report.points, column)]


def slices(report: LawReport, column: str) -> list[Slice]:
    """The law along a column. Of a law of groups, a curve each; else at low, middle and high values of the column that
    differs most beside it; all others are held at their medians."""
    out: list[Slice] = []
    several = len(report.fits) > 1
    places = np.linspace(0, len(report.fits) - 1, min(len(report.fits), GROUPS)).round().astype(int)
    for fit in (report.fits[at] for at in dict.fromkeys(places.tolist())):
        labels = [name for name in fit.law.labels if name != fit.law.split]
        if several or labels:
            groups = fit.points.groupby(labels, sort=False, observed=True) if labels else [((), fit.points)]
            for key, table in groups:
                named = [fit.group, *map(str, key if isinstance(key, tuple) else (key,))]
                out.append(_slice(fit, table, column, {}, ", ".join(filter(None, named))))
            continue
        second, levels = _levels(fit, column)
        if second is None:
            out.append(_slice(fit, fit.points, column, {}, ""))
            continue
        scaled = _scale(fit.points[second].to_numpy(float))
        nearest = np.abs(
            scaled[:, None] - _scale(np.array(levels), scaled is not None and _log(fit.points[second]))
        )
        for place, level in enumerate(levels):
            near = fit.points[nearest.argmin(axis=1) == place]
            out.append(
                _slice(fit, near, column, {second: level}, f"{letter(second)} = {size_label(level, 3)}")
            )
    return out[:GROUPS]


def held(report: LawReport, column: str) -> str:
    """What is held at its median in `slices`, in words; "" where nothing is."""
    if not report.fits:
        return ""
    fit = report.fits[0]
    second, _ = _levels(fit, column) if len(report.fits) == 1 and not fit.law.labels else (None, ())
    if fit.law.variable(column).share:
        return "the others in proportion"
    others = [name for name in fit.law.columns if name not in (column, second)]
    return ", ".join(f"{letter(name)} = {size_label(_middle(fit.points[name]), 3)}" for name in others)


def _slice(fit: LawFit, table: pd.DataFrame, column: str, given: dict[str, float], label: str) -> Slice:
    values = fit.points[column].to_numpy(float)
    low, high = float(values.min()), float(values.max())
    x = np.geomspace(low, high, CURVE) if low > 0 else np.linspace(low, high, CURVE)
    at = table[column].to_numpy(float)
    others = {name: _middle(fit.points[name]) for name in fit.law.columns if name != column}
    best, under, above = fit.predict(_rows(table, x, column, others | given | _shares(fit, column, x)))
    there = others | given | _shares(fit, column, at)
    own = fit.predict(_rows(table, at, column, there))[0] if len(at) else np.zeros(0)
    apart = table["residual"].to_numpy(float)
    return Slice(label, x, best, under, above, at, own * (1 + apart) if fit.relative else own + apart)


def _shares(fit: LawFit, column: str, x: Any) -> dict[str, Any]:
    """What is left of the whole for the other shares where one is x [K], in proportion to their medians; none where the
    column is no share."""
    shares = [name for name in fit.law.columns if fit.law.variable(name).share]
    if column not in shares:
        return {}
    middle = {name: _middle(fit.points[name]) for name in shares if name != column}
    total = sum(middle.values())
    return {name: (1 - x) * value / total for name, value in middle.items()} if total else {}


def _rows(table: pd.DataFrame, x: Any, column: str, others: dict[str, Any]) -> pd.DataFrame:
    """Rows of a group at these values [K] of one column, and of others single ones or as many."""
    same = table.iloc[np.zeros(len(x), int)].reset_index(drop=True)
    return same.assign(**others).assign(**{column: x})


def _levels(fit: LawFit, column: str) -> tuple[str | None, Sequence[float]]:
    """The column beside this one that differs most, and values of it."""
    others = [name for name in fit.law.columns if name != column and fit.points[name].nunique() > 1]
    if not others:
        return None, ()
    second = max(others, key=lambda name: float(np.ptp(_scale(fit.points[name].to_numpy(float)))))
    known = np.unique(fit.points[second].to_numpy(float))
    return second, known[np.unique(np.linspace(0, len(known) - 1, LEVELS).round().astype(int))].tolist()


def _log(values: Any) -> bool:
    return bool(np.min(values) > 0)


def _scale(values: Any, log: bool | None = None) -> Any:
    return np.log(values) if (_log(values) if log is None else log) else values


def _middle(values: pd.Series[Any]) -> float:
    return float(values.median())


def _known(table: pd.DataFrame, column: str) -> bool:
    return column in table and bool(np.isfinite(table[column]).any()) and table[column].nunique() > 1


def letter(name: str) -> str:
    """What people call a column: N and D, others by their name."""
    return name.upper() if name in ("n", "d") else name
