"""Where a training step's time goes, component by component, beside its FLOPs by the ledger and what the machine's
matrices can do at best."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import define, frozen
from torch.profiler import ProfilerActivity, profile, record_function

from fvlm_core.bench.dense import FRAMES, TEXT, dense_batch, square_rate, updating
from fvlm_core.bench.setting import Setting
from fvlm_core.model.vlm import VLM
from fvlm_core.planning.connector_trace import Tracer
from fvlm_core.planning.flops import ledger

PATCHES, LOOKS, CONNECTOR = "encoder, patches", "encoder, queries", "connector"
VISUAL, READ, HEAD = "LLM, visual pass", "LLM, text", "head and loss"
UPDATE, REST = "clipping and AdamW", "the rest"
ROWS = (PATCHES, LOOKS, CONNECTOR, VISUAL, READ, HEAD, UPDATE, REST)

_OURS = "fvlm: "
_NODE = "autograd::engine::evaluate_function"


@define
class StepPart:
    """Of one step. forward, backward: seconds, of the device. flops: by the ledger. limit: FLOP/s."""

    name: str
    limit: float
    flops: float = 0.0
    forward: float = 0.0
    backward: float = 0.0

    @property
    def seconds(self) -> float:
        """Both ways."""
        return self.forward + self.backward

    @property
    def above(self) -> float:
        """Seconds that would be left if its FLOPs went at the limit."""
        return self.seconds - self.flops / self.limit


@frozen
class StepProfile:
    """parts: in order. whole: seconds of the step by the clock, the profiler's own work included. plain: without it.
    limit: FLOP/s of a large square matrix product."""

    parts: tuple[StepPart, ...]
    whole: float
    plain: float
    limit: float


def profiled(setting: Setting, trace: Path | None = None) -> StepProfile:
    """The second step of a dense batch. trace: where to write what a browser shows (chrome://tracing, Perfetto)."""
    model = setting.model()
    batch = dense_batch(setting, model.encoder.spec.image_size)
    update = updating(model.parameter_groups())

    def step() -> None:
        with setting.autocast():
            losses = model(batch)
        losses.loss.backward()
        with record_function(_OURS + UPDATE):
            update(losses.tokens)

    step()
    plain = _clocked(step, setting)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if setting.device == "cuda" else [])]
    with labelled(model), profile(activities=activities) as recorded:
        whole = _clocked(step, setting)
    if trace is not None:
        recorded.export_chrome_trace(str(trace))
    limit = square_rate(setting)
    parts = {name: StepPart(name, limit, flops) for name, flops in _flops(setting).items()}
    for name, backward, seconds in _times(recorded.events() or [], setting.device):
        if backward:
            parts[name].backward += seconds
        else:
            parts[name].forward += seconds
    return StepProfile(tuple(parts.values()), whole, plain, limit)


def _clocked(step: Callable[[], None], setting: Setting) -> float:
    setting.wait()
    begun = time.perf_counter()
    step()
    setting.wait()
    return time.perf_counter() - begun


@contextmanager
def labelled(model: VLM) -> Generator[None]:
    """Name what the model's parts do in the profiler's record."""
    connecting = 0

    def named(call: Callable[..., Any], name: Callable[[], str]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with record_function(_OURS + name()):
                return call(*args, **kwargs)

        return wrapped

    def connect(*args: Any, **kwargs: Any) -> Any:
        nonlocal connecting
        connecting += 1
        try:
            return plain_connect(*args, **kwargs)
        finally:
            connecting -= 1

    plain_connect = model.connector.connect
    wrapped: list[tuple[Any, str, Callable[..., Any]]] = [
        (model.encoder, "encode", named(model.encoder.encode, lambda: PATCHES)),
        (model.encoder, "attend", named(model.encoder.attend, lambda: LOOKS)),
        (model.connector, "connect", named(connect, lambda: CONNECTOR)),
        (model.llm, "hidden", named(model.llm.hidden, lambda: VISUAL if connecting else READ)),
        (model, "cross_entropy", named(model.cross_entropy, lambda: HEAD)),
        (model, "summed_cross_entropy", named(model.summed_cross_entropy, lambda: HEAD)),
    ]
    for owner, name, call in wrapped:
        setattr(owner, name, call)
    try:
        yield
    finally:
        for owner, name, _ in wrapped:
            delattr(owner, name)


def _times(events: Any, device: str) -> Iterator[tuple[str, bool, float]]:
    """Of every event its own time: which part's, whether of the backward pass, seconds.

    A backward operation carries the sequence number of the forward one that asked for it, and so has its part.
    """
    attribute = "self_device_time_total" if device == "cuda" else "self_cpu_time_total"
    forward: dict[int, str] = {}
    above: dict[int, tuple[str, bool]] = {}

    def place(event: Any) -> tuple[str, bool]:
        if event.id not in above:
            if event.name.startswith(_OURS):
                above[event.id] = event.name.removeprefix(_OURS), False
            elif event.name.startswith(_NODE):
                above[event.id] = forward.get(event.sequence_nr, REST), True
            else:
                above[event.id] = place(event.cpu_parent) if event.cpu_parent is not None else (REST, False)
        return above[event.id]

    ordered = sorted(events, key=lambda event: (event.name.startswith(_NODE), event.time_range.start))
    for event in ordered:  # forward operations first
        part, backward = place(event)
        if not backward and event.sequence_nr >= 0 and not _within_node(event):
            forward.setdefault(event.sequence_nr, part)
    above.clear()
    for event in events:
        yield *place(event), getattr(event, attribute) / 1e6


def _within_node(event: Any) -> bool:
    while event is not None:
        if event.name.startswith(_NODE):
            return True
        event = event.cpu_parent
    return False


def _flops(setting: Setting) -> dict[str, float]:
    """By the ledger, of all samples."""
    tracer = Tracer.of(setting.config.model, setting.vocabulary())
    found: dict[str, float] = dict.fromkeys(ROWS, 0.0)
    for row in ledger(tracer.encoder, tracer.trace(FRAMES), tracer.llm, text=TEXT).rows:
        if row.component == "encoder":
            part = PATCHES if row.stage == "patches" else LOOKS
        elif row.component == "llm":
            part = VISUAL if row.stage.startswith("visual pass") else READ
        else:
            part = HEAD if row.component == "head" else CONNECTOR
        found[part] += setting.samples * (row.forward + row.backward)
    return found
