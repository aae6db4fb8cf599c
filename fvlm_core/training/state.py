"""What a run continues from: one small class beside the weights and the optimizer's state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from attrs import asdict, define, field, frozen
from torch import Tensor, nn

from fvlm_core.data.loader import Reading
from fvlm_core.data.mixture_counts import Realised, add
from fvlm_core.data.order import Order
from fvlm_core.runs.checkpoint import (
    Checkpoint,
    clear_unfinished,
    latest_checkpoint,
    load_checkpoint,
    read_state,
    save_checkpoint,
)
from fvlm_core.runs.earlier import counted
from fvlm_core.runs.store import CHECKPOINTS
from fvlm_core.training.length import Spent
from fvlm_core.training.optimizer import optimizer_tensors, restore_optimizer
from fvlm_core.training.parallel import Replicas, check_equal
from fvlm_core.training.process_group import Ranks
from fvlm_core.training.spikes import SpikeWindow


@define
class LossWindow:
    """An objective's sums since the last training row, and over how many tokens, or pairs, they are."""

    sums: dict[str, float] = field(factory=dict[str, float])
    count: int = 0

    def add(self, sums: Mapping[str, float], count: int) -> None:
        """Add one step's sums."""
        self.sums = {name: self.sums.get(name, 0.0) + value for name, value in sums.items()}
        self.count += count

    def means(self) -> dict[str, float]:
        """The means by name; empty when nothing was counted."""
        return {name: value / self.count for name, value in self.sums.items()} if self.count else {}


@define
class Progress:
    """Everything that resumes beside weights and optimizer state; the same on every rank. What is done is counted here,
    sample by sample, and computed from nothing: a recipe that drifts changes no number of the past.

    step: optimizer steps done. samples: trained. place: of the order, that comes next; as many as samples, but in runs
    whose batch size changed before it was kept. spent, nominal: training FLOPs by the ledger, and in the founding
    project's accounting. order: in which the sources are read. wall_time: seconds of training over all attempts.
    tokens: supervised tokens. truncated: text tokens cut off. spelled: samples whose text spells out a control token.
    bad: bad samples met, with reasons. mixture: what each source gave. dropped: bad samples met, repetitions included,
    by reason. read: a hash over the ids of every sample so far, in order. pieces: into how many parts micro-batches
    are cut since memory ran out. unchanged: steps that changed no weight, because a number was not finite or nothing
    was supervised; unchanged_in_row: how many of those were the last ones. ended: why a callback ended the run before
    its last step. world, parallel: what the checkpoint was written by.
    """

    step: int = 0
    samples: int = 0
    place: int = 0
    spent: Spent | None = None
    nominal: Spent | None = None
    order: Order | None = None
    wall_time: float = 0.0
    tokens: int = 0
    frames: int = 0
    truncated: int = 0
    spelled: int = 0
    best_val_loss: float | None = None
    best_val_step: int | None = None
    best_val_loss_content: float | None = None
    final_train_loss: float | None = None
    window: LossWindow = field(factory=lambda: LossWindow())
    spikes: SpikeWindow = field(factory=lambda: SpikeWindow())
    bad: dict[str, str] = field(factory=dict[str, str])
    mixture: Realised = field(factory=Realised)
    dropped: dict[str, int] = field(factory=dict[str, int])
    read: str = ""
    pieces: int = 1
    unchanged: int = 0
    unchanged_in_row: int = 0
    ended: str = ""
    world: int = 1
    parallel: str = "ddp"

    def note(self, readings: list[Reading]) -> None:
        """Count what a step's micro-batches held, in their order."""
        ids = [sample for reading in readings for sample in reading.samples]
        self.samples += len(ids)
        self.place += len(ids)
        self.read = blake2b("\n".join([self.read, *ids]).encode(), digest_size=8).hexdigest()
        for reading in readings:
            add(self.mixture, reading.mixture)
        self.dropped = _counted(self.dropped, [bad.kind for r in readings for bad in r.bad])
        self.frames = sum(counts["frames"] for counts in self.mixture.values())
        self.truncated += sum(reading.truncated for reading in readings)
        self.spelled += sum(len(reading.spelled) for reading in readings)


def save(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    replicas: Replicas,
    ranks: Ranks,
    kept: Mapping[str, Tensor],
) -> None:
    """Write a checkpoint under `folder`: gathered and written by rank 0, in one layout for any number of ranks.

    kept: what callbacks keep.
    """
    replicas.gather()
    check_equal(model, ranks)
    tensors = {name: parameter.detach().contiguous() for name, parameter in model.named_parameters()}
    state = optimizer_tensors(optimizer, replicas.whole)
    ranks.on_first(
        lambda: str(save_checkpoint(folder, Checkpoint(tensors, state, asdict(progress), dict(kept))))
    )
    replicas.scatter({})


@frozen
class Latest:
    """Where a run stands. folder: of the newest complete checkpoint, None before the first. damaged: what is wrong with
    newer ones that were passed over."""

    folder: Path | None
    progress: Progress
    damaged: list[str]


def find_latest(folder: Path) -> Latest:
    """Where the run of a folder stands; for its one writer, before this attempt has written anything.

    What killed saves left behind is cleared away.
    """
    clear_unfinished(folder / CHECKPOINTS)
    latest, damaged = latest_checkpoint(folder / CHECKPOINTS)
    return Latest(None, Progress(), damaged) if latest is None else latest_of(latest, damaged)


def latest_of(latest: Path, damaged: Sequence[str] = ()) -> Latest:
    """Where a run stands whose newest complete checkpoint this is."""
    folder = latest.parents[1]
    state: dict[str, Any] = read_state(latest)
    if "samples" not in state:
        state |= counted(folder, state)
    state["window"] = LossWindow(**state["window"])
    state["spikes"] = SpikeWindow(**state["spikes"])
    for name in ("spent", "nominal"):
        state[name] = Spent(**state[name]) if state.get(name) else None
    state["order"] = Order.from_json(state["order"]) if state.get("order") else None
    return Latest(latest, Progress(**state), list(damaged))


def restore(
    checkpoint: Path, model: nn.Module, optimizer: torch.optim.Optimizer, replicas: Replicas
) -> dict[str, Tensor]:
    """Put weights and the optimizer's state back; what callbacks kept."""
    found = load_checkpoint(checkpoint)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(replicas.part(found.model[name], parameter))
    restore_optimizer(optimizer, found.optimizer, replicas.part)
    return found.callbacks


def _counted(before: dict[str, int], names: list[str]) -> dict[str, int]:
    return dict(sorted((Counter(before) + Counter(names)).items()))
