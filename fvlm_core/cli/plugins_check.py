"""`fvlm plugins check`: what the contract promises, tried on installed components."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fvlm_core.api.views.console import new_table
from fvlm_core.cli import console
from fvlm_core.cli.choice import NearestChoice
from fvlm_core.cli.help import Command
from fvlm_core.cli.offered import completing
from fvlm_core.cli.options import key_option
from fvlm_registry import KINDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fvlm_core.testing import Finding
    from fvlm_registry import Kind, Offer, Plugin


@click.command("check", cls=Command)
@click.argument(
    "names",
    metavar="DISTRIBUTION|PLUGIN|COMPONENT...",
    nargs=-1,
    required=True,
    shell_complete=completing("component"),
)
@click.option("--kind", type=NearestChoice(KINDS), help="Only components of this kind.")
@key_option("settings", "setting", "A setting of the component, as in a recipe (-o path=...).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
def command(names: tuple[str, ...], kind: Kind | None, settings: tuple[str, ...], as_json: bool) -> int:
    """Try what the interfaces promise on every component of a distribution or plugin, or on one component: shapes,
    seeds, gradients, random access, known truth. A failure names the line of the contract (exit code 1).

    Components are tried with their own example's settings; -o gives others, a folder of data for instance.
    """
    from fvlm_core.recipes.read import settings_table
    from fvlm_core.testing import examine

    offers, broken = _chosen(names, kind)
    table = settings_table(settings)
    found: list[Finding] = [_broken(plugin) for plugin in broken]
    for offer in offers:
        if not as_json:
            console.stderr().print(f"{offer.kind} {offer.qualified} ...", style="dim", soft_wrap=True)
        found += examine(offer.qualified, kind=offer.kind, **table)
    if as_json:
        console.print_json([_as_json(finding) for finding in found])
    else:
        _print(found)
    return 1 if any(finding.outcome == "failed" for finding in found) else 0


def _chosen(names: Sequence[str], kind: Kind | None) -> tuple[list[Offer], list[Plugin]]:
    """The components that the names stand for, and the plugins among them that did not load. Raises `UsageError`."""
    from fvlm_core.utils.errors import UsageError
    from fvlm_registry import registry
    from fvlm_registry.nearest import did_you_mean

    found = registry()
    homes = {plugin.name: plugin for plugin in found.plugins if plugin.status == "ok"}
    offers: list[Offer] = []
    broken: list[Plugin] = []
    for name in names:
        wanted = [
            offer
            for offer in found.offers
            if name in (homes[offer.plugin].distribution, offer.plugin, offer.component.name, offer.qualified)
        ]
        failed = [
            plugin
            for plugin in found.plugins
            if plugin.status == "broken" and name in (plugin.distribution, plugin.name)
        ]
        if not wanted and not failed:
            off = [plugin for plugin in found.plugins if plugin.status == "off" and plugin.name == name]
            known = {plugin.distribution for plugin in found.plugins} | {
                plugin.name for plugin in found.plugins
            }
            known |= {offer.component.name for offer in found.offers}
            why = f": {off[0].reason}" if off else did_you_mean(name, known)
            raise UsageError(
                f'no installed distribution, plugin or component is called "{name}"{why}\n'
                "  fvlm plugins list shows what is installed"
            )
        offers += [offer for offer in wanted if kind in (None, offer.kind) and offer not in offers]
        broken += [plugin for plugin in failed if plugin not in broken]
    if not offers and not broken:
        raise UsageError(f"{' '.join(names)}: no component of the kind {kind}")
    return offers, broken


def _broken(plugin: Plugin) -> Finding:
    from fvlm_core.testing import Clause, Finding
    from fvlm_core.testing.clause import clause
    from fvlm_registry import Component

    where: Clause = clause(Component, "One thing a plugin offers")
    return Finding("plugin", plugin.name, "it can be listed", "failed", where, f"got: {plugin.reason}")


def _print(found: Sequence[Finding]) -> None:
    table = new_table("component", "check", "", "why")
    styles = {"passed": "green", "failed": "red", "skipped": "dim"}
    before = ""
    for finding in found:
        from rich.text import Text

        component = f"{finding.kind} {finding.component}"
        text = finding.text if finding.outcome == "skipped" else ""
        outcome = Text(finding.outcome, style=styles[finding.outcome])
        table.add_row(component if component != before else "", finding.check, outcome, text)
        before = component
    console.print_table(table)
    out = console.stdout()
    soft = not out.is_terminal
    for finding in found:
        if finding.outcome == "failed":
            out.print(f"\n{finding.kind} {finding.component}: {finding.check}", style="bold", soft_wrap=soft)
            if finding.clause:
                out.print(f"  the contract: {finding.clause}", soft_wrap=soft)
            out.print(f"  {finding.text}", soft_wrap=soft)
    counts = {name: sum(finding.outcome == name for finding in found) for name in styles}
    summary = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    components = len({(finding.kind, finding.component) for finding in found})
    out.print(f"\n{components} component{'s' if components > 1 else ''}: {summary}", soft_wrap=soft)


def _as_json(finding: Finding) -> dict[str, Any]:
    clause = finding.clause
    return {
        "kind": finding.kind,
        "component": finding.component,
        "check": finding.check,
        "outcome": finding.outcome,
        "text": finding.text,
        "contract": None
        if clause is None
        else {"file": clause.file, "line": clause.line, "owner": clause.owner, "text": clause.text},
    }
