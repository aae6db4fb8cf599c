"""Metrics by real generation: the model answers validation samples, and its answers are scored."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from attrs import frozen
from scipy.special import stdtrit

from fvlm_core.data.batch import Batch
from fvlm_core.data.loader import ValidationSet
from fvlm_core.hardware.devices import autocast
from fvlm_core.interfaces.chat import Chat
from fvlm_core.interfaces.data import Sample
from fvlm_core.interfaces.metric import Answer, Metric
from fvlm_core.interfaces.specs import Mode
from fvlm_core.interfaces.tracker import Prediction
from fvlm_core.model.answer import answer
from fvlm_core.model.gaze import attention_maps
from fvlm_core.model.vlm import VLM
from fvlm_core.recipes.schema import Answering, Chosen, Training
from fvlm_core.runs.answers import BY_CATEGORY, CHANCE, COUNT, ScoredAnswer
from fvlm_core.runs.metrics import CLOCK
from fvlm_core.runs.record_shapes import ROW
from fvlm_core.training.process_group import Ranks
from fvlm_core.utils.errors import FvlmError, UsageError
from fvlm_core.utils.multiple_choice import choices, chosen
from fvlm_core.utils.seeding import derive
from fvlm_core.utils.shares import share_interval
from fvlm_registry import registry

LEVEL = 0.95
"""Of the intervals of means."""

TOLD, PICTURED = 32, 8
"""Of an evaluation's answers, how many trackers are told, and of how many of those with frames and gaze."""

Predicted = Callable[[int, Sequence[Prediction]], None]
"""Takes the step and some of the answers of an evaluation."""

_TAKEN = ("val_", "train_", "loss", *CLOCK)
"""What columns of losses and of the clock begin with."""


@frozen(eq=False)
class Examiner:
    """What a model is asked and how its answers are scored. metrics: by the name that a recipe has for them. told: is
    handed the step and some of the answers of each evaluation; without it nothing is done for that."""

    chat: Chat
    validation: ValidationSet
    settings: Answering
    metrics: dict[str, Metric]
    training: Training
    device: str
    told: Predicted | None = None

    def examine(
        self, model: VLM, ranks: Ranks | None = None, mode: Mode | None = None, step: int = 0
    ) -> tuple[dict[str, Any], list[ScoredAnswer]]:
        """The columns of an evaluation (see `fvlm_core.runs.answers`), and every answer in the set's order.

        Ranks share the samples; what is said of one depends on nothing else. mode: how visual tokens are made. step: of
        the run, for what is told of it. Raises `FvlmError` where a metric fails, or scores otherwise than it promises.
        """
        ranks = ranks or Ranks()
        answers = self.answers(model, ranks, mode)
        scores = ranks.on_first(lambda: {m.column: scored(n, m, answers) for n, m in self.metrics.items()})
        rows = [
            ScoredAnswer(
                f"{each.source}/{each.id}",
                each.prompt,
                each.reference,
                each.generated,
                {column: values[at] for column, values in scores.items()},
                each.category,
            )
            for at, each in enumerate(answers)
        ]
        if self.told is not None:
            self.told(step, self._predictions(model, rows))
        means: dict[str, Any] = {
            name: value for column, each in scores.items() for name, value in mean_of(column, each).items()
        }
        return means | by_category(answers, scores), rows

    @torch.no_grad()
    def answers(self, model: VLM, ranks: Ranks, mode: Mode | None = None) -> list[Answer]:
        """What the model says of every question, in the set's order."""
        questions, asked = self.validation.questions, self._asked()
        was_training = model.training
        model.eval()
        mine: dict[int, Answer] = {}
        # Read token by token, a sequence has every length once: none is compiled for.
        with torch.compiler.set_stance("force_eager") if self.training.compile else nullcontext():
            for index in range(ranks.rank, len(asked), ranks.size):
                name = asked[index].sample_ids[0]
                mine[index] = self._answer(model, name, questions[name], asked[index], mode)
        model.train(was_training)
        found = {index: said for each in ranks.exchange(mine) for index, said in each.items()}
        return [found[index] for index in range(len(asked))]

    def _asked(self) -> list[Batch]:
        """The samples that are questions, each alone."""
        questions = self.validation.questions
        return [
            alone
            for batch in self.validation.batches
            if any(name in questions for name in batch.sample_ids)
            for _, alone in batch.cut(len(batch.counts))
            if alone.sample_ids[0] in questions
        ]

    @torch.no_grad()
    def _predictions(self, model: VLM, rows: Sequence[ScoredAnswer]) -> list[Prediction]:
        """Some of the answers, evenly spaced over the set, which is in order of length: the same ones each time."""
        asked = self._asked()
        told = _spread(range(len(rows)), TOLD)
        pictured = {*_spread([at for at in told if len(asked[at].frames)], PICTURED)}
        was_training = model.training
        model.eval()
        found: list[Prediction] = []
        for at in told:
            row, shown = rows[at], at in pictured
            with autocast(self.training, self.device):
                gaze = attention_maps(model, asked[at].to(self.device)) if shown else {}
            frames = (asked[at].frames if shown else asked[at].frames[:0]).numpy()
            texts = row.id, row.prompt, row.reference, row.generated
            found.append(Prediction(*texts, row.scores, row.category, frames, gaze))
        model.train(was_training)
        return found

    def _answer(self, model: VLM, name: str, asked: Sample, alone: Batch, mode: Mode | None) -> Answer:
        with autocast(self.training, self.device):
            said = answer(
                model,
                self.chat,
                asked.turns[:-1],
                alone.frames,
                limit=self.settings.limit,
                settings=self.settings,
                seed=derive(0, "answer", name),
                mode=mode,
                signals={modality: items.data for modality, items in alone.signals.items()},
                key=name,
            )
        return answered(name, asked, said)


