"""A law on one panel, of a figure of its own or of somebody else's."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fvlm_core.report.figures import along as along_
from fvlm_core.report.figures import loss, over_data, slices
from fvlm_core.report.figures.files import house_style
from fvlm_core.report.figures.look import Look, thicken, using
from fvlm_core.report.figures.style import dress, sheet
from fvlm_core.report.figures.view import view
from fvlm_core.scaling.fit.report import FitReport
from fvlm_core.utils.errors import UsageError
from fvlm_registry.nearest import did_you_mean


def law_panel(report: FitReport, axes: Axes | None, along: str, look: Look) -> Axes:
    """Loss against D or C, or the law along another column that it reads. axes: None for one of a new figure. Raises
    `UsageError` for a column that it has not."""
    if axes is None:
        with house_style(look):
            figure = Figure(dpi=look.dpi)
            names = [""] if len(report.points.sizes) == 1 else list(map(str, report.points.sizes))
            (own,) = sheet(figure, 1, 1, labels=names).every
            _draw(report, own, along)
            thicken(figure, look.stroke)
            return own
    with using(look):
        dress(axes)
        _draw(report, axes, along)
    return axes


def _draw(report: FitReport, axes: Axes, along: str) -> None:
    seen = view(report)
    if along in ("d", "compute") and over_data(seen):
        if not np.isfinite(seen.points[along]).any():
            raise UsageError(f'along "{along}": the points do not say {seen.units[along]}')
        loss.on_axes(seen, axes, along)
        return
    known = slices.columns(seen)
    if along not in known:
        near = did_you_mean(along, known) or f"; expected one of {', '.join(known) or 'none'}"
        raise UsageError(f'along "{along}": {seen.law.name} is not drawn along it{near}')
    along_.panel(seen, along, axes)
