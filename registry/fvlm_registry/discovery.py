"""Finding plugins: every entry point of the group "fvlm", each on its own, so that none can stop another."""

from __future__ import annotations

import sys
import traceback
from contextlib import redirect_stdout
from functools import cache
from importlib.metadata import Distribution, EntryPoint, entry_points
from os import environ
from time import perf_counter
from typing import Literal

from attrs import evolve, frozen

from fvlm_registry.components import Component, Kind
from fvlm_registry.listing import Breach, components
from fvlm_registry.nearest import did_you_mean

GROUP = "fvlm"
"""The entry point group of plugins."""

FIRST_PARTY = "fvlm"
"""The distribution whose plugins come first, so that nobody can take a plugin name from it."""

SELECTION = "FVLM_PLUGINS"
"""Environment variable. Unset: every plugin; empty: none; a comma list: those plugins, by name."""

Status = Literal["ok", "broken", "off"]


@frozen
class Plugin:
    """One entry point and how its loading went.

    name: the entry point's name, the "acme" of "acme:mlp". distribution, version: the installed distribution
    that brings it. module: what the entry point names. seconds: time to import it and list its components.
    status: "ok"; "broken", none of its components are offered; "off", left out by `FVLM_PLUGINS`.
    reason: one line for people when it is not "ok". traceback: the full one when an exception broke it.
    """

    name: str
    distribution: str
    version: str
    module: str
    seconds: float = 0.0
    status: Status = "ok"
    reason: str = ""
    traceback: str = ""

    @property
    def origin(self) -> str:
        """Where it comes from, "fvlm-acme 0.2.0"."""
        return f"{self.distribution} {self.version}".strip()


@frozen
class Offer:
    """A component, and where it comes from.

    plugin: the name of the plugin that offers it. origin: that plugin's distribution and version.
    """

    kind: Kind
    component: Component
    plugin: str
    origin: str

    @property
    def qualified(self) -> str:
        """The name that stays unambiguous: "plugin:component"."""
        return f"{self.plugin}:{self.component.name}"


def discover() -> tuple[tuple[Plugin, ...], tuple[Offer, ...]]:
    """Every installed plugin with its status, and what the working ones offer; first-party ones first."""
    selected = _selection()
    plugins: list[Plugin] = []
    offers: list[Offer] = []
    taken: dict[str, Plugin] = {}
    for plugin, entry in _installed():
        if plugin.name in taken:
            first = taken[plugin.name]
            reason = (
                f'the plugin name "{plugin.name}" is already taken by {first.origin} ({first.module}): '
                f"rename the entry point in {plugin.distribution}"
            )
            plugins.append(evolve(plugin, status="broken", reason=reason))
            continue
        taken[plugin.name] = plugin
        if selected is not None and plugin.name not in selected:
            plugins.append(evolve(plugin, status="off", reason=f'not in {SELECTION}="{environ[SELECTION]}"'))
            continue
        loaded, offered = _load(plugin, entry)
        plugins.append(loaded)
        offers += offered
    for name in selected or ():
        if name not in taken:
            near = did_you_mean(name, taken)
            reason = f"named in {SELECTION}, but no installed distribution has such a plugin{near}"
            plugins.append(Plugin(name, "", "", "", status="broken", reason=reason))
    return tuple(plugins), tuple(offers)


def _selection() -> list[str] | None:
    if SELECTION not in environ:
        return None
    return [name.strip() for name in environ[SELECTION].split(",") if name.strip()]


def _installed() -> list[tuple[Plugin, EntryPoint]]:
    """Entry points with their distributions: first-party ones first, then by distribution name."""

    @cache  # every access to `Distribution.metadata` parses the whole file again
    def identity(distribution: Distribution) -> tuple[str, str]:
        metadata = distribution.metadata
        return metadata["Name"], metadata["Version"]

    found: list[tuple[Plugin, EntryPoint]] = []
    for entry in entry_points(group=GROUP):
        assert entry.dist is not None  # only entry points made by hand have none
        found.append((Plugin(entry.name, *identity(entry.dist), entry.value), entry))
    return sorted(found, key=lambda item: (item[0].distribution != FIRST_PARTY, item[0].distribution))


def _load(plugin: Plugin, entry: EntryPoint) -> tuple[Plugin, list[Offer]]:
    start = perf_counter()
    try:
        with redirect_stdout(sys.stderr):  # what a plugin prints while it loads must not land in `--json`
            offers = [Offer(kind, item, plugin.name, plugin.origin) for kind, item in components(entry)]
    except Breach as breach:
        trace = "".join(traceback.format_exception(breach.__cause__)) if breach.__cause__ else ""
        seconds = perf_counter() - start
        return evolve(plugin, seconds=seconds, status="broken", reason=str(breach), traceback=trace), []
    return evolve(plugin, seconds=perf_counter() - start), offers
