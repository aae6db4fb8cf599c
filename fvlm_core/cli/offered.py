"""What a place on the command line may name, for the shells that complete it. Imports nothing heavy, reads little."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from fvlm_registry import Kind, Offer

Place = Literal[
    "recipe", "run", "group", "id", "own run", "key", "changed key", "setting", "launcher setting", "data setting",
    "metric",
    "data", "fit", "launcher", "component", "gpu", "figure", "section", "column", "condition", "mode",
    "comparison column",
]  # fmt: skip
"""recipe: a shipped one. run: "recipe/id" of the store. group: a recipe of the store. id: of a run there. own run: a
run of the recipe on the command line. key: `-o KEY=VALUE` of that recipe. changed key: without a value. setting: of
the component, launcher or data source on the command line. column: `--columns NAME=HEADER` of the table that --data
names. mode: of the connector of the run on the command line."""

Word = tuple[str, str]
"""What is written, and what it is."""


def offered(places: Iterable[Place], ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
    """What begins with `incomplete`, each once."""
    from click.shell_completion import CompletionItem

    words = {
        word: said
        for place in places
        for word, said in _PLACES[place](ctx, incomplete)
        if word.startswith(incomplete)
    }
    return [CompletionItem(word, help=said or None) for word, said in words.items()]


def completing(*places: Place) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem[str]]]:
    """The `shell_complete` of an option that takes names."""
    return lambda ctx, parameter, incomplete: offered(places, ctx, incomplete)


def _recipes(ctx: click.Context, incomplete: str) -> Iterator[Word]:
    from fvlm_core.recipes.files import shipped_recipes

    yield from ((file.stem, "recipe") for file in shipped_recipes())


def _folders(folder: Path) -> list[str]:
    try:
        return sorted(one.name for one in os.scandir(folder) if one.name[0] not in "._" and one.is_dir())
    except OSError:
        return []


def _root(ctx: click.Context) -> Path:
    """The store; nowhere, if what is said of it cannot be one."""
    return ctx.params.get("root") or Path(os.devnull)


def _groups(ctx: click.Context, incomplete: str) -> Iterator[Word]:
    yield from ((name, "its runs") for name in _folders(_root(ctx)))


def _stored(ctx: click.Context) -> Iterator[tuple[str, str]]:
    root = _root(ctx)
    for recipe in _folders(root):
        for name in _folders(root / recipe):
            if (root / recipe / name / "recipe.json").exists():
                yield recipe, name


def _runs(ctx: click.Context, incomplete: str) -> Iterator[Word]:
    """As "recipe/id"; an id where one has been begun."""
    for recipe, name in _stored(ctx):
        yield f"{recipe}/{name}", "run"
        if incomplete and "/" not in incomplete:
            yield name, f"run of {recipe}"


def _ids(ctx: click.Context, incomplete: str) -> Iterator[Word]:
    yield from ((name, f"run of {recipe}") for recipe, name in _stored(ctx))


def _own_runs(ctx: click.Context, incomplete: str) -> Iterator[Word]:
    from fvlm_core.recipes.read import read_recipe

    recipe = read_recipe(_recipe(ctx), ctx.params.get("overrides") or ())
    yield from ((run.id, f"run of {recipe.name}") for run in recipe.runs)


def _argument(ctx: click.Context) -> str:
    """The first argument. click leaves it aside where the last option has no value yet."""
    first = next((one.name for one in ctx.command.params if isinstance(one, click.Argument)), None)
    given = ctx.params.get(first or "") or ctx.args or ""
    return str(given if isinstance(given, str) else given[0])


def _recipe(ctx: click.Context) -> str:
    """The recipe on the command line: of `fvlm weights import`, an option."""
    return str(ctx.params.get("recipe") or _argument(ctx))


def _table(name: str, settings: Iterable[str]) -> dict[str, Any] | None:
    """A recipe's table with the components that `settings` name laid over it; None where it cannot be read."""
    from fvlm_core.recipes.extends import base_table
    from fvlm_core.recipes.located import from_plain
    from fvlm_core.recipes.merge import merge
    from fvlm_core.recipes.read import settings_table
    from fvlm_core.utils.errors import FvlmError

    try:
        table = base_table(name)[0]
    except (FvlmError, OSError):
        return None
    try:
        return merge(from_plain(table, name), from_plain(settings_table(tuple(settings)), "-o")).plain()
    except FvlmError:  # a setting that is wrong
        return table


def _keys(ctx: click.Context, incomplete: str) -> Iterator[Word]:
    recipe = _recipe(ctx)
    if any(one.name == "data" for one in ctx.command.params):  # RECIPE|SOURCE
        own = list(_own("data", recipe, incomplete))
        if own:
            yield from own
            return
    from fvlm_core.recipes.keys import recipe_keys

    given = ctx.params.get("overrides") or ctx.params.get("settings") or ()
    yield from _written(recipe_keys(_table(recipe, given) if recipe else None), incomplete)


def _changed_keys(ctx: click.Context, incomplete: str) -> Iterator[Word]:
    from fvlm_core.recipes.keys import recipe_keys

    table = _table(_recipe(ctx), ctx.params.get("overrides") or ()) if _recipe(ctx) else None
    yield from ((key, "") for key in recipe_keys(table))


def _component(offer: Offer, incomplete: str) -> Iterator[Word]:
    from fvlm_core.recipes.keys import component_keys

    yield from _written(component_keys(offer), incomplete)


