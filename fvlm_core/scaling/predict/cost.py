"""What training costs as a function of the model's size: FLOPs of one unit of D, by the ledger, between known sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from attrs import evolve, frozen

from fvlm_core.scaling.fit.objective import Floats
from fvlm_core.scaling.points.points import Points, size_label
from fvlm_core.utils.errors import UsageError

if TYPE_CHECKING:
    from fvlm_core.planning.run_plan import RunPlan

CostName = Literal["ledger", "6ND"]

FAR = 2.0
"""Beyond the smallest and largest size whose cost is known, the cost is continued by this factor and no farther: the
encoder does not grow with the language model, so the slope changes (cost ~ N^0.43 from 135M to 360M, N^0.72 on to
1.7B, at 8 frames)."""

UNLIKE = 0.01
"""Runs of one size whose cost differs by more than this part are remarked upon."""

SAME_SIZE = 0.005
"""Values of N within this part of a known size mean that size."""

NAMED = 8
"""More sizes than this are counted, not listed."""


@frozen
class Size:
    """A size that exists. label: in tables. n: parameters. flops: training FLOPs of one unit of D."""

    label: str
    n: float
    flops: float


@frozen(eq=False)
class Cost:
    """Training FLOPs of one unit of D at any N.

    name: "ledger", what is really computed, or "6ND". sizes: those that exist, smallest first. source: where the
    figures are from, for people.
    """

    name: CostName
    sizes: tuple[Size, ...]
    source: str

    @property
    def reach(self) -> tuple[float, float]:
        """The smallest and the largest N whose cost can be told."""
        if self.name == "6ND":
            return 0.0, np.inf
        low, high = self.sizes[0].n, self.sizes[-1].n
        # One size has no slope to continue it by.
        return (
            (low / FAR, high * FAR)
            if len(self.sizes) > 1
            else (low * (1 - SAME_SIZE), high * (1 + SAME_SIZE))
        )

    def flops(self, n: Floats | float) -> Floats:
        """FLOPs of one unit of D at N [...], log-log linear between sizes; NaN beyond `reach`."""
        n = np.asarray(n, dtype=float)
        if self.name == "6ND":
            return 6.0 * n
        x, y = np.log([size.n for size in self.sizes]), np.log([size.flops for size in self.sizes])
        at = np.log(n)
        found = np.interp(at, x, y)
        if len(x) > 1:
            found = np.where(at < x[0], y[0] + (at - x[0]) * (y[1] - y[0]) / (x[1] - x[0]), found)
            found = np.where(at > x[-1], y[-1] + (at - x[-1]) * (y[-1] - y[-2]) / (x[-1] - x[-2]), found)
        low, high = self.reach
        return np.where((n >= low * (1 - 1e-9)) & (n <= high * (1 + 1e-9)), np.exp(found), np.nan)

    def about(self, n: float) -> str:
        """How the cost at N is known, in words; "" where it is exact."""
        if self.name == "6ND":
            return ""
        if any(abs(n / size.n - 1) <= SAME_SIZE for size in self.sizes):
            return ""
        below = [size for size in self.sizes if size.n < n]
        above = [size for size in self.sizes if size.n > n]
        if below and above:
            return (
                f"no size of N = {size_label(n)} is known: its cost is between those of "
                f"{below[-1].label} and {above[0].label}"
            )
        end, side = (above[0], "smaller") if above else (below[-1], "larger")
        return (
            f"N = {size_label(n)} is {side} than every size whose cost is known: continued from {end.label}"
        )

    def __str__(self) -> str:
        if self.name == "6ND":
            return "6ND: 6 FLOPs for each parameter and unit of D"
        labels = [size.label for size in self.sizes]
        named = ", ".join(labels)
        if len(labels) > NAMED:
            named = f"{len(labels)} sizes, {labels[0]} to {labels[-1]}"
        return f"the FLOPs of {named} ({self.source})"


def _sizes(table: pd.DataFrame) -> list[tuple[float, str, pd.DataFrame]]:
    """N (the median), label and rows of each size, smallest first. Values of N read off a picture differ in the last
    digits: those within `SAME_SIZE` of the smallest of a size are of that size."""
    ordered = table.sort_values("n", kind="stable")
    n = ordered["n"].to_numpy(float)
    out: list[tuple[float, str, pd.DataFrame]] = []
    at = 0
    while at < len(n):
        end = int(np.searchsorted(n, n[at] * (1 + SAME_SIZE), side="right"))
        rows = ordered.iloc[at:end]
        out.append((float(np.median(n[at:end])), str(rows["size"].iloc[0]), rows))
        at = end
    return out


def six_nd(points: Points | None, sizes: Sequence[float] = ()) -> Cost:
    """6 x N FLOPs for each unit of D, which should then be text tokens. sizes: those that exist beside the points'."""
    known: dict[float, str] = {}
    if points is not None:
        table = points.table[np.isfinite(points.table["n"])]
        known = {n: label for n, label, _ in _sizes(table)}
    known |= {float(n): size_label(n) for n in sizes if not any(abs(n / k - 1) <= SAME_SIZE for k in known)}
    return Cost("6ND", tuple(Size(known[n], n, 6.0 * n) for n in sorted(known)), "a rule of thumb")


def with_six_nd(points: Points) -> Points:
    """The points with C = 6ND, 6 FLOPs for each parameter and unit of D, whatever C they had; and said. Raises
    `UsageError` where N of a point is not known."""
    points.require(["n"], "C = 6ND")
    held = points.table["compute"].notna().any()
    said = (
        f"C = 6ND, 6 FLOPs for each parameter and unit of D{', in place of the C they hold' if held else ''}"
    )
    table = points.table.assign(compute=6.0 * points.table["n"] * points.table["d"])
    return evolve(points, table=table, remarks=(*points.remarks, said))


def cost_of_points(points: Points) -> tuple[Cost, list[str]] | None:
    """The cost of each size from the points' own FLOPs (C over D, the median of a size), and remarks on it.

    None when the points do not hold their FLOPs.
    """
    table = points.table
    known = table[np.isfinite(table["compute"]) & np.isfinite(table["n"]) & (table["compute"] > 0)]
    if known.empty:
        return None
    remarks: list[str] = []
    sizes: list[Size] = []
    for n, label, rows in _sizes(known):
        costs = (rows["compute"] / rows["d"]).to_numpy()
        middle = float(np.median(costs))
        sizes.append(Size(label, n, middle))
        if np.ptp(costs) > UNLIKE * middle:
            remarks.append(
                f"the cost of one unit of D differs between points of {label} by "
                f"{np.ptp(costs) / middle:.0%}: the median counts"
            )
    return Cost("ledger", tuple(sizes), f"of {points.source}"), remarks


def cost_of_plans(plans: Sequence[RunPlan], source: str) -> Cost:
    """The cost of the sizes of planned runs: FLOPs of one training sample. Raises `UsageError` when two runs of one
    size differ in cost (another connector, other data): which one is meant cannot be guessed."""
    found: dict[int, Size] = {}
    for plan in plans:
        n, flops = plan.parameters.total, sum(plan.flops_per_sample.values())
        size = found.setdefault(n, Size(plan.size, float(n), flops))
        if abs(flops / size.flops - 1) > UNLIKE:
            raise UsageError(
                f"{source}: run {plan.id} costs {flops:.3e} FLOPs a sample, another run of {n:,} parameters "
                f"{size.flops:.3e}: keep runs of one composition"
            )
    return Cost("ledger", tuple(sorted(found.values(), key=lambda size: size.n)), f"planned from {source}")
