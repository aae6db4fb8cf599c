"""From a recipe and what a campaign is asked for to its question: sizes, runs for sale, target; everything checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from attrs import asdict, evolve, field, frozen

from fvlm_core.planning.plan import plan
from fvlm_core.planning.run_plan import RunPlan
from fvlm_core.recipes.campaign import WITHIN, CampaignSettings, CampaignTarget, part
from fvlm_core.recipes.read import Recipe, Run, settings_from
from fvlm_core.scaling.campaign.belief import Question, check_campaign_law
from fvlm_core.scaling.campaign.offers import DEAREST, Offer, ladder, missing, offers
from fvlm_core.scaling.campaign.rates import sweep
from fvlm_core.scaling.campaign.record import Round
from fvlm_core.scaling.fit.fitting import load_model
from fvlm_core.scaling.predict.cost import Cost, Size, cost_of_plans
from fvlm_core.scaling.predict.reach import beyond
from fvlm_core.utils.errors import UsageError
from fvlm_core.utils.listing import listed
from fvlm_registry.nearest import did_you_mean

SWEPT = 2
"""Sizes of a sweep of learning rates, the smallest, where the recipe names none: the fewest that tell a power."""

TABLE = "[campaign]"


@frozen(eq=False)
class Prepared:
    """A campaign that can begin. runs: the recipe's run of each size, by label. settings: what may not change
    underneath it, and budget and within, as plain values. sweep: of learning rates; None without one. remarks: what to
    know."""

    question: Question
    sizes: tuple[Size, ...]
    runs: Mapping[str, Run]
    settings: Mapping[str, Any]
    sweep: Round | None
    remarks: tuple[str, ...] = field(converter=tuple)

    @property
    def batch(self) -> int:
        """Samples of a step, the same for all sizes."""
        return next(iter(self.runs.values())).config.training.batch_size


def asked_target(target: str | Mapping[str, Any] | None) -> CampaignTarget | None:
    """`N=20M,D=1M` or `size=w96,D=20k`, or the same as a table. Raises `UsageError`."""
    if target is None:
        return None
    shown = "target" if isinstance(target, Mapping) else f"--target {target}"
    table = dict(target) if isinstance(target, Mapping) else dict[str, Any]()
    for piece in target.split(",") if isinstance(target, str) else ():
        key, equals, value = (one.strip() for one in piece.partition("="))
        if not equals or not value:
            raise UsageError(f'{shown}: expected N=...,D=... or size=RUN,D=..., got "{piece.strip()}"')
        table[key] = value
    return settings_from(table, CampaignTarget, shown)


def asked_part(within: float | str | None) -> float | None:
    """0.02 or "2%". Raises `UsageError`."""
    try:
        found = part(within)
    except ValueError as error:
        raise UsageError(f"--within: {error}") from None
    if found is not None and not 0 < found < 1:
        raise UsageError(f"--within: expected a part between 0 and 1 of the loss, got {within}")
    return found


def prepare_campaign(recipe: Recipe, settings: CampaignSettings, known: Sequence[Size] | None) -> Prepared:
    """Check all that can be before anything is trained. known: sizes as they were planned when a campaign began that is
    under way. Raises `UsageError`."""
    target, budget = settings.target, settings.budget
    if target is None:
        raise UsageError(
            f"{recipe.file}: say what is to be predicted: --target N=...,D=... (or size=RUN,D=...), or target in a "
            f"table {TABLE} of the recipe"
        )
    if budget is None:
        raise UsageError(
            f"{recipe.file}: say what the runs may take together: --budget FLOPS, or budget in a table {TABLE}"
        )
    law = load_model(settings.law)
    check_campaign_law(law)
    runs, remarks = _runs_of_sizes(recipe, settings)
    planned = _plans(recipe, runs)
    sizes = _sizes(runs, planned)
    if known is not None and {one.label for one in known} == {one.label for one in sizes}:
        sizes = tuple(known)
    batch = next(iter(runs.values())).config.training.batch_size
    samples = sorted(settings.samples or ladder(batch, budget, min(one.flops for one in sizes)))
    _check_samples(samples, batch, f"{TABLE} samples")
    for_sale = _offers(law, sizes, samples, settings.seeds, budget)
    n, d = _target(recipe, target, runs, sizes)
    question = Question(
        law,
        n,
        d,
        budget,
        settings.within if settings.within is not None else WITHIN,
        tuple(for_sale),
        _pilot(settings, sizes, batch),
    )
    swept = _sweep(settings, sizes, samples, batch)
    remarks += _remarks(question, cost_of_plans([*planned.values()], recipe.file))
    recorded = {
        "law": settings.law,
        "target": {"N": n, "D": d},
        "budget": budget,
        "within": question.within,
        "sizes": [one.label for one in sizes],
        "samples": None if settings.samples is None else list(samples),
        "seeds": settings.seeds,
        "pilot": [one.run for one in question.pilot] or None,
        "sweep": None if swept is None else {run: swept.rates[run] for run in swept.rates},
    }
    return Prepared(question, sizes, runs, recorded, swept, remarks)


def _runs_of_sizes(recipe: Recipe, settings: CampaignSettings) -> tuple[dict[str, Run], list[str]]:
    """The recipe's run of each size that may be run, by label, as they are asked for."""
    labels = {_label(recipe, run): run for run in reversed(recipe.runs)}
    if settings.sizes is not None:
        _check_names(settings.sizes, labels, f"{recipe.file}: {TABLE} sizes")
        chosen = {name: labels[name] for name in settings.sizes}
    else:
        chosen = {label: run for label, run in reversed(labels.items()) if run.config.in_fits}
    if not chosen:
        raise UsageError(f"{recipe.file}: no run of it is meant for fits (in_fits = false)")
    first = next(iter(chosen.values())).config
    for label, run in chosen.items():
        config = run.config
        if config.data != first.data:
            raise UsageError(
                f"{recipe.file}: {label} trains on other data than {next(iter(chosen))}: one law is of one mixture; "
                f"name those of one ({TABLE} sizes)"
            )
        if config.training.batch_size != first.training.batch_size:
            raise UsageError(
                f"{recipe.file}: {label} has batches of {config.training.batch_size} samples, {next(iter(chosen))} of "
                f"{first.training.batch_size}: keep one for all sizes"
            )
    return chosen, []


