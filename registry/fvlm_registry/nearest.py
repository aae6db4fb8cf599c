"""The name that was probably meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """`: did you mean "dinov2"?` with the nearest of `names`, or nothing if none is. Case does not count."""
    spelt = {known.lower(): known for known in names}
    near = get_close_matches(name.lower(), spelt, n=1)
    return f': did you mean "{spelt[near[0]]}"?' if near else ""
