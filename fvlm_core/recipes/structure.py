"""Tables to attrs classes, strictly: no coercion, no unknown key, and every problem found rather than the first."""

from __future__ import annotations

import os
import types
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import attrs
from cattrs import BaseConverter

from fvlm_core.recipes.located import Key, Located
from fvlm_core.utils.address import Address, is_address
from fvlm_core.utils.errors import UsageError
from fvlm_core.utils.paths import user_path

T = TypeVar("T")


class Invalid(Exception):
    """Why a value does not fit: (key below the value, text) for each problem."""

    def __init__(self, problems: list[tuple[Key, str]]) -> None:
        super().__init__(problems)
        self.problems = problems


Reader = Callable[..., Any]
"""Reads a Located; for an Annotated field it is also given what the annotation says."""


def structure(
    located: Located,
    cls: type[T],
    special: dict[type, Reader] | None = None,
    beside: Sequence[str] = (),
) -> T:
    """Read a located value into `cls`. Raises `Invalid`.

    special: readers for classes whose table is not the class itself (a component chosen by name). beside: further keys
    that the same table may hold and that are read elsewhere: `cls` does not get them, and an unknown key may be meant
    as one of them.
    """
    converter = _converter(tuple((special or {}).items()))
    return _read_class(converter, located, cls, beside) if beside else converter.structure(located, cls)


