"""How to make these runs again: the commands, and the recipes as they were resolved."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from fvlm_core.recipes.written import whole
from fvlm_core.report.html.parts import Block, CodeBlock, Section
from fvlm_core.report.html.run_data import Gathered
from fvlm_core.runs.store import IMPORTED
from fvlm_core.scaling.points.in_fits import FITS
from fvlm_core.utils.atomic_files import read_json


def section(runs: Sequence[Gathered]) -> Section:
    """Commands first, then the recipe of every name on the page."""
    by_recipe: dict[str, list[Gathered]] = {}
    for one in runs:
        by_recipe.setdefault(one.run.recipe, []).append(one)
    blocks = [_block(recipe, of, len(by_recipe) > 1) for recipe, of in by_recipe.items()]
    return Section("repeat", "How to repeat it", blocks)


def _block(recipe: str, runs: Sequence[Gathered], named: bool) -> Block:
    heading = recipe if named else ""
    trained = [one for one in runs if one.run.has_recipe and IMPORTED not in one.run.record]
    imported = [one for one in runs if one not in trained]
    words: list[str] = []
    if imported:
        files = dict.fromkeys(str((one.run.record.get(IMPORTED) or {}).get("file", "")) for one in imported)
        words.append(
            f"{len(imported)} runs were imported and cannot be trained again here. They are from: {', '.join(files)}"
        )
    if not trained:
        return Block(heading, words)
    version = trained[0].run.record.get("fvlm")
    commit = trained[0].environment.get("commit")
    words.append(
        f"With fvlm {version}"
        + (f", commit {commit}" if commit else "")
        + ": save the recipe below as a file, and run it. What is complete is skipped, what was interrupted continues."
    )
    file = shlex.quote(f"{recipe}.toml")
    dry = f"fvlm run {file} --dry-run   # what it needs and costs"
    commands = f"{dry}\nfvlm run {file}\nfvlm report {shlex.quote(recipe)}"
    text = whole(recipe, [(one.run.id, one.resolved) for one in trained], _fits(trained[0]))
    return Block(
        heading,
        words,
        listings=[CodeBlock("Commands", commands), CodeBlock(f"{recipe}.toml", text, folded=True)],
    )


def _fits(one: Gathered) -> list[dict[str, Any]]:
    """The fits that the recipe asked for, as far as their reports say."""
    try:
        reports = read_json(one.run.folder.parent / FITS)["reports"]
        return [_fit(report) for report in reports]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # damaged: as good as not kept
        return []


def _fit(report: dict[str, Any]) -> dict[str, Any]:
    return {
        "model": report["model"],
        "objective": report["objective"]["name"],
        **({"runs": report["data"]["of"]} if report["data"].get("of") else {}),
    }
