"""Where and with what the runs were made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fvlm_core.report.html.parts import Block, Cell, Column, Section, Table, number
from fvlm_core.report.html.run_data import Gathered


def section(runs: Sequence[Gathered]) -> Section:
    """A column an environment, alike ones once; then every start of every run."""
    alike: dict[str, list[Gathered]] = {}
    for one in runs:
        if one.environment:  # imported runs have none
            alike.setdefault(json.dumps(one.environment, sort_keys=True), []).append(one)
    groups = list(alike.values())
    heads = [
        f"runs {', '.join(one.label for one in group)}" if len(group) < len(runs) else "all runs"
        for group in groups
    ]
    tables = [_flat(group[0].environment) for group in groups]
    keys = dict.fromkeys(key for table in tables for key in table)
    rows = [[Cell(key), *(Cell(table.get(key, "")) for table in tables)] for key in keys]
    words = [] if rows else ["No environment was recorded."]
    found = [
        Table("versions", "Versions and machine.", [Column("what"), *map(Column, heads)], rows, plain=True)
    ]
    return Section(
        "environment", "Environment", [Block("", words, tables=[*(found if rows else []), *_starts(runs)])]
    )


def _flat(environment: Mapping[str, Any]) -> dict[str, str]:
    plain = {
        key: str(value)
        for key, value in environment.items()
        if key not in ("packages", "plugins", "variables") and value is not None
    }
    packages = {
        name: str(version) for name, version in (environment.get("packages") or {}).items() if version
    }
    variables = {name: str(value) for name, value in (environment.get("variables") or {}).items()}
    versions: dict[str, list[str]] = {}
    for plugin in environment.get("plugins") or ():
        state = "" if plugin.get("status") == "ok" else f" ({plugin.get('status')})"
        versions.setdefault(f"{plugin.get('distribution')} {plugin.get('version')}", []).append(
            f"{plugin['name']}{state}"
        )
    plugins = {f"plugins of {of}": ", ".join(names) for of, names in versions.items()}
    return {**plain, **packages, **plugins, **variables}


def _starts(runs: Sequence[Gathered]) -> list[Table]:
    columns = (
        Column("run"),
        Column("attempt", number=True),
        Column("began"),
        Column("host"),
        Column("device"),
        Column("processes", number=True),
        Column("torch"),
    )
    rows = [
        [
            Cell(one.label),
            number(start.get("attempt"), "{}"),
            Cell(str(start.get("at") or "")),
            Cell(str(start.get("host") or "")),
            Cell(str(start.get("device") or "")),
            number(start.get("world"), "{}"),
            Cell(str(start.get("torch") or "")),
        ]
        for one in runs
        for start in one.attempts
    ]
    return [Table("starts", "Every start of every run.", columns, rows)] if rows else []
