"""Figures of few pixels, where a test looks at something else."""

from __future__ import annotations

import pytest
from matplotlib.figure import Figure


def coarse_figures(monkeypatch: pytest.MonkeyPatch, dots: int = 40) -> None:
    """Draw with so many dots an inch."""
    monkeypatch.setattr("fvlm_core.report.figures.Figure", lambda dpi: Figure(dpi=dots))
