"""Whether a run learned its training samples by heart in the end: its validation loss rises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

RISE = 0.01
"""Of the validation loss above its best value, as a share of that; less is not mentioned."""


def overfitting(evaluations: Sequence[Mapping[str, Any]], passes: Mapping[str, float]) -> str | None:
    """What to say of a run whose validation loss rises at its end; None where it does not.

    evaluations: rows with `step` and `val_loss`, in order; the loss rises where at least the last two lie above the
    best one, by more than `RISE` at the end. passes: how often each source was gone through.
    """
    rows = [
        (int(row["step"]), float(row["val_loss"])) for row in evaluations if row.get("val_loss") is not None
    ]
    if len(rows) < 3:
        return None
    at = min(range(len(rows)), key=lambda place: rows[place][1])
    (since, best), (_, last) = rows[at], rows[-1]
    if at > len(rows) - 3 or not last > best * (1 + RISE):
        return None
    often = {name: share for name, share in passes.items() if share > 1}
    seen = " and ".join(f"each sample of {name} was seen {share:.3g} times" for name, share in often.items())
    rises = f"validation rises since step {since}: {best:.4f} there, {last:.4f} at the end"
    return f"{rises}; {seen}" if seen else rises