def _spread(places: Sequence[int], most: int) -> list[int]:
    """At most so many of them, evenly spaced, with both ends."""
    count = len(places)
    return [places[at] for at in np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))]


def answered(name: str, asked: Sample, said: str) -> Answer:
    """What a model said of a sample, "source/id", whose last turn is the right answer."""
    source, _, sample = name.partition("/")
    turns = asked.turns
    prompt = next((turn.content for turn in reversed(turns[:-1]) if turn.role == "user"), "")
    reference = turns[-1].content
    listed = choices(prompt)
    right = chosen(reference, listed) if listed else None
    return Answer(
        sample,
        source,
        prompt,
        said,
        reference,
        listed if right is not None else (),
        right,
        asked.category,
        asked.chance,
    )


def open_metrics(chosen: Sequence[Chosen]) -> dict[str, Metric]:
    """The metrics that a recipe chooses, by their names there.

    Raises `LookupFailure` for one that cannot be loaded, and `UsageError` for a column that is none, or that something
    else has.
    """
    found = registry()
    made: dict[str, Metric] = {}
    owners: dict[str, str] = {}
    for one in chosen:
        build: Any = found.load(found.find("metric", one.component).component.target)
        metric: Metric = build(one.config)
        column = getattr(metric, "column", "")
        if not re.fullmatch(r"[a-z][a-z0-9_]*", column):
            raise UsageError(
                f'eval.metrics: {one.name}: expected a column of lower-case letters, digits and _, got "{column}"'
            )
        for name in (column, f"{column}_low", f"{column}_high"):
            taken = "every evaluation" if name in ROW or name.startswith(_TAKEN) else owners.get(name)
            if taken:
                raise UsageError(f'eval.metrics: {one.name} has the column "{name}", and so has {taken}')
            owners[name] = one.name
        made[one.name] = metric
    return made


def mean_of(column: str, scores: Sequence[float | None]) -> dict[str, float | None]:
    """The mean over the samples that have a score and the ends of Student's interval at `LEVEL`, by column; None where
    there are too few: no sample, or one."""
    known = np.array([score for score in scores if score is not None], dtype=np.float64)
    count = len(known)
    mean = float(known.mean()) if count else None
    if mean is None or count < 2:
        return {column: mean, f"{column}_low": None, f"{column}_high": None}
    half = float(stdtrit(count - 1, 0.5 + LEVEL / 2) * known.std(ddof=1) / math.sqrt(count))
    return {column: mean, f"{column}_low": mean - half, f"{column}_high": mean + half}


def by_category(
    answers: Sequence[Answer], scores: Mapping[str, Sequence[float | None]]
) -> dict[str, dict[str, dict[str, float | None]]]:
    """The column `BY_CATEGORY` of an evaluation, empty where no answer has a category: of each, in the order of their
    names, numbers by their size, how many were answered, their mean chance where all have one, and of each metric that
    says something of them the mean and the ends of its interval at `LEVEL`.

    scores: of each answer, by metric. The interval is Student's, of a metric whose scores are all 0 or 1 the exact one
    of a share: categories are small, and where all are right Student's would have no width.
    """
    found: dict[str, dict[str, float | None]] = {}
    for name in sorted({each.category for each in answers if each.category}, key=_numbers_by_size):
        places = [at for at, each in enumerate(answers) if each.category == name]
        chances = [chance for at in places if (chance := answers[at].chance) is not None]
        row: dict[str, float | None] = {
            COUNT: len(places),
            CHANCE: sum(chances) / len(chances) if len(chances) == len(places) else None,
        }
        for column, values in scores.items():
            own = [values[at] for at in places]
            if any(value is not None for value in own):
                row |= mean_among(column, own, values)
        found[name] = row
    return {BY_CATEGORY: found} if found else {}


def _numbers_by_size(name: str) -> list[tuple[int, str]]:
    return [(int(part) if part.isdecimal() else 0, part) for part in re.split(r"(\d+)", name)]


def mean_among(
    column: str, scores: Sequence[float | None], every: Sequence[float | None]
) -> dict[str, float | None]:
    """As `mean_of`, of some of the scores; where `every` one is 0 or 1 the interval is the exact one of a share."""
    own = [score for score in scores if score is not None]
    if not own or not {*every} <= {0.0, 1.0, None}:
        return mean_of(column, own)
    hits = own.count(1.0)
    low, high = share_interval(hits, len(own), LEVEL)
    return {column: hits / len(own), f"{column}_low": low, f"{column}_high": high}


def scored(name: str, metric: Metric, answers: Sequence[Answer]) -> list[float | None]:
    """A metric's scores, checked. Raises `FvlmError`."""
    try:
        scores = list(metric.score(answers))
    except Exception as error:
        raise FvlmError(f"metric {name} failed: {type(error).__name__}: {error}") from error
    if len(scores) != len(answers):
        raise FvlmError(
            f"metric {name}: expected a score for each of {len(answers)} answers, got {len(scores)}"
        )
    for each, score in zip(answers, scores, strict=True):
        if score is not None and not math.isfinite(score):
            raise FvlmError(
                f"metric {name}: expected a finite number or None for {each.source}/{each.id}, got {score}"
            )
    return [None if score is None else float(score) for score in scores]
