"""Figures as files: the same picture gives the same bytes."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from fvlm_core.report.figures.look import SCREEN, Look, using
from fvlm_core.utils.errors import UsageError

FORMATS = (".png", ".pdf", ".svg")

_UNDATED: dict[str, dict[str, Any]] = {
    ".png": {},
    ".pdf": {"CreationDate": None},
    ".svg": {"Date": None},
}

_OURS: dict[Any, Any] = {
    "svg.hashsalt": "fvlm",  # ids of a figure's parts, random otherwise
    "pdf.fonttype": 42,  # text that journals accept and editors can change
    "axes.linewidth": 0.7,
    "axes.unicode_minus": True,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.minor.width": 0.5,
    "ytick.minor.width": 0.5,
    "hatch.linewidth": 0.4,
    "path.simplify": True,
}

_KEPT = (
    "backend",
    "interactive",
    "toolbar",
    "webagg",
    "date.epoch",
    "timezone",
    "tk.",
    "keymap",
    "figure.hooks",
)
"""Settings of windows, which files do not have."""


def check_format(file: Path) -> None:
    """Raise `UsageError` unless the file's suffix is one that figures are written in."""
    if file.suffix.lower() not in FORMATS:
        raise UsageError(f"{file}: expected a file name ending in {', '.join(FORMATS)}")


@contextmanager
def house_style(look: Look = SCREEN) -> Generator[None]:
    """matplotlib's defaults and ours, whatever the user's matplotlibrc says: a figure looks the same anywhere. look:
    what holds within."""
    settings: Any = matplotlib.rcParamsDefault
    defaults: dict[Any, Any] = {
        key: value for key, value in dict.items(settings) if not key.startswith(_KEPT)
    }
    own: dict[Any, Any] = dict(look.settings)
    with matplotlib.rc_context(defaults | _OURS | own), using(look):
        yield


def save(figure: Figure, file: Path) -> None:
    """Write a figure in the format of the file's suffix, without dates."""
    check_format(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata=_UNDATED[file.suffix.lower()])
