"""A data source whose samples misbehave, for tests of the processes that read it."""

from __future__ import annotations

import os
import signal
import time

from fvlm_core.interfaces.data import DataSource, Sample, Turn


class Hostile(DataSource):
    """`count` samples of text; those of `kills` end the process that reads them, those of `hangs` never come."""

    name = "hostile"

    def __init__(self, count: int, kills: tuple[int, ...] = (), hangs: tuple[int, ...] = ()) -> None:
        self.count, self.kills, self.hangs = count, kills, hangs

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        if index in self.kills and _in_worker():
            os.kill(os.getpid(), signal.SIGSEGV)
        if index in self.hangs and _in_worker():
            time.sleep(600)
        return Sample(f"s{index}", self.name, (Turn("user", "?"), Turn("assistant", f"answer {index}")))

    def fingerprint(self) -> str:
        return f"hostile {self.count}"


MAIN = os.getpid()


def _in_worker() -> bool:
    import multiprocessing

    return multiprocessing.parent_process() is not None
