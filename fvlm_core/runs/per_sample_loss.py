"""Every validation sample's own loss, of a run's best and latest evaluations: what pairs two runs sample by sample.

`validation/step-00000320.json` in the run's folder holds the columns `ids`, `losses` (nats, summed over the sample's
supervised tokens; null for one that is no number) and `tokens`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from fvlm_core.utils.atomic_files import read_json, refuse_link, write_json

SCORED = "validation"


@frozen
class Scored:
    """One validation sample: its id, its loss (nats, summed over its supervised tokens), and how many those are; a pair
    of answers has one loss and counts as one token."""

    id: str
    loss: float
    tokens: int


def write_scored(folder: Path, step: int, samples: Sequence[Scored], best: int | None) -> None:
    """Write the losses of an evaluation below a run's folder; those of others than the one at step `best` go."""
    refuse_link(folder / SCORED)
    (folder / SCORED).mkdir(exist_ok=True)
    columns = {
        "step": step,
        "ids": [sample.id for sample in samples],
        "losses": [sample.loss if math.isfinite(sample.loss) else None for sample in samples],
        "tokens": [sample.tokens for sample in samples],
    }
    write_json(_file(folder, step), columns)
    kept = {_file(folder, step), _file(folder, best) if best is not None else None}
    for file in (folder / SCORED).glob("step-*.json"):
        if file not in kept:
            file.unlink()


def read_scored(folder: Path, step: int) -> list[Scored] | None:
    """The losses of the evaluation at a step, in the set's order; None when they were not kept."""
    file = _file(folder, step)
    if not file.is_file():
        return None
    columns = read_json(file)
    rows = zip(columns["ids"], columns["losses"], columns["tokens"], strict=True)
    return [Scored(name, math.nan if loss is None else loss, tokens) for name, loss, tokens in rows]


def _file(folder: Path, step: int) -> Path:
    return folder / SCORED / f"step-{step:08d}.json"
