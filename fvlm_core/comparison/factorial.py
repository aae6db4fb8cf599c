"""The 2x2 of two settings: both effects, and whether they add up."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

from attrs import frozen

from fvlm_core.comparison.contrast import Contrast, contrast
from fvlm_core.comparison.measured import Variant
from fvlm_core.utils.errors import UsageError
from fvlm_core.utils.listing import listed
from fvlm_registry.nearest import did_you_mean

_ABSENT = "not set"


@frozen(eq=False)
class Square:
    """Four variants of two settings: neither, the first, the second, both."""

    neither: Variant
    first: Variant
    second: Variant
    both: Variant


@frozen
class Effect:
    """One effect. name: "A1", "A6", or "A1 x A6" for the interaction: what both do beyond the sum of each alone."""

    name: str
    of: Contrast


@frozen(eq=False)
class Factorial:
    """A square and its effects. changes: what each setting changes, as "key = value"."""

    square: Square
    changes: tuple[tuple[str, ...], tuple[str, ...]]
    effects: tuple[Effect, Effect, Effect]


def factorial(square: Square, metric: str) -> Factorial:
    """The effects of a square. A main effect is the mean of what a setting does without the other and with it."""
    neither, first, second, both = square.neither, square.first, square.second, square.both
    effects = (
        Effect(first.name, contrast([(0.5, first), (0.5, both), (-0.5, neither), (-0.5, second)], metric)),
        Effect(second.name, contrast([(0.5, second), (0.5, both), (-0.5, neither), (-0.5, first)], metric)),
        Effect(
            f"{first.name} x {second.name}",
            contrast([(1.0, both), (-1.0, first), (-1.0, second), (1.0, neither)], metric),
        ),
    )
    changes = tuple(_words(_changed(of, neither)) for of in (first, second))
    return Factorial(square, (changes[0], changes[1]), effects)


def find_squares(baseline: Variant, others: Sequence[Variant]) -> list[Square]:
    """Every 2x2 with the baseline: two variants without a common change, and one that changes what both do."""
    if not baseline.settings:
        return []
    changed = [(of, _changed(of, baseline)) for of in others if of.settings]
    return [
        Square(baseline, first, second, both)
        for (first, one), (second, two) in combinations(changed, 2)
        if one and two and not one.keys() & two.keys()
        for both, joint in changed
        if joint == one | two
    ]


def named_square(names: Sequence[str], baseline: Variant, others: Sequence[Variant]) -> Square:
    """The 2x2 of two named variants and the one that changes both, which may be named third. Raises `UsageError`."""
    known = {variant.name: variant for variant in others}
    if len(names) not in (2, 3):
        raise UsageError(
            f"--factors: expected two variants, or three with the one of both last; got {len(names)}"
        )
    for name in names:
        if name not in known:
            near = did_you_mean(name, known) or f"; there are {listed(known)}"
            raise UsageError(f'--factors: no variant is called "{name}"{near}')
    first, second = known[names[0]], known[names[1]]
    if len(names) == 3:
        return Square(baseline, first, second, known[names[2]])
    for square in find_squares(baseline, others):
        if {square.first.name, square.second.name} == set(names):
            return Square(baseline, first, second, square.both)
    raise UsageError(
        f"--factors: no variant changes just what {names[0]} and {names[1]} change; name it as the third: "
        f"{names[0]},{names[1]},NAME"
    )


def _changed(variant: Variant, baseline: Variant) -> dict[str, Any]:
    keys = dict.fromkeys([*baseline.settings, *variant.settings])
    pairs = {key: (baseline.settings.get(key, _ABSENT), variant.settings.get(key, _ABSENT)) for key in keys}
    return {key: after for key, (before, after) in pairs.items() if before != after}


def _words(changes: dict[str, Any]) -> tuple[str, ...]:
    return tuple(f"{key} = {value}" for key, value in changes.items())
