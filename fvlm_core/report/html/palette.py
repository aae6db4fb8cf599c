"""Colours of the page's charts, each as (on light, on dark). Hues are those of the printed figures."""

from __future__ import annotations

from matplotlib import colormaps
from matplotlib.colors import to_hex

from fvlm_core.report.figures.style import COLOURS

Pair = tuple[str, str]

INK: Pair = ("#1d1d1b", "#e7e5df")
MUTED: Pair = ("#55585c", "#a9adb3")
RULE: Pair = ("#dedbd3", "#34383e")

_ON_DARK = ("#4FA3E0", "#FF8A3D", "#2FC79A", "#E3A0C4", "#F2B632", "#8CCBF5", "#F4F2EC")
_ON_LIGHT = (*COLOURS[:3], "#B4558C", "#A66E00", "#2A86BD", COLOURS[6])
"""The last three of the printed ones are too pale for thin lines on a screen (WCAG asks 3:1)."""

DASHES = ("solid", "dashed", "dotted", "dotdash", "dashdot")


def colours(count: int) -> list[Pair]:
    """As many colours, in order: told apart by colour-blind readers; of many, an ordered scale."""
    if count <= len(_ON_LIGHT):
        return list(zip(_ON_LIGHT[:count], _ON_DARK[:count], strict=True))
    scale = colormaps["viridis"]
    places = [at / (count - 1) for at in range(count)]
    return [(to_hex(scale(0.78 * at)), to_hex(scale(0.32 + 0.68 * at))) for at in places]


def dash(at: int, count: int) -> str:
    """The line of the series at this place, so that colour is not all that tells them apart. Many dashed lines would
    only make a thicket; those are told apart by pointing at them, or hiding the others."""
    return DASHES[at % len(DASHES)] if count <= len(_ON_LIGHT) else "solid"
