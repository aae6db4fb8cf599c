"""Scaling laws: what the recipe's fits found, with intervals, and what they refused, with the reasons."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fvlm_core.report.digits import digits
from fvlm_core.report.html.law_charts import DRAWS, against_data, along_column
from fvlm_core.report.html.parts import Block, Cell, Chart, Column, Section, Table, minus
from fvlm_core.report.html.run_data import Gathered
from fvlm_core.runs.store import StoredRun
from fvlm_core.scaling.points.in_fits import FITS
from fvlm_core.scaling.points.points import AS_GIVEN
from fvlm_core.utils.atomic_files import read_json
from fvlm_core.utils.errors import FvlmError
from fvlm_registry import LookupFailure

if TYPE_CHECKING:
    from fvlm_core.interfaces.fit import FitModel
    from fvlm_core.scaling.points.points import Points

Json = Mapping[str, Any]

_KINDS = {"objective": "with other objectives", "cut": "without first points", "run": "without one run"}


def section(runs: Sequence[Gathered], draw: bool = True) -> Section:
    """The stored fits of every recipe. draw: whether its points are fitted again, for the curves and their bands."""
    blocks: list[Block] = []
    recipes = dict.fromkeys((one.run.folder.parent, one.run.recipe) for one in runs)
    for number_, (folder, recipe) in enumerate(recipes):
        found = stored(folder / FITS)
        named = f"{recipe}: " if len(recipes) > 1 else ""
        if not found:
            blocks.append(
                Block("", [f"{named}no scaling law was fitted to these runs; `fvlm fit` fits one."])
            )
            continue
        for at, report in enumerate(found):
            points = points_of(folder, runs, report) if draw else None
            where = f"{at + 1} in {folder / FITS}"
            blocks.append(block(report, points, f"law-{number_}-{at}", named, draw, where))
    return Section("scaling", "Scaling laws", blocks)


def stored(file: Path) -> list[Json]:
    """The fits that a file holds; none where it cannot be read."""
    try:
        found = read_json(file)
    except (OSError, ValueError):
        return []
    found = found.get("reports") if isinstance(found, dict) else None
    return [report for report in found if isinstance(report, dict)] if isinstance(found, list) else []


def points_of(folder: Path, runs: Sequence[Gathered], report: Json) -> Points | None:
    """What a fit was made of, as it is now: runs that are not on the page, too; None where that cannot be had."""
    from fvlm_core.runs.store import RECIPE, in_order, open_run
    from fvlm_core.scaling.points.points_from_runs import from_runs

    known = {one.run.folder: one.run for one in runs}
    every: list[StoredRun] = []
    for file in sorted(folder.glob(f"*/{RECIPE}")):
        with suppress(FvlmError, OSError):  # whoever gathered the runs has named those that cannot be read
            every.append(known.get(file.parent) or open_run(file.parent))
    try:
        pattern = str(report["data"].get("of", "*"))
        chosen = in_order([run for run in every if fnmatchcase(run.id, pattern)])
        return from_runs(chosen, str(folder), laws=[law_of(report)])
    except (FvlmError, LookupError, TypeError, ValueError, AttributeError):
        return None


def law_of(report: Json) -> FitModel:
    """The law of a stored fit, as it is installed now. Raises `LookupFailure` or `FvlmError`."""
    from fvlm_core.recipes.read import fit_from_record
    from fvlm_core.scaling.fit.fitting import load_model

    name, settings = str(report["model"]), report.get("settings")
    return load_model(name, fit_from_record({"model": name, **settings}).config if settings else None)


def block(report: Json, points: Points | None, id: str, named: str, draw: bool, where: str) -> Block:
    """A stored fit. points: what it was made of, as it is now. where: the fit's place, for one that cannot be read."""
    try:
        return _read_block(report, points, id, named, draw)
    except (LookupError, TypeError, ValueError, AttributeError) as error:  # written by another hand
        return Block("", [f"{named}fit {where} cannot be read: {type(error).__name__}: {error}"])


