"""What a section of the report promises; see `Section`."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from io import BytesIO
from typing import Any

from attrs import evolve

from fvlm_core.interfaces.section import ReportedRun, Section, SectionFigure, SectionTable
from fvlm_core.testing.finding import Promise, expect, promises
from fvlm_core.testing.subject import ComponentUnderTest

PROMISES: list[Promise] = []


class Shown:
    """The section under test, and a report of three runs: a complete one, one that failed early, an imported one."""

    def __init__(self, subject: ComponentUnderTest) -> None:
        self.component = subject.component
        self.config = subject.config
        self.target = subject.load()

    def build(self, runs: Sequence[ReportedRun]) -> Any:
        """Of these runs."""
        return self.target(self.config, runs)

    def runs(self) -> list[ReportedRun]:
        """Made anew each time."""
        rows = [
            {
                "event_type": kind,
                "step": step,
                "train_loss": 3 - 0.1 * step,
                "grad_norm": 1 / step,
                "val_loss": 3.0,
            }
            for step in range(1, 6)
            for kind in ("train", *(["eval"] if step == 5 else []))
        ]
        summary = {"best_val_loss": 2.5, "best_val_step": 5, "total_steps": 5, "complete": True}
        resolved = {"training": {"lr": 0.001, "schedule": "cosine"}}
        whole = ReportedRun(
            "check/a", "check", "a", "complete", ("first",), resolved, summary, lambda: deepcopy(rows)
        )
        early = evolve(whole, name="check/b", id="b", state="failed", tags=(), summary={}, rows=list)
        return [whole, early, evolve(early, name="check/c", id="c", state="imported", resolved={})]


def prepare(subject: ComponentUnderTest) -> Shown:
    """The section under test."""
    return Shown(subject)


def told(section: Section) -> list[Any]:
    """What a section shows, for comparing."""
    found: list[Any] = [section.title]
    for part in section.parts:
        if isinstance(part, SectionTable):
            found += [part.caption, list(part.columns), [list(map(str, row)) for row in part.rows]]
        elif isinstance(part, SectionFigure):
            picture = BytesIO()
            part.figure.savefig(picture, format="png")
            found += [part.caption, picture.getvalue()]
        else:
            found.append(part)
    return found


@promises(PROMISES, "build(config, runs) makes a section", Section, "The component's target is")
def _build(shown: Shown) -> None:
    made = shown.build(shown.runs())
    expect(isinstance(made, Section), f"{shown.component.target} makes a {type(made).__name__}")
    expect(len(made.parts) > 0, "it has no part: a reader sees a heading and nothing below it")


@promises(PROMISES, "it only reads", Section, "It only reads what it is given")
def _reads(shown: Shown) -> None:
    runs = shown.runs()
    before = deepcopy([(run.name, run.tags, run.resolved, run.summary) for run in runs])
    shown.build(runs)
    after = [(run.name, run.tags, run.resolved, run.summary) for run in runs]
    expect(before == after, "it changes the runs that it is given")
    expect([run.id for run in runs] == ["a", "b", "c"], "it changes the list of runs that it is given")


@promises(PROMISES, "the same runs give the same section", Section, "The same runs give the same section")
def _same(shown: Shown) -> None:
    once, twice = told(shown.build(shown.runs())), told(shown.build(shown.runs()))
    expect(once == twice, "made twice it shows something else")


@promises(PROMISES, "what cannot be told is said", Section, "What cannot be told is said")
def _empty(shown: Shown) -> None:
    for runs, which in ((shown.runs()[1:], "runs without metrics"), ([], "no run")):
        made = shown.build(runs)
        expect(isinstance(made, Section) and len(made.parts) > 0, f"of {which} it says nothing")


@promises(PROMISES, "any number of runs will do", Section, "What cannot be told is said")
def _alone(shown: Shown) -> None:
    for runs in (shown.runs()[:1], shown.runs() * 3):
        made = shown.build(runs)
        expect(isinstance(made, Section), f"of {len(runs)} runs it makes a {type(made).__name__}")


@promises(PROMISES, "values that are not known do no harm", ReportedRun, "summary: `summary.json`")
def _unknown(shown: Shown) -> None:
    runs = shown.runs()
    none = dict.fromkeys(runs[0].summary)
    rows = [{"event_type": "train", "step": 1, "train_loss": None, "grad_norm": None}]
    made = shown.build([evolve(runs[0], summary=none, rows=lambda: rows), *runs[1:]])
    expect(isinstance(made, Section), "of a run whose numbers are not known it makes no section")


@promises(PROMISES, "names may be any text", Section, "All text is shown as it is")
def _names(shown: Shown) -> None:
    runs = shown.runs()
    odd = evolve(runs[0], name="<b>$x_1^2$ `{}` %s", id="<b>", tags=("$\\frac", "\u202e"))
    made = shown.build([odd, *runs[1:]])
    told(made)
    expect(isinstance(made, Section), "of a run with an odd name it makes no section")
