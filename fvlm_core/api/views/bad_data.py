"""Which data could not be used, in a few lines where a person looks: below the runs' table, and in a plan."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from fvlm_core.utils.listing import listed

_NAMED = 3
"""Samples that a line names."""


def check_command(recipe: str, overrides: Sequence[str] = ()) -> str:
    """What names everything that is wrong with a recipe's data. overrides: "key=value" texts that were given, too."""
    changed = [word for text in overrides for word in ("-o", text)]
    return shlex.join(["fvlm", "data", "check", recipe, *changed])


def unusable_text(bad: Mapping[str, str], check: str, looked_at: str = "") -> list[str]:
    """The line about samples that were read and could not be used; none where all could be.

    bad: why, by "source/id". check: the command that names all of them. looked_at: of which they are.
    """
    if not bad:
        return []
    named = listed((f"{sample} ({_reason(sample, why)})" for sample, why in bad.items()), _NAMED)
    return [f"{_samples(len(bad))}{looked_at} could not be used: {named}; see {check} --decode"]


def left_out_text(count: int, first: Sequence[str], check: str) -> list[str]:
    """The line about entries that no sample was made of, when the data were listed. first: some, in words."""
    if not count:
        return []
    more = f" and {count - _NAMED:,} more" if count > _NAMED else ""
    return [f"{_samples(count)} left out of the data: {listed(first[:_NAMED])}{more}; see {check}"]


def _samples(count: int) -> str:
    return "1 sample" if count == 1 else f"{count:,} samples"


def _reason(sample: str, why: str) -> str:
    """Without the path of a file that the sample is called like."""
    path, colon, rest = why.partition(": ")
    return rest if colon and sample.endswith(Path(path).name) else why
