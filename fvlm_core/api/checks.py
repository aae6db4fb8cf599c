"""What the options of commands check by themselves, for arguments in Python."""

from __future__ import annotations

from collections.abc import Sequence

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
    if found is None or not found > 0:
        raise UsageError(f'{name}: expected a positive number such as 360M, 1.7B or 1.6e16, got "{value}"')
    return float(found)
