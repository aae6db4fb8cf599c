"""Weights change on the device; what became of a step is read when it has to be said.

A GPU that is asked for a number finishes all that it was told before, and then stands still until it is told more. So
a single process decides on the device whether a step's numbers are finite, and asks for them at rows of the log,
evaluations and checkpoints only. Several ranks agree once a step anyway, and a CPU is never ahead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from attrs import define, field, frozen
from torch import Tensor

from fvlm_core.recipes.schema import Training
from fvlm_core.training.callbacks import Observer
from fvlm_core.training.metrics_log import MetricsLog
from fvlm_core.training.parallel import Gradients, Replicas
from fvlm_core.training.process_group import Ranks
from fvlm_core.training.state import Progress


def late(device: str, ranks: Ranks, optimizer: torch.optim.Optimizer) -> bool:
    """Whether the numbers of a step may wait for the next row of the log."""
    return device == "cuda" and ranks.size == 1 and looks_itself(optimizer)


def looks_itself(optimizer: torch.optim.Optimizer) -> bool:
    """Whether a step does nothing where `found_inf` is 1, as torch's fused optimizers say of themselves."""
    return bool(getattr(optimizer, "_step_supports_amp_scaling", False))


@frozen(eq=False)
class _Made:
    """A step whose weights have changed, or not. count: what its loss is a mean over. sums: of this rank. numbers: the
    sums of all ranks and the norm of the summed gradient, float64, on the device."""

    step: int
    count: int
    sums: Sequence[Tensor]
    numbers: Tensor


def mean_and_clip(norm: Tensor, count: int, clip: float) -> Tensor:
    """The factor that makes of a step's summed gradient that of its mean loss, clipped.

    norm: of the summed gradient over all ranks. count: the tokens (or pairs) of the whole step on all ranks; every one
    weighs the same however the step is cut. clip: largest norm of the mean gradient (`torch.nn.utils.clip_grad_norm_`).
    """
    return (clip / (norm / count + 1e-6)).clamp(max=1) / count


@define(eq=False)
class Updates:
    """Of one run. names: of an objective's sums, the loss first. run: its id. late: see `late`."""

    optimizer: torch.optim.Optimizer
    replicas: Replicas
    names: Sequence[str]
    training: Training
    progress: Progress
    ranks: Ranks
    run: str
    late: bool
    _made: list[_Made] = field(factory=list[_Made])
    _norm: float = math.nan

    def make(
        self, step: int, gradients: Gradients, numbers: Tensor, sums: Sequence[Tensor], count: int
    ) -> None:
        """Clip the summed gradients and change the weights; not if one of the numbers, on any rank, is not finite.

        numbers, sums, count: see `_Made`. Whatever the objective counts weighs the same over the whole step.
        """
        self._made.append(_Made(step, count, sums, numbers))
        bad = ~torch.isfinite(numbers).all()
        looks = self.ranks.size == 1 and looks_itself(self.optimizer)
        if not count or (not looks and bad):
            self.replicas.scatter({})
            return
        factor = mean_and_clip(numbers[-1], count, self.training.clip)
        if gradients:
            torch._foreach_mul_([*gradients.values()], factor)  # pyright: ignore
        self.replicas.scatter(gradients)
        if looks:
            # Fused AdamW leaves weights, moments and its own count alone where this is 1, as gradient scalers set it.
            self.optimizer.found_inf = bad.float()  # type: ignore[attr-defined]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def read(self, journal: MetricsLog, observer: Observer) -> float:
        """Account for the steps made since the last call: loss window, spikes, steps that changed nothing.

        Returns the norm of the last one's mean gradient. Raises `FvlmError` where the recipe says that the run stops.
        """
        progress, norm = self.progress, self._norm
        if not self._made:
            return norm
        rows = torch.stack([made.numbers for made in self._made]).tolist()
        for made, (*sums, total) in zip(self._made, rows, strict=True):
            count = max(1, made.count)
            norm = total / count
            if made.count and all(map(math.isfinite, [*sums, norm])):
                progress.unchanged_in_row = 0
                progress.window.add(dict(zip(self.names, sums, strict=True)), count)
                spike = progress.spikes.spike(sums[0] / count)
            else:
                spike, why = None, self._unchanged(made)
                journal.write("skipped", {"step": made.step, "reason": why})
                observer.warned(f"step {made.step} changed no weight: {why}")
            if spike is not None:
                journal.write("spike", {"step": made.step, "loss": sums[0] / count, "reason": spike})
                observer.warned(f"loss spike at step {made.step}: {spike}")
        self._made.clear()
        self._norm = norm
        return norm

    def _unchanged(self, made: _Made) -> str:
        """Count a step that changed no weight; why it was."""
        progress, training = self.progress, self.training
        progress.unchanged += 1
        if not made.count:
            return "no token of it is supervised"
        progress.unchanged_in_row += 1
        own = all(math.isfinite(float(total)) for total in made.sums)
        bad = [rank for rank, good in enumerate(self.ranks.exchange(own)) if not good]
        where = f" on rank {', '.join(map(str, bad))}" if bad and self.ranks.size > 1 else ""
        why = f"the {'loss' if bad else 'gradient'} is not finite{where}"
        text = f"{self.run}: {why} at step {made.step}; no weight was changed by it"
        if training.non_finite == "stop":
            raise self.ranks.refusal(text)
        if progress.unchanged_in_row > training.max_skipped:
            raise self.ranks.refusal(
                f"{text}, nor by the {training.max_skipped} steps before it (training.max_skipped)"
            )
        return why
