"""What a recipe names that is not on this machine: everything at once, each with the way to get it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from attrs import evolve

from fvlm_core.compose import Sources, open_sources
from fvlm_core.data.bad import allowed_bad
from fvlm_core.errors import MissingData, MissingWeights, Problem
from fvlm_core.interfaces.data import DataSource
from fvlm_core.pretrained import SEEDED, pretrained_folder
from fvlm_core.recipes.schema import Chosen, Data, Model, Source
from fvlm_registry import MissingLibrary, registry

_SHOWN = 5
"""Samples, and reasons, that are spelt out."""


def missing_weights(model: Model) -> list[str]:
    """The pretrained weights of a model that are not on this machine: a message each, with the way to get them."""
    missing: list[str] = []
    for chosen in (model.encoder, model.llm):
        weights = getattr(chosen.config, "weights", SEEDED)
        if weights == SEEDED:
            continue
        # A config may know its own layout of files; else weights are a hub id or a folder as transformers writes it.
        locate = getattr(chosen.config, "weights_file", lambda weights=weights: pretrained_folder(weights))
        try:
            locate()
        except MissingWeights as error:
            missing.append(str(error))
    return missing


def missing_libraries(trackers: Iterable[Chosen]) -> list[str]:
    """The libraries that trackers need and this machine lacks. What else is wrong with one ends that tracker alone."""
    missing: list[str] = []
    for chosen in trackers:
        try:
            registry().load(registry().find("tracker", chosen.component).component.target)
        except MissingLibrary as error:
            missing.append(f"tracker {chosen.name}: {error}")
        except (Exception, SystemExit):  # told with the run that goes on without it
            continue
    return missing


def open_all(data: Data) -> Sources | list[str]:
    """The sources, or what is missing of them, a message each."""
    try:
        return open_sources(data)
    except MissingData:
        missing: list[str] = []
        held_out = [data.validation] if data.validation else []
        text = [Source(source=data.text.source)] if data.text and data.text.share else []
        for entry in (*data.sources, *text, *held_out):
            try:
                open_sources(evolve(data, sources=(entry,), text=None, validation=None))
            except MissingData as error:
                missing.append(str(error))
        return missing


def left_out(sources: Iterable[DataSource]) -> dict[str, tuple[Problem, ...]]:
    """What each source named while it listed its samples. One may name the rows of both splits in each."""
    found: dict[str, dict[Problem, None]] = {}
    for source in sources:
        found.setdefault(source.name, {}).update(dict.fromkeys(source.problems()))
    return {name: tuple(problems) for name, problems in found.items() if problems}


def unseen(sources: Iterable[DataSource], max_bad: float, setting: str = "data.max_bad = ") -> list[str]:
    """Of which sources more samples are left out, because what they show is missing or cannot be read, than may be bad:
    a message each, with the way out. max_bad: see `Data`. setting: what would allow them, without its number."""
    every = tuple(sources)
    usable: Counter[str] = Counter()
    for source in every:
        usable[source.name] += len(source)
    named = left_out(every).items()
    return [text for name, found in named if (text := _too_many(name, found, usable[name], max_bad, setting))]


def _too_many(name: str, named: Iterable[Problem], usable: int, max_bad: float, setting: str) -> str:
    lost = [problem for problem in named if problem.unseen]
    reasons: Counter[str] = Counter()
    for problem in lost:
        reasons[problem.unseen] += problem.samples
    bad = reasons.total()
    rows = bad + usable
    if bad <= (allowed := allowed_bad(max_bad, rows)):
        return ""
    counts = [f"  {count:,} x {reason}" for reason, count in reasons.most_common(_SHOWN)]
    if len(reasons) > _SHOWN:
        rest = bad - sum(count for _, count in reasons.most_common(_SHOWN))
        counts.append(f"  {rest:,} x {len(reasons) - _SHOWN:,} other reasons")
    first = [f"  {problem}" for problem in lost[:_SHOWN]]
    enough = math.ceil(1000 * bad / rows) / 1000
    return "\n".join(
        (
            f"{name}: what {bad:,} of {rows:,} samples show is missing or cannot be read "
            f"({allowed:.0f} may be):",
            *counts,
            "the first of them:",
            *first,
            "A download that is not complete is the usual reason: fetch the rest (fvlm data check names all of them). "
            f"To go on without them: {setting}{enough:g}",
        )
    )