def did_you_mean(name: str, valid: list[str]) -> str:
    """`; did you mean "x"?` when some valid name is near, else the empty string."""
    near = get_close_matches(name, valid, n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else ""


@cache
def _converter(readers: tuple[tuple[type, Reader], ...]) -> BaseConverter:
    """Made once for the same readers: making one takes longer than what most tables take to be read."""
    special = dict(readers)
    # cattrs finds the hook for each type, unions and nested generics included; the hooks below are strict.
    converter = BaseConverter(detailed_validation=False)

    for cls in (bool, int, float, str):
        converter.register_structure_hook(cls, _scalar)
    converter.register_structure_hook(Path, lambda value, _: _path(value))
    converter.register_structure_hook(Address, lambda value, _: _address(value))
    converter.register_structure_hook_factory(
        attrs.has, lambda cls: lambda value, _: _read_class(converter, value, cls)
    )
    converter.register_structure_hook_func(lambda t: get_origin(t) is Literal, _literal)
    converter.register_structure_hook_func(
        lambda t: get_origin(t) is tuple, lambda value, t: _tuple(converter, value, t)
    )
    converter.register_structure_hook_func(
        lambda t: get_origin(t) in (types.UnionType, Union), lambda value, t: _union(converter, value, t)
    )
    converter.register_structure_hook_func(
        lambda t: get_origin(t) is Annotated,
        lambda value, t: special[next(iter(get_args(t.__origin__)), t.__origin__)](value, *t.__metadata__),
    )
    for cls, read in special.items():
        converter.register_structure_hook(cls, lambda value, _, read=read: read(value))
    return converter


_SHOWN: dict[Any, str] = {
    bool: "true or false",
    int: "int",
    float: "float",
    str: "string",
    dict: "table",
    list: "array",
}


def got(plain: Any) -> str:
    """What stands where something else was expected, in words."""
    if isinstance(plain, dict):
        return "a table"
    if isinstance(plain, list):
        return "an array"
    return {True: "true", False: "false"}[plain] if isinstance(plain, bool) else _quote(plain)


def _quote(plain: Any) -> str:
    return f'"{plain}"' if isinstance(plain, str) else str(plain)


def _scalar(value: Located, cls: type) -> Any:
    plain = value.value
    if type(plain) is cls:
        return plain
    if cls is float and type(plain) is int:
        return float(plain)
    raise Invalid([((), f"expected {_SHOWN[cls]}, got {got(value.value)}")])


def _path(value: Located) -> Path:
    """A path, absolute: relative ones start from the value's own base, and `~` is a home."""
    try:
        return Path(os.path.normpath(value.base / user_path(_scalar(value, str))))
    except UsageError as error:
        raise Invalid([((), str(error))]) from None


def _address(value: Located) -> Address:
    try:
        return Address(_scalar(value, str))
    except ValueError as error:
        raise Invalid([((), str(error))]) from None


def _literal(value: Located, cls: Any) -> Any:
    options = get_args(cls)
    if any(type(value.value) is type(option) and value.value == option for option in options):
        return value.value
    expected = " or ".join(_quote(option) for option in options)
    hint = did_you_mean(value.value, list(options)) if isinstance(value.value, str) else ""
    raise Invalid([((), f"expected {expected}, got {got(value.value)}{hint}")])


def _tuple(converter: BaseConverter, value: Located, cls: Any) -> tuple[Any, ...]:
    if not isinstance(value.value, list):
        raise Invalid([((), f"expected an array, got {got(value.value)}")])
    inner = get_args(cls)
    if inner[-1] is Ellipsis:
        inner = (inner[0],) * len(value.value)
    elif len(inner) != len(value.value):
        raise Invalid([((), f"expected {len(inner)} values, got {len(value.value)}")])
    problems: list[tuple[Key, str]] = []
    out: list[Any] = []
    for index, (child, child_cls) in enumerate(zip(value.value, inner, strict=True)):
        _collect(problems, (index,), lambda c=child, t=child_cls: out.append(converter.structure(c, t)))
    if problems:
        raise Invalid(problems)
    return tuple(out)


def _union(converter: BaseConverter, value: Located, cls: Any) -> Any:
    options = [option for option in get_args(cls) if option is not types.NoneType]
    tables = [option for option in options if attrs.has(option)]
    scalars = [option for option in options if not attrs.has(option)]
    # A table can only be meant as the class that is one; that way its own problems are told, not the union's.
    choice = tables if isinstance(value.value, dict) and tables else scalars or tables
    if Address in choice:  # what is meant as one, though wrong, is no path
        meant = isinstance(value.value, str) and is_address(value.value)
        choice = [Address] if meant else [option for option in choice if option is not Address]
    if len(choice) == 1:
        return converter.structure(value, choice[0])
    for option in choice:
        try:
            return converter.structure(value, option)
        except Invalid:
            continue
    expected = " or ".join(_SHOWN.get(option, str(option)) for option in choice)
    raise Invalid([((), f"expected {expected}, got {got(value.value)}")])


def _read_class(converter: BaseConverter, value: Located, cls: type[T], beside: Sequence[str] = ()) -> T:
    """An attrs class from a table: unknown and missing keys, wrong types and failed validators, all of them.

    A field with a converter is read as what the converter takes. beside: see `structure`.
    """
    if not isinstance(value.value, dict):
        raise Invalid([((), f"expected a table, got {got(value.value)}")])
    fields = {a.name: a for a in attrs.fields(cls) if a.init}
    hints = _hints(cls, include_extras=True)
    known = [*fields, *beside]
    problems: list[tuple[Key, str]] = [
        ((name,), f"unknown key{did_you_mean(name, known) or _listing(known)}")
        for name in value.value
        if name not in fields
    ]
    read: dict[str, Any] = {}
    for name, attribute in fields.items():
        if name in value.value:
            _collect(
                problems,
                (name,),
                lambda a=attribute: read.update(
                    {a.name: _read_field(converter, value.value[a.name], a, hints)}
                ),
            )
        elif attribute.default is attrs.NOTHING:
            problems.append(((name,), f"missing; expected {describe(hints[name])}"))
    wrong = value.value.keys() - read.keys()
    so_far = _so_far(cls, {name: of for name, of in fields.items() if name not in wrong}, read)
    for name, value_read in read.items():
        if fields[name].validator is not None:
            _validate(problems, so_far, fields[name], value_read)
    if problems:
        raise Invalid(problems)
    try:
        return cls(**read)
    except ValueError as error:  # checks across fields, in the class's __attrs_post_init__
        raise Invalid([at_field(cls, str(error))]) from None


_hints = cache(get_type_hints)
"""Read once for each class and function: that takes longer than to read a table of one."""


def _read_field(converter: BaseConverter, value: Located, attribute: Any, hints: dict[str, Any]) -> Any:
    said = getattr(attribute.converter, "__annotations__", {})
    if not said:
        return converter.structure(value, hints[attribute.name])
    taken = next(hint for name, hint in _hints(attribute.converter).items() if name != "return")
    try:
        return attribute.converter(converter.structure(value, taken))
    except ValueError as error:
        raise Invalid([((), str(error))]) from None


def at_field(cls: type, text: str) -> tuple[Key, str]:
    """A config's own complaint, "width: expected ...", placed at the field it names."""
    name, colon, rest = text.partition(": ")
    if colon and any(name == a.name for a in attrs.fields(cls)):
        return (name,), rest
    return (), text


def _listing(names: list[str]) -> str:
    if len(names) < 2:
        return f"; expected {names[0]} alone" if names else "; expected none"
    return f"; expected one of {', '.join(sorted(names))}"


def _so_far(cls: type, fields: dict[str, Any], read: dict[str, Any]) -> Any:
    """An instance for validators that look at other fields: those read and those left out; not those that are wrong."""
    instance = object.__new__(cls)
    for name, attribute in fields.items():
        default = attribute.default
        if name in read:
            object.__setattr__(instance, name, read[name])
        elif default is not attrs.NOTHING and not getattr(default, "takes_self", False):
            is_made = isinstance(default, attrs.Factory)  # type: ignore[arg-type]
            object.__setattr__(instance, name, default.factory() if is_made else default)
    return instance


def _validate(problems: list[tuple[Key, str]], so_far: Any, attribute: Any, value: Any) -> None:
    try:
        attribute.validator(so_far, attribute, value)
    except (ValueError, TypeError) as error:
        text, name = str(error.args[0] if error.args else error), f"'{attribute.name}' "
        if text.startswith(name):  # attrs words it as "'steps' must be >= 1: -3"; the key is said already.
            problems.append(((attribute.name,), text.removeprefix(name).replace(": ", ", got ", 1)))
        else:
            key, rest = at_field(type(so_far), text)
            problems.append((key or (attribute.name,), rest))
    except AttributeError:
        if not problems:  # else it asked for a field that is wrong, which is said there
            raise


def _collect(problems: list[tuple[Key, str]], key: Key, read: Callable[[], Any]) -> None:
    try:
        read()
    except Invalid as invalid:
        problems.extend(((*key, *below), text) for below, text in invalid.problems)


def describe(cls: Any) -> str:
    """A type as users say it."""
    if cls in _SHOWN:
        return _SHOWN[cls]
    if get_origin(cls) is Literal:
        return " or ".join(_quote(option) for option in get_args(cls))
    if get_origin(cls) is tuple:
        return "an array"
    if get_origin(cls) in (types.UnionType, Union):
        return " or ".join(describe(option) for option in get_args(cls) if option is not types.NoneType)
    return "an address" if cls is Address else "a path" if cls is Path else "a table"