def _read_block(report: Json, points: Points | None, id: str, named: str, draw: bool) -> Block:
    status = str(report["status"])
    words = [
        _asked(report),
        *(_sentence(f"{remark[:1].upper()}{remark[1:]}") for remark in report["data"]["remarks"]),
    ]
    warnings: list[str] = []
    if status == "refused":
        warnings.append("Refused: the points cannot tell this law's numbers, so none are shown.")
    elif status == "reduced":
        warnings.append("Reduced: only a part of this law could be fitted; the rest is withheld.")
    if report.get("forced"):
        warnings.append("Numbers are shown in spite of the reasons not to, as they were forced.")
    if report["withheld"]:
        warnings.append(f"Withheld: {', '.join(report['withheld'])}.")
    warnings += [_sentence(reason) for reason in report["reasons"]]
    warnings += _remarks(report)
    charts: list[Chart] = []
    if draw:
        drawn, why = _drawn(report, points, id)
        charts += [drawn] if drawn else []
        words += [why] if why else []
    fits = report["fits"]
    tables = [_numbers(report, id)] if fits else []
    tables += [_sensitivity(fits, id)] if any(fit.get("sensitivity") for fit in fits) else []
    of = report["data"].get("of")
    heading = f"{named}{report['model']}" + (f", runs {of}" if of else "")
    return Block(heading, words, list(dict.fromkeys(warnings)), charts, tables)


def _asked(report: Json) -> str:
    data, form = report["data"], str(report["form"])
    of = [
        f"{len(data[kind])} {kind if len(data[kind]) > 1 else kind[:-1]}"
        for kind in ("runs", "sizes")
        if len(data[kind]) > 1 or data["runs"]
    ]
    counts = f"{report['n_points']} points" + (f" of {' and '.join(of)}" if of else "")
    kinds = [(letter, data[letter.lower()]) for letter in "ND"]
    read = [
        f"{letter}: {kind}" for letter, kind in kinds if kind != AS_GIVEN or re.search(rf"\b{letter}\b", form)
    ]
    own = ", ".join(f"{key} = {value}" for key, value in report.get("settings", {}).items())
    settings = f" Settings: {own}." if own else ""
    return f"{form}.{settings} {'; '.join([counts, *read])}; objective {report['objective']['name']}."


def _remarks(report: Json) -> list[str]:
    """Warnings; those of single groups begin with the groups they hold for."""
    groups: dict[str, list[str]] = {remark["text"]: [] for remark in report["warnings"]}
    for fit in report["fits"]:
        for remark in fit["warnings"]:
            groups.setdefault(remark["text"], []).append(fit["group"])
    said = " ".join(report["reasons"])
    lines = [f"{', '.join(names)}: {text}" if any(names) else text for text, names in groups.items()]
    relation = report.get("relation") or {}
    return [
        _sentence(line) for line in (*lines, str(relation.get("reason") or "")) if line and line not in said
    ]


def _sentence(text: str) -> str:
    return text if text.endswith((".", "…")) else f"{text}."


def _numbers(report: Json, id: str) -> Table:
    columns = (
        Column("of"),
        Column("parameter"),
        Column("value", number=True),
        Column("standard error", number=True),
        Column("95 % interval", number=True),
        Column("note"),
    )
    rows: list[list[Cell]] = []
    for fit in report["fits"]:
        for name, found in fit["parameters"].items():
            bound = f"on its bound ({found['bound']})" if found.get("bound") else ""
            rows.append(
                [
                    Cell(fit["group"] or "all points"),
                    Cell(name),
                    _digits(found["value"], 5),
                    _digits(found["stderr"], 2),
                    Cell(
                        "none" if found.get("no_interval") else _interval(found["interval"]), found["value"]
                    ),
                    Cell(f"given: {found['given']}" if found.get("given") else bound),
                ]
            )
        rows.append(
            [Cell(fit["group"] or "all points"), Cell("rmse"), _digits(fit["rmse"], 5), *[Cell("")] * 3]
        )
    for one in (report.get("relation") or {}, *report.get("derived", ())):
        if one.get("exponent") is None:
            continue
        asked, ends = one["relation"], one["interval"]
        power = f"{asked['exponent']} of {asked['parameter']} ~ {asked['against']}^{asked['exponent']}"
        interval = "none" if ends["missing"] else _interval((ends["low"], ends["high"]))
        value, scale = _digits(one["exponent"], 5), f"scale {digits(one['scale'], 4)}"
        rows.append(
            [Cell("all groups"), Cell(power), value, Cell(""), Cell(interval, one["exponent"]), Cell(scale)]
        )
    how = sorted(
        {
            f"{fit['bootstrap']['draws']} draws ({fit['bootstrap']['scheme']})"
            for fit in report["fits"]
            if fit["bootstrap"]["draws"]
        }
    )
    made = f"Intervals by bootstrap: {'; '.join(how)}." if how else "No intervals; the warnings say why."
    caption = f"Numbers of {report['model']}. {made}"
    return Table(f"{id}-numbers", caption, columns, rows)


