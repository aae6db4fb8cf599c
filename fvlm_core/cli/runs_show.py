"""`fvlm runs show`: everything that is known of one run, for people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fvlm_core.cli.console import heading
from fvlm_core.cli.help import Command
from fvlm_core.cli.options import runs_option
from fvlm_core.cli.path_types import RUN_OR_PATH

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from fvlm_core.runs.overview import Overview

_SHOWN = 10
"""Bad samples and evaluations that are shown; --json has all."""


@click.command("show", cls=Command)
@click.argument("name", type=RUN_OR_PATH, metavar="RUN")
@click.option("--settings", is_flag=True, help="Every key of the resolved recipe, not only the main ones.")
@click.option("--json", "as_json", is_flag=True, help="Everything, as JSON.")
@runs_option
def command(name: str, settings: bool, as_json: bool, root: Path) -> None:
    """Show one run: recipe, data, losses, attempts, accepted changes, bad samples, files and their sizes."""
    from fvlm_core.runs.listing import find_entries
    from fvlm_core.runs.overview import overview
    from fvlm_core.utils.errors import UsageError

    entries = find_entries([name], root)
    if len(entries) > 1:
        names = ", ".join(entry.name for entry in entries[:5]) + (", ..." if len(entries) > 5 else "")
        raise UsageError(f'"{name}" is {len(entries)} runs; show one of {names}')
    if entries[0].state == "unreadable":
        raise UsageError(f"{root / entries[0].folder}: {entries[0].problem}")
    seen = overview(entries[0], root)
    if as_json:
        import json

        click.echo(json.dumps(seen.to_json(), indent=2))
    else:
        _show(seen, settings)


def _show(seen: Overview, settings: bool) -> None:
    entry, record, summary = seen.entry, seen.record, seen.summary
    heading(entry.name)
    parameters = f"{entry.total_params:,}" if entry.total_params else ""
    trained = record.get("trainable_params")
    _section(
        "",
        {
            "state": entry.state + (f": {entry.problem}" if entry.problem else ""),
            "tags": " ".join(entry.tags),
            "model": f"{entry.size}, {parameters} parameters"
            + (f", {trained:,} of them trained" if trained else ""),
            "seed": entry.seed,
            "precision": record.get("precision"),
            "steps": f"{entry.step:,}" + (f" of {entry.planned:,}" if entry.planned else ""),
            "samples": f"{entry.samples:,}" if entry.samples else "",
            "time": _hours(entry.hours),
            "started from": (record.get("init_from") or {}).get("file") or _plain(record.get("init_from")),
            "imported from": _plain(record.get("imported")),
            "fvlm": record.get("fvlm"),
            "in fits": "" if entry.in_fits else "no",
        },
    )
    _section("recipe", seen.settings if settings else seen.main_settings)
    _lines("data", [*_data(record, "train"), *_data(record, "validation")])
    _section(
        "losses",
        {
            "best validation": _loss(entry.best_loss, entry.best_step),
            "its own words": _loss(summary.get("best_val_loss_content"), None),
            "last training": _loss(summary.get("final_train_loss"), None),
            "last validation": _loss(*_last(seen.evaluations)),
            **{f"  {source}": f"{loss:.4f}" for source, loss in seen.by_source.items() if loss is not None},
            "overfitting": summary.get("overfitting") or "",
            "spikes": summary.get("loss_spikes") or "",
            "unchanged steps": summary.get("unchanged_steps") or "",
        },
    )
    rows = seen.evaluations
    shown = (
        rows if len(rows) <= _SHOWN else [rows[at * (len(rows) - 1) // (_SHOWN - 1)] for at in range(_SHOWN)]
    )
    _lines(f"evaluations ({len(shown)} of {len(rows)})" if rows else "", [_evaluation(row) for row in shown])
    _lines("attempts", [_attempt(entry) for entry in seen.attempts])
    _lines(
        "changes of the recipe that were accepted",
        [f"{c['key']}: {c['from']} -> {c['to']}, at attempt {c['attempt']}, {c['at']}" for c in seen.drift],
    )
    bad = seen.bad
    _lines(
        f"bad samples ({len(bad)})" if bad else "",
        [f"{row.get('sample')}: {row.get('reason')}" for row in bad[:_SHOWN]] + ["..."] * (len(bad) > _SHOWN),
    )
    total = sum(seen.files.values())
    sizes = [f"{size / 1e6:>12,.3f} MB  {name}" for name, size in seen.files.items()]
    _lines(f"files: {seen.folder} ({total / 1e6:,.1f} MB)", sizes)


def _section(title: str, values: Mapping[str, Any]) -> None:
    known = {key: value for key, value in values.items() if value not in (None, "")}
    wide = max(map(len, known), default=0)
    _lines(title, [f"{key:<{wide}}  {value}" for key, value in known.items()])


def _lines(title: str, lines: Iterable[str]) -> None:
    """Nothing when there are no lines."""
    found = list(lines)
    if found and title:
        click.echo()
        heading(title)
    for line in found:
        click.echo(f"  {line}")


def _data(record: Mapping[str, Any], split: str) -> Sequence[str]:
    sources = (record.get("data") or {}).get(split) or []
    return [
        f"{split:<10}  {s['source']}  {s['samples']:,} samples  {str(s['fingerprint'])[:16]}" for s in sources
    ]


def _evaluation(row: Mapping[str, Any]) -> str:
    from fvlm_core.runs.answers import metric_means
    from fvlm_core.runs.metrics import other_losses

    loss, entropy = row.get("val_loss"), row.get("attention_entropy")
    shown = f"{loss:.4f}" if loss is not None else "no number"
    gaze = f"  entropy {entropy:.3f}" if entropy is not None else ""
    others = "".join(f"  {name} {found:.4f}" for name, found in other_losses(dict(row)).items())
    metrics = "".join(f"  {name} {found}" for name, found in metric_means(row).items())
    return f"step {row.get('step'):>8,}  val {shown}{others}{gaze}{metrics}"


def _attempt(entry: Mapping[str, Any]) -> str:
    return (
        f"{entry.get('attempt')}  {entry.get('at')}  {entry.get('host')}  {entry.get('device')} x "
        f"{entry.get('world', 1)}  torch {entry.get('torch')}"
    )


def _last(rows: Sequence[Mapping[str, Any]]) -> tuple[float | None, int | None]:
    """Loss and step of the last evaluation."""
    return (rows[-1].get("val_loss"), rows[-1].get("step")) if rows else (None, None)


def _loss(value: float | None, step: int | None) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" + (f" at step {step:,}" if step is not None else "")


def _hours(hours: float | None) -> str:
    from fvlm_core.api.views.display import clock

    return "" if hours is None else clock(3600 * hours)


def _plain(value: Any) -> str:
    if not isinstance(value, dict):
        return "" if value is None else str(value)
    return ", ".join(f"{key} {child}" for key, child in value.items() if not isinstance(child, dict | list))
