"""`fvlm plugins list`: what is installed, what it offers, and why a plugin is not there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fvlm_core.api.views.console import new_table
from fvlm_core.cli import console
from fvlm_core.cli.help import Command
from fvlm_core.utils.error_summary import debugging
from fvlm_registry import KINDS, Offer, Registry, registry

if TYPE_CHECKING:
    from rich.table import Table


@click.command("list", cls=Command)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
def command(as_json: bool) -> None:
    """List every plugin and component: where it comes from, whether it loaded, and why not.

    A broken plugin is listed with its reason, stops no other, and leaves the exit code 0.
    """
    found = registry()
    if as_json:
        console.print_json(_as_json(found))
    else:
        _print(found)


def _as_json(found: Registry) -> dict[str, Any]:
    plugins = {plugin.name: plugin for plugin in found.plugins if plugin.status == "ok"}
    clashes = found.clashes()
    return {
        "components": [
            {
                "kind": offer.kind,
                "name": offer.component.name,
                "qualified": offer.qualified,
                "ambiguous": (offer.kind, offer.component.name) in clashes,
                "plugin": offer.plugin,
                "distribution": plugins[offer.plugin].distribution,
                "version": plugins[offer.plugin].version,
                "summary": offer.component.summary,
                "provides": offer.component.provides,
                "needs": offer.component.needs,
                "load_seconds": round(plugins[offer.plugin].seconds, 6),
                "status": plugins[offer.plugin].status,
            }
            for offer in _by_kind(found)
        ],
        "plugins": [
            {
                "name": plugin.name,
                "distribution": plugin.distribution,
                "version": plugin.version,
                "module": plugin.module,
                "load_seconds": round(plugin.seconds, 6),
                "status": plugin.status,
                "reason": plugin.reason,
            }
            for plugin in found.plugins
        ],
        "clashes": [
            {"kind": kind, "name": name, "write": [offer.qualified for offer in offers]}
            for (kind, name), offers in clashes.items()
        ],
    }


def _print(found: Registry) -> None:
    console.print_table(_components(found))
    click.echo()
    console.print_table(_plugins(found))
    out = console.stdout()
    soft = not out.is_terminal  # a terminal wraps at words; in a pipe a reason stays one line
    for (kind, name), offers in found.clashes().items():
        ways = " or ".join(f'"{offer.qualified}" ({offer.origin})' for offer in offers)
        out.print(f'\n{kind} "{name}" is offered by {len(offers)} plugins: write {ways}', soft_wrap=soft)
    for plugin in found.plugins:
        if plugin.status != "ok":
            out.print(
                f"\n{plugin.name} is {plugin.status} ({plugin.origin or 'not installed'})", style="bold"
            )
            out.print(plugin.reason, soft_wrap=soft)
            if debugging() and plugin.traceback:
                out.print(plugin.traceback, soft_wrap=True)


def _by_kind(found: Registry) -> list[Offer]:
    return [offer for kind in KINDS for offer in found.offered(kind)]


def _components(found: Registry) -> Table:
    table = new_table("kind", "name", "plugin", "summary")
    clashes = found.clashes()
    for offer in _by_kind(found):
        ambiguous = (offer.kind, offer.component.name) in clashes
        name = offer.qualified if ambiguous else offer.component.name
        table.add_row(offer.kind, name, offer.plugin, offer.component.summary)
    return table


def _plugins(found: Registry) -> Table:
    table = new_table("plugin", "distribution", "load", "status", right=("load",))
    styles = {"ok": None, "broken": "red", "off": "dim"}
    for plugin in found.plugins:
        load = f"{1000 * plugin.seconds:.1f} ms"
        table.add_row(plugin.name, plugin.origin, load, plugin.status, style=styles[plugin.status])
    return table
