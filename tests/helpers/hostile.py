"""A data source whose samples misbehave, for tests of the processes that read it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from typing import Any

from fvlm_core.interfaces.data import DataSource, Sample, Turn


class Hostile(DataSource):
    """`count` samples of text; those of `kills` end the process that reads them, those of `hangs` never come.

    late: samples that misbehave (`how`: "kills" or "hangs") when they are tokenised, once they have a name.
    """

    name = "hostile"

    def __init__(
        self,
        count: int,
        kills: tuple[int, ...] = (),
        hangs: tuple[int, ...] = (),
        late: tuple[int, ...] = (),
        how: str = "",
    ) -> None:
        self.count, self.kills, self.hangs, self.late, self.how = count, kills, hangs, late, how

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        misbehave(index in self.kills, index in self.hangs)
        turns = (Turn("user", "?"), Turn("assistant", f"answer {index}"))
        if index in self.late:
            turns = Trap(turns)  # type: ignore[assignment]  # a tuple that acts when it is read
            turns.how = self.how
        return Sample(f"s{index}", self.name, turns)

    def fingerprint(self) -> str:
        return f"hostile {self.count}"


class Telling(DataSource):
    """One sample, whose text is whether the process that reads it has torch."""

    name = "telling"

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Sample:
        return Sample("one", self.name, (Turn("user", "?"), Turn("assistant", str("torch" in sys.modules))))


class Trap(tuple[Turn, ...]):
    """Turns that end or stop the process that goes through them."""

    how = ""

    def __getitem__(self, place: Any) -> Any:
        misbehave(self.how == "kills", self.how == "hangs")
        return super().__getitem__(place)


def misbehave(kill: bool, hang: bool) -> None:
    """In a child process alone."""
    if multiprocessing.parent_process() is None:
        return
    if kill:
        os.kill(os.getpid(), signal.SIGSEGV)
    if hang:
        time.sleep(600)
