"""Accuracy by the length of a video and the depth of what is hidden in it, as a heat map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fvlm_core.report.figures import style

_CELL = 0.62, 0.36
"""Inches of a cell, at least."""


def needle_map(
    title: str,
    lengths: Sequence[int],
    depths: Sequence[float],
    cells: Sequence[dict[str, Any]],
    metric: str,
    chance: float | None,
) -> Figure:
    """A cell for each length (to the right) and depth (downwards, from where the video begins): the mean, and the ends
    of its interval. Framed cells are above chance: their whole interval is.

    cells: `length`, `depth`, `mean`, `low`, `high` (None where nothing is known).
    """
    width = max(3.4, 0.62 + len(lengths) * _CELL[0] + 1.3)
    height = style.TOP + style.BOTTOM + 0.62 + max(len(depths) * _CELL[1], 0.8)
    figure = Figure()
    said = ["The mean, and below it its interval at 95 %."]
    if chance is not None:
        said.append(f"Framed: above chance, {chance:.3g}.")
    axes = style.sheet(figure, 1, 1, caption=[" ".join(said)], size=(width, height)).every[0]
    box = axes.get_position()
    axes.set_position((box.x0, box.y0, box.width - 0.75 / width, box.height))
    values = np.full((len(depths), len(lengths)), np.nan)
    for cell in cells:
        row, column = list(depths).index(cell["depth"]), list(lengths).index(cell["length"])
        values[row, column] = np.nan if cell["mean"] is None else cell["mean"]
    most = max(1.0, float(np.nanmax(values)) if np.isfinite(values).any() else 1.0)
    image = axes.imshow(values, cmap="cividis", vmin=0.0, vmax=most, aspect="auto")
    for cell in cells:
        if cell["mean"] is None:
            continue
        row, column = list(depths).index(cell["depth"]), list(lengths).index(cell["length"])
        ink = "black" if cell["mean"] > 0.55 * most else "white"
        axes.text(
            column, row - 0.12, f"{cell['mean']:.2f}", ha="center", va="center", color=ink, size=style.NORMAL
        )
        if cell["low"] is not None:
            ends = f"{cell['low']:.2f}–{cell['high']:.2f}"
            axes.text(column, row + 0.25, ends, ha="center", va="center", color=ink, size=5)
            if chance is not None and cell["low"] > chance:
                frame = Rectangle((column - 0.46, row - 0.44), 0.92, 0.88, fill=False, edgecolor=ink, lw=0.8)
                axes.add_patch(frame)
    axes.set_xticks(range(len(lengths)), [str(length) for length in lengths], fontsize=style.SMALL)
    axes.set_yticks(range(len(depths)), [f"{depth:.0%}" for depth in depths], fontsize=style.SMALL)
    axes.set_xlabel("frames of the video", fontsize=style.NORMAL)
    axes.set_ylabel("depth of the needle", fontsize=style.NORMAL)
    axes.set_title(style.clip(title, 60), fontsize=style.LARGE)
    axes.grid(False)
    scale = figure.add_axes((1 - 0.62 / width, box.y0, 0.12 / width, box.height))
    bar = figure.colorbar(image, cax=scale)
    bar.set_label(metric.replace("_", " "), fontsize=style.SMALL)
    bar.ax.tick_params(labelsize=style.SMALL)
    if chance is not None:
        bar.ax.axhline(chance, color="white", lw=1.2)
        bar.ax.axhline(chance, color="black", lw=0.5)
    return figure
