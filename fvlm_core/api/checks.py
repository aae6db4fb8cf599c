"""What the options of commands check by themselves, for arguments in Python."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from os import PathLike
from typing import TypeGuard

from fvlm_core.utils.errors import UsageError
from fvlm_core.utils.parse_number import parse_count
from fvlm_registry.nearest import did_you_mean


def one_of(name: str, value: str, words: Sequence[str]) -> None:
    """Raise `UsageError` unless `value` is one of the words. name: of the argument."""
    if value not in words:
        expected = ", ".join(f'"{word}"' for word in words)
        raise UsageError(
            f'{name}: expected one of {expected}, got "{value}"{did_you_mean(str(value), words)}'
        )


def count(name: str, value: float | str | None) -> float | None:
    """A positive number, or a text such as 360M, 1.7B or 1.6e16; None stays None. Raises `UsageError`."""
    if value is None:
        return None
    found = parse_count(value) if isinstance(value, str) else value
    if not _is_number(found) or found <= 0:
        raise UsageError(f'{name}: expected a positive number such as 360M, 1.7B or 1.6e16, got "{value}"')
    return float(found)


def within(
    name: str,
    value: float | None,
    least: float,
    most: float = math.inf,
    *,
    whole: bool = False,
    above: bool = False,
) -> None:
    """Raise `UsageError` for what is no number from `least` to `most`; None is one that was not given.

    name: of the argument. whole: whether it has to be a whole number. above: whether `least` itself is too small.
    """
    if value is None:
        return
    number = _is_number(value) and (not whole or isinstance(value, Integral))
    if not number or not least <= value <= most or (above and value == least):
        kind = "a whole number" if whole else "a number"
        low = f"above {least:g}" if above else f"of at least {least:g}"
        high = f" and at most {most:,g}" if most < math.inf else ""
        raise UsageError(f"{name}: expected {kind} {low}{high}, got {value!r}")


def texts(value: str | PathLike[str] | Sequence[str | PathLike[str]] | None) -> tuple[str, ...]:
    """Texts, of which a bare one is one; None is none."""
    if value is None:
        return ()
    return (str(value),) if isinstance(value, str | PathLike) else tuple(map(str, value))


def _is_number(value: object) -> TypeGuard[float]:
    """Whether it is a finite one; True and False are none."""
    return not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(value)
