"""The data that a command is about: those of a recipe, or one source by its name and settings."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from attrs import frozen

from fvlm_core.cli.options import key_option
from fvlm_core.cli.path_types import NameOrPath
from fvlm_core.utils.file_names import file_stem

if TYPE_CHECKING:
    from fvlm_core.interfaces.chat import Chat
    from fvlm_core.interfaces.data import DataSource, Split
    from fvlm_core.recipes.read import Recipe
    from fvlm_core.recipes.schema import Chosen

F = TypeVar("F", bound=Callable[..., Any])

_SETTINGS = "Change one key: of the recipe, or of the source (-o path=...)."


def named_data(command: F) -> F:
    """The argument and option that name data."""
    option = key_option("settings", "key", _SETTINGS)
    return click.argument("data", type=NameOrPath("data", "recipe"), metavar="RECIPE|SOURCE")(option(command))


@frozen
class Named:
    """One data source of those a command is about. label: unique among them, fit for a folder's name.
    decoder: what the recipe decodes its clips with; None for the core's own.
    """

    label: str
    chosen: Chosen
    split: Split
    decoder: Chosen | None = None

    def open(self) -> DataSource:
        """List it. Raises `MissingData`."""
        from fvlm_core.datasets.open_source import open_source

        return open_source(self.chosen, self.split, self.decoder)


@frozen
class NamedData:
    """What RECIPE|SOURCE stands for. recipe: None for a source by name."""

    sources: tuple[Named, ...]
    recipe: Recipe | None

    def chat(self) -> Chat | None:
        """The recipe's tokenizer and chat format; None for a source by name. Raises `MissingWeights`."""
        if self.recipe is None:
            return None
        from fvlm_core.model.build import make_chat

        def corpus() -> Iterator[str]:
            for named in self.sources:
                if named.split == "train":
                    yield from named.open().texts()

        return make_chat(self.recipe.runs[0].config.model, corpus)


def find_data(name: str, settings: tuple[str, ...], splits: tuple[Split, ...]) -> NamedData:
    """Read what a command was given. Raises `Problems` for a name that is neither, and for wrong settings."""
    from fvlm_core.recipes.read import read_data_source, read_recipe
    from fvlm_core.utils.errors import UsageError
    from fvlm_registry import LookupFailure, registry

    if not name.endswith(".toml") and os.sep not in name:
        try:
            registry().find("data", name)
        except LookupFailure:
            if not _shipped(name):
                raise
        else:
            chosen = read_data_source(name, settings)
            label = file_stem(name.replace(":", "-"))
            return NamedData(tuple(Named(label, chosen, split) for split in splits), None)
    recipe = read_recipe(name, settings)
    found: list[tuple[Chosen, Split]] = []
    decoders = list(dict.fromkeys(run.config.data.decoder for run in recipe.runs))
    if len(decoders) > 1:
        raise UsageError(
            f"{name}: its runs use {len(decoders)} decoders; choose one with -o data.decoder=NAME"
        )
    for run in recipe.runs:
        data = run.config.data
        held_out = [data.validation] if data.validation else data.sources
        for split, chosen in (
            *(("train", chosen) for chosen, _ in data.mixed),
            *(("validation", entry.source) for entry in held_out),
        ):
            if split in splits and (chosen, split) not in found:
                found.append((chosen, split))
    return NamedData(tuple(_labelled(found, decoders[0])), recipe)


def _labelled(found: list[tuple[Chosen, Split]], decoder: Chosen | None) -> Iterator[Named]:
    """The component's name; numbered from the second of a name on."""
    labels: list[tuple[Chosen, str]] = []
    for chosen, split in found:
        label = next((label for other, label in labels if other == chosen), "")
        if not label:
            name = file_stem(chosen.component.partition(":")[2])
            taken = sum(label == name or label.startswith(f"{name}-") for _, label in labels)
            label = f"{name}-{taken + 1}" if taken else name
            labels.append((chosen, label))
        yield Named(label, chosen, split, decoder)


def _shipped(name: str) -> bool:
    from fvlm_core.recipes.files import shipped

    return (shipped() / f"{name}.toml").is_file()


def data_folder(root: Path, named: Named) -> Path:
    """Where the pack of a source goes below the folder that the user gave."""
    return root / named.label / named.split
