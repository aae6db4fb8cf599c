"""Data sets by name: what their plugins say of them, and what of them is in a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
from attrs import frozen

from fvlm_core.datasets.open_source import open_source
from fvlm_core.interfaces.data import DataCard, Split
from fvlm_core.recipes.read import read_data_source
from fvlm_core.utils.errors import FvlmError, Problem
from fvlm_registry import registry

_SPLITS: tuple[Split, ...] = ("train", "validation")


@frozen
class CatalogueEntry:
    """What is in a folder. samples: of each split, or why it cannot be opened."""

    samples: dict[str, int | str]
    problems: tuple[Problem, ...]


@frozen
class Described:
    """A data set. card: None for a source that is from no hub. settings: every key with its default.
    floor: the least loss there can be, in words, where the source knows it."""

    name: str
    summary: str
    card: DataCard | None
    settings: dict[str, str]
    listed: CatalogueEntry | None = None
    floor: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        plain: dict[str, Any] = {"name": self.name, "summary": self.summary, "settings": self.settings}
        if self.floor:
            plain["floor"] = self.floor
        plain["card"] = None if self.card is None else attrs.asdict(self.card)
        if self.listed:
            problems = [str(problem) for problem in self.listed.problems]
            plain["listed"] = {"samples": self.listed.samples, "problems": problems}
        return plain


def describe(name: str, settings: tuple[str, ...], at: Path | None) -> Described:
    """What the source `name` is under `settings` ("key=value" texts); with `at`, also what of it is in that folder.

    Raises `LookupFailure` for an unknown name, `Problems` for wrong settings.
    """
    offer = registry().find("data", name)
    cls: Any = registry().load(offer.component.config)
    fields = {field.alias: field for field in attrs.fields(cls)}
    given = {text.partition("=")[0].strip() for text in settings}
    if "path" in fields and "path" not in given:
        settings = (f"path={json.dumps(str(at or Path()))}", *settings)
    chosen = read_data_source(name, settings)
    card = chosen.config.card() if hasattr(chosen.config, "card") else None
    shown = {
        key: "needed"
        if key == "path" and at is None
        else json.dumps(getattr(chosen.config, key), default=str)
        for key in fields
    }
    floor = chosen.config.floor() if hasattr(chosen.config, "floor") else ""
    return Described(name, offer.component.summary, card, shown, _list(chosen) if at else None, floor)


def _list(chosen: Any) -> CatalogueEntry:
    samples: dict[str, int | str] = {}
    problems: dict[Problem, None] = {}
    for split in _SPLITS:
        try:
            source = open_source(chosen, split)
        except FvlmError as error:
            samples[split] = str(error)
            continue
        samples[split] = len(source)
        problems |= dict.fromkeys(source.problems())  # a source may name the rows of both splits in each
    return CatalogueEntry(samples, tuple(problems))
