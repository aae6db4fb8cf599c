"""Components by name. An unknown or ambiguous name is an error that says what to write instead."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib import import_module
from typing import Any

from attrs import frozen

from fvlm_registry.components import Component, Kind
from fvlm_registry.discovery import Offer, Plugin, discover
from fvlm_registry.libraries import missing_library
from fvlm_registry.nearest import did_you_mean

_PLURAL: dict[Kind, str] = {
    "encoder": "encoders",
    "connector": "connectors",
    "llm": "LLMs",
    "modality": "encoders of modalities",
    "data": "data sources",
    "decoder": "decoders",
    "objective": "objectives",
    "optimizer": "optimizers",
    "schedule": "learning-rate schedules",
    "callback": "callbacks",
    "fit": "fit models",
    "figure": "figures",
    "section": "sections of the report",
    "tracker": "trackers",
    "launcher": "launchers",
    "metric": "metrics",
}


class LookupFailure(Exception):
    """A name that stands for no component, or for several, or an import string that leads nowhere.

    The message says what was written, what exists, and what to write instead.
    """


class MissingLibrary(LookupFailure):
    """A component that is there, and a library that it needs is not; the message ends with what installs it."""


@frozen
class Registry:
    """What the installed plugins offer.

    plugins: all of them, with the broken ones and those switched off. offers: components of the working ones.
    """

    plugins: tuple[Plugin, ...]
    offers: tuple[Offer, ...]

    def offered(self, kind: Kind) -> tuple[Offer, ...]:
        """Every component of one kind, in the plugins' order."""
        return tuple(offer for offer in self.offers if offer.kind == kind)

    def clashes(self) -> dict[tuple[Kind, str], tuple[Offer, ...]]:
        """Names that more than one plugin offers, by (kind, name)."""
        named: dict[tuple[Kind, str], list[Offer]] = {}
        for offer in self.offers:
            named.setdefault((offer.kind, offer.component.name), []).append(offer)
        return {key: tuple(offers) for key, offers in named.items() if len(offers) > 1}

    def find(self, kind: Kind, name: str) -> Offer:
        """The component called `name`: bare ("mlp"), or qualified by its plugin ("acme:mlp").

        Raises `LookupFailure` for a name nobody offers and for a bare name that several plugins offer: no
        plugin takes the place of another in silence.
        """
        offered = self.offered(kind)
        found = [offer for offer in offered if name in (offer.component.name, offer.qualified)]
        if len(found) > 1:
            ways = _either(f'"{offer.qualified}" ({offer.origin})' for offer in found)
            raise LookupFailure(f'"{name}" is offered by {_count(len(found))} plugins: write {ways}')
        if not found:
            plugin, _, rest = name.partition(":")
            found = [offer for offer in offered if rest and offer.plugin == plugin and offer.component.rest]
        if not found:
            raise LookupFailure(self._unknown(kind, name))
        return found[0]

    def load(self, target: str) -> Any:
        """What an import string "package.module:name" stands for.

        Raises `LookupFailure` when the module cannot be imported or has no such name; `MissingLibrary` when what it
        lacks is a library that its plugin needs.
        """
        module_name, _, attribute = target.partition(":")
        try:
            module = import_module(module_name)
        except Exception as error:
            if lacking := missing_library(error):
                raise MissingLibrary(f'"{target}" cannot be loaded: {lacking}') from error
            message = f'cannot import {module_name} of "{target}": {type(error).__name__}: {error}'
            raise LookupFailure(message) from error
        try:
            return getattr(module, attribute)
        except AttributeError:
            near = did_you_mean(attribute, dir(module))
            raise LookupFailure(f'{module_name} has no "{attribute}", named by "{target}"{near}') from None

    def _unknown(self, kind: Kind, name: str) -> str:
        plugin_name, _, component_name = name.rpartition(":")
        if plugin_name:
            return self._unknown_qualified(kind, plugin_name, component_name)
        names = [offer.component.name for offer in self.offered(kind)]
        lines = [f'none of the {_PLURAL[kind]} is called "{name}"{did_you_mean(name, names)}']
        lines += [
            f'"{name}" is among the {_PLURAL[offer.kind]}'
            for offer in self.offers
            if offer.component.name == name
        ]
        lines.append(f"{_PLURAL[kind]}: {', '.join(sorted(set(names))) or 'none installed'}")
        absent = [_absence(plugin) for plugin in self.plugins if plugin.status != "ok"]
        if absent:
            lines.append("it may belong to a plugin that is not loaded:")
            lines += [f"  {line}" for line in absent]
        return "\n  ".join(lines)

    def _unknown_qualified(self, kind: Kind, plugin_name: str, component_name: str) -> str:
        plugins = {plugin.name: plugin for plugin in reversed(self.plugins)}  # the first one has the name
        plugin = plugins.get(plugin_name)
        if plugin is None:
            near = did_you_mean(plugin_name, plugins)
            return f'no plugin is called "{plugin_name}"{near}\n  plugins: {", ".join(sorted(plugins))}'
        if plugin.status != "ok":
            return _absence(plugin)
        names = [offer.component.name for offer in self.offered(kind) if offer.plugin == plugin_name]
        plural, near = _PLURAL[kind], did_you_mean(component_name, names)
        return (
            f'plugin "{plugin_name}" ({plugin.origin}) has no "{component_name}" among its {plural}{near}\n'
            f"  its {plural}: {', '.join(names) or 'none'}"
        )


_here: list[Offer] = []
"""What was registered in this process."""

HERE = Plugin("here", "this process", "", "")
"""The plugin of components that were registered rather than installed."""


@cache
def registry() -> Registry:
    """The plugins of this process, loaded once, at the first call, and what was registered in it."""
    plugins, offers = discover()
    return Registry((*plugins, HERE) if _here else plugins, (*offers, *_here))


def register(kind: Kind, component: Component, origin: str) -> None:
    """Offer a component from here on, in this process alone, in place of one of its kind and name that was registered
    before. origin: what tells this version of it from others.

    Raises `LookupFailure` for a name that an installed plugin offers.
    """
    installed = [
        offer
        for offer in registry().offered(kind)
        if offer.component.name == component.name and offer not in _here
    ]
    if installed:
        raise LookupFailure(
            f'"{component.name}" is offered by {installed[0].origin} already: choose another name'
        )
    _here[:] = [one for one in _here if (one.kind, one.component.name) != (kind, component.name)]
    _here.append(Offer(kind, component, HERE.name, origin))
    registry.cache_clear()


def _absence(plugin: Plugin) -> str:
    state = "switched off" if plugin.status == "off" else "broken"
    origin = f" ({plugin.origin})" if plugin.origin else ""
    return f'plugin "{plugin.name}"{origin} is {state}: {plugin.reason}'


def _either(ways: Iterable[str]) -> str:
    *others, last = ways
    return f"{', '.join(others)} or {last}"


def _count(number: int) -> str:
    return {2: "two", 3: "three"}.get(number, str(number))
