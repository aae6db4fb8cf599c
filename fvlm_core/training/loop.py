"""The training loop, top to bottom. One call trains one run, from its last checkpoint or from the start.

A run is a pure function of its recipe: the samples of a step are a function of (seed, step), the generators are
seeded at every micro-batch, and the loss is normalised by the supervised tokens (or the pairs of answers) of the
whole optimiser step, so that neither micro-batches, ranks, nor an interruption change the weights that come out.

Every rank runs this loop and takes every decision alike: once a step, after its own forward and backward passes, each
tells the others how it went, and all of them act on what all of them said.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from attrs import evolve, frozen
from torch import Tensor

from fvlm_core.data.collate import Preparer
from fvlm_core.data.loader import (
    MicroBatch,
    Reading,
    TrainingData,
    micro_batches,
    validation_set,
)
from fvlm_core.data.mixture_weights import check_places, make_order
from fvlm_core.data.order import Order
from fvlm_core.data.planning import Planner, Share
from fvlm_core.data.sources import Sources
from fvlm_core.hardware.devices import autocast, peak_flops, pick_device, place, ran_out, set_up
from fvlm_core.interfaces.llm import Chat
from fvlm_core.model.vlm import VLM
from fvlm_core.recipes.read import Run
from fvlm_core.recipes.schema import Training
from fvlm_core.runs.checkpoint import prune_checkpoints, rehearse
from fvlm_core.runs.store import CHECKPOINTS
from fvlm_core.training.bad import note_bad, note_spelled, report_validation
from fvlm_core.training.callbacks import Observer
from fvlm_core.training.evaluate import evaluate
from fvlm_core.training.length import Length, peak_rates, schedules
from fvlm_core.training.metrics_log import Clock, Journal, summarised, training_row
from fvlm_core.training.objective import Objective, TokenLoss
from fvlm_core.training.optimizer import current_rates, make_optimiser, named
from fvlm_core.training.optimizer_step import Updates, late
from fvlm_core.training.parallel import spread, summed, taken
from fvlm_core.training.preference import PreferenceLoss
from fvlm_core.training.process_group import Elsewhere, Ranks
from fvlm_core.training.signals import LEAVING, Stopped, StopRequest
from fvlm_core.training.state import Latest, LossWindow, Progress, restore, save
from fvlm_core.utils.seeding import seed_micro_batch


def train(
    run: Run,
    model: VLM,
    chat: Chat,
    sources: Sources,
    folder: Path,
    latest: Latest,
    length: Length,
    summary: dict[str, Any],
    observer: Observer,
    stop: StopRequest,
    ranks: Ranks | None = None,
) -> dict[str, Any]:
    """Train one run to its last step and return its summary (also written to the run's folder).

    model: as the run starts, or of the same shapes where it continues and no reference is made of it; the same on
    every rank. latest: where the run stands, its FLOPs counted under this recipe. summary: what is known before
    training (run_id, model_size, total_params, lr_schedule, flops_per_sample). observer: of this rank; those of others
    than the first say nothing.
    Raises `Stopped` after a signal, when everything is saved; `FvlmError` when numbers or data go wrong.
    """
    config, training = run.config, run.config.training
    ranks = ranks or Ranks()
    stop.grace = config.checkpoints.grace
    device = pick_device(training.device)
    for text in set_up(training, device):
        observer.warned(text)

    # The model and what it lowers, laid out on the ranks, and what trains of it.
    place(model, training, device)
    preference = training.preference
    objective: Objective = (
        PreferenceLoss(preference, model) if preference else TokenLoss(model.connector.spec.auxiliary)
    )
    if training.compile:
        model.compile_layers()
    for component in training.frozen:
        for parameter in model.parameter_groups()[component].values():
            parameter.requires_grad_(False)
    replicas = spread(model, training.parallel, device, ranks)
    rates = peak_rates(training, summary["total_params"])
    optimiser = make_optimiser(
        model.parameter_groups(), rates, training.betas, training.weight_decay, model.decayed()
    )
    trained = list(named(optimiser))
    schedule = schedules(training, length, rates)

    # The data, from the first sample or from where the last checkpoint stands.
    preparer = Preparer(
        chat,
        model.encoder.spec.image_size,
        training.supervise,
        config.data.max_text_tokens,
        config.model.score_first_token,
        config.data.image_repeats,
        pairs=preference is not None,
        modalities=tuple(encoder.spec for encoder in model.signal_encoders),
    )
    validation = validation_set(sources.validation, preparer, config.eval.samples, config.eval.batch_size)
    ranks.on_first(lambda: report_validation(validation, observer))
    progress = latest.progress
    if latest.folder is not None:
        restore(latest.folder, model, optimiser, replicas)
    for text in latest.damaged:
        observer.warned(f"damaged checkpoint passed over: {text}")
    progress.order = _order(make_order(config.data, sources.train, chat, run.seed), progress, observer)
    mixture = progress.order.mixture
    end = progress.place + length.samples - progress.samples
    check_places(mixture, end)
    data = TrainingData(sources.train, mixture, preparer, replace=config.data.on_bad_sample == "skip")
    progress.world, progress.parallel = ranks.size, training.parallel
    ranks.on_first(lambda: rehearse(folder / CHECKPOINTS, _checkpoint_bytes(model, trained)))
    planner = None
    if training.micro_batch_frames and training.micro_batch_tokens:
        shape = training.micro_batch_frames, training.micro_batch_tokens
        planner = Planner(sources.train, mixture, preparer, *shape, constant=training.constant_shapes)
    sizes = training.batch_size, training.micro_batch_size
    share = Share(*sizes, ranks.rank, ranks.size, planner, begin=progress.place, end=end)
    ranks.on_first(share.check)
    stream = micro_batches(data, share, 0, training.workers, device == "cuda")
    observer.started(run, progress.step, length.steps)

    assert progress.spent is not None
    spent, peak = progress.spent, peak_flops(training, device)
    clock = Clock.start(progress)
    updates = Updates(
        optimiser, replicas, objective.names, training, progress, ranks, run.id, late(device, ranks)
    )
    norm = math.nan
    with Journal(folder, run.id, progress, ranks) as journal:
        while progress.step < length.steps:
            step = progress.step + 1
            stop.doing("step")
            update = length.update(progress.step, progress.samples)
            for group in optimiser.param_groups:
                group["lr"] = group["peak"] * schedule[group["component"]].factor(update)

            # Each rank's part of the gradient, then their sum: every token, or pair, of the step weighs the same.
            replicas.gather()
            part = _gradient(
                model, objective, stream, run.seed, step, progress, training, device, stop, ranks, observer
            )
            # No name for the gradients here: it would keep them until the next step has made its own.
            updates.make(
                step, *summed(taken(model, trained), part.sums, model, trained, ranks), part.sums, part.count
            )
            progress.step = step
            evaluating = step % config.eval.every == 0 or step == length.steps
            logging = step % training.log_every == 0 or step == length.steps
            saving = evaluating or step % (config.checkpoints.every or config.eval.every) == 0
            if logging or saving or part.asked is not None or not updates.late:
                norm = updates.read(journal, observer)

            # Accounts.
            progress.tokens += part.tokens
            note_spelled(part.readings, progress, observer)
            progress.note(part.readings)
            journal.bad(step, [bad for reading in part.readings for bad in reading.bad])
            note_bad(part.readings, progress, config.data.max_bad, folder, observer, ranks)
            row: dict[str, Any] | None = None
            if logging or evaluating:
                row = training_row(
                    progress,
                    clock,
                    losses=objective.columns(progress.window.means()),
                    spent=spent,
                    norm=norm,
                    rates=current_rates(optimiser),
                    peak=peak and peak * ranks.size,
                    device=device,
                )
            if logging and row is not None:
                journal.write("train", row)
                progress.final_train_loss = row["train_loss"]
                progress.window = LossWindow()
                clock.lap(progress)
            observer.stepped(step, row)

            asked = part.asked
            if evaluating and row is not None:
                stop.doing("evaluation")
                with clock.paused(progress):
                    replicas.gather()
                    values, scored = evaluate(
                        model, validation.batches, training, device, objective=objective, ranks=ranks
                    )
                    replicas.scatter({})
                    row = {**row, **values}
                    journal.write("eval", row)
                    observer.evaluated(row)
                    if math.isfinite(values["val_loss"]) and values["val_loss"] < (
                        progress.best_val_loss or math.inf
                    ):
                        progress.best_val_loss, progress.best_val_step = values["val_loss"], step
                        progress.best_val_loss_content = values["val_loss_content"]
                    journal.scored(step, scored, progress.best_val_step)
                asked = asked or _asked(ranks.exchange(stop.number))
            if saving or asked is not None:
                stop.doing("save")
                with clock.paused(progress):
                    journal.sync()
                    save(folder / CHECKPOINTS, model, optimiser, progress, replicas, ranks)
                    if ranks.first:
                        prune_checkpoints(
                            folder / CHECKPOINTS, config.checkpoints.keep_last, progress.best_val_step
                        )
                    journal.summarise(summarised(summary, progress, length.steps))
                asked = asked or _asked(ranks.exchange(stop.number))
            if asked is not None and step < length.steps:
                stop.doing(LEAVING)
                stopped = Stopped(asked)
                raise stopped if ranks.first else Elsewhere(stopped.exit_code)
    stop.doing(None)
    return summarised(summary, progress, length.steps)


@frozen
class _Told:
    """How a rank's part of a step went. failed: the exit code, when something other than memory went wrong."""

    count: int
    tokens: int
    readings: tuple[Reading, ...]
    asked: int | None
    out_of_memory: bool
    failed: int | None


@frozen(eq=False)
class _Part:
    """A step before its sums. sums: the objective's, of this rank, on the device; its gradients are the model's.

    count, tokens: what the loss is a mean over, and supervised tokens, of all ranks. readings: of all micro-batches of
    the step, in order. asked: the signal that some rank got.
    """

    sums: list[Tensor]
    count: int
    tokens: int
    readings: list[Reading]
    asked: int | None


def _gradient(
    model: VLM,
    objective: Objective,
    stream: Iterator[MicroBatch],
    seed: int,
    step: int,
    progress: Progress,
    training: Training,
    device: str,
    stop: StopRequest,
    ranks: Ranks,
    observer: Observer,
) -> _Part:
    """This rank's micro-batches, forward and backward, and what all ranks make of how that went.

    A rank whose memory runs out says so; all of them then throw their gradients away and cut every micro-batch in two,
    for the rest of the run. A rank that fails tells the others, which end with it.
    """
    micro: list[MicroBatch] = []
    problem: Exception | None = None
    try:
        micro = _step(stream)
    except Exception as error:
        problem = error
    readings = tuple(m.reading() for m in micro)
    while True:
        sums = [torch.zeros((), device=device) for _ in objective.names]
        count, tokens, out_of_memory = 0, 0, False
        try:
            if problem is None:
                for m in micro:
                    for first, batch in m.batch.cut(progress.pieces):
                        seed_micro_batch(seed, step, m.offset + first)
                        batch = batch.to(device)
                        if training.channels_last:
                            batch = evolve(
                                batch, frames=batch.frames.contiguous(memory_format=torch.channels_last)
                            )
                        with autocast(training, device):
                            added = objective.contribution(model, batch)
                        added.loss.backward()
                        count, tokens = count + added.count, tokens + added.tokens
                        sums = [total + more for total, more in zip(sums, added.sums, strict=True)]
        except Exception as error:
            out_of_memory = ran_out(error)
            problem = None if out_of_memory else error
        failed = None if problem is None else getattr(problem, "exit_code", 1)
        everyone = ranks.exchange(_Told(count, tokens, readings, stop.number, out_of_memory, failed))
        if problem is not None:
            raise ranks.named(problem) from problem
        if codes := [told.failed for told in everyone if told.failed is not None]:
            raise Elsewhere(codes[0])
        short = [rank for rank, told in enumerate(everyone) if told.out_of_memory]
        if not short:
            held = [told.readings for told in everyone]
            ordered = [each[turn] for turn in range(len(held[0])) for each in held if turn < len(each)]
            counts = sum(t.count for t in everyone), sum(t.tokens for t in everyone)
            return _Part(sums, *counts, ordered, _asked(t.asked for t in everyone))
        taken(model, ())
        added = batch = None  # their graph holds the memory that ran out
        if device == "cuda":
            torch.cuda.empty_cache()
        where = f" on rank {short[0]}" if ranks.size > 1 else ""
        largest = training.batch_size if training.micro_batch_frames else training.micro_batch_size
        if progress.pieces >= largest:
            raise ranks.refusal(f"out of memory{where} at step {step}, with one sample at a time")
        progress.pieces *= 2
        observer.warned(
            f"out of memory{where} at step {step}: micro-batches are cut into {progress.pieces} from here on; "
            "the gradient is the same"
        )


def _asked(numbers: Sequence[int | None] | Iterator[int | None]) -> int | None:
    """The signal that some rank got, or None."""
    return next((number for number in numbers if number is not None), None)


def _step(stream: Iterator[MicroBatch]) -> list[MicroBatch]:
    """This rank's micro-batches of the next step; none of a last one that has fewer samples than there are ranks."""
    micro: list[MicroBatch] = []
    for one in stream:
        micro.append(one)
        if one.last:
            break
    return micro


def _order(now: Order, progress: Progress, observer: Observer) -> Order:
    """In which the run reads on. now: the recipe's own order, from its first sample."""
    if progress.order is None:
        return now
    order = progress.order.continued(now, progress.place)
    for text in order.begun_anew(progress.order):
        observer.warned(text)
    if order.seed != now.seed:
        observer.warned(
            f"the data stay in the order of seed {order.seed}: in another one samples would be read twice"
        )
    return order


def _checkpoint_bytes(model: VLM, trained: list[str]) -> int:
    """What a checkpoint takes on disk: float32 weights, and two moments of those that train."""
    sizes = {name: 4 * parameter.numel() for name, parameter in model.named_parameters()}
    return sum(sizes.values()) + 2 * sum(sizes[name] for name in trained)
