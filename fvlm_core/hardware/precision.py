"""What `training.precision = "auto"` becomes: the precision in which a device computes faster."""

from __future__ import annotations

from functools import cache
from typing import Literal

import torch
from attrs import evolve, frozen

from fvlm_core.hardware.throughput import measure_speed
from fvlm_core.recipes.read import Run
from fvlm_core.utils.cpu import bf16_instructions

Precision = Literal["float32", "bf16"]


@frozen
class ChosenPrecision:
    """A precision of matrix products over float32 weights, and why it is this one, in words."""

    precision: Precision
    why: str

    def __str__(self) -> str:
        return f"auto: {self.precision}, {self.why}"


@cache
def faster_precision(device: str) -> ChosenPrecision:
    """In which precision a device computes faster; the same answer as long as the process lives.

    device: "cpu" or "cuda". bf16 where the device has instructions for it: a GPU of compute capability 8 or more, a
    CPU of which Linux says so (AVX512-BF16, AMX, Arm's). A CPU of which nothing is said multiplies two matrices in
    each, which takes .3 s.
    """
    if device == "cuda":
        able = torch.cuda.is_bf16_supported(including_emulation=False)
        return _by_instructions(able, f"this GPU ({torch.cuda.get_device_name()})")
    said = bf16_instructions()
    if said is not None:
        return _by_instructions(said, "this CPU")
    half, whole = (measure_speed("cpu", each, 0).flops for each in ("bf16", "float32"))
    rates = f"measured: {half / 1e9:,.0f} GFLOP/s in bf16 and {whole / 1e9:,.0f} in float32"
    return ChosenPrecision("bf16" if half > whole else "float32", rates)


def _by_instructions(able: bool, device: str) -> ChosenPrecision:
    return ChosenPrecision(
        "bf16" if able else "float32", f"{device} has {'' if able else 'no '}instructions for bf16"
    )


def precision_on(device: str, asked: Precision | Literal["auto"]) -> Precision:
    """What a recipe asks for, in float32 or bf16. device: as in `faster_precision`."""
    return faster_precision(device).precision if asked == "auto" else asked


def computed_in(run: Run, precision: Precision) -> Run:
    """The run, in this precision whatever its recipe asks for."""
    training = evolve(run.config.training, precision=precision)
    return evolve(run, config=evolve(run.config, training=training))
