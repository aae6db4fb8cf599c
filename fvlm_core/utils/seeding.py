"""Randomness as a function of (seed, purpose, place): nothing to save, nothing to continue, nothing to disturb."""

from __future__ import annotations

import random
from hashlib import blake2b


def derive(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose of one run: derive(42, "mixture", 7). Stable across machines and versions."""
    text = "\x1f".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest()) >> 1


def seed_sample(seed: int, place: int) -> None:
    """Seed the generators of Python, NumPy and torch for reading the sample at a place of training.

    A source that draws at random thus reads the same whatever process asks, and after whichever other samples.
    """
    import numpy as np

    value = derive(seed, "sample", place)
    random.seed(value)
    np.random.seed(value & 0xFFFFFFFF)  # noqa: NPY002  # the global generator is what plug-ins may draw from
    _seed_torch(value)


def seed_micro_batch(seed: int, step: int, offset: int) -> None:
    """Seed the generators for the forward and backward pass of the samples of a step from its `offset`-th on.

    torch's own generator starts from the seed of the step, which `torch.initial_seed()` gives to whoever decides for
    the whole step, and stands after one draw for each earlier sample: draws of one number a sample, made before any
    other, thus depend neither on micro-batches nor on ranks. A GPU's generator has a seed for each micro-batch.
    """
    import numpy as np
    import torch

    value = derive(seed, "micro-batch", step, offset)
    random.seed(value)
    np.random.seed(value & 0xFFFFFFFF)  # noqa: NPY002
    _seed_torch(derive(seed, "step", step))
    torch.rand(offset)
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(value)


def _seed_torch(value: int) -> None:
    """Seed torch's generators: of an accelerator only where there is one.

    For those that are not there `torch.manual_seed` notes where it was called from, three times: an eighth of the time
    of a tiny model's training on a CPU.
    """
    import torch

    if torch.accelerator.is_available():
        torch.manual_seed(value)
    else:
        torch.default_generator.manual_seed(value)
