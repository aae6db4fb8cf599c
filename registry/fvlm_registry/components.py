"""The descriptor of one component: strings only, so that listing a hundred of them imports nothing of theirs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from attrs import Factory, field, frozen, validators

Kind = Literal["encoder", "connector", "llm", "data", "fit"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_IMPORT_STRING = r"[A-Za-z_][\w.]*:[A-Za-z_]\w*"


@frozen
class Component:
    """One thing a plugin offers, by import strings.

    name: what recipes write, lower-case with dashes ("dinov2-small").
    target: "module:function" that builds it; each kind's interface states the signature.
    config: "module:Class" of the frozen attrs class that a recipe's table is read into; importing its module must
    import nothing heavy.
    summary: one line for `fvlm plugins list`.
    preset: defaults of this component that differ from the config class's own (sizes of a family).
    provides, needs: capabilities, checked before anything is loaded. Encoders provide "patches" and, if they can be
    queried, "query"; connectors need them.
    """

    name: str = field(validator=validators.matches_re(r"[a-z0-9][a-z0-9._-]*"))
    target: str = field(kw_only=True, validator=validators.matches_re(_IMPORT_STRING))
    config: str = field(kw_only=True, validator=validators.matches_re(_IMPORT_STRING))
    summary: str = field(kw_only=True, default="")
    preset: Mapping[str, Any] = field(kw_only=True, default=Factory(dict))
    provides: tuple[str, ...] = field(kw_only=True, default=(), converter=tuple)
    needs: tuple[str, ...] = field(kw_only=True, default=(), converter=tuple)
