"""Read a recipe: find the file, follow `extends`, apply overrides, expand, check everything, explain all of it."""

from __future__ import annotations

import os.path
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, TypeVar, get_args

from attrs import evolve, frozen

from fvlm_core.interfaces.decoder import PyAVSettings
from fvlm_core.interfaces.objective import OwnObjective, Preference
from fvlm_core.interfaces.optimizer import OwnOptimizer
from fvlm_core.interfaces.schedule import OwnKind, OwnSchedule
from fvlm_core.recipes.choose import ALONE, check_model, check_training, choose
from fvlm_core.recipes.expand import COUNTS, EXPANSIONS, count, expand
from fvlm_core.recipes.extends import recipe_tree
from fvlm_core.recipes.files import NAMED
from fvlm_core.recipes.located import InvalidTOML, Key, Located, from_plain, parse_toml
from fvlm_core.recipes.merge import merge
from fvlm_core.recipes.placed import place
from fvlm_core.recipes.schema import (
    Chosen,
    FitSettings,
    Model,
    RunRecipe,
    Source,
    SourceShare,
    TextMixture,
    TextShare,
    Training,
)
from fvlm_core.recipes.structure import Invalid, Reader, did_you_mean, structure
from fvlm_core.utils.errors import Problem, Problems, UsageError
from fvlm_core.utils.listing import listed
from fvlm_registry import Kind

_RECORD = "recipe.json"
"""Where a run's record has its recipe."""

_T = TypeVar("_T")


@frozen
class Run:
    """One run of a recipe: its id, its checked recipe, its seed, and the table it was read from (plain values).

    order: its place among the recipe's runs.
    """

    id: str
    config: RunRecipe
    seed: int
    table: dict[str, Any]
    order: int = 0


@frozen
class Recipe:
    """A recipe that can be run. file: as the user named it. left_out: runs that `only` took out. slots: how many runs
    are trained beside each other where nobody says."""

    name: str
    file: str
    runs: tuple[Run, ...]
    fits: tuple[FitSettings, ...]
    left_out: tuple[Run, ...] = ()
    slots: int = 1


