"""GPUs by name: memory, and what they compute at best, from their vendors' data sheets. Imports nothing heavy."""

from __future__ import annotations

import re

from attrs import frozen

from fvlm_core.utils.errors import UsageError


@frozen
class GPU:
    """A GPU. memory: GiB, as the data sheet's "GB" are counted. bf16, tf32: dense FLOP/s with float32 sums.

    sheet: the document that says so.
    """

    name: str
    memory: float
    bf16: float
    tf32: float
    sheet: str

    def peak(self, precision: str) -> float:
        """Dense FLOP/s at a recipe's precision; float32 products are rounded to TF32."""
        return self.bf16 if precision == "bf16" else self.tf32


_ADA = "NVIDIA Ada GPU architecture whitepaper, v2"
_BLACKWELL = "NVIDIA RTX Blackwell GPU architecture whitepaper"
_AMPERE = "NVIDIA Ampere GA102 GPU architecture whitepaper"
_HOPPER = "NVIDIA H100 data sheet"

GPUS = (
    GPU("GB200", 186, 2.5e15, 1.25e15, "NVIDIA GB200 NVL72 data sheet, a GPU"),
    GPU("B200", 180, 2.25e15, 1.1e15, "NVIDIA DGX B200 data sheet, a GPU"),
    GPU("GH200", 96, 9.89e14, 4.945e14, "NVIDIA GH200 data sheet"),
    GPU("H200 NVL", 141, 8.35e14, 4.18e14, "NVIDIA H200 data sheet"),
    GPU("H200", 141, 9.89e14, 4.945e14, "NVIDIA H200 data sheet"),
    GPU("H100 NVL", 94, 8.35e14, 4.18e14, _HOPPER),
    GPU("H100 PCIe", 80, 7.56e14, 3.78e14, _HOPPER),
    GPU("H100", 80, 9.89e14, 4.945e14, _HOPPER),
    GPU("A100 40GB", 40, 3.12e14, 1.56e14, "NVIDIA A100 data sheet"),
    GPU("A100", 80, 3.12e14, 1.56e14, "NVIDIA A100 data sheet"),
    GPU("L40S", 48, 3.62e14, 1.83e14, "NVIDIA L40S data sheet"),
    GPU("L40", 48, 1.81e14, 9.05e13, "NVIDIA L40 data sheet"),
    GPU("L4", 24, 1.21e14, 6.0e13, "NVIDIA L4 data sheet"),
    GPU("RTX 5090", 32, 2.095e14, 1.048e14, _BLACKWELL),
    GPU("RTX 4090", 24, 1.652e14, 8.26e13, _ADA),
    GPU("RTX 3090", 24, 7.1e13, 3.56e13, _AMPERE),
)
"""Dense rates: a data sheet's figure "with sparsity" is halved. The first name that is among the words counts."""

_LESS = re.compile(r"\bMIG\b|\bLaptop\b| D$")
"""In the name of a part of a GPU, or of a smaller one that is called like it."""


def recognise(name: str) -> GPU | None:
    """The GPU that a driver calls `name` ("NVIDIA H100 80GB HBM3"), if it is a known one and all of it."""
    if _LESS.search(name):
        return None
    return next((gpu for gpu in GPUS if re.search(rf"\b{gpu.name}\b", name)), None)


def find_gpu(name: str) -> GPU:
    """The GPU of this name, in any case and spelling of spaces. Raises `UsageError` with the names there are."""
    wanted = _letters(name)
    for gpu in GPUS:
        if _letters(gpu.name) == wanted:
            return gpu
    names = ", ".join(gpu.name for gpu in GPUS)
    raise UsageError(f'--device "{name}": no such GPU; expected one of {names}')


def _letters(name: str) -> str:
    return re.sub(r"nvidia|geforce|[^a-z0-9]", "", name.lower())
