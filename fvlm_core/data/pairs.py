"""Pairs of answers: which sources have them."""

from __future__ import annotations

from collections.abc import Sequence

from fvlm_core.interfaces.data import DataSource
from fvlm_core.media.bad_sample import BadSample

LOOKED_AT = 16
"""Samples of a source that are looked at for a rejected answer; single ones without are bad samples of the run."""


def without_pairs(sources: Sequence[DataSource]) -> list[str]:
    """What is to be said of the sources that have no pairs, a message each: none of their first samples is one."""
    messages: dict[str, str] = {}  # by source: its two splits are one
    for source in sources:
        seen: list[str] = []
        for index in range(min(LOOKED_AT, len(source))):
            try:
                sample = source[index]
            except BadSample:
                continue
            if sample.rejected:
                break
            seen.append(f"{sample.source}/{sample.id}")
        else:
            if seen:
                messages.setdefault(
                    source.name,
                    f"training.preference: expected pairs of answers, and {source.name} has none ({seen[0]} has no "
                    "rejected answer). Choose a source of preference pairs (fvlm plugins list), or take "
                    "[training.preference] out of the recipe",
                )
    return list(messages.values())