def read_recipe(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and check every run of it.

    name: a path, or the name of a shipped recipe. overrides: "key=value" texts, the value in TOML (a bare word is
    a string). Imports the chosen components' config modules and nothing heavy. Raises `Problems` with everything
    that is wrong, each with file, line, key, expectation and the nearest valid name.
    """
    tree = recipe_tree(name)
    changed = overridden(tree, overrides)
    problems = _without_effect(tree, overrides)
    if problems:
        raise Problems(problems)
    return read_tree(changed)


def _without_effect(tree: Located, overrides: Sequence[str]) -> list[Problem]:
    """Of "key=value" texts that change no run, since every run of the recipe has a value of its own there."""
    problems: list[Problem] = []
    if not any(kind in tree.value for kind in EXPANSIONS):
        return problems
    for text in overrides:
        changed = merge(tree, _override(text))
        try:
            before, after = (expand(one, str(one.value["name"].value)) for one in (tree, changed))
        except Problems:  # told where the recipe is read
            return problems
        key = tuple(text.partition("=")[0].strip().split("."))
        same = [one.table.plain() for one in before] == [one.table.plain() for one in after]
        if same and tree.plain() != changed.plain() and key[0] not in (*EXPANSIONS, *COUNTS):
            place = after[0].table.at(key)
            where = f" ({place.file}:{place.line})" if place.line else ""
            problems.append(
                Problem(
                    f"changes nothing: every run of the recipe has its own {'.'.join(key)}{where}",
                    f"-o {text}",
                )
            )
        tree = changed
    return problems


def overridden(tree: Located, texts: Sequence[str]) -> Located:
    """Tables with "key=value" texts laid over them, one after the other. Raises `Problems`."""
    for text in texts:
        tree = merge(tree, _override(text))
    return tree


def read_tree(tree: Located) -> Recipe:
    """`read_recipe` of tables."""
    problems: list[Problem] = []
    runs: list[Run] = []
    slots = count(tree, "slots")
    for expanded in expand(tree, str(tree.value["name"].value)):
        try:
            config = structure(expanded.table, RunRecipe, _SPECIAL)
        except Invalid as invalid:
            problems += [_place(tree, expanded.table, key, text) for key, text in invalid.problems]
            continue
        checked = [(("model", *key), text) for key, text in check_model(config.model)]
        checked += [(("training", *key), text) for key, text in check_training(config.training)]
        problems += [place(tree, expanded.table, key, text) for key, text in checked]
        seed = config.training.seed + expanded.repeat
        runs.append(Run(expanded.id, config, seed, expanded.table.plain(), len(runs)))
    problems += _unmatched(tree, runs)
    if problems:
        raise Problems(list(dict.fromkeys(problems)))  # runs share their base's problems
    return Recipe(runs[0].config.name, tree.file, tuple(runs), runs[0].config.fits, slots=slots)


def only(recipe: Recipe, names: Sequence[str]) -> Recipe:
    """The recipe with these of its runs alone, in its own order, and no fits.

    names: ids, or patterns of them (*, ? and [..]). Raises `UsageError` for one that no run is called.
    """
    ids = [run.id for run in recipe.runs]
    meant = {name: [run for run in ids if fnmatchcase(run, name)] for name in names}
    unknown = [name for name, found in meant.items() if not found]
    if unknown:
        lines = [
            f"--only {name}: {recipe.file} has no such run{_nearest_runs(name, ids)}" for name in unknown
        ]
        raise UsageError("\n".join(lines))
    wanted = {run for found in meant.values() for run in found}
    chosen = tuple(run for run in recipe.runs if run.id in wanted)
    others = tuple(run for run in recipe.runs if run.id not in wanted)
    return evolve(recipe, runs=chosen, fits=(), left_out=others)


def _nearest_runs(name: str, ids: list[str]) -> str:
    """Of a pattern, the ids that hold its letters anywhere; else the one that is spelt alike; else all of them."""
    pieces = [piece for piece in re.split(r"[*?]|\[.*?\]", name) if piece]
    holding = [run for run in ids if pieces and all(piece.lower() in run.lower() for piece in pieces)]
    near = "" if holding else did_you_mean("".join(pieces), ids)
    return near or f"; {'nearest' if holding else 'its runs'}: {listed(holding or ids, NAMED)}"


def _unmatched(tree: Located, runs: Sequence[Run]) -> list[Problem]:
    """Fits of runs that there are none of."""
    fits = runs[0].config.fits if runs else ()
    places = {f"{at.file}:{at.line}" for kind in EXPANSIONS if (at := tree.value.get(kind)) and at.line}
    where = f"; the runs are those of {' and '.join(sorted(places))}" if places else ""
    if "fits" in tree.value and tree.value["fits"].file != tree.file:
        where += f"; fits = [] in {tree.file} leaves out those of its base"
    return [
        tree.problem(("fits", index, key), f'no run is called like "{pattern}"{where}')
        for index, fit in enumerate(fits)
        for key, pattern in (("runs", fit.runs), ("holdout", fit.holdout))
        if pattern is not None and not any(fnmatchcase(run.id, pattern) for run in runs)
    ]


def _place(tree: Located, table: Located, key: Key, text: str) -> Problem:
    # At the top level the three expansions are valid keys too, so a near miss may be meant as one of them.
    if len(key) == 1 and text.startswith("unknown key"):
        near = did_you_mean(str(key[0]), [*EXPANSIONS, *COUNTS, "extends"])
        text = f"unknown key{near}" if near else text
    return place(tree, table, key, text)


_SHOWN = 200
"""Characters of an option that an error repeats."""


def _override(text: str, option: str = "-o") -> Located:
    """`training.steps=10` as a table. The value is TOML; a bare word that is not is a string."""
    name, equals, value = text.partition("=")
    keys = name.strip().split(".")
    if not equals or not all(keys):
        example = {"-o": "-o training.steps=10", "-l": "-l processes=2", "-s": "-s stability:most=8"}[option]
        raise Problems([Problem(f"expected key=value, as in {example}", file=f"{option} {text}")])
    shown = f"{option} {text if len(text) <= _SHOWN else text[:_SHOWN] + '...'}"
    try:
        table = parse_toml(f"value = {value}", shown, lines=False)
    except InvalidTOML:
        table = {"value": value.strip()}
    if table.keys() != {"value"}:
        raise Problems([Problem("expected one value", file=shown)])
    parsed = table["value"]
    located = from_plain(parsed, shown)
    for part in reversed(keys):
        located = Located({part: located}, shown)
    return located


def settings_table(settings: Sequence[str]) -> dict[str, Any]:
    """ "key=value" texts as one table of plain values. Raises `Problems`."""
    return overridden(Located({}), settings).plain()


def source_from_settings(table: Mapping[str, Any], settings: Sequence[str]) -> Source:
    """A data source from a recipe's table (plain values) and "key=value" texts laid over it. Raises `Problems`."""
    located = from_plain(dict(table), f'data source "{table["name"]}"')
    for text in settings:
        located = merge(located, _override(text))
    try:
        return _read_source(located)
    except Invalid as invalid:
        raise Problems([located.problem(key, text) for key, text in invalid.problems]) from None


def read_data_source(name: str, settings: Sequence[str] = ()) -> Chosen:
    """A data source by its component's name and its own settings, as "key=value" texts. Raises `Problems`."""
    return _read_named("data", name, settings, "-o")


def read_connector(name: str, settings: Sequence[str] = ()) -> Chosen:
    """A connector by its component's name and its own settings, as "key=value" texts. Raises `Problems`."""
    return _read_named("connector", name, settings, "-o")


def read_launcher(name: str, settings: Sequence[str] = ()) -> Chosen:
    """A launcher by its component's name and its own settings, as "key=value" texts. Raises `Problems`."""
    return _read_named("launcher", name, settings, "-l", f"--launcher {name}")


def read_metric(name: str) -> Chosen:
    """A metric by its component's name, with its default settings. Raises `Problems`."""
    return _read_named("metric", name, (), "-o", f"--metric {name}")


def read_section(name: str, settings: Sequence[str] = ()) -> Chosen:
    """A section of the report by its component's name and its own settings, as "key=value" texts. Raises `Problems`."""
    return _read_named("section", name, settings, "-s", f"--section {name}")


def _read_named(kind: Kind, name: str, settings: Sequence[str], option: str, shown: str = "") -> Chosen:
    tree = from_plain({"name": name}, shown or name)
    for text in settings:
        tree = merge(tree, _override(text, option))
    try:
        return choose(tree, kind)
    except Invalid as invalid:
        raise Problems([tree.problem(key, text) for key, text in invalid.problems]) from None


def from_resolved(table: Mapping[str, Any]) -> RunRecipe:
    """A run's recipe from what `fvlm_core.recipes.resolved.resolved` made of it. Raises `Problems`."""
    return settings_from(table, RunRecipe, _RECORD)


def model_from_resolved(table: Mapping[str, Any]) -> Model:
    """The model alone, from the table `model` of a resolved recipe. Raises `Problems`."""
    return settings_from(table, Model, _RECORD)


def fit_from_record(table: Mapping[str, Any]) -> FitSettings:
    """A fit from its model and its settings as plain values. Raises `Problems`."""
    return settings_from(table, FitSettings, _RECORD)


def settings_from(table: Mapping[str, Any], kind: type[_T], shown: str) -> _T:
    """An instance of an attrs class from plain values, checked as a table of a recipe is.

    shown: where people find the values. Raises `Problems`: everything that is wrong with them.
    """
    located = from_plain(dict(table), shown)
    try:
        return structure(located, kind, _SPECIAL)
    except Invalid as invalid:
        raise Problems([located.problem(key, text) for key, text in invalid.problems]) from None


def _read_chosen(table: Located, kind: Kind) -> Chosen | str | None:
    """A component by name. Of some kinds the name may stand alone, and that of the core's own is as good as none (of
    schedules: a word): a run that named none continues under it."""
    if kind not in ALONE:
        return choose(table, kind)
    alone = isinstance(table.value, str)
    if kind == "schedule" and table.value in get_args(OwnKind):
        return str(table.value)  # whatever plugins are switched off
    try:
        chosen = choose(evolve(table, value={"name": table}) if alone else table, kind)
    except Invalid as invalid:
        found = [(key[1:] if alone and key[:1] == ("name",) else key, text) for key, text in invalid.problems]
        raise Invalid(found) from None
    if isinstance(chosen.config, OwnSchedule):
        return chosen.config.kind
    return None if isinstance(chosen.config, PyAVSettings | OwnOptimizer | OwnObjective) else chosen


def _read_source(table: Located) -> Source:
    return Source(**_read_share(table, SourceShare, "weight", '{ name = "shapes" }'))


def _read_text(table: Located) -> TextMixture:
    return TextMixture(**_read_share(table, TextShare, "share", '{ name = "smoltalk", share = 0.14 }'))


def _read_share(table: Located, kind: type[Any], key: str, example: str) -> dict[str, Any]:
    """A data source's own settings and, beside them in the same table, its part of the mixture."""
    if not isinstance(table.value, dict):
        raise Invalid([((), f"expected a table, as in {example}")])
    share = {k: v for k, v in table.value.items() if k == key}
    own = {k: v for k, v in table.value.items() if k != key}
    # The part's own problem is found together with those of the component.
    problems: list[tuple[Key, str]] = []
    read: dict[str, Any] = {}
    for part, reader in (
        ("source", lambda: choose(evolve(table, value=own), "data", beside=(key,))),
        (key, lambda: getattr(structure(evolve(table, value=share), kind), key)),
    ):
        try:
            read[part] = reader()
        except Invalid as invalid:
            problems += invalid.problems
    if problems:
        raise Invalid(problems)
    return read


def _read_training(table: Located) -> Training:
    """As the class says, but a path in `init_from` is relative to the recipe's file; the name of a run stays."""
    start = table.value.get("init_from") if isinstance(table.value, dict) else None
    if start is not None and isinstance(start.value, str) and _is_path(start.value):
        rooted = evolve(start, value=os.path.normpath(start.base / start.value))
        table = evolve(table, value={**table.value, "init_from": rooted})
    training = structure(table, Training, {Chosen: _read_chosen})
    if training.objective and isinstance(training.objective.config, Preference):
        return evolve(training, objective=None, preference=training.objective.config)
    return training


def _is_path(name: str) -> bool:
    """Of a file or folder beside the recipe; one that begins with `~` is below a home, and is found by that."""
    beside = name.startswith(("./", "../")) or name.endswith((".safetensors", ".pt"))
    return beside and not name.startswith("~")


def _read_fit(table: Located) -> FitSettings:
    if not isinstance(table.value, dict):
        raise Invalid([((), 'expected a table, as in [[fits]] model = "per-size"')])
    beside = ("objective", "runs", "holdout")
    common = {k: v for k, v in table.value.items() if k in ("model", *beside)}
    own = {k: v for k, v in table.value.items() if k not in beside}
    chosen = choose(evolve(table, value=own), "fit", key="model", beside=beside)
    fit = structure(evolve(table, value=common), FitSettings)
    return evolve(fit, config=chosen.config)


_SPECIAL: dict[type, Reader] = {
    Chosen: _read_chosen,
    Source: _read_source,
    Training: _read_training,
    TextMixture: _read_text,
    FitSettings: _read_fit,
}
