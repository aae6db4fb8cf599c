"""Numbers on the command line with the field's suffixes: 360M, 1.7B, 20k, 1.6e16."""

from __future__ import annotations

from math import isfinite
from typing import Any

import click


class Count(click.ParamType[float]):
    """A positive number; k, M, B and T stand for 1e3, 1e6, 1e9 and 1e12."""

    name = "number"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Text to a float."""
        from fvlm_core.utils.parse_number import parse_count

        found = parse_count(value) if isinstance(value, str) else value
        if not isinstance(found, int | float) or found <= 0:
            self.fail(f'expected a positive number such as 360M, 1.7B or 1.6e16, got "{value}"', param, ctx)
        return float(found)


class Finite(click.FloatRange):
    """A number within a range; "nan" and "inf", which float() reads, are none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Text to a float."""
        found = super().convert(value, param, ctx)
        if not isfinite(found):
            self.fail(f'expected a number, got "{value}"', param, ctx)
        return found


COUNT = Count()
