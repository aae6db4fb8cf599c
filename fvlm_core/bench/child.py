"""One measurement in a process of its own: where a process's memory happens to lie decides a few per cent.

python -m fvlm_core.bench.child KIND SETTING      # SETTING as JSON, of streams a list; prints the figures as JSON
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from attrs import asdict

from fvlm_core.bench import dense, mix, plain, stream, streaming
from fvlm_core.bench.dense import SPARSE, Step, square_rate
from fvlm_core.bench.processes import run
from fvlm_core.bench.setting import Setting

STEPS = 3
"""Steps timed in each process, after one that is not; their median is taken."""

KINDS: dict[str, tuple[Callable[[Setting], Step], int, int]] = {
    "ours": (dense.ours, 1, STEPS),
    "ours-compiled": (dense.compiled, 1, STEPS),
    "bare": (dense.bare, 1, STEPS),
    "plain": (plain.plain, 1, STEPS),
    "ours-sparse": (partial(dense.ours, supervised=SPARSE), 1, STEPS),
    "plain-sparse": (partial(plain.plain, supervised=SPARSE, everywhere=True), 1, STEPS),
    **{
        f"mix-{kind}": (partial(mix.mixed, kind=kind), 0, 1)
        for kind in ("packed", "filled", "rows", "padded")
    },
    "watching": (stream.watching, 1, 2),
    "parts": (stream.parts, 1, 2),
    "encoding": (stream.encoding, 1, 2),
}
"""What can be measured: how its step is made, how often it is called before, and how often it is timed."""


def seconds_of(kind: str, setting: Setting) -> tuple[float, float]:
    """Seconds of a step, and FLOP/s of a product of large square matrices, measured in a process of its own. Raises
    `FvlmError` when that fails."""
    found = _in_a_process(kind, setting)
    return found["seconds"], found["peak"]


def growth_of(setting: Setting) -> tuple[dict[int, float], float]:
    """As `stream.growth`, in a process of its own."""
    found = _in_a_process("growth", setting)
    return {int(frames): seconds for frames, seconds in found["seconds"].items()}, found["exponent"]


def streams_of(settings: Sequence[Setting], marks: Sequence[int]) -> list[streaming.Streamed | None]:
    """As `streaming.streamed_in_turn`, in a process of its own."""
    kind = "-".join(("streamed", *map(str, marks)))
    return [_read(one) if one else None for one in _in_a_process(kind, settings)]


def _read(found: dict[str, Any]) -> streaming.Streamed:
    for name in ("seconds", "first_token", "kept"):
        found[name] = {int(frames): value for frames, value in found[name].items()}
    return streaming.Streamed(**found)


def _in_a_process(kind: str, given: Setting | Sequence[Setting]) -> Any:
    settings = asdict(given) if isinstance(given, Setting) else [asdict(each) for each in given]
    _, printed = run([sys.executable, "-m", __name__, kind, json.dumps(settings)])
    return json.loads(printed.splitlines()[-1])


def measure(kind: str, setting: Setting) -> dict[str, Any]:
    """In this process."""
    if kind == "growth":
        seconds, exponent = stream.growth(setting)
        return {"seconds": seconds, "exponent": exponent}
    make, before, timed = KINDS[kind]
    step = make(setting)
    times: list[float] = []
    for number in range(before + timed):
        setting.wait()
        begun = time.perf_counter()
        step()
        setting.wait()
        if number >= before:
            times.append(time.perf_counter() - begun)
    return {"seconds": statistics.median(times), "peak": square_rate(setting)}


def main(arguments: Sequence[str]) -> None:
    """What is asked for, measured and printed."""
    kind, given = arguments
    found = json.loads(given)
    if not kind.startswith("streamed-"):
        print(json.dumps(measure(kind, _setting(found))))
        return
    marks = [int(frames) for frames in kind.split("-")[1:]]
    streams = streaming.streamed_in_turn([_setting(each) for each in found], marks)
    print(json.dumps([asdict(one) if one else None for one in streams]))


def _setting(given: dict[str, Any]) -> Setting:
    given["overrides"] = tuple(given["overrides"])
    return Setting(**given)


if __name__ == "__main__":
    main(sys.argv[1:])
