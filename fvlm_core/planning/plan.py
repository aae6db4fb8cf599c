"""What a recipe will cost before anything is trained: parameters, steps, FLOPs, learning rates, time, what is missing.

Models are built on the meta device: no weight takes memory, and none is read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from math import ceil
from typing import Any, TypeVar

from attrs import define, evolve, field, frozen

from fvlm_core.data.lengths import LOOKED_AT, TYPICAL, FirstSamples, decoding_seconds, first_samples
from fvlm_core.data.mixture_weights import make_mixture
from fvlm_core.data.modalities import ungiven, unread
from fvlm_core.data.pairs import without_pairs
from fvlm_core.data.sources import Sources, left_out, open_all, unseen
from fvlm_core.hardware.devices import pick_device
from fvlm_core.hardware.gpus import GPU
from fvlm_core.hardware.precision import ChosenPrecision, faster_precision
from fvlm_core.hardware.throughput import ASSUMED_MFU, Speed, StatedSpeed, measure_speed
from fvlm_core.interfaces.chat import Chat
from fvlm_core.media.bad_sample import BadSample
from fvlm_core.model.build import make_chat, modality_specs, remarks, specs
from fvlm_core.model.mup import rate_factors
from fvlm_core.planning.compute import (
    Parameters,
    answering_flops,
    count_parameters,
    nominal_flops,
    sample_ledger,
    samples_at_once,
    short_count,
    six_nd,
)
from fvlm_core.planning.connector_trace import Tracer, on_meta
from fvlm_core.planning.disk import disk_need
from fvlm_core.planning.memory_fit import Capacity, Need, capacity_here, capacity_of, gib, need
from fvlm_core.planning.requirements import missing_weights
from fvlm_core.planning.run_plan import RunPlan
from fvlm_core.planning.run_time import micro_batch_layers, run_seconds
from fvlm_core.recipes.read import Recipe, Run
from fvlm_core.recipes.schema import Data, Model, RunRecipe, Training
from fvlm_core.training.length import Length, Spent, peak_rates
from fvlm_core.utils.errors import FvlmError, MissingWeights

ASSUMED_VOCABULARY = 1000
"""Of a tokenizer that waits for data which are not here: what a thousand short captions hold."""

T = TypeVar("T")


@frozen
class PlannedDevice:
    """The device to plan for. gpu: one that is not here; None for this machine's. mfu: the share of its peak that
    training is said to reach; None measures it here, or takes `ASSUMED_MFU` of a GPU that is not here."""

    gpu: GPU | None = None
    mfu: float | None = None


def plan(recipe: Recipe, target: PlannedDevice | None = None) -> list[RunPlan]:
    """Plan every run of a recipe.

    Data or weights that are not on this machine are named in the notes. Raises `FvlmError` for a run of less than one
    step.
    """
    planner = _Planner(target or PlannedDevice())
    return [planner.plan(run) for run in recipe.runs]


def refuse_misfits(
    recipe: Recipe, data: Mapping[str, Sources], complete: Collection[str], ranks: int = 1
) -> None:
    """Raise `FvlmError` for runs that cannot fit on the device they would run on, with what would.

    data: opened sources by run id. complete: ids of runs to leave out. ranks: processes that train together.
    """
    planner = _Planner(PlannedDevice())
    wrong: dict[str, list[str]] = {}
    for run in recipe.runs:
        if run.id not in complete:
            found = planner.need_of(run.config, data[run.id], ranks)
            if not found.fits:
                wrong.setdefault(str(found), []).append(run.id)
    if wrong:
        lines = [f"{', '.join(ids)} {text}" for text, ids in wrong.items()]
        raise FvlmError("\n".join([*lines, "This is an estimate: --force runs it all the same."]))


@define
class _Planner:
    """Plans runs; what they share (data, tokenizers, models, the machine's speed) is looked at once."""

    target: PlannedDevice
    known: list[tuple[tuple[Any, ...], Any]] = field(factory=list[tuple[tuple[Any, ...], Any]])

    def plan(self, run: Run) -> RunPlan:
        notes = [*missing_weights(run.config.model), *remarks(run.config.model)]
        device = self._device(run.config, notes)
        config = self._computed(run.config, device, notes)
        model, training = config.model, config.training
        sources = self._once(("sources", config.data), lambda: open_all(config.data))
        if not isinstance(sources, Sources):
            notes += sources
            sources = None
        else:
            opened = sources
            notes += self._once(
                ("unseen", config.data),
                lambda: unseen(opened.every, config.data.max_bad),
            )
            if training.objective_spec.pairs:
                notes += without_pairs(sources.every)
            if training.objective_spec.reads and training.objective_spec.teacher is None:
                notes.append("the teacher is no run: its FLOPs, its memory and its time are not counted")
            extra = modality_specs(model)
            notes += [*ungiven(extra, sources.every), *unread(extra, sources.every)]
        chat = self._once(("chat", model.llm, config.data), lambda: _chat(model, sources))
        first, lengths_from = self._first(config, sources, chat)
        samples = first.lengths
        problems = self._once(("left out", config.data), lambda: _left_out(sources))
        vocabulary = self._vocabulary(model, chat, notes)
        parameters, tracer = self._counted(config, vocabulary)
        cost = sample_ledger(config, tracer, samples)
        encoder, llm, connector = tracer.encoder, tracer.llm, tracer.longest(samples, training.frozen)
        nominal = nominal_flops(encoder, connector, llm)
        length = Length.of(
            training, Spent(nominal if training.budget_accounting == "nominal" else cost.total)
        )
        if encoder.mlp is None:
            notes.append(
                f'the encoder "{model.encoder.name}" does not state its MLP (EncoderSpec.mlp): '
                "FLOPs and time take it for a ViT with 4 x its width"
            )
        problem = next((trace.problem for trace in tracer.known.values() if trace.problem), "")
        if problem:
            notes.append(
                f'the connector "{model.connector.name}" cannot run on the meta device, where it is counted '
                f"({problem}): FLOPs, memory and time are without it"
            )
        if model.modalities:
            notes.append(
                "text tokens are with those of other modalities; memory is without what their encoders keep "
                "for the backward pass"
            )
        frames, text, supervised = (
            sum(getattr(sample, name) for sample in samples) / len(samples)
            for name in ("frames", "text", "supervised")
        )
        shown = tracer.connector.spec.shown
        visual = sum(shown(sample.frames) for sample in samples) / len(samples) * connector.tokens_per_frame
        trained = length.samples
        if length.rounded:
            notes.append(length.rounded)
        rates = peak_rates(training, parameters.total)
        speed = self._speed(config, device)
        needed = need(config, tracer, parameters, samples, self._capacity(device))
        if samples == [TYPICAL] or (needed.fits and needed.capped > needed.capacity.usable):
            cap = config.data.max_text_tokens
            notes.append(f"memory with every text at its cap, {cap} tokens: {gib(needed.capped)}")
        decoding = self._decoding(config, sources, chat, encoder.image_size)
        eye, speaker = encoder.width, llm.width
        widths = {"encoder": eye, "connector": eye, "llm": speaker, "head": speaker}
        evaluations = ceil(length.steps / config.eval.every)
        if config.eval.answering:
            notes.append(
                f"time: answers for metrics are not counted, {config.eval.answering.samples} an evaluation"
            )
        return RunPlan(
            id=run.id,
            seed=run.seed,
            size=model.size or llm.size or short_count(parameters.total),
            parameters=parameters,
            vocabulary=vocabulary,
            steps=length.steps,
            warmup=length.warmup,
            batch_size=training.batch_size,
            samples=trained,
            epochs=_epochs(config.data, sources, chat, trained) if sources else (),
            evaluations=evaluations,
            frames=frames,
            text_tokens=text,
            supervised_tokens=supervised,
            lengths_from=lengths_from,
            flops_per_sample=cost.components(),
            ledger=cost.rows,
            answer_flops_per_sample=answering_flops(config, tracer, samples),
            masked_flops_per_sample=cost.masked,
            nominal_flops_per_sample=nominal,
            six_nd_per_sample=six_nd(parameters.total, visual + text),
            flops=trained * cost.total,
            rates={name: 0.0 if name in training.frozen else rate for name, rate in rates.items()},
            seconds=run_seconds(
                config,
                samples_at_once(training, samples),
                cost,
                widths,
                trained / training.batch_size,
                evaluations,
                speed,
                micro_batch_layers(encoder, connector, llm),
                decoding or 0.0,
            ),
            speed=f"{speed}; {_about_decoding(decoding, training.workers)}",
            need=needed,
            disk=disk_need(config, parameters, length.steps),
            notes=tuple(notes),
            bad_samples=first.bad,
            left_out=len(problems),
            first_left_out=problems[:3],
        )

    def _first(
        self, config: RunRecipe, sources: Sources | None, chat: Chat | None
    ) -> tuple[FirstSamples, str]:
        """The first samples, or the typical one; and where they are from."""
        assumed = f"assumed: {TYPICAL.frames} frames and {TYPICAL.text} text tokens"
        if sources is None or chat is None:
            missing = "data" if sources is None else "tokenizer"
            return FirstSamples([TYPICAL], {}), f"{assumed}, because the {missing} are not on this machine"
        training = config.training
        first = config.model.score_first_token
        key = (
            "lengths",
            config.data,
            config.model.llm,
            training.supervise,
            training.seed,
            first,
            training.preference,
            training.objective,
        )
        try:
            found = self._once(key, lambda: first_samples(config, sources, chat))
        except BadSample as error:
            return FirstSamples([TYPICAL], {}), f"{assumed}, because no sample can be looked at yet ({error})"
        return found, f"mean of the first {LOOKED_AT} training samples"

    def _vocabulary(self, model: Model, chat: Chat | None, notes: list[str]) -> int:
        if chat is not None:
            return specs(model, chat.vocabulary)[1].vocabulary or chat.vocabulary
        stated = specs(model, None)[1].vocabulary
        if stated is None:
            notes.append(
                f"the tokenizer is made from the data: a vocabulary of {ASSUMED_VOCABULARY} is assumed"
            )
        return stated or ASSUMED_VOCABULARY

    def need_of(self, config: RunRecipe, sources: Sources, ranks: int) -> Need:
        """The memory of a run whose data are open, on this machine."""
        chat = self._once(("chat", config.model.llm, config.data), lambda: _chat(config.model, sources))
        samples = self._first(config, sources, chat)[0].lengths
        vocabulary = self._vocabulary(config.model, chat, [])
        parameters, tracer = self._counted(config, vocabulary)
        device = pick_device(config.training.device)
        config = self._computed(config, device, [])
        capacity = self._capacity(device)
        return need(config, tracer, parameters, samples, capacity, ranks)

    def _counted(self, config: RunRecipe, vocabulary: int) -> tuple[Parameters, Tracer]:
        model, frozen = config.model, config.training.frozen
        training = config.training
        key = ("counted", model, vocabulary, training.lora, training.mup, training.optimizer)
        counted, tracer = self._once(key, lambda: _count(model, vocabulary, training))
        return counted.training(frozen), tracer

    def _device(self, config: RunRecipe, notes: list[str]) -> str:
        if self.target.gpu is not None:
            return "cuda"
        try:
            return pick_device(config.training.device)
        except FvlmError as error:
            notes.append(f"{error}; memory and time are estimated for the CPU")
            return "cpu"

    def _computed(self, config: RunRecipe, device: str, notes: list[str]) -> RunRecipe:
        """The recipe in the precision that `auto` is on the device."""
        if config.training.precision != "auto":
            return config
        gpu = self.target.gpu
        chosen = ChosenPrecision("bf16", f"on the {gpu.name}") if gpu else faster_precision(device)
        notes.append(f"training.precision is {chosen}")
        return evolve(config, training=evolve(config.training, precision=chosen.precision))

    def _capacity(self, device: str) -> Capacity:
        gpu = self.target.gpu
        return capacity_of(gpu) if gpu else self._once(("capacity", device), lambda: capacity_here(device))

    def _speed(self, config: RunRecipe, device: str) -> Speed | StatedSpeed:
        training, gpu, mfu = config.training, self.target.gpu, self.target.mfu
        if gpu is not None:
            peak, reached = gpu.peak(training.precision), mfu or ASSUMED_MFU
            return StatedSpeed(gpu.name, training.precision, peak, reached, gpu.sheet, assumed=mfu is None)
        key = ("speed", device, training.precision, training.threads)
        speed = self._once(key, lambda: measure_speed(device, training.precision, training.threads))
        if mfu is None:
            return speed
        return StatedSpeed(device, training.precision, speed.flops, mfu, "measured here")

    def _decoding(
        self, config: RunRecipe, sources: Sources | None, chat: Chat | None, size: int
    ) -> float | None:
        if sources is None:
            return None
        key = ("decoding", config.data, config.training.seed, size)
        return self._once(key, lambda: decoding_seconds(config, sources, size, chat))

    def _once(self, key: tuple[Any, ...], make: Callable[[], T]) -> T:
        """What `make` gives for a key; compared, because a plugin's config need not be hashable."""
        for other, value in self.known:
            if other == key:
                return value
        value = make()
        self.known.append((key, value))
        return value


def _left_out(sources: Sources | None) -> tuple[str, ...]:
    named = left_out(sources.every) if sources else {}
    return tuple(str(problem) for problems in named.values() for problem in problems)


def _chat(model: Model, sources: Sources | None) -> Chat | None:
    """The tokenizer, or None while what it is made from is not here."""
    if sources is None and specs(model, None)[1].vocabulary is None:
        return None
    try:
        return sources.chat(model.llm) if sources else make_chat(model, tuple)
    except MissingWeights:
        return None


def _count(model: Model, vocabulary: int, training: Training) -> tuple[Parameters, Tracer]:
    composed = on_meta(model, vocabulary, training.lora)
    rate_factors(composed, model, training.mup)  # refuses a base of another kind before anything is trained
    counted = count_parameters(composed, optimizer=training.optimizer_settings)
    return counted, Tracer.of_model(composed)


def _epochs(data: Data, sources: Sources, chat: Chat | None, samples: int) -> tuple[tuple[str, float], ...]:
    drawn = make_mixture(data, sources.train, chat, 0).drawn(samples)
    return tuple(
        (source.name, count / len(source)) for count, source in zip(drawn, sources.train, strict=True)
    )


def _about_decoding(seconds: float | None, workers: int) -> str:
    if seconds is None:
        return "decoding is not counted: there is no clip to decode yet"
    when = f"beside it (workers: {workers})" if workers else "before each step"
    return f"decoding takes {seconds * 1e3:.2g} ms a sample, {when}"
