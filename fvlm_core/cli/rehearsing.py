"""`fvlm run RECIPE --rehearse`: train the recipe's rehearsal, fit, export, in a place of its own, marked everywhere."""

from __future__ import annotations

import json
from pathlib import Path

import click

from fvlm_core.cli.console import stdout
from fvlm_core.cli.outcomes import fit_outcomes
from fvlm_core.recipes.read import Recipe
from fvlm_core.training.world import world_size

EXPORT = "export"
"""The folder of the rehearsal's export, beside its runs."""


def rehearse_recipe(
    recipe: Recipe, root: Path, allowed: tuple[str, ...], *, dry_run: bool, as_json: bool
) -> None:
    """Rehearse a recipe below `root`, or print the rehearsal's plan."""
    from fvlm_core.api.train import train_all
    from fvlm_core.api.views.comparison import show_tables
    from fvlm_core.api.views.outcomes import show_outcomes
    from fvlm_core.api.views.plan import plan_json, show_plan
    from fvlm_core.comparison import compare, table
    from fvlm_core.interchange.export import export
    from fvlm_core.planning.plan import plan
    from fvlm_core.planning.rehearsal import REHEARSALS, rehearsed
    from fvlm_core.runs.store import open_run

    if world_size() > 1:
        raise click.UsageError("--rehearse runs in one process, without torchrun")
    rehearsal = rehearsed(recipe, plan(recipe))
    small, place = rehearsal.recipe, root / REHEARSALS
    if dry_run and as_json:
        shown = plan_json(small, plan(small), rehearsal.family)
        click.echo(json.dumps({"rehearsal": True, "notes": rehearsal.notes, **shown}, indent=2))
        return
    console = stdout()
    console.print(rehearsal.heading, style="bold red", soft_wrap=True, markup=False)
    for note in rehearsal.notes:
        console.print(f"- {note}", soft_wrap=True, markup=False)
    console.print()
    if dry_run:
        show_plan(console, small, plan(small), rehearsal.family)
        return
    outcomes = train_all(small, place, allowed, console, force=True, rehearsal=True)
    show_outcomes(console, outcomes)
    reports = fit_outcomes(small, outcomes, place, rehearsal.heading) if small.fits else None
    folder = place / small.name
    runs = [open_run(outcome.folder) for outcome in outcomes]
    files = export(runs, folder / EXPORT, reports=reports, heading=rehearsal.heading)
    if len(runs) > 1:
        show_tables(console, [table(compare(runs))])
    console.print(f"export: {', '.join(file.name for file in files)} in {folder / EXPORT}", soft_wrap=True)
    console.print(f"{rehearsal.heading}\nruns: {folder}", soft_wrap=True, markup=False)
