"""What figures say in words: the numbers, what is withheld, and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fvlm_core.interfaces.figure import Found, LawFit, LawReport
from fvlm_core.utils.listing import shorten

BANDS = "Bands: 95\u00a0%, by bootstrap."

FITS_TOLD = 7
"""Of more fits than this the numbers are not repeated in a caption."""


REASONS_TOLD = 8
GROUPS_TOLD = 3
"""Reasons in a caption; of a law of groups, each of which has its own, fewer."""


def captions(reports: Sequence[LawReport], *more: str, numbers: bool = True) -> list[str]:
    """A paragraph a report, named where there are several, then `more`, each said once."""
    told = [" ".join(filter(None, [said(report, numbers), unsure(report)])) for report in reports]
    if len(reports) > 1:
        told = [f"{report.law.name}: {text}" for report, text in zip(reports, told, strict=True) if text]
    return [text for text in (*told, *more) if text]


def said(report: LawReport, numbers: bool = True) -> str:
    """The numbers of one report, what is withheld and why."""
    found = "; ".join(told(fit) for fit in report.fits[:FITS_TOLD]) if numbers else ""
    if found and len(report.fits) > FITS_TOLD:
        found += f"; and {len(report.fits) - FITS_TOLD} more"
    reasons = _grouped(report)
    most = GROUPS_TOLD if report.law.split else REASONS_TOLD
    why = " · ".join(sentence(reason) for reason in reasons[:most])
    if len(reasons) > most:
        why += f" · And {len(reasons) - most} more reasons, in the printed report."
    if not report.fits:
        return f"Refused. {why}" if report.withheld or why else "Refused."
    if report.status == "ok":
        return f"{found}." if found else ""
    withheld = f"Withheld: {', '.join(report.withheld)}. " if report.withheld else ""
    law = report.fits[0].law
    drawn = " with ".join(filter(None, [law.form if law is not report.law else "", found]))
    return f"{withheld}{why}{f' Drawn: {drawn}.' if drawn else ''}"


def _grouped(report: LawReport) -> list[str]:
    """The reasons; of a law of groups, one that holds for several of them once."""
    if not report.law.split:
        return [*report.reasons]
    groups: dict[str, list[str]] = {}
    for reason in report.reasons:
        name, _, why = reason.partition(": ")
        groups.setdefault(why, []).append(name)
    return [f"{shorten(', '.join(names))}: {why}" for why, names in groups.items()]


def unsure(report: LawReport) -> str:
    """Which fits have no interval, and why; "" when all have."""
    why: dict[str, list[str]] = {}
    for fit in report.fits:
        if fit.missing:
            why.setdefault(fit.missing, []).append(fit.group)
    of = {reason: f" of {', '.join(names)}" if any(names) else "" for reason, names in why.items()}
    return " ".join(sentence(f"No intervals{groups}: {reason}") for reason, groups in of.items())


def told(fit: LawFit) -> str:
    """`135M: a 1165, b 0.8431`."""
    group = f"{fit.group}: " if fit.group else ""
    return group + ", ".join(f"{found.name} {found.value:.4g}" for found in fit.parameters)


def interval(found: Found) -> str:
    """`0.43 [0.32, 0.55]`, with a word for an end, or an interval, that is not there."""
    if found.missing:
        return f"{found.value:.3g} (no interval: {found.missing})"
    low = "…" if found.low is None else f"{found.low:.3g}"
    high = "…" if found.high is None else f"{found.high:.3g}"
    return f"{found.value:.3g} [{low}, {high}]"


def left_out(counts: Iterable[tuple[str, int, str]]) -> str:
    """What a figure has no room for: a law, how many more, of what; "" when none is more than 0."""
    return " ".join(
        f"{law}: {more} more {what if more > 1 else what.removesuffix('s')} not drawn."
        for law, more, what in counts
        if more > 0
    )


def sentence(text: str) -> str:
    """With its full stop."""
    return text if text.endswith((".", "…")) else f"{text}."
