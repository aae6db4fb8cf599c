"""A recipe's rehearsal: the same graph of runs, small enough to run in minutes on a CPU, on data that is drawn here.

Kept are the runs, their order and what each changes, seeds, evaluations and checkpoints (their number, up to five),
accumulation, rates, schedules, shares of the mixture, freezing, which run starts from which, and the fits. Changed are
sizes, data, steps and batches. No loss of a rehearsal says anything about the recipe.

A component's config class may have a method that makes it small: `rehearsal() -> config` of an encoder, a language
model or a data source, `rehearsal(encoder: EncoderSpec) -> config` of a connector, which gets the small encoder's
sizes. Different configs should stay different. A component without one is used as it is. Data sources without one are
stood in for by the first component that provides "rehearsal"; see `StandIn`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, log
from typing import Any, Literal, Protocol

from attrs import evolve, frozen

from fvlm_core.planning.run_plan import RunPlan
from fvlm_core.recipes.learning_rate import LRRule
from fvlm_core.recipes.parent import Parentage, differences
from fvlm_core.recipes.read import Recipe, Run
from fvlm_core.recipes.resolved import flat, resolved
from fvlm_core.recipes.schema import Chosen, Data, Model, Training
from fvlm_core.utils.errors import UsageError
from fvlm_registry import registry

REHEARSALS = "rehearsals"
"""The folder of rehearsals below that of runs: a store of its own, which no command on runs looks into unasked."""

STEPS = (12, 30)
"""Steps of the shortest and of the longest run of a rehearsal; the others lie between, in proportion to log steps."""

ALIKE = 16
"""Steps where all runs are equally long."""

BATCH = 8
"""The largest batch of a rehearsal."""

EVALUATIONS = 5
"""The most evaluations of a run, and the most checkpoints."""

HELD_OUT = 16
"""The most validation samples."""

Contents = Literal["clips", "text", "pairs"]


class StandIn(Protocol):
    """The config class of a data source that provides "rehearsal": it stands in for sources that are not here."""

    @classmethod
    def stand_in(cls, *, seed: int, contents: Contents, prompt: str | None) -> Any:
        """A config of a few hundred samples at most, made on this machine.

        seed: sources of other seeds share no sample. contents: clips with captions, text alone, or clips with a better
        and a worse caption. prompt: the user's turn; None for its own.
        """
        ...


@frozen
class Rehearsal:
    """recipe: what runs, under the name and the ids of the real one. family: what was changed of it, run by run.

    notes: what is not kept, in words.
    """

    recipe: Recipe
    family: Parentage
    notes: tuple[str, ...]

    @property
    def heading(self) -> str:
        """What stands above everything that comes out."""
        return f"REHEARSAL of {self.recipe.name}: shrunk models, stand-in data; no number here is a result"


def rehearsed(recipe: Recipe, plans: Sequence[RunPlan]) -> Rehearsal:
    """The rehearsal of a recipe. plans: of its real runs. Raises `UsageError` where no data source can stand in."""
    notes: list[str] = []
    steps = _steps([plan.steps for plan in plans])
    runs = tuple(
        _run(recipe, run, plan, count, notes)
        for run, plan, count in zip(recipe.runs, plans, steps, strict=True)
    )
    changed = {
        small.id: differences(flat(resolved(run.config)), flat(resolved(small.config)))
        for run, small in zip(recipe.runs, runs, strict=True)
    }
    notes += _merged(recipe.runs, runs)
    family = Parentage(f"{recipe.file}, of which this is a rehearsal", changed)
    return Rehearsal(evolve(recipe, runs=runs), family, tuple(dict.fromkeys(notes)))


def _steps(real: Sequence[int]) -> list[int]:
    """Steps of every run, in the order of the real ones."""
    least, most = min(real), max(real)
    if least == most:
        return [min(ALIKE, most)] * len(real)
    low, high = STEPS
    return [min(n, round(low + (high - low) * log(n / least) / log(most / least))) for n in real]


def _run(recipe: Recipe, run: Run, plan: RunPlan, steps: int, notes: list[str]) -> Run:
    config = run.config
    evaluations = min(EVALUATIONS, plan.evaluations)
    kept = config.checkpoints
    if kept.every is not None:
        saved = min(EVALUATIONS, ceil(plan.steps / kept.every))
        kept = evolve(kept, every=ceil(steps / saved))
    if config.trackers:
        notes.append("trackers are left out: nothing of a rehearsal goes to anybody's tool")
    small = evolve(
        config,
        model=evolve(_model(config.model, notes), size=f"{plan.size} rehearsal"),
        data=_data(config.data, config.training.objective_spec.pairs, notes),
        training=_training(recipe, run, plan, steps, notes),
        eval=evolve(
            config.eval,
            every=ceil(steps / evaluations),
            samples=min(HELD_OUT, config.eval.samples),
            batch_size=min(HELD_OUT, config.eval.batch_size),
        ),
        checkpoints=kept,
        trackers=(),
    )
    return evolve(run, config=small)


def _model(model: Model, notes: list[str]) -> Model:
    encoder = _small(model.encoder, "encoder", notes)
    seen = encoder.config.spec()
    if model.modalities:
        notes.append("encoders of other modalities are left out: stand-in data have frames and text alone")
    return evolve(
        model,
        modalities=None,
        encoder=encoder,
        connector=_small(model.connector, "connector", notes, seen),
        llm=_small(model.llm, "llm", notes),
    )


def _small(chosen: Chosen, part: str, notes: list[str], *needs: Any) -> Chosen:
    make: Callable[..., Any] | None = getattr(chosen.config, "rehearsal", None)
    if make is None:
        notes.append(f'the {part} "{chosen.name}" offers no rehearsal of itself: it is used as it is')
        return chosen
    return evolve(chosen, config=make(*needs))


def _data(data: Data, pairs: bool, notes: list[str]) -> Data:
    """Every source replaced, its share kept. pairs: whether training is on pairs of answers."""
    count = 0

    def replaced(chosen: Chosen, text: bool = False) -> Chosen:
        nonlocal count
        count += 1
        make: Callable[[], Any] | None = getattr(chosen.config, "rehearsal", None)
        if make is not None:
            return evolve(chosen, config=make())
        alone = text or "text" in registry().find("data", chosen.component).component.provides
        contents: Contents = "pairs" if pairs else "text" if alone else "clips"
        stand_in = _stand_in(count, contents, getattr(chosen.config, "prompt", None))
        kind = {"pairs": "pairs of captions", "text": "text alone", "clips": "clips"}[contents]
        notes.append(f'"{stand_in.name}" stands in for "{chosen.name}": {kind}')
        return stand_in

    sources = tuple(evolve(entry, source=replaced(entry.source)) for entry in data.sources)
    text = evolve(data.text, source=replaced(data.text.source, text=True)) if data.text else None
    held_out = evolve(data.validation, source=replaced(data.validation.source)) if data.validation else None
    if data.min_frames is not None or data.max_frames is not None:
        notes.append("min_frames and max_frames are left out: stand-in clips are all of one length")
    changed = {"sources": sources, "text": text, "validation": held_out}
    return evolve(data, **changed, min_frames=None, max_frames=None)


def _stand_in(seed: int, contents: Contents, prompt: str | None) -> Chosen:
    found = registry()
    able = [offer for offer in found.offered("data") if "rehearsal" in offer.component.provides]
    if not able:
        raise UsageError(
            'no installed data source can stand in for others: none provides "rehearsal" (fvlm plugins list)'
        )
    kind: type[StandIn] = found.load(able[0].component.config)
    config = kind.stand_in(seed=seed, contents=contents, prompt=prompt)
    return Chosen(able[0].component.name, able[0].qualified, config)


def _training(recipe: Recipe, run: Run, plan: RunPlan, steps: int, notes: list[str]) -> Training:
    training = run.config.training
    batch = min(BATCH, training.batch_size)
    micro = max(1, batch * training.micro_batch_size // training.batch_size)
    start = training.init_from
    if start is not None and start not in [f"{recipe.name}/{other.id}" for other in recipe.runs]:
        notes.append(
            f"{start}, which real runs start from, is no run of this recipe: random weights take its place"
        )
        start = None
    spec, objective = training.objective_spec, training.objective
    own = {name for other in recipe.runs for name in (other.id, f"{recipe.name}/{other.id}")}
    if objective is not None and ((spec.reads and not spec.after) or not set(spec.after) <= own):
        notes.append(
            f"{objective.word}: its teacher is no run of this recipe: the labels alone take its place"
        )
        objective = None
    if training.mup is not None:
        notes.append("widths are the rehearsal's, so that their parametrisation is the standard one")
    rate = training.lr
    if isinstance(rate, LRRule):
        rate = rate.rate(plan.parameters.total)
        notes.append("a rate that follows from a model's size is the real size's")
    return evolve(
        training,
        steps=steps,
        samples=None,
        budget=None,
        batch_size=batch,
        micro_batch_size=max(size for size in range(1, micro + 1) if batch % size == 0),
        lr=rate,
        threads=1,
        workers=0,
        log_every=min(training.log_every, ceil(steps / EVALUATIONS)),
        init_from=start,
        objective=objective,
        parametrisation=None,
        mup=None,
    )


def _merged(real: Sequence[Run], small: Sequence[Run]) -> list[str]:
    """Runs of different models that are the same one when small."""
    groups: dict[str, list[Run]] = {}
    for run, shrunk in zip(real, small, strict=True):
        groups.setdefault(repr(evolve(shrunk.config.model, size="")), []).append(run)
    return [
        f"{', '.join(run.id for run in runs)}: the same model in the rehearsal"
        for runs in groups.values()
        if len({repr(run.config.model) for run in runs}) > 1
    ]
