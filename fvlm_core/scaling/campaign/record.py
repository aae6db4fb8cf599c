"""What a campaign has done so far, as it is kept in `campaign.json`: rounds of runs, what they measured and told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from attrs import asdict, define, field, frozen

from fvlm_core.scaling.campaign.offers import Offer

Outcome = Literal["narrow enough", "budget spent", "nothing helps", "no law"]

STATE = "campaign.json"
"""The file, in the folder of the recipe's runs."""

FORMAT = 1
"""Of the file; a reader refuses others."""


@frozen(kw_only=True)
class Finding:
    """What all runs up to a round tell of the target.

    runs: how many there are. spent: FLOPs, those of a sweep included. status, reasons: of the law's fit, as `fvlm fit`
    gives them; what follows is None where that is not "ok". loss: predicted, by the law and what it gets wrong near the
    target. low, high: the 95 % interval of the target's own loss, measured once: what is not known of the law's
    parameters and of its departure, and how runs scatter. half_width: half of high - low, as a part of the predicted
    loss, which `--within` is compared with. law_half_width: the same without the scatter. scatter: standard deviation
    of a run about the law, as a part of the loss. fit_loss, fit_low, fit_high: what `fvlm predict` says, which takes
    the law for right. parameters: of the fit.
    """

    runs: int
    spent: float
    status: str
    reasons: tuple[str, ...] = field(default=(), converter=tuple)
    loss: float | None = None
    low: float | None = None
    high: float | None = None
    half_width: float | None = None
    law_half_width: float | None = None
    scatter: float | None = None
    fit_loss: float | None = None
    fit_low: float | None = None
    fit_high: float | None = None
    parameters: dict[str, float] = field(factory=dict[str, float])


@define(kw_only=True)
class Round:
    """Runs that are bought together, and decided after together. why: what they are for. runs: what is bought.
    rates: of each, where a sweep found them; losses: of their last evaluations, once all are trained."""

    why: str
    runs: tuple[Offer, ...]
    rates: dict[str, float] = field(factory=dict[str, float])
    losses: dict[str, float] | None = None
    finding: Finding | None = None

    @property
    def flops(self) -> float:
        """Of its runs."""
        return sum(one.flops for one in self.runs)


@frozen(kw_only=True)
class Verdict:
    """How a campaign ended. reasons: sentences."""

    outcome: Outcome
    reasons: tuple[str, ...] = field(converter=tuple)


@define(kw_only=True)
class Journal:
    """rounds: in order; the last one may be under way. rate: c and k of the rates c N^k that a sweep found."""

    rounds: list[Round] = field(factory=list[Round])
    sweep: Round | None = None
    rate: tuple[float, float] | None = None
    verdict: Verdict | None = None

    @property
    def spent(self) -> float:
        """FLOPs of all runs that are bought."""
        swept = self.sweep.flops if self.sweep else 0.0
        return swept + sum(one.flops for one in self.rounds)

    @property
    def measured(self) -> list[tuple[Offer, float]]:
        """Runs that are trained, with their losses."""
        return [
            (run, one.losses[run.run]) for one in self.rounds if one.losses is not None for run in one.runs
        ]

    @property
    def finding(self) -> Finding | None:
        """The last one."""
        found = [one.finding for one in self.rounds if one.finding is not None]
        return found[-1] if found else None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "verdict": None if self.verdict is None else asdict(self.verdict),
            "rate": None if self.rate is None else list(self.rate),
            "sweep": None if self.sweep is None else _round_json(self.sweep),
            "rounds": [_round_json(one) for one in self.rounds],
        }

    @classmethod
    def from_json(cls, table: Mapping[str, Any]) -> Journal:
        """What `to_json` made. Raises `KeyError`, `TypeError` or `ValueError` for anything else."""
        verdict, rate, sweep = table["verdict"], table["rate"], table["sweep"]
        return cls(
            rounds=[_round(one) for one in table["rounds"]],
            sweep=None if sweep is None else _round(sweep),
            rate=None if rate is None else (float(rate[0]), float(rate[1])),
            verdict=None if verdict is None else Verdict(**verdict),
        )


def _round_json(one: Round) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    for run in one.runs:
        row: dict[str, Any] = {"run": run.run, "size": run.size, "N": run.n, "D": run.d, "repeat": run.repeat}
        row["FLOPs"] = run.flops
        if run.run in one.rates:
            row["lr"] = one.rates[run.run]
        row["loss"] = None if one.losses is None else one.losses[run.run]
        rows.append(row)
    finding = None if one.finding is None else asdict(one.finding)
    return {"why": one.why, "FLOPs": one.flops, "runs": rows, "finding": finding}


def _round(table: Mapping[str, Any]) -> Round:
    rows = table["runs"]
    runs = tuple(
        Offer(
            str(row["run"]),
            str(row["size"]),
            float(row["N"]),
            int(row["D"]),
            int(row["repeat"]),
            float(row["FLOPs"]),
        )
        for row in rows
    )
    losses = {str(row["run"]): row["loss"] for row in rows}
    trained = all(isinstance(loss, float) for loss in losses.values())
    finding = table["finding"]
    return Round(
        why=str(table["why"]),
        runs=runs,
        rates={str(row["run"]): float(row["lr"]) for row in rows if "lr" in row},
        losses=losses if trained else None,
        finding=None if finding is None else Finding(**finding),
    )
