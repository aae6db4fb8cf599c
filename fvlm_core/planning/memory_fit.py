"""What a run needs and what a device has: the memory of a recipe's run, whether it fits, and what would."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import cycle, islice
from math import ceil
from pathlib import Path
from typing import Any

import attrs
from attrs import evolve, frozen

from fvlm_core.data.lengths import SampleLengths
from fvlm_core.hardware.gpus import GPU
from fvlm_core.model.build import specs
from fvlm_core.model.sequences import positions
from fvlm_core.model.vlm import LOGITS_AT_ONCE, PLAIN_LOGITS
from fvlm_core.planning.activation_memory import LargestMicroBatch
from fvlm_core.planning.compute import Parameters, count_parameters, samples_at_once
from fvlm_core.planning.connector_trace import Tracer, on_meta
from fvlm_core.planning.memory import GIB, USABLE, Memory, Trained, training_memory
from fvlm_core.recipes.schema import RunRecipe
from fvlm_core.training.length import peak_rates

SHARDED = (2, 4, 8)
"""Numbers of GPUs that are tried for `parallel = "fsdp2"`."""


@frozen
class Capacity:
    """The memory of a device. name: as people say it. kind: "cpu" or "cuda". memory: bytes."""

    name: str
    kind: str
    memory: float

    @property
    def usable(self) -> float:
        """What a run may need of it."""
        return USABLE[self.kind] * self.memory


@frozen
class Alternative:
    """What else could be run. change: settings, as one writes them. memory: bytes by the same estimate."""

    change: str
    memory: float
    fits: bool


@frozen
class Need:
    """A run on a device. memory: at the lengths of the data. capped: bytes where every text is `data.max_text_tokens`
    long. alternatives: what would need less; empty when it fits."""

    capacity: Capacity
    memory: Memory
    capped: float
    alternatives: tuple[Alternative, ...]

    @property
    def fits(self) -> bool:
        """Whether the run fits."""
        return self.memory.total <= self.capacity.usable

    def __str__(self) -> str:
        """The need against the device, with what would fit."""
        text = (
            f"needs {gib(self.memory.total)} and {self.capacity.name} has {gib(self.capacity.memory)}, "
            f"{gib(self.capacity.usable)} of it to plan with"
        )
        tried = [
            f"{a.change} ({gib(a.memory)}{'' if a.fits else ', still too much'})" for a in self.alternatives
        ]
        return f"{text}; {'what would fit' if any(a.fits for a in self.alternatives) else 'tried'}: {'; '.join(tried)}"


def gib(count: float) -> str:
    """Bytes as people read them."""
    return f"{count / GIB:.1f} GiB" if count >= 0.1 * GIB else f"{count / 2**20:.3g} MiB"


def capacity_of(gpu: GPU) -> Capacity:
    """Of a GPU that is named."""
    return Capacity(gpu.name, "cuda", gpu.memory * GIB)


def capacity_here(device: str) -> Capacity:
    """Of this machine. device: "cpu" or "cuda"."""
    if device == "cuda":
        import torch

        found = torch.cuda.get_device_properties(torch.cuda.current_device())
        return Capacity(f"this machine's {found.name}", "cuda", float(found.total_memory))
    physical = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return Capacity("this machine", "cpu", min(physical, _container_limit()))


def _container_limit() -> float:
    """What a container may use (cgroup v2, then v1)."""
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            return float(Path(file).read_text(encoding="utf-8"))
        except (OSError, ValueError):  # not there, or "max"
            continue
    return float("inf")


def need(
    config: RunRecipe,
    tracer: Tracer,
    parameters: Parameters,
    samples: Sequence[SampleLengths],
    capacity: Capacity,
    ranks: int = 1,
) -> Need:
    """What a run needs of a device. samples: lengths of some. ranks: processes that train it together."""
    shown = tracer.connector.spec.shown
    samples = [evolve(sample, frames=shown(sample.frames)) for sample in samples]
    estimate = _Estimate(tracer, parameters, samples, capacity)
    shards = ranks if config.training.parallel == "fsdp2" else 1
    memory = estimate.memory(config, shards)
    longest = [evolve(s, text=max(s.text, config.data.max_text_tokens)) for s in samples]
    longest = [evolve(s, supervised=s.text - 1) for s in longest]
    capped = evolve(estimate, samples=longest).memory(config, shards).total
    fits = memory.total <= capacity.usable
    return Need(capacity, memory, capped, () if fits else estimate.alternatives(config))


@frozen
class _Estimate:
    tracer: Tracer
    parameters: Parameters
    samples: Sequence[SampleLengths]
    capacity: Capacity

    def memory(self, config: RunRecipe, shards: int = 1) -> Memory:
        """The peak of a run."""
        model, training = config.model, config.training
        encoder, llm = specs(model, self.tracer.llm.vocabulary)
        connector = self.tracer.longest(self.samples, training.frozen)
        rates = peak_rates(training, self.parameters.total)
        still = [name for name, rate in rates.items() if rate == 0]
        adapted = training.lora.components if training.lora else ()
        at_once = ceil(samples_at_once(training, self.samples))
        k = connector.tokens_per_frame
        # A pair is two answers after the same frames, beside the model that the run starts as.
        pairs, spec = training.objective_spec.pairs, training.objective_spec
        teacher = (
            count_parameters(on_meta(spec.teacher, llm.vocabulary or 0, None)).total if spec.teacher else 0
        )
        micro = _largest(self.samples, at_once, k, pairs=pairs)
        if training.micro_batch_frames and training.micro_batch_tokens:
            frames = training.micro_batch_frames
            read = frames * k + training.micro_batch_tokens
            micro = evolve(micro, frames=frames, followed=frames, positions=read)
        return training_memory(
            encoder,
            connector,
            llm,
            Trained(
                parameters=self.parameters.components,
                frozen=training.frozen,
                factors={name: self.parameters.groups[name] for name in adapted},
                still=still,
                kept=self.parameters.kept,
                references=spec.start,
                beside=teacher + training.copies[1] * self.parameters.trainable,
            ),
            micro,
            _largest(self.samples, config.eval.batch_size, k, pairs=pairs),
            autocast=training.precision == "bf16",
            chunk=LOGITS_AT_ONCE,
            plain=None if pairs or training.objective else PLAIN_LOGITS,
            accumulates=at_once < training.batch_size,
            device=self.capacity.kind,
            shards=shards,
        )

    def alternatives(self, config: RunRecipe) -> tuple[Alternative, ...]:
        """What would need less, by the same estimate: smaller micro-batches; activations made again; sharding on top.
        Of each way the mildest that fits, or the furthest that does not."""
        again, able = _recomputed(config)
        sizes = _smaller(config)
        smaller = [((_size(size),), _with(config, micro_batch_size=size), 1) for size in sizes]
        recomputed = [(able, again, 1)] if able else []
        recomputed += [((*able, _size(n)), _with(again, micro_batch_size=n), 1) for n in sizes if able]
        (changes, least, _), *_ = (*reversed(recomputed or smaller), ((), config, 1))
        sharded = [
            (
                (*changes, f'training.parallel = "fsdp2" on {ranks} GPUs'),
                _with(least, parallel="fsdp2"),
                ranks,
            )
            for ranks in SHARDED
            if self.capacity.kind == "cuda"
        ]
        found: list[Alternative] = []
        for way in (smaller, recomputed, sharded):
            tried: list[Alternative] = []
            for settings, other, ranks in way:
                total = self.memory(other, ranks).total
                tried.append(Alternative(", ".join(settings), total, total <= self.capacity.usable))
                if tried[-1].fits:
                    break
            found += tried[-1:]
        return tuple(found)


def _with(config: RunRecipe, **changes: Any) -> RunRecipe:
    return evolve(config, training=evolve(config.training, **changes))


def _size(size: int) -> str:
    return f"training.micro_batch_size = {size}"


def _recomputed(config: RunRecipe) -> tuple[RunRecipe, tuple[str, ...]]:
    """The recipe with activations made again wherever a component can, and the settings that this changes."""
    model, changed = config.model, []
    for part in ("encoder", "llm"):
        chosen = getattr(model, part)
        names = {attribute.name for attribute in attrs.fields(type(chosen.config))}
        if "checkpoint_activations" in names and not chosen.config.checkpoint_activations:
            own = evolve(chosen, config=evolve(chosen.config, checkpoint_activations=True))
            model = evolve(model, **{part: own})
            changed.append(f"model.{part}.checkpoint_activations = true")
    return evolve(config, model=model), tuple(changed)


def _smaller(config: RunRecipe) -> list[int]:
    """Smaller micro-batches of the same batch, largest first; none where they are planned from lengths."""
    training = config.training
    if training.micro_batch_frames:
        return []
    return [size for size in range(training.micro_batch_size - 1, 0, -1) if training.batch_size % size == 0]


def _largest(
    samples: Sequence[SampleLengths], size: int, tokens_per_frame: int, *, pairs: bool
) -> LargestMicroBatch:
    """At least as large as any micro-batch of `size` of these samples in their order."""
    whole = list(islice(cycle(samples), max(size, len(samples) // size * size)))
    groups = [whole[start : start + size] for start in range(0, len(whole) - size + 1, size)]
    answers = 2 if pairs else 1
    return LargestMicroBatch(
        samples=size,
        answers=answers,
        frames=max(sum(s.frames for s in group) for group in groups),
        followed=max(sum(max(0, s.frames - 1) for s in group) for group in groups),
        positions=max(positions([s.frames * tokens_per_frame + s.text for s in group]) for group in groups),
        labels=answers * max(sum(s.supervised for s in group) for group in groups),
    )
