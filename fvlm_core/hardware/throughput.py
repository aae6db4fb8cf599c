"""How long training takes on this machine: FLOPs over a measured rate, and the cost of starting each operation."""

from __future__ import annotations

import time
from collections.abc import Mapping

import torch
from attrs import frozen

UTILISATION = {"cpu": 0.65, "cuda": 0.3}
"""Share of a large matrix product's rate that a training step of a wide model reaches. CPU: 0.62 at width 192 and 0.65
at 384 to 576 on one core in float32, 0.48 in bf16. GPU: assumed. The founding project's 45 samples/s of the 135M model
on an RTX 5090 are 0.09 of its 209.5 TFLOP/s in bf16: this is what well-fed training may reach, not what it did."""

FULL_WIDTH = 100
"""Channels from which that share is reached; below it falls in proportion. Measured on one core: 0.15, 0.29 and 0.59
at widths 24, 48 and 96."""

LAYER_OVERHEAD = 1e-3
"""Seconds that one layer of one micro-batch costs in a training step, forward and backward, however small it is:
starting some 100 operations from Python. Measured on one core at width 24: 0.94 ms a layer at 60 layers, 1.16 at 10."""

_SIDE = {"cpu": 512, "cuda": 8192}
_PROBE_SECONDS = 0.15


@frozen
class Speed:
    """What a device does. flops: FLOP/s of a matrix product. utilisation: the share of it that training reaches."""

    device: str
    precision: str
    threads: int
    flops: float
    utilisation: float

    def seconds(self, flops: Mapping[int, float], layers: float) -> float:
        """Time for training FLOPs, by the width they are done in, in `layers` layer passes (forward and backward)."""
        reached = self.flops * self.utilisation
        work = sum(done / (reached * min(1.0, width / FULL_WIDTH)) for width, done in flops.items())
        return work + layers * LAYER_OVERHEAD

    def __str__(self) -> str:
        cpu = self.device == "cpu"
        where = f"CPU threads: {self.threads}" if cpu else self.device
        share = f"{self.utilisation} {'' if cpu else 'assumed to be '}reached in training"
        return (
            f"{self.flops / 1e9:,.0f} GFLOP/s measured here ({where}, {self.precision}) x {share} "
            f"at widths from {FULL_WIDTH}, plus {LAYER_OVERHEAD * 1e3:g} ms a layer and micro-batch"
        )


@frozen
class StatedSpeed:
    """What a device is said to do. flops: FLOP/s at best. source: who says so. mfu: the share of it that
    training reaches, everything included: small layers and starting operations too. assumed: nobody said that share."""

    device: str
    precision: str
    flops: float
    mfu: float
    source: str
    assumed: bool = False

    def seconds(self, flops: Mapping[int, float], layers: float) -> float:
        """As `Speed.seconds`; widths and layers make no difference."""
        return sum(flops.values()) / (self.flops * self.mfu)

    def __str__(self) -> str:
        return (
            f"{self.flops / 1e12:,.1f} TFLOP/s at best ({self.device}, {self.precision}, {self.source}) x {self.mfu:g} "
            f"{'assumed to be ' if self.assumed else ''}reached in training"
        )


ASSUMED_MFU = UTILISATION["cuda"]
"""Of a GPU that is named and not here."""


def measure_speed(device: str, precision: str, threads: int) -> Speed:
    """Time a matrix product. device: "cpu" or "cuda". threads: of the CPU, 0 for torch's own choice. Takes 0.2 s."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        rate = _matmul_rate(device, torch.bfloat16 if precision == "bf16" else torch.float32)
        return Speed(device, precision, threads or before, rate, UTILISATION[device])
    finally:
        torch.set_num_threads(before)


def _matmul_rate(device: str, dtype: torch.dtype) -> float:
    side = _SIDE[device]
    left, right = (torch.ones(side, side, dtype=dtype, device=device) for _ in range(2))
    best = float("inf")
    end = time.perf_counter() + _PROBE_SECONDS
    while time.perf_counter() < end or best == float("inf"):
        begun = time.perf_counter()
        product = left @ right
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - begun)
        del product
    return 2 * side**3 / best
