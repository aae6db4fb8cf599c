"""Components without packaging: what a notebook cell defines is offered to the recipes of this process."""

from __future__ import annotations

import ast
import inspect
import linecache
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import sha256
from textwrap import dedent
from types import CodeType, ModuleType
from typing import Any, get_args

import attrs

from fvlm_core.api.checks import one_of
from fvlm_core.api.explained import public
from fvlm_core.interfaces.objective import ObjectiveSpec
from fvlm_core.utils.errors import UsageError
from fvlm_registry import Component, Kind
from fvlm_registry import register as offer

_MODULE = "fvlm_registered"
"""Where the import strings of what is registered lead; a module of this process alone."""

_NEEDS: dict[str, str] = {
    "optimizer": "state",
    "encoder": "spec",
    "connector": "spec",
    "llm": "spec",
    "modality": "spec",
}
"""Kinds whose config class has to say something, and the method that does."""


@attrs.frozen(kw_only=True)
class NoSettings:
    """Settings of what has none."""

    def spec(self) -> ObjectiveSpec:
        """As an objective, it needs nothing."""
        return ObjectiveSpec()


@public
def register(
    kind: Kind,
    name: str,
    build: Callable[..., Any],
    config: type | None = None,
    *,
    summary: str = "",
    provides: Sequence[str] = (),
    needs: Sequence[str] = (),
) -> None:
    """Offer a component to the recipes of this process, as a plugin would: `training.optimizer = "mine"`.

    build: the target, whose signature each kind's hook states (`fvlm_registry.hookspecs`): a class or a function.
    config: a frozen attrs class of its settings; None for none. provides, needs: capabilities, as in `Component`.
    Registering a name again replaces what it stood for.

    The source of both, and of what they use of their own module or notebook, is part of a run's identity by its hash: a
    run that continues after it changed is refused until that is accepted (`allow_drift`). Other processes know nothing
    of it: data workers of a registered data source do not, nor jobs of a launcher. Raises `FvlmError` for a name that a
    plugin has, and for code whose source cannot be read, as what was typed at a plain Python prompt.
    """
    one_of("kind", kind, get_args(Kind))
    made = config or NoSettings
    if kind in _NEEDS and not hasattr(made, _NEEDS[kind]):
        raise UsageError(
            f"config: the settings of an {kind} have a method {_NEEDS[kind]}; fvlm_registry.hookspecs shows one"
        )
    if not attrs.has(made):
        raise UsageError(f"config: expected a class that attrs.frozen has made, got {made!r}")
    module = sys.modules.setdefault(_MODULE, ModuleType(_MODULE))
    key = re.sub(r"\W", "_", f"{kind}_{name}")
    setattr(module, key, build)
    setattr(module, f"{key}_config", made)
    try:
        component = Component(
            name,
            target=f"{_MODULE}:{key}",
            config=f"{_MODULE}:{key}_config",
            summary=summary or (inspect.getdoc(build) or "").partition("\n")[0],
            provides=tuple(provides),
            needs=tuple(needs),
        )
    except ValueError as error:
        raise UsageError(str(error)) from None
    offer(kind, component, f"source {_hashed(build, config)}")


def _hashed(*code: Callable[..., Any] | type | None) -> str:
    """Of the source of functions and classes and of what they use of their own module, whatever its indentation."""
    found: dict[Any, str] = {}
    waiting: list[Any] = [one for one in code if one is not None]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found[one] = _source(one)
            waiting += _used(one)
    return sha256("\0".join(sorted(found.values())).encode()).hexdigest()[:16]


def _source(one: Any) -> str:
    try:
        return dedent(inspect.getsource(one))
    except (OSError, TypeError):
        if found := _class_of_a_cell(one) if inspect.isclass(one) else "":
            return found
        raise UsageError(
            f"the source of {one!r} cannot be read, so that a run could not say what it was trained with; define it "
            "in a notebook cell or a file"
        ) from None


def _class_of_a_cell(one: type) -> str:
    """The source of a class of a notebook, whose module has no file: its cell is found by its methods. The settings of
    one without methods are what its fields are."""
    for method in filter(inspect.isfunction, map(inspect.unwrap, vars(one).values())):
        text = "".join(linecache.getlines(method.__code__.co_filename))
        with suppress(SyntaxError):
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.ClassDef) and node.name == one.__name__:
                    return ast.unparse(node)
    return f"{one.__qualname__}: {attrs.fields(one)}" if attrs.has(one) else ""


def _used(one: Any) -> list[Any]:
    """Functions and classes of the same module whose names stand in the code of a function, or in a class's methods."""
    methods = [inspect.unwrap(each) for each in vars(one).values()] if isinstance(one, type) else [one]
    found: list[Any] = []
    for method in methods:
        if not inspect.isfunction(method):
            continue
        codes: list[CodeType] = [method.__code__]
        while codes:
            inner = codes.pop()
            codes += [constant for constant in inner.co_consts if isinstance(constant, CodeType)]
            there = [method.__globals__.get(name) for name in inner.co_names]
            found += [each for each in there if inspect.isfunction(each) or inspect.isclass(each)]
    return [each for each in found if each.__module__ == one.__module__]
