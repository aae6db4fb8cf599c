"""Everything that a page says of some runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from attrs import frozen

from fvlm_core.recipes.schema import Chosen
from fvlm_core.report.html import (
    ablations,
    answers,
    benchmarks,
    campaign,
    curves,
    fit_files,
    laws,
    needles,
    offered,
    pair,
    token_budget,
)
from fvlm_core.report.html import compute as spent
from fvlm_core.report.html import data_mix as diet
from fvlm_core.report.html import environment as surroundings
from fvlm_core.report.html import reproduce as repeat
from fvlm_core.report.html import runs as made
from fvlm_core.report.html.parts import Block, Section, duration, power
from fvlm_core.report.html.run_data import Gathered, gather_runs
from fvlm_core.runs.store import StoredRun

Progress = Literal["running", "complete", "waiting", "stopped"]


@frozen(eq=False)
class Content:
    """title: the recipes. lede: one sentence for who reads nothing else. state: of all runs together; "waiting": for
    runs that are expected and have not begun."""

    title: str
    lede: str
    state: Progress
    sections: Sequence[Section]


def gather(
    runs: Sequence[StoredRun],
    *,
    baseline: str | None = None,
    gaze: int = 0,
    draw_fits: bool = True,
    chosen: Sequence[Chosen] = (),
    waiting: Sequence[str] = (),
    fits: Sequence[Path] = (),
    two: bool = False,
    predictions: int = 0,
) -> Content:
    """Read runs and lay out what they say.

    baseline: of the comparison. gaze: videos for which each trained model's looks are drawn. draw_fits: whether points
    are fitted again, for the curves. chosen: sections of plugins. waiting: runs that are expected and have not begun.
    two: whether any two of the runs can be shown beside each other. predictions: samples of each kind, best, typical
    and worst, of which what each trained model says is shown. fits: files of `fvlm fit --json`, which may be all there
    is. Raises `UsageError` for one that holds no fit.
    """
    of_files = [fit_files.section(fits)] if fits else []
    if of_files and not runs:
        names = ", ".join(file.name for file in fits)
        return Content(names, f"Scaling laws of {names}.", "complete", of_files)
    found = gather_runs(runs)
    title = ", ".join(dict.fromkeys(one.run.recipe for one in found)) or "no run yet"
    if not found:
        text = f"Waiting for {', '.join(waiting)}." if waiting else "No run has begun."
        nothing = Section("what-was-run", "What was run", [Block("", [text])])
        return Content(title, text, "waiting", [nothing])
    stands, under_way = campaign.stands(found)
    sections = [
        made.section(found),
        *([bought] if (bought := campaign.section(found)) else []),
        curves.section(found),
        laws.section(found, draw_fits),
        *of_files,
        ablations.section(found, baseline),
        *([beside] if two and (beside := pair.section(found)) else []),
        *([budget] if (budget := token_budget.section(found, draw_fits)) else []),
        *([told] if (told := answers.section(found)) else []),
        *([hidden] if (hidden := needles.section(found)) else []),
        *([scored] if (scored := benchmarks.section(found)) else []),
        diet.section(found),
        spent.section(found),
    ]
    if predictions:
        from fvlm_core.report.html import predictions as foreseen

        sections.append(foreseen.section(found, predictions))
    if gaze:
        from fvlm_core.report.html import gaze as looks

        sections.append(looks.section(found, gaze))
    sections += offered.sections(found, chosen)
    sections += [surroundings.section(found), repeat.section(found)]
    state = _state(found, bool(waiting) or under_way)
    return Content(title, " ".join([_lede(found, waiting), *stands]), state, sections)


def _state(runs: Sequence[Gathered], waiting: bool) -> Progress:
    states = {one.state for one in runs}
    if "running" in states:
        return "running"
    if states <= {"complete", "imported"}:
        return "waiting" if waiting else "complete"
    return "stopped"


def _lede(runs: Sequence[Gathered], waiting: Sequence[str]) -> str:
    states: dict[str, int] = {}
    for one in runs:
        states[one.state] = states.get(one.state, 0) + 1
    counts = ", ".join(f"{count} {state}" for state, count in states.items())
    parts = [f"{len(runs)} run{'s' * (len(runs) != 1)}: {counts}"]
    if waiting:
        parts.append(f"not begun: {', '.join(waiting)}")
    scored = [one for one in runs if one.summary.get("best_val_loss") is not None]
    if scored:
        best = min(scored, key=lambda one: one.summary["best_val_loss"])
        parts.append(f"lowest validation loss {best.summary['best_val_loss']:.4f}, of {best.label}")
    total = sum(spent.flops(one) or 0.0 for one in runs)
    hours = sum(one.hours or 0.0 for one in runs)
    if total:
        parts.append(f"{power(total).text} FLOPs in {duration(hours).text} (h:mm:ss)")
    return f"{'; '.join(parts)}."