def _label(recipe: Recipe, run: Run) -> str:
    """A run's id without the number of its seed."""
    several = any(other.id == f"{run.id.removesuffix('-s0')}-s1" for other in recipe.runs)
    return run.id.removesuffix("-s0") if several else run.id


def _check_names(names: Sequence[str], known: Mapping[str, Any], where: str) -> None:
    for name, times in Counter(names).items():
        if name not in known:
            near = did_you_mean(name, list(known)) or f"; its runs: {listed(known)}"
            raise UsageError(f'{where}: no run is called "{name}"{near}')
        if times > 1:
            raise UsageError(f'{where}: "{name}" stands there twice')


def _plans(recipe: Recipe, runs: Mapping[str, Run]) -> dict[str, RunPlan]:
    return dict(zip(runs, plan(evolve(recipe, runs=tuple(runs.values()))), strict=True))


def _sizes(runs: dict[str, Run], planned: dict[str, RunPlan]) -> tuple[Size, ...]:
    """Smallest first. Of runs of one N the first is meant; the others are taken out of both."""
    found: dict[int, Size] = {}
    for label, one in list(planned.items()):
        n = one.parameters.total
        if n in found:
            del runs[label], planned[label]
        else:
            found[n] = Size(label, float(n), sum(one.flops_per_sample.values()))
    return tuple(found[n] for n in sorted(found))


