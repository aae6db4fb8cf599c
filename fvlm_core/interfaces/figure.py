"""Figures of fits: what a figure gets to see, read only. Imports nothing heavy.

A figure component's target is `draw(config, reports, figure) -> None`: it fills an empty `matplotlib.figure.Figure` and
may set its size; saving is the caller's. The same reports give the same picture: no dates, no global state, no
randomness without a fixed seed. What cannot be drawn is said in the picture, not raised.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from attrs import frozen

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from fvlm_core.interfaces.fit import FitModel


@frozen
class Found:
    """One number found, with its 95 % interval; None: unbounded on that side. log: whether it is searched, and best
    drawn, in its logarithm. bound: whether it rests on a bound. missing: why it has no interval, in words; then both
    ends are None."""

    name: str
    value: float
    low: float | None
    high: float | None
    log: bool = False
    bound: bool = False
    missing: str = ""


@frozen(eq=False)
class Profile:
    """How much worse the best fit becomes when one parameter is held.

    values: [K] of the parameter. rise: [K] of the objective above its minimum, in units of the rise at which the 95 %
    interval ends.
    """

    name: str
    values: NDArray[Any]
    rise: NDArray[Any]
    low: float | None
    high: float | None


@frozen
class Jump:
    """A change point inside a run: between the evaluations at these two amounts of data, by so much of ln L."""

    run: str
    before: float
    after: float
    size: float


@frozen
class Varied:
    """The law's numbers when one choice is made differently.

    kind: "objective", "cut", "run" or another word for the choice. label: what was done ("without C4"). values: by
    parameter, with its group where there are several (`a[135M]`); None where they were withheld.
    """

    kind: str
    label: str
    values: Mapping[str, float | None]


@frozen
class Trend:
    """An optimum of each group, and the power of another column that it follows: optimum = scale * against^exponent.

    column: the column that the optimum is a value of ("n", "lr"). against: the one that tells the groups apart.
    at: [G] of `against`. optima: [G]; their names are the groups'. exponent, scale: None when the groups are too few,
    for the `reason`. expected: a rule of thumb for the exponent. power: the power at values of `against` [m], with the
    low and the high end of its 95 % interval, NaN where there is none. derived: exponents of what follows from the
    optimum, each with its name.
    """

    column: str
    against: str
    at: tuple[float, ...]
    optima: tuple[Found, ...]
    exponent: Found | None = None
    scale: float | None = None
    expected: float | None = None
    reason: str = ""
    power: Callable[[NDArray[Any]], tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] | None = None
    derived: tuple[tuple[str, Found], ...] = ()


@frozen(eq=False)
class Frontier:
    """Compute-optimal size and data at budgets: each [3, K], the best, the low and the high end of the 95 % interval.

    compute: [K] training FLOPs. n: parameters. d: training data.
    """

    compute: NDArray[Any]
    n: NDArray[Any]
    d: NDArray[Any]


@frozen(eq=False)
class LawFit:
    """A law fitted to one group of points.

    law: what was fitted (a report's reduced law, perhaps). group: the size, run or budget; "" for all points.
    parameters: in the law's order, P of them, then those that were given. draws: [S, P] bootstrap draws of their
    values, spread as the estimate's own error is; S may be 0. points: the points fitted, with the columns of
    `LawReport.points` and two more: `predicted`, and `residual` = measured / predicted - 1 (measured - predicted where
    `relative` is false, because the target may be 0 or negative). lag1: autocorrelation of residuals of neighbouring
    evaluations. predict: the law at the rows of a table (columns that it reads, and its labels): best, low and high end
    of the 95 % band, [m] each, NaN where there is none; a KeyError for labels it has not seen. profiles: computed when
    called. missing: why nothing of it has an interval, in words. left_out: the group's points outside the window that
    was fitted; None for a law without windows.
    """

    law: FitModel
    group: str
    parameters: tuple[Found, ...]
    draws: NDArray[Any]
    points: pd.DataFrame
    lag1: float
    predict: Callable[[pd.DataFrame], tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]
    profiles: Callable[[], Sequence[Profile]]
    missing: str = ""
    relative: bool = True
    left_out: pd.DataFrame | None = None


@frozen(eq=False)
class LawReport:
    """A law asked of points.

    law: what was asked. status: "ok"; "reduced" when only part of it, or its reduced form, could be fitted; "refused".
    reasons: why not all of it. withheld: parameters that the points cannot tell. points: columns size, run, schedule
    (labels, "" where unknown), n, d, loss, step, lr, compute (float, NaN where unknown). units: what each float column
    is called, with its unit, for an axis. frontier: None when the law has none, or it is withheld. of: which runs
    the points are from, as a pattern of their ids; "" for all.
    """

    law: FitModel
    status: Literal["ok", "reduced", "refused"]
    reasons: tuple[str, ...]
    withheld: tuple[str, ...]
    warnings: tuple[str, ...]
    points: pd.DataFrame
    units: Mapping[str, str]
    fits: tuple[LawFit, ...]
    jumps: tuple[Jump, ...] = ()
    sensitivity: tuple[Varied, ...] = ()
    trend: Trend | None = None
    frontier: Callable[[], Frontier] | None = None
    of: str = ""

    @property
    def sizes(self) -> list[str]:
        """Labels of the sizes, smallest model first."""
        return [str(size) for size in self.points["size"].unique()]
