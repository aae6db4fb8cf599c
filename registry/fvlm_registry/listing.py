"""One plugin's components: module imported, hooks checked and called, each way to fail explained."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator
from importlib.metadata import EntryPoint
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, cast

import pluggy

from fvlm_registry import hookspecs
from fvlm_registry.components import Component, Kind
from fvlm_registry.nearest import did_you_mean

HOOKS: dict[str, Kind] = {
    "fvlm_encoders": "encoder",
    "fvlm_connectors": "connector",
    "fvlm_llms": "llm",
    "fvlm_modality_encoders": "modality",
    "fvlm_data_sources": "data",
    "fvlm_decoders": "decoder",
    "fvlm_objectives": "objective",
    "fvlm_optimizers": "optimizer",
    "fvlm_schedules": "schedule",
    "fvlm_callbacks": "callback",
    "fvlm_fit_models": "fit",
    "fvlm_figures": "figure",
    "fvlm_report_sections": "section",
    "fvlm_trackers": "tracker",
    "fvlm_launchers": "launcher",
    "fvlm_metrics": "metric",
}
"""Which kind of component each hook offers."""


class Breach(Exception):
    """The plugin breaks its contract: the message says how, where, and what is expected, in one line."""


def components(entry: EntryPoint) -> list[tuple[Kind, Component]]:
    """Everything the plugin offers. Raises `Breach`.

    A plugin manager of its own for each plugin: a rejected one leaves nothing behind, and an exception in one
    plugin's hook does not end the call of the others', as it does when one manager calls them all.
    """
    try:
        plugin = entry.load()
    except (Exception, SystemExit) as error:
        raise Breach(f"cannot import {entry.value}: {_explain(error, entry)}") from error
    manager = pluggy.PluginManager("fvlm")
    manager.add_hookspecs(hookspecs)
    _check_hooks(plugin, manager)
    try:
        manager.register(plugin)
    except pluggy.PluginValidationError as error:
        raise Breach(_one_line(error)) from error
    found: list[tuple[Kind, Component]] = []
    for hook, kind in HOOKS.items():
        try:
            listed = list(_listed(getattr(manager.hook, hook)))
        except Breach:
            raise
        except (Exception, SystemExit) as error:
            raise Breach(f"{hook} failed: {_explain(error, entry)}") from error
        names = [component.name for component in listed]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise Breach(f'{hook} offers "{twice[0]}" twice: names are unique within a plugin and a kind')
        found.extend((kind, component) for component in listed)
    return found


def _check_hooks(plugin: Any, manager: pluggy.PluginManager) -> None:
    """What pluggy would report one at a time, without the arguments it expects, or not at all."""
    marked: dict[str, str] = {}
    problems: list[str] = []
    for name in dir(plugin):
        options = manager.parse_hookimpl_opts(plugin, name)
        if options is None:
            if name in HOOKS:
                problems.append(f"{name} is not marked with @hookimpl of fvlm_core.plugin_api")
            continue
        hook = options["specname"] or name
        marked[name] = hook
        if hook in HOOKS:
            problems += _signature_problem(hook, getattr(plugin, name))
        elif not options["optionalhook"]:
            way_out = did_you_mean(hook, HOOKS) or f": the hooks are {', '.join(HOOKS)}"
            problems.append(f'there is no hook "{hook}"{way_out}')
    if not marked and not problems:
        problems.append(f"no function is marked with @hookimpl: expected one of {', '.join(HOOKS)}")
    if problems:
        raise Breach("; ".join(problems))


def _signature_problem(hook: str, function: Any) -> Iterator[str]:
    positional = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    declared = signature(function)
    if any(p.kind in positional and p.default is Parameter.empty for p in declared.parameters.values()):
        arguments = ", ".join(declared.parameters)
        yield f"{hook}({arguments}) asks for arguments: expected {hook}(), which takes none"


def _listed(hook: pluggy.HookCaller) -> Iterator[Component]:
    results: list[Any] = hook()
    if len(results) < len(hook.get_hookimpls()):  # pluggy leaves out what returned None
        raise Breach(f"{hook.name} returned None: expected an iterable of Component, `yield` them")
    for result in results:
        if not isinstance(result, Iterable):
            got = type(result).__name__
            raise Breach(f"{hook.name} returned one {got}: expected an iterable of Component, `yield` it")
        for item in cast(Iterable[object], result):
            if not isinstance(item, Component):
                raise Breach(f"{hook.name} offers {item!r}: expected a Component of fvlm_core.plugin_api")
            yield item


def _explain(error: BaseException, entry: EntryPoint) -> str:
    """Type and message of an exception, and the last line of the plugin's own code on its way."""
    where = _where(error, entry.module.partition(".")[0])
    return f"{_one_line(error)}{f' ({where})' if where else ''}"


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _where(error: BaseException, package: str) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    own = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        module: str = frame.f_globals.get("__name__", "")
        if module.partition(".")[0] == package:
            path = Path(frame.f_code.co_filename)
            inside = module.count(".") + 1 + (path.stem == "__init__")
            own = f"{'/'.join(path.parts[-inside:])}:{line}"
    return own