def _check_samples(samples: Sequence[int], batch: int, where: str) -> None:
    wrong = [d for d in samples if d % batch]
    if wrong:
        raise UsageError(
            f"{where}: {listed(f'{d:,}' for d in wrong)}: expected multiples of the batch, {batch} samples"
        )


def _offers(
    law: Any, sizes: Sequence[Size], samples: Sequence[int], seeds: int, budget: float
) -> list[Offer]:
    """The runs for sale. Raises `UsageError` where they cannot tell the law, or the budget pays for too few."""
    every = offers(sizes, samples, seeds, np.inf)
    if lacking := missing(law, [(one.n, one.d) for one in every]):
        raise UsageError(
            f"no runs of these sizes ({listed(one.label for one in sizes)}) on these samples "
            f"({listed(f'{d:,}' for d in samples)}) tell {law.name}, however many there are. {lacking} Add sizes to "
            f"the recipe, or samples to {TABLE}"
        )
    found = offers(sizes, samples, seeds, budget)
    if missing(law, [(one.n, one.d) for one in found]):
        least = next(
            each.flops / DEAREST
            for at, each in enumerate(every)
            if not missing(law, [(one.n, one.d) for one in every[: at + 1]])
        )
        raise UsageError(
            f"the budget, {budget:.3g} FLOPs, is less than a pilot takes: one run may take a quarter of it, and the "
            f"cheapest runs that tell {law.name} go up to {least * DEAREST:.3g}. Give at least {least:.3g}, or smaller "
            "sizes or fewer samples"
        )
    return found


def _target(
    recipe: Recipe, target: CampaignTarget, runs: Mapping[str, Run], sizes: Sequence[Size]
) -> tuple[float, float]:
    assert target.D is not None
    if target.N is not None:
        return target.N, target.D
    labels = {_label(recipe, run): run for run in reversed(recipe.runs)} | {
        run.id: run for run in recipe.runs
    }
    assert target.size is not None
    _check_names([target.size], labels, f"{recipe.file}: target")
    known = next((one.n for one in sizes if one.label == target.size), None)
    if known is None:
        known = float(plan(evolve(recipe, runs=(labels[target.size],)))[0].parameters.total)
    return known, target.D


def _pilot(settings: CampaignSettings, sizes: Sequence[Size], batch: int) -> tuple[Offer, ...]:
    if settings.pilot is None:
        return ()
    where = f"{TABLE} pilot"
    by_label = {one.label: one for one in sizes}
    _check_names(settings.pilot.sizes, by_label, f"{where}.sizes")
    _check_samples(settings.pilot.samples, batch, f"{where}.samples")
    chosen = [by_label[name] for name in settings.pilot.sizes]
    return tuple(offers(chosen, settings.pilot.samples, 1, np.inf))


def _sweep(
    settings: CampaignSettings, sizes: Sequence[Size], samples: Sequence[int], batch: int
) -> Round | None:
    asked = settings.sweep
    if asked is None:
        return None
    by_label = {one.label: one for one in sizes}
    if asked.sizes is not None:
        _check_names(asked.sizes, by_label, f"{TABLE} sweep.sizes")
    chosen = [by_label[name] for name in asked.sizes] if asked.sizes else list(sizes[:SWEPT])
    d = asked.samples or samples[0]
    _check_samples([d], batch, f"{TABLE} sweep.samples")
    return sweep(chosen, asked.rates, d)


def _remarks(question: Question, cost: Cost) -> list[str]:
    """What is odd about the target."""
    said: list[str] = []
    flops = float(cost.flops(question.n)) * question.d
    if np.isfinite(flops) and flops <= question.budget:
        said.append(
            f"the target itself takes {flops:.3g} FLOPs, no more than the budget: training it would answer the question"
        )
    table = pd.DataFrame([asdict(one) for one in question.offers])
    far = beyond(table, question.n, question.d, flops if np.isfinite(flops) else None, cost)
    return [*said, *(f"the target lies beyond all runs that may be bought: {one}" for one in far)]
