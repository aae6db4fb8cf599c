"""The compute ledger: FLOPs of each run by component, and what the machine made of them."""

from __future__ import annotations

from collections.abc import Sequence

from fvlm_core.planning.flops import COMPONENTS
from fvlm_core.report.html.parts import Block, Cell, Column, Section, Table, duration, number, power
from fvlm_core.report.html.run_data import Gathered
from fvlm_core.runs.store import TOKENIZER
from fvlm_core.utils.errors import FvlmError
from fvlm_registry import LookupFailure

_HOW = (
    "Training FLOPs, forward and backward, as docs/explanation/flops.md counts them. The shares of the components are "
    "those of a sample of the mean length that the run saw."
)


def section(runs: Sequence[Gathered]) -> Section:
    """One row a run, and the sum."""
    columns = [
        Column("run"),
        Column("FLOPs", number=True),
        Column("a sample", number=True),
        *(Column({"llm": "language model"}.get(name, name), number=True) for name in COMPONENTS),
        Column("time", number=True),
        Column("samples a second", number=True),
        Column("memory, GB", number=True),
    ]
    rows = [_row(one) for one in runs]
    total = sum(row[1].value or 0.0 for row in rows)
    said = f"All runs together: {power(total).text} FLOPs." if total else "No FLOPs were recorded."
    table = Table("compute-of-runs", "Compute of each run.", columns, rows)
    return Section("compute", "Compute ledger", [Block("", [said, _HOW], tables=[table])])


def flops(one: Gathered) -> float | None:
    """Training FLOPs of a run so far; None where they were not recorded."""
    found = [curve.last.get("flops") for curve in (one.training, one.validation)]
    known = [float(value) for value in found if value is not None]
    return max(known) if known else None


def _row(one: Gathered) -> list[Cell]:
    parts = _shares(one)
    last = one.training.last
    return [
        Cell(one.label),
        power(flops(one)),
        power(one.run.record.get("flops_per_sample")),
        *(
            Cell(f"{100 * parts[name]:.1f} %", parts[name], parts[name]) if parts else Cell("")
            for name in COMPONENTS
        ),
        duration(one.hours),
        number(last.get("throughput_samples_sec"), "{:,.3g}"),
        number(last.get("gpu_mem_gb") or last.get("memory_gb"), "{:.1f}"),
    ]


def _shares(one: Gathered) -> dict[str, float]:
    """Of each component in a sample of mean length; {} where the model or the lengths are not known."""
    summary = one.summary
    counts = list((summary.get("mixture") or {}).values())
    samples = sum(of["samples"] for of in counts)
    if not samples or not one.run.has_recipe:
        return {}
    from fvlm_core.data.lengths import SampleLengths
    from fvlm_core.model.build import make_chat
    from fvlm_core.planning.compute import sample_ledger
    from fvlm_core.planning.connector_trace import Tracer
    from fvlm_core.recipes.read import from_resolved

    try:
        config = from_resolved(one.resolved)
        vocabulary = make_chat(config.model, tuple, one.run.folder / TOKENIZER).vocabulary
    except (FvlmError, LookupFailure, OSError):  # a plugin or a file that is no more
        return {}
    mean = SampleLengths(
        round(sum(of["frames"] for of in counts) / samples),
        round(sum(of["tokens"] for of in counts) / samples),
        round((summary.get("supervised_tokens") or 0) / samples),
    )
    tracer = Tracer.of(config.model, vocabulary, config.training.lora)
    found = sample_ledger(config, tracer, [mean])
    return {name: part / found.total for name, part in found.components().items()}
