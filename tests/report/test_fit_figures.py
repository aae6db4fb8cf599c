"""The scaling-law plot: every point, a curve only where there is a fit, and the reason where there is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from measured import STEPS, TRUTH, points
from PIL import Image

from fvlm_core.report.figures import COLOURS, scaling_law_plot
from fvlm_core.report.figures.style import caption_of
from fvlm_core.scaling.fit.fitting import fit_points, load_model
from fvlm_core.scaling.fit.report import FitReport
from fvlm_core.scaling.points.points import tidy
from fvlm_core.utils.errors import UsageError

pytestmark = pytest.mark.usefixtures("quick_fits")

SAMPLES = [step * 32 for step in STEPS]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Figure]:
    """The figure that was saved last."""
    kept: list[Figure] = []
    save = Figure.savefig

    def keep(figure: Figure, *arguments: object, **options: object) -> None:
        kept.append(figure)
        save(figure, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Figure, "savefig", keep)
    return lambda: kept[-1]


def report(sizes: list[float], samples: list[int], model: str = "joint-chinchilla") -> FitReport:
    table = points(TRUTH, sizes, samples, noise=0.003)
    return fit_points(tidy(table, "points"), load_model(model), draws=20)


def words(figure: Figure) -> str:
    """What is said beside it."""
    return " ".join(caption_of(figure))


def test_every_point_is_drawn_and_every_size_has_a_curve_and_a_band(
    drawn: Callable[[], Figure], tmp_path: Path
) -> None:
    scaling_law_plot([report([4e4, 1.2e5, 4e5], SAMPLES)], tmp_path / "new/plot.png")
    assert Image.open(tmp_path / "new/plot.png").size == (1600, 1000)
    axes = drawn().axes[0]
    marks = [line for line in axes.lines if line.get_linestyle() == "None"]
    assert sum(len(np.asarray(line.get_xdata())) for line in marks) == 36
    assert len(axes.lines) - len(marks) == 3
    assert len(axes.collections) == 3
    assert "alpha 0.3" in words(drawn())


def test_a_refused_fit_is_points_and_the_reason(drawn: Callable[[], Figure], tmp_path: Path) -> None:
    scaling_law_plot([report([4e4], [1000])], tmp_path / "plot.svg")
    axes = drawn().axes[0]
    assert [line.get_linestyle() for line in axes.lines] == ["None"]
    assert words(drawn()).startswith("Refused. E, A, B, alpha and beta are not identifiable from 1 point")


def test_a_reduced_fit_names_what_is_withheld_and_what_is_drawn(
    drawn: Callable[[], Figure], tmp_path: Path
) -> None:
    scaling_law_plot([report([4e4, 1.2e5], SAMPLES)], tmp_path / "plot.pdf")
    assert words(drawn()).startswith("Withheld: E, A, alpha. E, A and alpha are not identifiable")
    assert "Drawn: L = floor(size) + B/D^beta with floor[40k]" in words(drawn())


def test_many_sizes_keep_a_short_legend(drawn: Callable[[], Figure], tmp_path: Path) -> None:
    sizes = list(np.geomspace(1e4, 1e7, 20))
    scaling_law_plot([report(sizes, [1000, 4000, 16000])], tmp_path / "plot.png")
    legend = drawn().axes[0].get_legend()
    assert legend is not None
    named = [text.get_text() for text in legend.get_texts()]
    assert (len(named), named[0], named[-1]) == (len(COLOURS), "10k", "10M")


def test_no_report_is_drawn_as_its_reason(drawn: Callable[[], Figure], tmp_path: Path) -> None:
    scaling_law_plot([], tmp_path / "plot.png", "no evaluation to fit")
    assert [text.get_text() for text in drawn().texts] == ["no evaluation to fit"]


def test_an_unknown_format_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"expected a file name ending in \.png, \.pdf, \.svg"):
        scaling_law_plot([], tmp_path / "plot.gif")