def _digits(value: float | None, significant: int) -> Cell:
    return Cell("") if value is None else Cell(minus(digits(value, significant)), float(value))


def _interval(ends: Sequence[float | None]) -> str:
    low, high = ends
    if low is None and high is None:
        return "unbounded"
    left = "(unbounded" if low is None else f"[{digits(low, 4)}"
    right = "unbounded)" if high is None else f"{digits(high, 4)}]"
    return f"{left}, {right}"


def _sensitivity(fits: Sequence[Json], id: str) -> Table:
    kinds = {
        kind: words
        for kind, words in _KINDS.items()
        if any(line["kind"] == kind for fit in fits for line in fit.get("sensitivity") or ())
    }
    rows: list[list[Cell]] = []
    for fit in fits:
        lines: Sequence[Json] = fit.get("sensitivity") or ()
        for name in dict.fromkeys(name for line in lines for name in line["values"]):
            found = {
                kind: [line["values"].get(name) for line in lines if line["kind"] == kind] for kind in kinds
            }
            cells = [_span([value for value in values if value is not None]) for values in found.values()]
            rows.append(
                [Cell(fit["group"] or "all points"), Cell(name.removesuffix(f"[{fit['group']}]")), *cells]
            )
    columns = [Column("of"), Column("parameter"), *(Column(words, number=True) for words in kinds.values())]
    return Table(f"{id}-sensitivity", "What other ways to fit give: lowest to highest.", columns, rows)


def _span(values: Sequence[float]) -> Cell:
    ends = dict.fromkeys(digits(end, 3) for end in (min(values), max(values))) if values else ()
    return Cell(minus(" to ".join(ends)), min(values, default=None))


def _drawn(report: Json, points: Points | None, id: str) -> tuple[Chart | None, str]:
    """The chart of a fit, and why there is none, or what it lacks."""
    from fvlm_core.report.figures import over_data
    from fvlm_core.report.figures.view import view
    from fvlm_core.scaling.fit.fitting import fit_points
    from fvlm_core.scaling.fit.objective import FitObjective
    from fvlm_core.scaling.fit.options import Options
    from fvlm_core.scaling.fit.preparation import prepared

    if points is None:
        return None, "There are no points to draw."
    asked = report["objective"]
    try:
        objective = FitObjective(asked["name"], asked["delta"])
        model = law_of(report)
        if model.form != report["form"]:
            return (
                None,
                "Not drawn: the law as installed is not the one that was fitted, or the file does not hold its "
                "settings. `fvlm run` fits it again.",
            )
        points = prepared(points, model)
        changed = points.fingerprint() != report["data"]["fingerprint"]
        told = "The points are others than those that this law was fitted to, whose numbers are below."
        note = told if changed else ""
        seen = view(fit_points(points, model, objective, draws=DRAWS, options=Options(sensitivity=False)))
    except (FvlmError, LookupFailure) as error:
        return None, f"Not drawn: {error}"
    return (against_data if over_data(seen) else along_column)(seen, id), note
