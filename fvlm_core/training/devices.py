"""The device a run trains on: which one, how it computes, what it could do at best."""

from __future__ import annotations

import os
import re
import resource
from contextlib import AbstractContextManager, nullcontext

import torch

from fvlm_core.errors import FvlmError
from fvlm_core.recipes.schema import Training

PEAKS: dict[str, tuple[float, float]] = {
    "GB200": (2.5e15, 1.25e15),
    "B200": (2.25e15, 1.1e15),
    "GH200": (9.89e14, 4.945e14),
    "H200 NVL": (8.35e14, 4.18e14),
    "H200": (9.89e14, 4.945e14),
    "H100 NVL": (8.35e14, 4.18e14),
    "H100 PCIe": (7.56e14, 3.78e14),
    "H100": (9.89e14, 4.945e14),
    "A100": (3.12e14, 1.56e14),
    "L40S": (3.62e14, 1.83e14),
    "L40": (1.81e14, 9.05e13),
    "L4": (1.21e14, 6.0e13),
    "RTX 4090": (1.65e14, 8.26e13),
}
"""Dense FLOP/s in bf16 and in TF32, by words of what torch calls the GPU, from data sheets; the first match counts."""

_LESS = re.compile(r"\bMIG\b|\bLaptop\b| D$")
"""In the name of a part of a GPU, or of a smaller one that is called like it."""


def pick_device(choice: str) -> str:
    """`auto` is the GPU when there is one. Raises `FvlmError` for a GPU that is not there."""
    available = torch.cuda.is_available()
    if choice == "cuda" and not available:
        raise FvlmError('training.device = "cuda", and torch sees no GPU; use "auto" or "cpu"')
    return "cuda" if choice != "cpu" and available else "cpu"


def set_up(training: Training) -> None:
    """Threads, TF32, cuDNN's choice of kernels, deterministic algorithms: as the recipe says.

    `deterministic` makes a GPU repeat itself bit for bit, and rules out cuDNN's timing of kernels against each other.
    """
    if training.threads:
        torch.set_num_threads(training.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = training.tf32
    torch.backends.cudnn.benchmark = training.cudnn_benchmark and not training.deterministic
    if training.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic only with this
    torch.use_deterministic_algorithms(training.deterministic)


def autocast(training: Training, device: str) -> AbstractContextManager[object]:
    """bf16 where it is safe, over float32 weights; entered anew for every pass."""
    if training.precision == "bf16":
        return torch.autocast(device, torch.bfloat16)
    return nullcontext()


def peak_flops(training: Training, device: str) -> float | None:
    """Dense FLOP/s of this device at the recipe's precision; None where they are not known."""
    if device == "cpu":
        return None
    name = torch.cuda.get_device_name()
    known = {} if _LESS.search(name) else PEAKS
    found = next((peaks for words, peaks in known.items() if re.search(rf"\b{words}\b", name)), None)
    if found is None or (training.precision == "float32" and not training.tf32):
        return None
    return found[0] if training.precision == "bf16" else found[1]


def memory_gb(device: str) -> float:
    """The most memory this process has used, in GB: of the GPU, or resident on a CPU."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on whatever device."""
    said = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and ("out of memory" in said or "can't allocate memory" in said)
    )
