"""What a pool makes by jobs: one run of a grid, or one part of packs, while it is under way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Literal

from attrs import define, field

from fvlm_core.interfaces.launcher import Task

State = Literal["ready", "waiting", "held", "running", "complete", "failed", "stopped"]

OPEN: tuple[State, ...] = ("ready", "waiting", "held", "running")
"""States that something will still become of."""


@define
class Entry(ABC):
    """Something that is made by as many starts of its job as it takes, and what became of it so far.

    folder: where logs of its starts are, and the note that it is queued. after: names of the entries that must be
    complete before it. note: why it is in its state, for people. slot, task: while it is running. since:
    `time.monotonic()` of its latest start. tries: its starts by this command. fruitless: of these, the latest in a row
    that brought nothing new. had: `gained` when it was started. log: of its latest start that has ended.
    """

    gain: ClassVar[str]
    """What a start brings, in a word."""

    folder: Path
    after: tuple[str, ...] = field(default=(), kw_only=True)
    state: State = field(default="ready", kw_only=True)
    note: str = field(default="", kw_only=True)
    slot: int | None = field(default=None, kw_only=True)
    task: Task | None = field(default=None, repr=False, kw_only=True)
    since: float = field(default=0.0, kw_only=True)
    tries: int = field(default=0, kw_only=True)
    fruitless: int = field(default=0, kw_only=True)
    had: int = field(default=-1, kw_only=True)
    log: Path | None = field(default=None, kw_only=True)

    @property
    @abstractmethod
    def name(self) -> str:
        """Its own among the entries."""

    @property
    @abstractmethod
    def grace(self) -> float:
        """Seconds that its job may take to save."""

    @abstractmethod
    def is_complete(self) -> bool:
        """Whether nothing is missing."""

    @abstractmethod
    def gained(self) -> int:
        """A number that grows with what is there."""

    @abstractmethod
    def next_start(self) -> str:
        """What another start would do, for people."""

    @abstractmethod
    def holder(self) -> str:
        """Who makes it now; empty when nobody does."""
