"""Numbers as people read them."""

from __future__ import annotations


def digits(number: float, significant: int) -> str:
    """`12846`, `0.45310`, `1.332e+05`: so many significant digits, without a power of ten where that is readable."""
    if number == 0 or not 1e-4 <= abs(number) < 1e6:
        return f"{number:.{significant - 1}e}" if number else "0"
    exponent = int(f"{number:.{significant - 1}e}".partition("e")[2])
    return f"{number:.{max(0, significant - 1 - exponent)}f}"
