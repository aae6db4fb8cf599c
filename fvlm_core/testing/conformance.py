"""Runs the checks of a component and collects what they found."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from attrs import evolve

from fvlm_core.testing import general
from fvlm_core.testing.clause import Clause
from fvlm_core.testing.finding import Broken, ContractError, Finding, Outcome, Promise, Skip
from fvlm_core.testing.subject import ComponentUnderTest, subject
from fvlm_core.utils.errors import Problems, UsageError
from fvlm_registry import KINDS, Component, Kind, LookupFailure, registry

_MODULES: dict[Kind, str] = {
    "encoder": "encoder",
    "connector": "connector",
    "llm": "llm",
    "modality": "modality",
    "data": "data",
    "objective": "objective",
    "optimizer": "optimizer",
    "schedule": "schedule",
    "callback": "callback",
    "section": "section",
    "fit": "law",
    "metric": "metric",
}
"""Kinds with checks of their own; the others have the general ones."""


def check(component: str | Component, *, kind: Kind | None = None, **settings: Any) -> tuple[Finding, ...]:
    """Try everything that the contract promises of a component; for a plugin's own tests.

    component: a name as recipes write it, or a descriptor that no plugin offers yet. kind: needed for a descriptor, and
    for a name that several kinds have. settings: the component's own keys, over its `example`.

    Raises `ContractError` with every promise that is broken and where the contract makes it, `UsageError` when the
    component cannot be tried with these settings, and `LookupFailure` for a name that nobody offers. Returns what was
    found otherwise: what passed, and what was skipped and why.
    """
    found = examine(component, kind=kind, **settings)
    failed = [finding for finding in found if finding.outcome == "failed"]
    if failed:
        raise ContractError(failed)
    own = [finding for finding in found if finding.clause not in _general()]
    if own and all(finding.outcome == "skipped" for finding in own):
        raise UsageError(f"{own[0].kind} {own[0].component} was not tried: {own[0].text}")
    return found


def examine(component: str | Component, *, kind: Kind | None = None, **settings: Any) -> tuple[Finding, ...]:
    """As `check`, but failures are returned among the rest. Raises `LookupFailure`, and `Problems` for settings that
    are given and wrong."""
    kind, name, descriptor = _named(component, kind)
    try:
        tried = subject(kind, name, descriptor, settings)
    except Problems as problems:
        if settings:
            raise
        said = "; ".join(f"{one.key}: {one.text}" if one.key else one.text for one in problems.problems)
        return (Finding(kind, name, "settings", "skipped", None, f"it needs settings of yours: {said}"),)
    except LookupFailure as failure:
        where = general.PROMISES[1].clause
        return (Finding(kind, name, "its config class can be imported", "failed", where, _one_line(failure)),)
    return (*_tried(tried, general.PROMISES, tried), *_own(tried))


def _general() -> set[Clause]:
    return {promise.clause for promise in general.PROMISES}


def _named(component: str | Component, kind: Kind | None) -> tuple[Kind, str, Component]:
    if isinstance(component, Component):
        if kind is None:
            raise LookupFailure(f'say which kind "{component.name}" is: kind="encoder", ...')
        return kind, component.name, component
    found = registry()
    kinds: list[Kind] = [kind] if kind else [one for one in KINDS if _offered(one, component)] or [KINDS[0]]
    if len(kinds) > 1:
        raise LookupFailure(
            f'"{component}" is a name of several kinds: say kind="{kinds[0]}" or "{kinds[1]}"'
        )
    offer = found.find(kinds[0], component)
    return offer.kind, offer.qualified, offer.component


def _offered(kind: Kind, name: str) -> bool:
    return any(name in (offer.component.name, offer.qualified) for offer in registry().offered(kind))


def _own(tried: ComponentUnderTest) -> Iterator[Finding]:
    """The checks of the component's kind."""
    if tried.kind not in _MODULES:
        yield Finding(tried.kind, tried.name, "its kind's own checks", "skipped", None, "there are none yet")
        return
    module: Any = import_module(f"fvlm_core.testing.{_MODULES[tried.kind]}")
    promises: list[Promise] = module.PROMISES
    try:
        made = module.prepare(tried)
    except LookupFailure:
        return  # the general checks said so
    before: dict[str, str] = {}
    for promise in promises:
        [finding] = _tried(tried, [promise], made)
        place = finding.text.rpartition(" (")[2] if finding.text.startswith("raised ") else ""
        if place and before.setdefault(place, promise.name) != promise.name:
            said = f'it ends at the same line as "{before[place]}" ({place}'
            finding = evolve(finding, outcome="skipped", text=said)
        yield finding
        hopeless = promise is promises[0] or promise.name.startswith("build(")
        if hopeless and finding.outcome != "passed":
            return  # nothing else can be tried on what cannot be made


def _tried(tried: ComponentUnderTest, promises: Iterable[Promise], made: Any) -> Iterator[Finding]:
    for promise in promises:
        outcome: Outcome = "passed"
        text = ""
        try:
            promise.check(made)
        except Broken as broken:
            outcome, text = "failed", f"got: {broken}"
        except Skip as reason:
            outcome, text = "skipped", str(reason)
        except UsageError as refused:  # its data, weights or permission are not here
            outcome = "failed" if tried.given else "skipped"
            text = f"raised {_explained(refused, tried.component)}" if tried.given else _one_line(refused)
        except Exception as error:
            outcome, text = "failed", f"raised {_explained(error, tried.component)}"
        yield Finding(tried.kind, tried.name, promise.name, outcome, promise.clause, text)


def _explained(error: Exception, component: Component) -> str:
    """Type and message, and the last line of the plugin's own code on the way."""
    text = f"{type(error).__name__}: {_one_line(error)}" if str(error) else type(error).__name__
    package = component.target.partition(":")[0].partition(".")[0]
    own = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        module: str = frame.f_globals.get("__name__", "")
        if module.partition(".")[0] == package:
            path = Path(frame.f_code.co_filename)
            own = f" ({'/'.join(path.parts[-1 - module.count('.') :])}:{line})"
    return text + own


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
