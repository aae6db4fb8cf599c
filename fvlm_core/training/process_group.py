"""The processes that train one run together: who they are, and the few things they say to each other.

Started by `torchrun` or `srun`, or one process alone, for which everything here costs nothing. Nothing is said inside a
forward or a backward pass, so a rank that fails there can still tell the others.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from attrs import evolve, field, frozen
from torch import Tensor

from fvlm_core.training.presence import Presence, announce
from fvlm_core.training.world import world_size
from fvlm_core.utils.error_summary import described
from fvlm_core.utils.errors import FvlmError
from fvlm_core.utils.listing import listed

T = TypeVar("T")

SILENCE = timedelta(minutes=30)
"""How long a rank waits for the others before it gives up; rank 0 may be drawing clips all that while."""


class Elsewhere(FvlmError):
    """Another rank failed and has said why; this one ends with the same exit code and nothing to add."""

    def __init__(self, exit_code: int = 1) -> None:
        super().__init__("")
        self.exit_code = exit_code


@frozen
class Ranks:
    """The processes of a run. rank: this one's number. size: how many."""

    rank: int = 0
    size: int = 1
    _group: Any = field(default=None, repr=False)
    """A gloo group for objects on the host, beside NCCL for tensors on GPUs."""
    _presence: Presence | None = field(default=None, repr=False)

    @property
    def first(self) -> bool:
        """Whether this is the rank that decides, writes and speaks."""
        return self.rank == 0

    def exchange(self, value: T) -> list[T]:
        """What every rank gives, by rank. Raises `FvlmError` when one of them is gone."""
        if self.size == 1:
            return [value]
        found: list[T | None] = [None] * self.size
        with self._contact():
            dist.all_gather_object(found, value, group=self._group)
        return cast(list[T], found)

    def on_first(self, work: Callable[[], T]) -> T:
        """Do `work` on rank 0; every rank gets what it returns, or fails as it fails."""
        if self.size == 1:
            return work()
        answer: list[Any] = [None, None]
        problem: Exception | None = None
        if self.first:
            try:
                answer[0] = work()
            except Exception as error:
                problem, answer[1] = error, getattr(error, "exit_code", 1)
        with self._contact():
            dist.broadcast_object_list(answer, src=0, group=self._group)
        if problem is not None:
            raise problem
        if answer[1] is not None:
            raise Elsewhere(answer[1])
        return answer[0]

    def in_turn(self, work: Callable[[], T]) -> T:
        """Do `work` on rank 0 and then on the others: a user's mistake is told once."""
        done: list[T] = []
        self.on_first(lambda: done.append(work()))
        return done[0] if done else work()

    def refusal(self, text: str) -> FvlmError:
        """What every rank raises when all of them see the same reason to stop: rank 0 alone says it."""
        return FvlmError(text) if self.first else Elsewhere()

    def add(self, tensor: Tensor) -> None:
        """Replace a tensor by its sum over the ranks."""
        if self.size > 1:
            with self._contact():
                dist.all_reduce(tensor)

    def named(self, error: Exception) -> Exception:
        """An error that this rank alone had, told as its own; a single process has no need."""
        if self.size == 1:
            return error
        lost = (
            self._lost() if isinstance(error, RuntimeError) else ""
        )  # in a backward pass that needs the others
        if lost:
            return FvlmError(f"{lost} ({_line(error)})")
        text = str(error) if isinstance(error, FvlmError) else f"unexpected {described(error)}"
        own = FvlmError(f"rank {self.rank} of {self.size}: {text}")
        own.exit_code = getattr(error, "exit_code", 1)
        return own

    @contextmanager
    def _contact(self) -> Generator[None]:
        try:
            yield
        except RuntimeError as error:  # torch says which connection broke, not what that means
            lost = self._lost() or "lost contact with another rank; its own message or torchrun's says why"
            raise FvlmError(f"{lost} ({_line(error)})") from error

    def _lost(self) -> str:
        """Which ranks are gone; empty when none is known to be."""
        gone = self._presence.missing() if self._presence is not None else []
        if not gone:
            return ""
        named = f"rank {gone[0]}" if len(gone) == 1 else f"ranks {listed(map(str, gone))}"
        return (
            f"lost contact with {named} of {self.size}; its own message or that of what started it says why"
        )


def join() -> Ranks:
    """The ranks that `torchrun` or `srun` started, or this process alone.

    Tensors on CPUs go by gloo, those on GPUs by NCCL; each rank takes the GPU of its local number.
    """
    if world_size() == 1 and not dist.is_initialized():
        return Ranks()
    gpus = torch.cuda.is_available()
    if gpus:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    if not dist.is_initialized():
        dist.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo", timeout=SILENCE)
    group = dist.new_group(backend="gloo", timeout=SILENCE) if gpus else None
    ranks = Ranks(dist.get_rank(), dist.get_world_size(), group)
    return evolve(ranks, presence=announce(ranks.rank, ranks.exchange))


def leave() -> None:
    """End the process group, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
