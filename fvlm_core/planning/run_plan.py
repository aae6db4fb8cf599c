"""A run as it is planned: what it will be, cost and need."""

from __future__ import annotations

from typing import Any

import attrs
from attrs import field, frozen

from fvlm_core.planning.compute import Parameters
from fvlm_core.planning.disk import Disk
from fvlm_core.planning.flops import LedgerRow
from fvlm_core.planning.memory_fit import Need


@frozen(kw_only=True)
class RunPlan:
    """One run, planned. Every field is a plain value, a dict or an attrs class of such.

    warmup: steps. samples: trained on, with repetition. epochs: each training source and how often it is seen; empty
    when the data are not here. frames, text_tokens, supervised_tokens: of the mean sample. lengths_from: where those
    are from. flops_per_sample: forward and backward, by component. ledger: the same by pass. answer_flops_per_sample:
    of the forward pass alone, as when it is answered.
    nominal_flops_per_sample: in the founding project's accounting. six_nd_per_sample: 6 x parameters x tokens read.
    flops: of the whole run. rates: peak learning rate of each group, 0 where it is frozen. seconds: estimated,
    evaluations included. speed: what the estimate assumes. need: memory, and what would need less. disk: of the run's
    folder. notes: what is missing or assumed. bad_samples: of those looked at, why each cannot be used, by "source/id".
    left_out: how many entries no sample was made of when the data were listed. first_left_out: some of them, in words.
    """

    id: str
    seed: int
    size: str
    parameters: Parameters
    vocabulary: int
    steps: int
    warmup: int
    batch_size: int
    samples: int
    epochs: tuple[tuple[str, float], ...]
    evaluations: int
    frames: float
    text_tokens: float
    supervised_tokens: float
    lengths_from: str
    flops_per_sample: dict[str, float]
    ledger: tuple[LedgerRow, ...]
    answer_flops_per_sample: float
    masked_flops_per_sample: float
    nominal_flops_per_sample: float
    six_nd_per_sample: float
    flops: float
    rates: dict[str, float]
    seconds: float
    speed: str
    need: Need
    disk: Disk
    notes: tuple[str, ...]
    bad_samples: dict[str, str] = field(factory=dict[str, str])
    left_out: int = 0
    first_left_out: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values, totals included."""
        plain = attrs.asdict(self)
        plain["parameters"] |= {"total": self.parameters.total, "trainable": self.parameters.trainable}
        plain["flops_per_sample"]["total"] = sum(self.flops_per_sample.values())
        plain["need"] |= {"memory": self.need.memory.to_json(), "fits": self.need.fits}
        plain["disk"]["total"] = self.disk.total
        return plain
