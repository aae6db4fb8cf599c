"""Components by name: a recipe's table to the plugin's own config, and whether the chosen ones fit together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import evolve

from fvlm_core.recipes.located import Key, Located
from fvlm_core.recipes.merge import merge
from fvlm_core.recipes.schema import Chosen, Model, Training
from fvlm_core.recipes.structure import Invalid, at_field, did_you_mean, structure
from fvlm_core.utils.errors import FvlmError
from fvlm_registry import Component, Kind, LookupFailure, registry

ALONE: tuple[Kind, ...] = ("decoder", "schedule", "optimizer", "objective")
"""Kinds of which the core has one of its own; their names may stand without a table."""


def choose(table: Located, kind: Kind, *, key: str = "name", beside: Sequence[str] = ()) -> Chosen:
    """The component that `table` names under `key`; the rest of the table is its config. Raises `Invalid`.

    beside: the recipe's own keys in that table, which were taken out: a mistyped one may be meant.
    """
    if not isinstance(table.value, dict):
        raise Invalid([((), 'expected a table, as in { name = "..." }')])
    if key not in table.value:
        near = next(
            (f'; is it what "{other}" says?' for other in table.value if did_you_mean(other, [key])), ""
        )
        raise Invalid([((key,), f"missing; expected the name of {_ARTICLE[kind]}{near}")])
    name = table.value[key].value
    if not isinstance(name, str):
        raise Invalid([((key,), f"expected string, got {name!r}")])
    found = registry()
    try:
        offered = found.find(kind, name)
        config_class: Any = found.load(offered.component.config)
    except LookupFailure as failure:
        raise Invalid([((key,), str(failure))]) from None
    own = evolve(table, value={k: v for k, v in table.value.items() if k != key})
    rest = name.partition(":")[2]
    if offered.component.rest and rest and rest != offered.component.name:
        own.value[offered.component.rest] = evolve(table.value[key], value=rest)
    config = configured(offered.component, own, config_class, (key, *beside))
    return Chosen(name, f"{offered.plugin}:{offered.component.name}", config)


def configured(
    component: Component, table: Located, config_class: type[Any], beside: Sequence[str] = ()
) -> Any:
    """The component's config from its own keys, over its preset. beside: see `structure`. Raises `Invalid`."""
    _root_folders(table)
    preset = Located({k: Located(v, table.file, table.line, table.base) for k, v in component.preset.items()})
    return structure(merge(preset, table), config_class, beside=beside)


def _root_folders(table: Located) -> None:
    """`weights = "./x"` is a path, and paths are relative to the recipe's file; a hub id stays as it is."""
    for key in _HUB_ID_OR_FOLDER:
        named = table.value.get(key)
        if named is not None and str(named.value).startswith(("./", "../")):
            table.value[key] = evolve(named, value=str(named.base / named.value))


_HUB_ID_OR_FOLDER = ("weights", "tokenizer", "teacher")
"""Keys of components whose text may be either."""


_ARTICLE: dict[Kind, str] = {
    "encoder": "a vision encoder",
    "connector": "a connector",
    "llm": "a language model",
    "modality": "an encoder of a modality",
    "data": "a data source",
    "decoder": "a decoder",
    "objective": "an objective",
    "optimizer": "an optimizer",
    "schedule": "a learning-rate schedule",
    "callback": "a callback",
    "fit": "a fit",
    "section": "a section of the report",
    "tracker": "a tracker",
    "launcher": "a launcher",
    "metric": "a metric",
}


def check_training(training: Training) -> list[tuple[Key, str]]:
    """What of the ways to train does not go together, or is not there; empty when all does."""
    try:
        training.objective_spec  # noqa: B018
    except (ValueError, FvlmError) as error:
        return [(("objective",), str(error))]
    if training.parallel != "fsdp2":
        return []
    every: list[tuple[Key, Kind, Chosen]] = [
        (("callbacks", at), "callback", chosen) for at, chosen in enumerate(training.callbacks or ())
    ]
    if training.optimizer:
        every.append((("optimizer",), "optimizer", training.optimizer))
    found = registry()
    return [
        (key, f'"{chosen.name}" reads whole weights; expected parallel = "ddp" with it')
        for key, kind, chosen in every
        if "sharded" not in found.find(kind, chosen.component).component.provides
    ]


def check_model(model: Model) -> list[tuple[Key, str]]:
    """What makes the chosen encoder, connector and LLM impossible together; empty when they fit."""
    found = registry()
    encoder = found.find("encoder", model.encoder.component).component
    connector = found.find("connector", model.connector.component).component
    lacking = [need for need in connector.needs if need not in encoder.provides]
    if lacking:
        able = [
            offered.component.name
            for offered in found.offered("encoder")
            if set(connector.needs) <= set(offered.component.provides)
        ]
        return [
            (
                ("connector", "name"),
                f'"{model.connector.name}" needs an encoder that provides {" and ".join(lacking)}; '
                f'"{model.encoder.name}" provides {" and ".join(encoder.provides) or "nothing"}. '
                f"Encoders that can: {', '.join(able) or 'none installed'}",
            )
        ]
    problems: list[tuple[Key, str]] = []

    def checked(key: Key, config: Any, *needs: Any) -> Any:
        try:
            return config.spec(*needs)
        except (ValueError, FvlmError) as error:  # impossible sizes, or sizes in a file that is not there
            below, text = at_field(type(config), str(error))
            problems.append(((*key, *below), text))

    seen = checked(("encoder",), model.encoder.config)
    if seen is not None:
        checked(("connector",), model.connector.config, seen)
    checked(("llm",), model.llm.config)
    names: list[str] = []
    for at, chosen in enumerate(model.modalities or ()):
        spec = checked(("modalities", at), chosen.config)
        if spec is not None and spec.modality in names:
            text = f'reads "{spec.modality}", which modalities[{names.index(spec.modality)}] reads already'
            problems.append((("modalities", at), text))
        names.append(spec.modality if spec is not None else "")
    return problems
