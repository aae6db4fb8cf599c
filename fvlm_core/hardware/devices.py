"""The device a run trains on: which one, how it computes, what it could do at best."""

from __future__ import annotations

import os
import resource
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn

from fvlm_core.hardware.gpus import recognise
from fvlm_core.hardware.precision import precision_on
from fvlm_core.recipes.schema import Training
from fvlm_core.utils.cpu import has_bf16
from fvlm_core.utils.errors import FvlmError


def pick_device(choice: str) -> str:
    """`auto` is the GPU when there is one. Raises `FvlmError` for a GPU that is not there."""
    available = torch.cuda.is_available()
    if choice == "cuda" and not available:
        raise FvlmError('training.device = "cuda", and torch sees no GPU; use "auto" or "cpu"')
    return "cuda" if choice != "cpu" and available else "cpu"


def set_up(training: Training, device: str) -> list[str]:
    """Threads, TF32, cuDNN's choice of kernels, deterministic algorithms: as the recipe says. Gives what of it is slow
    on this machine, and what would not be.

    `deterministic` makes a GPU repeat itself bit for bit, and rules out cuDNN's timing of kernels against each other.
    Raises `FvlmError` for bf16 on a GPU that does not even imitate it.
    """
    if training.threads:
        torch.set_num_threads(training.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = training.tf32
    torch.backends.cudnn.benchmark = training.cudnn_benchmark and not training.deterministic
    if training.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic only with this
    torch.use_deterministic_algorithms(training.deterministic)
    if precision_on(device, training.precision) != "bf16":
        return []
    if device == "cuda" and not torch.cuda.is_bf16_supported():
        raise FvlmError(
            f"this run computes in bf16, and {torch.cuda.get_device_name()} cannot; run it on another device, "
            'or begin one with training.precision = "float32"'
        )
    able = has_bf16() if device == "cpu" else torch.cuda.is_bf16_supported(including_emulation=False)
    name = "CPU" if device == "cpu" else "GPU"
    slow = f"this {name} has no instructions for bf16, which is slower on it than float32"
    return (
        [] if able else [f'{slow}; expected training.precision = "float32", or "auto", of a run that begins']
    )


@contextmanager
def settings_restored() -> Generator[None]:
    """Threads and determinism that `set_up` chose for one run are not those of the next, nor of who trains in a
    notebook."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic, warn_only=warns)


def place(model: nn.Module, training: Training, device: str) -> None:
    """Bring a model to the device, to be trained, its kernels in the memory order of the recipe."""
    model.to(device).train()
    if training.channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def autocast(training: Training, device: str) -> AbstractContextManager[object]:
    """bf16 where it is safe, over float32 weights; entered anew for every pass."""
    if precision_on(device, training.precision) == "bf16":
        return torch.autocast(device, torch.bfloat16)
    return nullcontext()


def peak_flops(training: Training, device: str) -> float | None:
    """Dense FLOP/s of this device at the recipe's precision; None where they are not known."""
    if device == "cpu":
        return None
    found = recognise(torch.cuda.get_device_name())
    precision = precision_on(device, training.precision)
    if found is None or (precision == "float32" and not training.tf32):
        return None
    return found.peak(precision)


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
