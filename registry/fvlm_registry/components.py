"""The descriptor of one component: strings only, so that listing many imports nothing of theirs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, get_args

from attrs import Attribute, field, frozen

Kind = Literal[
    "encoder",
    "connector",
    "llm",
    "modality",
    "data",
    "decoder",
    "objective",
    "optimizer",
    "schedule",
    "callback",
    "metric",
    "fit",
    "figure",
    "section",
    "tracker",
    "launcher",
]
KINDS: tuple[Kind, ...] = get_args(Kind)


def _matching(pattern: str, expected: str) -> Callable[[Any, Attribute[Any], Any], None]:
    def check(instance: Any, attribute: Attribute[Any], value: Any) -> None:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise ValueError(f"Component {attribute.name}={value!r}: expected {expected}")

    return check


def _capabilities(value: Iterable[str]) -> tuple[str, ...]:
    if isinstance(value, str):  # tuple("query") would be five capabilities of one letter
        raise ValueError(f'Component capabilities: expected a tuple of strings, got "{value}"')
    return tuple(value)


_name = _matching(r"[a-z0-9][a-z0-9._-]*", "lower-case letters, digits, dots and dashes")
_import_string = _matching(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", 'an import string "package.module:name"')


@frozen
class Component:
    """One thing a plugin offers, by import strings.

    name: what recipes write, lower-case with dashes ("dinov2-small").
    target: "module:function" that builds it; each kind's interface states the signature.
    config: "module:Class" of the frozen attrs class that a recipe's table is read into; importing its module
    must import nothing heavy, nor may importing the plugin that lists the component.
    summary: one line for `fvlm plugins list`.
    preset: defaults of this component that differ from the config class's own (sizes of a family).
    rest: the config key that takes NAME when a recipe writes "plugin:NAME" and the plugin lists no such component: a
    plugin that opens a whole library ("timm:vit_small_patch16_224") lists one component with rest="model".
    example: settings with which the component is small and needs no file of its own, over the preset; conformance
    checks use them where the user gives none.
    provides, needs: capabilities, checked before anything is loaded. Encoders provide "patches" and, if they
    can be queried, "query"; connectors need them. A data source of text alone provides "text"; one that can stand in
    for others in rehearsals, "rehearsal".

    Raises ValueError, naming the field, when one is not of this form.
    """

    name: str = field(validator=_name)
    target: str = field(kw_only=True, validator=_import_string)
    config: str = field(kw_only=True, validator=_import_string)
    summary: str = field(kw_only=True, default="")
    preset: Mapping[str, Any] = field(kw_only=True, factory=dict[str, Any])
    example: Mapping[str, Any] = field(kw_only=True, factory=dict[str, Any])
    rest: str = field(kw_only=True, default="")
    provides: tuple[str, ...] = field(kw_only=True, default=(), converter=_capabilities)
    needs: tuple[str, ...] = field(kw_only=True, default=(), converter=_capabilities)
