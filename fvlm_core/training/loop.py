"""The training loop, top to bottom. One call trains one run, from its last checkpoint or from the start.

A run is a pure function of its recipe: the samples of a step are a function of (seed, step), the generators are
seeded at every micro-batch, and the loss is normalised by the supervised tokens (or the pairs of answers) of the
whole optimizer step, so that neither micro-batches, ranks, nor an interruption change the weights that come out.

Every rank runs this loop and takes every decision alike: once a step, after its own forward and backward passes, each
tells the others how it went, and all of them act on what all of them said.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any

from attrs import define, field, frozen
from torch.optim import Optimizer

from fvlm_core.data.collate import Preparer
from fvlm_core.data.loader import MicroBatch, TrainingData, ValidationSet, micro_batches, validation_set
from fvlm_core.data.mixture_weights import check_places, make_order
from fvlm_core.data.order import Order
from fvlm_core.data.planning import Planner, RankShare
from fvlm_core.data.sources import Sources
from fvlm_core.hardware.devices import peak_flops, pick_device, place, set_up
from fvlm_core.interfaces.chat import Chat
from fvlm_core.model.build import build_part
from fvlm_core.model.mup import rate_factors
from fvlm_core.model.vlm import VLM
from fvlm_core.recipes.read import Run
from fvlm_core.recipes.schema import Training
from fvlm_core.runs.checkpoint import prune_checkpoints, rehearse
from fvlm_core.runs.per_sample_loss import Scored
from fvlm_core.runs.store import CHECKPOINTS
from fvlm_core.training.answers import Examiner, Predicted, open_metrics
from fvlm_core.training.bad import note_bad, note_spelled, report_validation
from fvlm_core.training.callbacks import CallbackRun, Callbacks, Observer, exchanged
from fvlm_core.training.evaluate import evaluate
from fvlm_core.training.gradient import Accumulation, StepGradient, first_signal
from fvlm_core.training.length import Length, peak_rates, schedules
from fvlm_core.training.metrics_log import Clock, MetricsLog, summarised, training_row
from fvlm_core.training.objective import Objective, TokenLoss
from fvlm_core.training.optimizer import checkpoint_bytes, chosen_optimizer, current_rates, freeze, named
from fvlm_core.training.optimizer_step import Updates, late
from fvlm_core.training.parallel import Replicas, spread, summed, taken
from fvlm_core.training.preference import PreferenceLoss
from fvlm_core.training.process_group import Elsewhere, Ranks
from fvlm_core.training.schedule import RateSchedule
from fvlm_core.training.signals import LEAVING, Stopped, StopRequest
from fvlm_core.training.state import Latest, LossWindow, Progress, restore, save


@frozen(eq=False)
class ReadyRun:
    """A run, and all that its training needs."""

    run: Run
    model: VLM
    """As the run starts, or of the same shapes where it continues and no reference is made of it; the same on every
    rank."""
    chat: Chat
    sources: Sources
    folder: Path
    latest: Latest
    """Where the run stands, its FLOPs counted under this recipe."""
    length: Length
    summary: dict[str, Any]
    """What is known before training: run_id, model_size, total_params, lr_schedule, flops_per_sample."""
    predicted: Predicted | None = None


def train(
    ready: ReadyRun, observer: Observer, stop: StopRequest, ranks: Ranks | None = None
) -> dict[str, Any]:
    """Train one run to its last step and return its summary (also written to the run's folder).

    observer: of this rank; those of others than the first say nothing.
    Raises `Stopped` after a signal, when everything is saved; `FvlmError` when numbers or data go wrong.
    """
    return _Trainer(ready, observer, stop, ranks or Ranks()).train()


@define(eq=False)
class _Trainer:
    """What the steps of a run share, on one rank."""

    ready: ReadyRun
    observer: Observer
    stop: StopRequest
    ranks: Ranks
    device: str = field(init=False)
    progress: Progress = field(init=False)
    objective: Objective = field(init=False)
    replicas: Replicas = field(init=False)
    optimizer: Optimizer = field(init=False)
    callbacks: Callbacks = field(init=False)
    trained: list[str] = field(init=False)
    """Names of the parameters that learn."""
    schedule: dict[str, RateSchedule] = field(init=False)
    """By component."""
    validation: ValidationSet = field(init=False)
    examiner: Examiner | None = field(init=False)
    """Where the recipe has metrics."""
    updates: Updates = field(init=False)
    journal: MetricsLog = field(init=False)
    clock: Clock = field(init=False)
    peak: float | None = field(init=False)
    """FLOP/s of this rank's device, None where they are not known."""
    norm: float = field(default=math.nan, init=False)
    """Of the mean gradient of the last step that was read."""

    def train(self) -> dict[str, Any]:
        """From where the run stands to its last step."""
        ready, config = self.ready, self.ready.run.config
        self.stop.grace = config.checkpoints.grace
        self.device = pick_device(config.training.device)
        for text in set_up(config.training, self.device):
            self.observer.warned(text)
        self._lay_out_model()
        stream = self._open_data()
        progress, training = self.progress, config.training
        self.observer.started(ready.run, progress.step, ready.length.steps)

        self.peak = peak_flops(training, self.device)
        self.clock = Clock.start(progress)
        self.updates = Updates(
            self.optimizer,
            self.replicas,
            self.objective.names,
            training,
            progress,
            self.ranks,
            ready.run.id,
            late(self.device, self.ranks, self.optimizer),
        )
        accumulation = Accumulation(
            ready.model,
            self.objective,
            stream,
            training,
            ready.run.seed,
            self.device,
            progress,
            self.stop,
            self.ranks,
            self.observer,
        )
        with closing(stream), MetricsLog(ready.folder, ready.run.id, progress, self.ranks) as self.journal:
            while progress.step < ready.length.steps and not progress.ended:
                step = progress.step + 1
                self.stop.doing("step")
                self._set_rates()

                # Each rank's part of the gradient; their sum is divided by the count that the objective chose.
                self.replicas.gather()
                part = accumulation.accumulate(step)
                self._update(step, part)
                progress.step = step
                asked = self._account(step, part)
                if asked is not None and step < ready.length.steps and not progress.ended:
                    self.stop.doing(LEAVING)
                    stopped = Stopped(asked)
                    raise stopped if self.ranks.first else Elsewhere(stopped.exit_code)
        self.stop.doing(None)
        return summarised(ready.summary, progress, ready.length.steps)

    def _lay_out_model(self) -> None:
        """The model and what it lowers, laid out on the ranks, and what trains of it."""
        model, training = self.ready.model, self.ready.run.config.training
        place(model, training, self.device)
        self.objective = _objective(training, model)
        if training.compile:
            model.compile_layers()
        freeze(model, training.frozen)
        self.replicas = spread(model, training.parallel, self.device, self.ranks)
        rates = peak_rates(training, self.ready.summary["total_params"])
        factors = rate_factors(model, self.ready.run.config.model, training.mup)
        self.optimizer = chosen_optimizer(training, model, rates, factors)
        self.trained = list(named(self.optimizer))
        self.schedule = schedules(training, self.ready.length, rates)

    def _open_data(self) -> Generator[MicroBatch]:
        """This rank's micro-batches, from the first sample or from where the last checkpoint stands.

        Also brings weights and moments to where that checkpoint stands.
        """
        ready, ranks = self.ready, self.ranks
        config, training, sources, latest = (
            ready.run.config,
            ready.run.config.training,
            ready.sources,
            ready.latest,
        )
        preparer = Preparer(
            ready.chat,
            ready.model.encoder.spec.image_size,
            training.supervise,
            config.data.max_text_tokens,
            config.model.score_first_token,
            config.data.image_repeats,
            pairs=training.objective_spec.pairs,
            modalities=tuple(encoder.spec for encoder in ready.model.signal_encoders),
        )
        answering = config.eval.answering
        self.validation = validation_set(
            sources.validation,
            preparer,
            config.eval.samples,
            config.eval.batch_size,
            answering.samples if answering else 0,
        )
        self.examiner = answering and Examiner(
            ready.chat,
            self.validation,
            answering,
            open_metrics(config.eval.metrics or ()),
            training,
            self.device,
            ready.predicted,
        )
        ready.summary.update(ranks.on_first(lambda: report_validation(self.validation, self.observer)))
        if self.validation.floor is not None and isinstance(self.objective, TokenLoss):
            ready.summary["val_floor"] = self.validation.floor
        progress = self.progress = latest.progress
        watched = CallbackRun(ready.run.id, ready.folder, ready.length.steps, ready.model)
        self.callbacks = Callbacks.of(training, watched, self.observer.warned)
        if latest.folder is not None:
            kept = restore(latest.folder, ready.model, self.optimizer, self.replicas)
            self.callbacks.restore(kept)
        for text in latest.damaged:
            self.observer.warned(f"damaged checkpoint passed over: {text}")
        progress.order = self._order(make_order(config.data, sources.train, ready.chat, ready.run.seed))
        mixture = progress.order.mixture
        end = progress.place + ready.length.samples - progress.samples
        check_places(mixture, end)
        augment = config.data.augment
        replace = config.data.on_bad_sample == "skip"
        data = TrainingData(sources.train, mixture, preparer, replace=replace, augment=augment)
        progress.world, progress.parallel = ranks.size, training.parallel
        ranks.on_first(
            lambda: rehearse(
                ready.folder / CHECKPOINTS, checkpoint_bytes(training, ready.model, self.optimizer)
            )
        )
        planner = None
        if training.micro_batch_frames and training.micro_batch_tokens:
            shape = training.micro_batch_frames, training.micro_batch_tokens
            planner = Planner(
                sources.train, mixture, preparer, *shape, constant=training.constant_shapes, augment=augment
            )
        sizes = training.batch_size, training.micro_batch_size
        share = RankShare(*sizes, ranks.rank, ranks.size, planner, begin=progress.place, end=end)
        ranks.on_first(share.check)
        return micro_batches(data, share, 0, training.workers, self.device == "cuda")

    def _order(self, now: Order) -> Order:
        """In which the run reads on. now: the recipe's own order, from its first sample."""
        progress = self.progress
        if progress.order is None:
            return now
        order = progress.order.continued(now, progress.place)
        for text in order.begun_anew(progress.order):
            self.observer.warned(text)
        if order.seed != now.seed:
            self.observer.warned(
                f"the data stay in the order of seed {order.seed}: in another one samples would be read twice"
            )
        return order

    def _set_rates(self) -> None:
        update = self.ready.length.update(self.progress.step, self.progress.samples)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * self.schedule[group["component"]].factor(update)

    def _update(self, step: int, part: StepGradient) -> None:
        # No name for the gradients here: it would keep them until the next step has made its own.
        model, trained = self.ready.model, self.trained
        self.updates.make(
            step, *summed(taken(model, trained), part.sums, model, trained, self.ranks), part.sums, part.count
        )

    def _account(self, step: int, part: StepGradient) -> int | None:
        """Counts, rows, evaluation and checkpoint after a step; the signal that some rank got."""
        config, progress = self.ready.run.config, self.progress
        last = step == self.ready.length.steps
        evaluating = step % config.eval.every == 0 or last
        logging = step % config.training.log_every == 0 or last
        saving = evaluating or step % (config.checkpoints.every or config.eval.every) == 0
        if logging or saving or part.asked is not None or not self.updates.late:
            self.norm = self.updates.read(self.journal, self.observer)

        progress.tokens += part.tokens
        note_spelled(part.readings, progress, self.observer)
        progress.note(part.readings)
        self.journal.bad(step, [bad for reading in part.readings for bad in reading.bad])
        note_bad(part.readings, progress, config.data.max_bad, self.ready.folder, self.observer, self.ranks)
        row = self._logged() if logging else self._row() if evaluating else None
        self.observer.stepped(step, row)
        if self.callbacks.each and (reason := self.ranks.exchange(self.callbacks.stepped(step, row))[0]):
            progress.ended = reason
            evaluating = saving = True
        if progress.ended and not logging:
            self.norm, logging = self.updates.read(self.journal, self.observer), True
            row = self._logged()

        asked = part.asked
        if evaluating and row is not None:
            self._evaluate(step, row)
            if progress.ended and not logging:
                self._logged()
            saving = saving or bool(progress.ended)
            asked = asked or first_signal(self.ranks.exchange(self.stop.number))
        if saving or asked is not None:
            self._save()
            asked = asked or first_signal(self.ranks.exchange(self.stop.number))
        return asked

    def _logged(self) -> dict[str, Any]:
        """A training row, written; means begin anew."""
        row = self._row()
        self.journal.write("train", row)
        self.progress.final_train_loss = row["train_loss"]
        self.progress.window = LossWindow()
        self.clock.lap(self.progress)
        return row

    def _row(self) -> dict[str, Any]:
        progress = self.progress
        assert progress.spent is not None
        return training_row(
            progress,
            self.clock,
            losses=self.objective.columns(progress.window.means()),
            spent=progress.spent,
            norm=self.norm,
            rates=current_rates(self.optimizer),
            peak=self.peak and self.peak * self.ranks.size,
            device=self.device,
        )

    def _evaluate(self, step: int, row: dict[str, Any]) -> None:
        """On the validation set, and what it says of the best step so far. row: of training, which it stands beside."""
        progress = self.progress
        self.stop.doing("evaluation")
        with self.clock.paused(progress):
            self.replicas.gather()
            values, scored = self._measured()
            for name, weights in self.callbacks.weights():
                with exchanged(self.ready.model, weights):
                    values[f"val_loss_{name}"] = self._measured()[0]["val_loss"]
            means, answers = (
                self.examiner.examine(self.ready.model, self.ranks, step=step) if self.examiner else ({}, [])
            )
            self.replicas.scatter({})
            row = {**row, **values, **means}
            self.journal.write("eval", row)
            self.observer.evaluated(row)
            if self.callbacks.each:
                progress.ended = progress.ended or self.ranks.exchange(self.callbacks.evaluated(step, row))[0]
            if math.isfinite(values["val_loss"]) and values["val_loss"] < (
                progress.best_val_loss or math.inf
            ):
                progress.best_val_loss, progress.best_val_step = values["val_loss"], step
                progress.best_val_loss_content = values["val_loss_content"]
            self.journal.scored(step, scored, progress.best_val_step)
            if self.examiner:
                self.journal.answered(step, answers, progress.best_val_step)

    def _measured(self) -> tuple[dict[str, Any], list[Scored]]:
        return evaluate(
            self.ready.model,
            self.validation.batches,
            self.ready.run.config.training,
            self.device,
            objective=self.objective,
            ranks=self.ranks,
        )

    def _save(self) -> None:
        ready, progress, folder = self.ready, self.progress, self.ready.folder / CHECKPOINTS
        self.stop.doing("save")
        with self.clock.paused(progress):
            self.journal.sync()
            kept = self.callbacks.state()
            save(folder, ready.model, self.optimizer, progress, self.replicas, self.ranks, kept)
            if self.ranks.first:
                prune_checkpoints(folder, ready.run.config.checkpoints.keep_last, progress.best_val_step)
            self.journal.summarise(summarised(ready.summary, progress, ready.length.steps))


def _objective(training: Training, model: VLM) -> Objective:
    """What the run lowers."""
    if training.preference:
        return PreferenceLoss(training.preference, model)
    if training.objective:
        return build_part("objective", training.objective, model)
    return TokenLoss(model.connector.spec.auxiliary)
