"""The gradient of a step: this rank's micro-batches, forward and backward, and what all ranks make of how that went."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from attrs import evolve, frozen
from torch import Tensor

from fvlm_core.data.loader import MicroBatch, Reading
from fvlm_core.hardware.devices import autocast, ran_out
from fvlm_core.model.vlm import VLM
from fvlm_core.recipes.schema import Training
from fvlm_core.training.callbacks import Observer
from fvlm_core.training.objective import Contribution, Objective
from fvlm_core.training.parallel import taken
from fvlm_core.training.process_group import Elsewhere, Ranks
from fvlm_core.training.signals import StopRequest
from fvlm_core.training.state import Progress
from fvlm_core.utils.errors import FvlmError
from fvlm_core.utils.seeding import seed_micro_batch


@frozen
class _Told:
    """How a rank's part of a step went. failed: the exit code, when something other than memory went wrong."""

    count: int
    tokens: int
    readings: tuple[Reading, ...]
    asked: int | None
    out_of_memory: bool
    failed: int | None


@frozen(eq=False)
class StepGradient:
    """A step before its sums; the gradients of this rank's part of it are the model's."""

    sums: list[Tensor]
    """The objective's, of this rank, on the device."""
    count: int
    """What the loss is a mean over, of all ranks."""
    tokens: int
    """Supervised tokens of all ranks."""
    readings: list[Reading]
    """Of all micro-batches of the step, in order."""
    asked: int | None
    """The signal that some rank got."""


@frozen(eq=False)
class Accumulation:
    """Forward and backward passes of a run's steps on one rank."""

    model: VLM
    objective: Objective
    stream: Iterator[MicroBatch]
    training: Training
    seed: int
    device: str
    progress: Progress
    stop: StopRequest
    ranks: Ranks
    observer: Observer

    def accumulate(self, step: int) -> StepGradient:
        """The step's gradient, over this rank's micro-batches.

        A rank whose memory runs out says so; all of them then throw their gradients away and cut every micro-batch in
        two, for the rest of the run. A rank that fails tells the others, which end with it.
        """
        micro: list[MicroBatch] = []
        problem: Exception | None = None
        try:
            micro = _step(self.stream)
        except Exception as error:
            problem = error
        readings = tuple(m.reading() for m in micro)
        while True:
            sums = [torch.zeros((), device=self.device) for _ in self.objective.names]
            count, tokens, out_of_memory = 0, 0, False
            try:
                if problem is None:
                    for added in self._backward(step, micro):
                        count, tokens = count + added.count, tokens + added.tokens
                        sums = [total + more for total, more in zip(sums, added.sums, strict=True)]
            except Exception as error:
                out_of_memory = ran_out(error)
                problem = None if out_of_memory else error
            failed = None if problem is None else getattr(problem, "exit_code", 1)
            told = _Told(count, tokens, readings, self.stop.number, out_of_memory, failed)
            everyone = self.ranks.exchange(told)
            if problem is not None:
                raise self.ranks.named(problem) from problem
            if codes := [told.failed for told in everyone if told.failed is not None]:
                raise Elsewhere(codes[0])
            short = [rank for rank, told in enumerate(everyone) if told.out_of_memory]
            if not short:
                held = [told.readings for told in everyone]
                ordered = [each[turn] for turn in range(len(held[0])) for each in held if turn < len(each)]
                counts = sum(t.count for t in everyone), sum(t.tokens for t in everyone)
                return StepGradient(sums, *counts, ordered, first_signal(t.asked for t in everyone))
            taken(self.model, ())
            added = None  # its graph holds the memory that ran out
            self._cut_in_two(step, short[0])

    def _backward(self, step: int, micro: list[MicroBatch]) -> Iterator[Contribution]:
        for m in micro:
            for first, batch in m.batch.cut(self.progress.pieces):
                seed_micro_batch(self.seed, step, m.offset + first)
                batch = batch.to(self.device)
                if self.training.channels_last:
                    frames = batch.frames.contiguous(memory_format=torch.channels_last)
                    batch = evolve(batch, frames=frames)
                with autocast(self.training, self.device):
                    added = self.objective.contribution(self.model, batch)
                if len(added.sums) != len(self.objective.names):
                    raise FvlmError(
                        f"training.objective: expected {len(self.objective.names)} sums of a micro-batch "
                        f"({', '.join(self.objective.names)}), got {len(added.sums)}"
                    )
                added.loss.backward()
                yield added

    def _cut_in_two(self, step: int, rank: int) -> None:
        """From here on, on all ranks. Raises `FvlmError` where micro-batches are of one sample."""
        if self.device == "cuda":
            torch.cuda.empty_cache()
        training, progress = self.training, self.progress
        where = f" on rank {rank}" if self.ranks.size > 1 else ""
        largest = training.batch_size if training.micro_batch_frames else training.micro_batch_size
        if progress.pieces >= largest:
            raise self.ranks.refusal(f"out of memory{where} at step {step}, with one sample at a time")
        progress.pieces *= 2
        self.observer.warned(
            f"out of memory{where} at step {step}: micro-batches are cut into {progress.pieces} from here on; "
            "the gradient is the same"
        )


def first_signal(numbers: Iterable[int | None]) -> int | None:
    """The signal that some rank got, or None."""
    return next((number for number in numbers if number is not None), None)


def _step(stream: Iterator[MicroBatch]) -> list[MicroBatch]:
    """This rank's micro-batches of the next step; none of a last one that has fewer samples than there are ranks."""
    micro: list[MicroBatch] = []
    for one in stream:
        micro.append(one)
        if one.last:
            break
    return micro
