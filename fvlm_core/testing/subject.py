"""The component under test and its settings: from a name or a descriptor to a config object."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from fvlm_core.recipes.choose import configured
from fvlm_core.recipes.located import from_plain
from fvlm_core.recipes.structure import Invalid
from fvlm_core.utils.errors import Problems
from fvlm_registry import Component, Kind, registry


@frozen
class ComponentUnderTest:
    """A component with the settings it is tried with. name: "plugin:component", or the bare name of a descriptor that
    no installed plugin offers. config: of the component's config class, read as a recipe's table is. given: whether the
    user said any settings, so that a component that refuses them is no matter of course."""

    kind: Kind
    name: str
    component: Component
    config: Any
    given: bool = False

    def load(self) -> Any:
        """The component's target. Raises `LookupFailure`."""
        return registry().load(self.component.target)

    def again(self, table: Mapping[str, Any]) -> Any:
        """A config read from plain values. Raises `Problems`."""
        return _config(self.component, table)


def subject(kind: Kind, name: str, component: Component, settings: Mapping[str, Any]) -> ComponentUnderTest:
    """A component with its example's settings and these over them.

    Raises `Problems` for settings that the config class does not take, and `LookupFailure` when it cannot be loaded.
    """
    table = {**component.example, **settings}
    return ComponentUnderTest(kind, name, component, _config(component, table), bool(settings))


def _config(component: Component, table: Mapping[str, Any]) -> Any:
    config_class = registry().load(component.config)
    own = from_plain({key: _plain(value) for key, value in table.items()}, component.name)
    try:
        return configured(component, own, config_class)
    except Invalid as invalid:
        raise Problems([own.problem(key, text) for key, text in invalid.problems]) from None


def _plain(value: Any) -> Any:
    """Settings from Python as TOML has them."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple | list):
        return [_plain(child) for child in value]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, Mapping):
        return {str(key): _plain(child) for key, child in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return value
