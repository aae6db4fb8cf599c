"""How long runs take over slots: each starts as soon as a slot is free and what it starts from is done."""

from __future__ import annotations

from collections.abc import Collection, Mapping


def wall_seconds(
    seconds: Mapping[str, float], after: Mapping[str, Collection[str]], slots: int
) -> tuple[float, int]:
    """Until the last run ends, and how many ran at once at most. seconds: of each run, in the order in which they are
    started. after: the runs that one waits for; those that are not among `seconds` are done.

    A queue's own waiting is not in it.
    """
    waiting = [*seconds]
    running: dict[str, float] = {}
    now, most = 0.0, 0
    while waiting or running:
        for run in [*waiting]:
            open_ = {*waiting, *running}
            if len(running) < slots and not any(other in open_ for other in after.get(run, ())):
                waiting.remove(run)
                running[run] = now + seconds[run]
        if not running:
            raise ValueError(f"{waiting[0]} waits for itself")
        most = max(most, len(running))
        now = min(running.values())
        running = {run: end for run, end in running.items() if end > now}
    return now, most
