"""What is said beside the numbers of a fit: one line a fact, the reasons first, and no more than a reader takes in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fvlm_core.scaling.fit.report import FitReport

MOST = 10
"""Lines that are printed unless all are asked for."""

ALIKE = 2
"""More warnings of one kind than this are one line: the first of them, and how many more there are."""


def reasons_of(report: FitReport) -> list[str]:
    """The reasons, those of several groups that say the same once, behind the groups' names."""
    groups = [fit.group for fit in report.fits if fit.group]
    if report.model.split is not None:
        groups += [str(one) for one in report.points.table.get(report.model.split, ())]
    said: dict[str, list[str]] = {}
    for reason in report.reasons:
        name, colon, text = reason.partition(": ")
        named = bool(colon) and report.model.split is not None and (name in groups or not groups)
        said.setdefault(text if named else reason, []).append(name if named else "")
    return [f"{', '.join(names)}: {text}" if any(names) else text for text, names in said.items()]


def warnings_of(report: FitReport) -> list[str]:
    """The warnings that no reason repeats; of more than `ALIKE` of one kind the first, and how many more."""
    said = " ".join(report.reasons)
    codes = {remark.text: remark.code for fit in report.fits for remark in fit.remarks}
    kinds: dict[str, list[str]] = {}
    for line in report.warnings:
        code = next((code for text, code in codes.items() if line.endswith(text)), line)
        if line not in said:
            kinds.setdefault(code, []).append(line)
    out: list[str] = []
    for lines in kinds.values():
        more = len(lines) - 1
        out += lines if len(lines) <= ALIKE else [f"{lines[0]} (and {more} more like it)"]
    return out


def told(kinds: Sequence[Iterable[str]], verbose: bool) -> tuple[list[list[str]], int]:
    """The lines of each kind that are printed, the first kinds first, and how many are not."""
    left, out, hidden = MOST, [], 0
    for kind in kinds:
        lines = [*kind]
        kept = lines if verbose else lines[: max(left, 0)]
        out.append(kept)
        left -= len(kept)
        hidden += len(lines) - len(kept)
    return out, hidden
