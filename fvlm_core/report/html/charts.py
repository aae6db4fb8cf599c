"""Charts by Bokeh: lines, bands and points in the colours of the page, with their numbers as a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import numpy as np
from attrs import frozen
from bokeh.embed import json_item
from bokeh.models import (
    BoxZoomTool,
    ColumnDataSource,
    FixedTicker,
    GlyphRenderer,
    HoverTool,
    LogTicker,
    NumeralTickFormatter,
    Range1d,
)
from bokeh.plotting import figure
from markupsafe import escape
from numpy.typing import NDArray

from fvlm_core.report.html.palette import INK, MUTED, RULE, Pair
from fvlm_core.report.html.parts import Chart, Key, Table

HEIGHT = 340
"""Pixels; the width is that of the page."""

LOG_LOSS = 2.5
"""Losses that span more than this factor are drawn on a logarithmic axis."""

_FONT = "ui-sans-serif, system-ui, sans-serif"
_ROOM = 0.04

_TOLD = (
    f'<div style="font: 13px/1.5 {_FONT}; color: #1d1d1b; padding: 2px 4px"><b>@label</b><br>'
    "@x{{0,0}} {x}<br>@y{{0.0000}} {y}</div>"
)
"""What the pointer is told. BokehJS puts values in as text."""

Floats = NDArray[np.float64]


@frozen(eq=False)
class Series:
    """A series. series: what the legend shows and hides together. low, high: of a band instead of a line.

    marks: points instead of a line. label: what the pointer is told.
    """

    series: str
    label: str
    x: Floats
    y: Floats
    colour: Pair
    dash: str = "solid"
    marks: str = ""
    low: Floats | None = None
    high: Floats | None = None
    width: float = 2.0


@frozen
class Axes:
    """What the axes count. x_log, y_log: None lets the values decide (`LOG_LOSS`)."""

    x: str
    y: str
    x_log: bool = False
    y_log: bool | None = None


def chart(
    id: str,
    title: str,
    lines: Sequence[Series],
    axes: Axes,
    *,
    keys: Sequence[Key],
    table: Table,
    description: str,
    note: str = "",
) -> Chart:
    """A chart of these lines, ready to embed. Bands are drawn below lines, points above."""
    drawn = [line for line in lines if len(line.x)]
    xs = np.concatenate([line.x for line in drawn]) if drawn else np.array([])
    ys = np.concatenate([line.y for line in drawn if line.low is None] or [np.array([])])
    y_log = (
        bool(len(ys) and ys.min() > 0 and ys.max() / ys.min() > LOG_LOSS)
        if axes.y_log is None
        else axes.y_log
    )
    plot = _plot(id, axes, _range(xs, axes.x_log), _range(ys, y_log), y_log)
    order = sorted(range(len(lines)), key=lambda at: (lines[at].low is None) + bool(lines[at].marks))
    for at in order:
        _draw(plot, lines[at], f"{id}-{at}")
    hovered: list[Any] = [one for one in plot.renderers if isinstance(one, GlyphRenderer) and one.name]
    plot.add_tools(
        HoverTool(
            renderers=hovered,
            tooltips=_TOLD.format(x=escape(axes.x), y=escape(axes.y)),
            point_policy="snap_to_data",
            line_policy="nearest",
        )
    )
    shape = [axes.x, axes.y, axes.x_log, y_log, [(line.series, line.label, line.colour) for line in lines]]
    return Chart(
        id,
        title,
        dict(json_item(plot, target=f"{id}-plot")),  # pyright: ignore[reportArgumentType]: a name, no Div
        description,
        keys,
        table,
        sha256(json.dumps(shape).encode()).hexdigest()[:12],
        {f"{id}-{at}": columns(line) for at, line in enumerate(lines)},
        {"x": (plot.x_range.start, plot.x_range.end), "y": (plot.y_range.start, plot.y_range.end)},
        note,
    )


def _plot(id: str, axes: Axes, x_range: Any, y_range: Any, y_log: bool) -> Any:
    """Axes without lines."""
    zoom: Any = BoxZoomTool()
    zoom.overlay.line_color, zoom.overlay.fill_color = (
        None,
        MUTED[0],
    )  # a border leaves a dot when it is not shown
    plot: Any = figure(
        height=HEIGHT,
        sizing_mode="stretch_width",
        x_axis_type="log" if axes.x_log else "linear",
        y_axis_type="log" if y_log else "linear",
        x_range=x_range,
        y_range=y_range,
        tools=[zoom],
        toolbar_location=None,
        background_fill_alpha=0,
        border_fill_alpha=0,
        outline_line_color=None,
        min_border_right=12,
        min_border_top=8,
        name=id,
    )
    _dress(plot, axes)
    return plot


def columns(line: Series) -> dict[str, Any]:
    """The numbers of a line as JSON values."""
    out = {"x": line.x.tolist()}
    if line.low is None or line.high is None:
        return {**out, "y": line.y.tolist(), "label": [line.label] * len(line.x)}
    return {**out, "low": line.low.tolist(), "high": line.high.tolist()}


def _draw(plot: Any, line: Series, name: str) -> None:
    light, dark = line.colour
    paint = [[of, light, dark] for of in ("line_color", "fill_color")]
    if line.low is not None and line.high is not None:
        data: dict[str, Any] = {"x": line.x, "low": line.low, "high": line.high}
        source = ColumnDataSource(data, name=f"{name}-source")
        drawn = plot.varea("x", "low", "high", source=source, fill_color=light, fill_alpha=0.16)
        drawn.glyph.tags, drawn.tags = [paint[1:]], [line.series]
        return
    source = ColumnDataSource(
        {"x": line.x, "y": line.y, "label": [line.label] * len(line.x)}, name=f"{name}-source"
    )
    if line.marks:
        drawn = plot.scatter(
            "x", "y", source=source, marker=line.marks, size=6, line_color=light, fill_color=light,
            fill_alpha=0.35, name=name,
        )  # fmt: skip
        drawn.glyph.tags = [paint]
    else:
        drawn = plot.line(
            "x", "y", source=source, line_color=light, line_width=line.width, line_dash=line.dash, name=name
        )
        drawn.glyph.tags = [paint[:1]]
    drawn.nonselection_glyph = None
    drawn.tags = [line.series]


def _dress(plot: Any, axes: Axes) -> None:
    for axis, label in ((plot.xaxis[0], axes.x), (plot.yaxis[0], axes.y)):
        axis.axis_label = label
        axis.axis_label_text_font = axis.major_label_text_font = _FONT
        axis.axis_label_text_font_style = "normal"
        axis.axis_label_text_font_size = "13px"
        axis.major_label_text_font_size = "12px"
        axis.axis_label_text_color, axis.major_label_text_color = INK[0], MUTED[0]
        axis.axis_line_color = axis.major_tick_line_color = RULE[0]
        axis.minor_tick_line_color = None
        axis.formatter = NumeralTickFormatter(format="0.[000]a")
        if isinstance(axis.ticker, LogTicker):
            # BokehJS's own has linear ticks, zero among them, over less than two decades; the page sets these.
            axis.ticker = FixedTicker(ticks=[])
        else:
            axis.ticker.desired_num_ticks = 5
        axis.tags = [
            [
                ["axis_label_text_color", *INK],
                ["major_label_text_color", *MUTED],
                ["axis_line_color", *RULE],
                ["major_tick_line_color", *RULE],
            ]
        ]
    for grid in plot.grid:
        grid.grid_line_color = RULE[0]
        grid.tags = [[["grid_line_color", *RULE]]]


def _range(values: Floats, log: bool) -> Range1d:
    """Around the values with a little room."""
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    if log and low > 0:
        room = max((high / low) ** _ROOM, 1.02)
        low, high = low / room, high * room
    else:
        room = _ROOM * ((high - low) or abs(high) or 1.0)
        low, high = low - room, high + room
    return Range1d(start=low, end=high)