def _written(keys: dict[str, tuple[str, ...]], incomplete: str) -> Iterator[Word]:
    """KEY=, and after it the choices; components by their plugin's name too where that is begun, or needed."""
    key, equals, begun = incomplete.partition("=")
    if not equals:
        yield from ((f"{name}=", "") for name in keys)
        return
    choices = keys.get(key, ())
    for choice in choices:
        if ":" in begun or choice.partition(":")[2] not in choices:
            yield f"{key}={choice}", ""


def _own(kind: Kind | None, name: str, incomplete: str) -> Iterator[Word]:
    """Settings of the component, or of any component of the plugin, that is called so."""
    from fvlm_registry import registry

    for offer in registry().offers:
        if kind in (None, offer.kind) and name in (offer.component.name, offer.qualified, offer.plugin):
            yield from _component(offer, incomplete)


def _settings(ctx: click.Context, incomplete: str) -> Iterator[Word]:
    yield from _own(ctx.params.get("kind"), _argument(ctx), incomplete)


def _launcher_settings(ctx: click.Context, incomplete: str) -> Iterator[Word]:
    yield from _own("launcher", ctx.params.get("launcher") or "", incomplete)


def _data_settings(ctx: click.Context, incomplete: str) -> Iterator[Word]:
    yield from _own("data", ctx.params.get("data") or _argument(ctx), incomplete)


def _of(kind: Kind) -> Callable[[click.Context, str], Iterator[Word]]:
    def words(ctx: click.Context, incomplete: str) -> Iterator[Word]:
        from fvlm_registry import registry

        for offer in registry().offered(kind):
            yield offer.component.name, offer.component.summary
            if ":" in incomplete or (kind, offer.component.name) in registry().clashes():
                yield offer.qualified, offer.component.summary

    return words


def _anything(ctx: click.Context, incomplete: str) -> Iterator[Word]:
    from fvlm_registry import registry

    for plugin in registry().plugins:
        yield plugin.name, "plugin"
    for offer in registry().offers:
        name = offer.qualified if ":" in incomplete else offer.component.name
        yield name, f"{offer.kind}: {offer.component.summary}"


def _gpus(ctx: click.Context, incomplete: str) -> Iterator[Word]:
    from fvlm_core.hardware.gpus import GPUS

    yield from ((gpu.name, "") for gpu in GPUS)


def _figures(ctx: click.Context, incomplete: str) -> Iterator[Word]:
    from fvlm_core.report.catalogue import names

    before, comma, _ = incomplete.rpartition(",")
    yield from ((before + comma + name, "") for name in ["all", *names()])


_ROLES = ("N", "D", "loss", "run", "size", "schedule", "step", "lr", "compute")


def _headers(ctx: click.Context) -> list[str]:
    """The columns of the first table that --data names, where that is CSV; no more than its first 64 KiB are read."""
    import csv

    for file in ctx.params.get("files") or ():
        if Path(file).is_file() and Path(file).suffix.lower() == ".csv":
            with open(file, encoding="utf-8", errors="replace") as text:
                return next(csv.reader([text.readline(65536)]), [])
    return []


def _columns(ctx: click.Context, incomplete: str) -> Iterator[Word]:
    before, comma, last = incomplete.rpartition(",")
    role, equals, _ = last.partition("=")
    words = (f"{role}={header}" for header in _headers(ctx)) if equals else (f"{name}=" for name in _ROLES)
    yield from ((before + comma + word, "") for word in words)


def _conditions(ctx: click.Context, incomplete: str) -> Iterator[Word]:
    yield from ((f"{header}=", "column") for header in _headers(ctx))


def _modes(ctx: click.Context, incomplete: str) -> Iterator[Word]:
    from fvlm_core.recipes.read import model_from_resolved
    from fvlm_core.runs.store import ARCHITECTURES, find_run
    from fvlm_core.utils.pretrained import known_architectures

    record = find_run(_argument(ctx), _root(ctx)).record
    with known_architectures(dict(record.get(ARCHITECTURES, {}))):
        model = model_from_resolved(record["resolved"]["model"])
        modes = model.connector.config.spec(model.encoder.config.spec()).modes
    yield from ((mode, model.connector.name) for mode in modes)
    yield "all", "each of them"


_COMPARED = (
    "variant", "changes", "seeds", "value", "sd", "difference", "these-weights", "seeds-and-samples", "verdict",
    "multiplier", "size", "runs", "best_step",
)  # fmt: skip


def _comparison_columns(ctx: click.Context, incomplete: str) -> Iterator[Word]:
    before, comma, _ = incomplete.rpartition(",")
    yield from ((before + comma + name, "") for name in _COMPARED)


_PLACES: dict[Place, Callable[[click.Context, str], Iterator[Word]]] = {
    "recipe": _recipes,
    "run": _runs,
    "group": _groups,
    "id": _ids,
    "own run": _own_runs,
    "key": _keys,
    "changed key": _changed_keys,
    "setting": _settings,
    "launcher setting": _launcher_settings,
    "data setting": _data_settings,
    "data": _of("data"),
    "fit": _of("fit"),
    "launcher": _of("launcher"),
    "metric": _of("metric"),
    "component": _anything,
    "gpu": _gpus,
    "figure": _figures,
    "section": _of("section"),
    "column": _columns,
    "condition": _conditions,
    "mode": _modes,
    "comparison column": _comparison_columns,
}
