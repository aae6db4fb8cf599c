"""The data sources of a recipe: opened, or what is missing of them, and what they leave out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator

from attrs import evolve, field, frozen

from fvlm_core.data.filtered import FilteredSource
from fvlm_core.datasets.open_source import open_source
from fvlm_core.interfaces.chat import Chat
from fvlm_core.interfaces.data import DataSource, Split
from fvlm_core.media.bad_sample import allowed_bad
from fvlm_core.recipes.schema import Chosen, Data, Source
from fvlm_core.utils.errors import MissingData, Problem

_SHOWN = 5
"""Samples, and reasons, that are spelt out."""


@frozen
class Sources:
    """The data of a run. train: one source a recipe entry, in order. validation: likewise."""

    train: tuple[DataSource, ...]
    validation: tuple[DataSource, ...]
    _chats: list[tuple[object, Chat]] = field(
        factory=list[tuple[object, Chat]], init=False, eq=False, repr=False
    )

    @property
    def every(self) -> tuple[DataSource, ...]:
        """Of training, then of validation."""
        return (*self.train, *self.validation)

    def texts(self) -> Iterator[str]:
        """Every text of the training sources: the corpus of tokenizers made from the data."""
        for source in self.train:
            yield from source.texts()

    def chat(self, llm: Chosen) -> Chat:
        """The chat format of an LLM. Where its tokenizer is made from the texts, it is made once, for the estimate of
        memory and for all runs of this data: of 65,536 captions it takes 0.4 s."""
        settings = getattr(llm.config, "chat_settings", lambda: llm)()
        key = type(llm.config), settings
        for other, made in self._chats:
            if other == key:
                return made
        made = llm.config.chat(self.texts)
        self._chats.append((key, made))
        return made


def open_sources(data: Data) -> Sources:
    """List the sources of a recipe. Raises `MissingData` for the first that is not on this machine."""

    def opened(chosen: Chosen, split: Split) -> DataSource:
        source = open_source(chosen, split, data.decoder)
        if data.min_frames is None and data.max_frames is None:
            return source
        return FilteredSource(source, data.min_frames, data.max_frames)

    held_out = [data.validation] if data.validation else data.sources
    return Sources(
        tuple(opened(chosen, "train") for chosen, _ in data.mixed),
        tuple(opened(entry.source, "validation") for entry in held_out),
    )


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
