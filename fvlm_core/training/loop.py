"""The training loop, top to bottom. One call trains one run, from its last checkpoint or from the start.

A run is a pure function of its recipe: the samples of a step are a function of (seed, step), the generators are
seeded at every step, and the loss is normalised by the supervised tokens of the whole optimiser step, so that
neither micro-batches nor an interruption change the weights that come out.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import torch
from attrs import asdict, frozen
from torch import Tensor

from fvlm_core.compose import Sources
from fvlm_core.data.collate import Preparer
from fvlm_core.data.loader import MicroBatch, TrainingData, ValidationSet, micro_batches, validation_set
from fvlm_core.data.realised import count_batch
from fvlm_core.data.weighing import make_mixture
from fvlm_core.errors import FvlmError
from fvlm_core.interfaces.llm import Chat
from fvlm_core.recipes.read import Run
from fvlm_core.recipes.schema import LRRule, Training
from fvlm_core.runs.checkpoint import prune_checkpoints
from fvlm_core.runs.files import write_json
from fvlm_core.runs.metrics import MetricsWriter
from fvlm_core.runs.store import BAD_SAMPLES, CHECKPOINTS, METRICS, SUMMARY
from fvlm_core.seeding import derive
from fvlm_core.training.evaluate import evaluate
from fvlm_core.training.optimiser import GROUPS, make_optimiser
from fvlm_core.training.schedule import RateSchedule
from fvlm_core.training.state import LossWindow, Progress, resume, save
from fvlm_core.training.stop import Stopped, StopRequest
from fvlm_core.vlm import VLM

LOG_EVERY = 10
"""Steps between training rows; reading a loss waits for the device, so it is not done at every step."""

MIN_BAD = 10
"""Distinct bad samples that are always tolerated under `on_bad_sample = "skip"`."""


class Observer(Protocol):
    """Watches a run: what a progress display implements."""

    def started(self, run: Run, step: int, steps: int) -> None:
        """Training begins at `step`."""
        ...

    def stepped(self, step: int, row: dict[str, Any] | None) -> None:
        """A step is done; row is its metrics when it was logged."""
        ...

    def evaluated(self, row: dict[str, Any]) -> None:
        """An evaluation is done."""
        ...

    def warned(self, text: str) -> None:
        """Something the user should know."""
        ...


@frozen
class Length:
    """How long a run trains, counted in optimiser steps."""

    steps: int
    warmup: int

    @classmethod
    def of(cls, training: Training, flops_per_sample: float) -> Length:
        """From steps, samples or a budget of training FLOPs; parts of a step are not trained."""
        if training.steps is not None:
            steps = training.steps
        else:
            samples = training.samples or int((training.budget or 0) / flops_per_sample)
            steps = samples // training.batch_size
        if steps < 1:
            raise FvlmError(f"less than one step of {training.batch_size} samples; raise samples or budget")
        return cls(steps, int(steps * training.warmup))


def train(
    run: Run,
    model: VLM,
    chat: Chat,
    sources: Sources,
    folder: Path,
    length: Length,
    summary: dict[str, Any],
    observer: Observer,
    stop: StopRequest,
) -> dict[str, Any]:
    """Train one run to its last step and return its summary (also written to the run's folder).

    model: freshly composed. summary: what is known before training (run_id, model_size, total_params, lr_schedule).
    Raises `Stopped` after a signal, when everything is saved; `FvlmError` when numbers or data go wrong.
    """
    config, training = run.config, run.config.training
    device = pick_device(training.device)
    if training.threads:
        torch.set_num_threads(training.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    autocast = torch.autocast(device, torch.bfloat16) if training.precision == "bf16" else nullcontext()

    model.to(device).train()
    groups = model.parameter_groups()
    for component in training.frozen:
        for parameter in groups[component].values():
            parameter.requires_grad_(False)
    rates = peak_rates(training, summary["total_params"])
    optimiser = make_optimiser(groups, rates, training.betas, training.weight_decay)
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    ends = {
        c: (training.lr_target or 0) / rates[c] if training.lr_target and rates[c] else training.floor
        for c in GROUPS
    }
    schedules = {c: RateSchedule(training.schedule, length.steps, length.warmup, ends[c]) for c in GROUPS}

    size = model.encoder.spec.image_size
    preparer = Preparer(
        chat,
        size,
        training.supervise,
        config.data.max_text_tokens,
        config.model.score_first_token,
        config.data.image_repeats,
    )
    validation = validation_set(sources.validation, preparer, config.eval.samples, config.eval.batch_size)
    _report_validation(validation, observer)
    data = TrainingData(
        sources.train,
        make_mixture(config.data, sources.train, chat, run.seed, length.steps * training.batch_size),
        preparer,
        replace=config.data.on_bad_sample == "skip",
    )

    progress, damaged = resume(folder / CHECKPOINTS, model, optimiser, names)
    for text in damaged:
        observer.warned(f"damaged checkpoint passed over: {text}")
    observer.started(run, progress.step, length.steps)
    accumulation = training.batch_size // training.micro_batch_size
    stream = micro_batches(
        data,
        progress.step * training.batch_size,
        training.micro_batch_size,
        training.workers,
        device == "cuda",
    )
    checkpoint_every = config.checkpoints.every or config.eval.every
    logged_at = time.monotonic()
    begun = logged_at - progress.wall_time
    logged_step = progress.step

    with MetricsWriter(folder / METRICS, run.id, progress.step) as metrics:
        while progress.step < length.steps:
            step = progress.step + 1
            torch.manual_seed(derive(run.seed, "step", step))
            micro = _next(stream, accumulation)
            _note_bad(
                micro,
                progress,
                step,
                config.data.max_bad,
                training.batch_size,
                folder,
                metrics.attempt,
                observer,
            )

            # One optimiser step: every supervised token of all its micro-batches weighs the same.
            for group in optimiser.param_groups:
                group["lr"] = group["peak"] * schedules[group["component"]].factor(step - 1)
            supervised = sum(int(m.batch.supervised.sum()) for m in micro)
            fine = torch.zeros((), device=device)
            coarse = torch.zeros((), device=device)
            for m in micro:
                with autocast:
                    losses = model(m.batch.to(device))
                (losses.loss / supervised).backward()
                fine += losses.fine
                if losses.coarse is not None:
                    coarse += losses.coarse
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), training.clip)
            if not torch.isfinite(
                norm
            ):  # on CPU free; on a GPU the one wait a step that keeps the weights safe
                raise FvlmError(
                    f"{run.id}: the gradient is not finite at step {step}; no weight was changed by it"
                )
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)

            progress.step = step
            progress.tokens += supervised
            progress.frames += sum(len(m.batch.frames) for m in micro)
            progress.truncated += sum(m.truncated for m in micro)
            for m in micro:
                count_batch(progress.mixture, m.batch)
            progress.window.add(fine, coarse, supervised)

            row: dict[str, Any] | None = None
            evaluating = step % config.eval.every == 0 or step == length.steps
            if step % LOG_EVERY == 0 or evaluating:
                now = time.monotonic()
                progress.wall_time = now - begun
                row = {
                    "step": step,
                    "samples_seen": step * training.batch_size,
                    "wall_time_sec": round(progress.wall_time, 3),
                    **progress.window.row(),
                    "grad_norm": norm.item(),
                    **_current_rates(optimiser),
                    "throughput_samples_sec": (step - logged_step) * training.batch_size / (now - logged_at),
                    "gpu_mem_gb": torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else None,
                    "tokens_seen": progress.tokens,
                    "frames_seen": progress.frames,
                    "bad_samples": len(progress.bad),
                    "truncated_tokens": progress.truncated,
                    "mixture": progress.mixture,
                    "flops": step * training.batch_size * summary["flops_per_sample"],
                }
                if step % LOG_EVERY == 0 or step == length.steps:
                    metrics.write("train", **row)
                    progress.final_train_loss = row["train_loss"]
                    logged_at, logged_step, progress.window = now, step, LossWindow()
            observer.stepped(step, row)

            if evaluating and row is not None:
                before = time.monotonic()
                values = evaluate(model, validation, device, autocast)
                row = {**row, **values}
                metrics.write("eval", **row)
                observer.evaluated(row)
                logged_at += time.monotonic() - before  # throughput is of training alone
                value = values["val_loss"]
                if value is not None and value < (progress.best_val_loss or math.inf):
                    progress.best_val_loss, progress.best_val_step = value, step
                    progress.best_val_loss_content = values["val_loss_content"]
            if evaluating or step % checkpoint_every == 0 or stop.number is not None:
                progress.wall_time = time.monotonic() - begun
                metrics.sync()
                save(folder / CHECKPOINTS, model, optimiser, names, progress)
                prune_checkpoints(folder / CHECKPOINTS, config.checkpoints.keep_last, progress.best_val_step)
                outcome = _summarise(summary, progress, training.batch_size, length.steps)
                write_json(folder / SUMMARY, outcome)
            if stop.number is not None and step < length.steps:
                raise Stopped(stop.number)
    return _summarise(summary, progress, training.batch_size, length.steps)


def pick_device(choice: str) -> str:
    """`auto` is the GPU when there is one. Raises `FvlmError` for a GPU that is not there."""
    available = torch.cuda.is_available()
    if choice == "cuda" and not available:
        raise FvlmError('training.device = "cuda", and torch sees no GPU; use "auto" or "cpu"')
    return "cuda" if choice != "cpu" and available else "cpu"


def peak_rates(training: Training, total_params: int) -> dict[str, float]:
    """The peak learning rate of each group."""
    connector = training.lr if not isinstance(training.lr, LRRule) else training.lr.rate(total_params)
    return {
        "connector": connector,
        "encoder": connector * training.lr_ratio.encoder,
        "llm": connector * training.lr_ratio.llm,
    }


def _current_rates(optimiser: torch.optim.Optimizer) -> dict[str, float]:
    rates = {f"lr_{component}": 0.0 for component in GROUPS}
    rates.update({f"lr_{group['component']}": group["lr"] for group in optimiser.param_groups})
    return rates


def _next(stream: Iterator[MicroBatch], count: int) -> list[MicroBatch]:
    try:
        return list(islice(stream, count))
    except RuntimeError as error:  # torch: a worker died, hung, or raised (its own message names the sample)
        raise FvlmError(f"reading data failed: {str(error).strip().splitlines()[-1]}") from error


def _note_bad(
    micro: list[MicroBatch],
    progress: Progress,
    step: int,
    max_bad: float,
    batch_size: int,
    folder: Path,
    attempt: int,
    observer: Observer,
) -> None:
    """Count and name bad samples; too many distinct ones stop the run."""
    for report in (report for m in micro for report in m.bad):
        with (folder / BAD_SAMPLES).open("a") as out:
            out.write(json.dumps({"step": step, "attempt": attempt, **asdict(report)}) + "\n")
        if report.sample not in progress.bad:
            progress.bad[report.sample] = report.reason
            observer.warned(
                f"bad sample {report.sample}: {report.reason} (replaced; {len(progress.bad)} so far)"
            )
    allowed = max(MIN_BAD, max_bad * step * batch_size)
    if len(progress.bad) > allowed:
        raise FvlmError(
            f"{len(progress.bad)} bad samples in {step * batch_size} (data.max_bad allows {allowed:.0f}); "
            f"they are named in {folder / BAD_SAMPLES}"
        )


def _report_validation(validation: ValidationSet, observer: Observer) -> None:
    for bad in validation.bad:
        observer.warned(f"bad validation sample {bad.sample}: {bad.reason} (left out)")
    if not validation.samples:
        raise FvlmError("no usable validation sample; check [data.validation]")


def _summarise(known: dict[str, Any], progress: Progress, batch_size: int, steps: int) -> dict[str, Any]:
    return {
        **known,
        "total_samples": progress.step * batch_size,
        "total_steps": progress.step,
        "planned_steps": steps,
        "best_val_loss": progress.best_val_loss,
        "best_val_step": progress.best_val_step,
        "best_val_loss_content": progress.best_val_loss_content,
        "final_train_loss": progress.final_train_loss,
        "wall_time_hours": progress.wall_time / 3600,
        "supervised_tokens": progress.tokens,
        "frames": progress.frames,
        "truncated_tokens": progress.truncated,
        "mixture": progress.mixture,
        "bad_samples": progress.bad,
        "complete": progress.step >= steps,
    }
