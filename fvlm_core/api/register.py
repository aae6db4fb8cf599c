"""Components without packaging: what a notebook cell defines is offered to the recipes of this process."""

from __future__ import annotations

import ast
import inspect
import linecache
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property, partial
from hashlib import sha256
from textwrap import dedent
from types import CodeType, ModuleType
from typing import Any, get_args

import attrs

from fvlm_core.api.checks import one_of, texts
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
    provides: str | Sequence[str] = (),
    needs: str | Sequence[str] = (),
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
    key = f"{kind}_{name.encode().hex()}"  # "a-b" and "a_b" are two names
    settings = f"settings_{key}"
    try:
        component = Component(
            name,
            target=f"{_MODULE}:{key}",
            config=f"{_MODULE}:{settings}",
            summary=summary or (inspect.getdoc(build) or "").partition("\n")[0],
            provides=texts(provides),
            needs=texts(needs),
        )
    except ValueError as error:
        raise UsageError(str(error)) from None
    offer(kind, component, f"source {_hashed(build, config)}")
    module = sys.modules.setdefault(_MODULE, ModuleType(_MODULE))  # nothing is refused from here on
    setattr(module, key, build)
    setattr(module, settings, made)


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
    """Functions and classes of the same module that a class is made of, and those whose names stand in the code of a
    function, or of a class's methods."""
    parts = list(_functions([*one.__bases__, *vars(one).values()] if inspect.isclass(one) else one))
    found = [*parts]
    for part in filter(inspect.isfunction, parts):
        codes: list[CodeType] = [part.__code__]
        while codes:
            inner = codes.pop()
            codes += [constant for constant in inner.co_consts if isinstance(constant, CodeType)]
            found += _functions([part.__globals__.get(name) for name in inner.co_names])
    # The methods of a class stand in its own source.
    others = [each for each in found if each.__qualname__.rpartition(".")[0] != one.__qualname__]
    return [each for each in others if each.__module__ == one.__module__]


def _functions(value: Any) -> Iterator[Any]:
    """The functions and classes that a value is, or that it wraps: a property, a validator of attrs, a closure."""
    waiting, seen = [value], set[int]()
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if inspect.isclass(each):
            yield each
        elif inspect.isfunction(each):
            yield each
            waiting += [getattr(each, "__wrapped__", None), each.__defaults__, each.__kwdefaults__]
            for cell in each.__closure__ or ():
                with suppress(ValueError):  # nothing is in it yet
                    waiting.append(cell.cell_contents)
        elif isinstance(each, classmethod | staticmethod):
            waiting.append(each.__func__)
        elif isinstance(each, property):
            waiting += [each.fget, each.fset, each.fdel]
        elif isinstance(each, cached_property | partial):
            waiting.append(each.func)
        elif isinstance(each, list | tuple):
            waiting += each
        elif isinstance(each, dict):
            waiting += each.values()
        elif type(each).__module__.startswith("attr."):  # a field: its validator, its converter, its default
            waiting += [getattr(each, name, None) for name in getattr(type(each), "__slots__", ())]
