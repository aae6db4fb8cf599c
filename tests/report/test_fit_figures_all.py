"""Every figure of a fit: drawn for good, reduced and refused fits, the same bytes each time, and open to plugins."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import warm
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text
from measured import BATCH, SIZES, STEPS, TRUTH, points

from fvlm_core.interfaces.figure import LawReport
from fvlm_core.report.catalogue import load_figure, names
from fvlm_core.report.figures import draw_figures
from fvlm_core.report.figures.files import house_style
from fvlm_core.report.figures.look import LOOKS, thicken
from fvlm_core.report.figures.residuals import by_lag
from fvlm_core.report.figures.style import caption_of, nothing_drawn
from fvlm_core.report.figures.ticks import label, log_ticks
from fvlm_core.report.figures.view import view
from fvlm_core.scaling.fit.fitting import fit_points, load_model
from fvlm_core.scaling.fit.options import Options
from fvlm_core.scaling.fit.report import FitReport
from fvlm_core.scaling.points.points import tidy
from fvlm_core.scaling.predict.cost import cost_of_points
from fvlm_core.scaling.predict.prediction import Predictor
from fvlm_registry import LookupFailure

SAMPLES = [step * BATCH for step in STEPS]
OWN = [
    "loss-data",
    "loss-size",
    "loss-compute",
    "residuals",
    "parameter-pairs",
    "profiles",
    "isoflop",
    "frontier",
    "sensitivity",
    "lr-sweep",
    "law",
]
CASES = ["two laws", "reduced", "refused", "many sizes"]


def look_of(name: str, case: str) -> str:
    """The style that a figure of a case is laid out in: each figure in every style, and each case."""
    return [*LOOKS][(OWN.index(name) + CASES.index(case)) % len(LOOKS)]


LAID_OUT = [
    pytest.param(
        name, case, look, marks=[pytest.mark.soak] * (look != look_of(name, case)), id=f"{name}-{case}-{look}"
    )
    for name in OWN
    for case in CASES
    for look in LOOKS
]
"""Every figure of every case in one style; in the others by hand."""


@pytest.fixture(scope="module", autouse=True)
def few_starts() -> Iterator[None]:
    """Made points lie near enough to their law, and a profile's curve needs no 41 points to be laid out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fvlm_core.scaling.fit.solver.STARTS", 64)
        patch.setattr("fvlm_core.scaling.fit.solver.FINALISTS", 4)
        patch.setattr("fvlm_core.scaling.fit.profile.GRID", 11)
        yield


def fitted(
    sizes: list[float],
    samples: list[int],
    *,
    flops: bool = True,
    law: str = "joint-chinchilla",
    **options: Any,
) -> FitReport:
    table = points(TRUTH, sizes, samples, noise=0.003)
    table["run"] = [f"run-{n:.0f}" for n in table["n"]]
    if flops:
        table["compute"] = 6 * table["n"] * table["d"]
    return fit_points(tidy(table, "points"), load_model(law), draws=40, options=Options(**options))


@pytest.fixture(scope="module")
def six() -> FitReport:
    """Six sizes, which tell the law well."""
    return fitted(list(np.geomspace(3e4, 3e6, 6)), [1000, 4000, 16000, 64000, 256000], sensitivity=False)


@pytest.fixture(scope="module")
def cases() -> dict[str, list[FitReport]]:
    three = list(SIZES.values())
    return {
        "two laws": [fitted(three, SAMPLES, law="per-size"), fitted(three, SAMPLES)],
        "reduced": [fitted(three[:2], SAMPLES)],
        "refused": [fitted([4e4], [1000], flops=False)],
        "many sizes": [fitted(list(np.geomspace(1e4, 1e7, 12)), [1000, 4000, 16000])],
    }


@pytest.fixture(scope="module")
def sheet(cases: dict[str, list[FitReport]]) -> Callable[..., Figure]:
    """A figure of a case, laid out; each is drawn once for all that look at it."""

    @cache
    def laid_out(name: str, case: str, look: str = "screen") -> Figure:
        figure = drawn(name, [view(report) for report in cases[case]], look)
        with house_style(LOOKS[look]):
            figure.draw_without_rendering()
        return figure

    return laid_out


def drawn(name: str, reports: list[LawReport], look: str = "screen") -> Figure:
    with house_style(LOOKS[look]):
        figure = FigureCanvasAgg(Figure()).figure
        load_figure(name)(reports, figure)
        thicken(figure, LOOKS[look].stroke)
    return figure


def words(figure: Figure) -> str:
    """All that is said in a figure, and beside it."""
    inside = " ".join(" ".join(text.get_text().split()) for text in figure.findobj(Text))
    return f"{inside} {' '.join(caption_of(figure))}"


def test_every_figure_of_the_core_is_offered_under_its_name() -> None:
    assert names()[: len(OWN)] == OWN


@pytest.mark.parametrize(("name", "case", "look"), LAID_OUT)
def test_every_figure_draws_or_says_why_not_and_no_panel_is_empty(
    name: str, case: str, look: str, sheet: Callable[..., Figure]
) -> None:
    figure = sheet(name, case, look)
    assert bool(figure.axes) != bool(nothing_drawn(figure))
    for axes in figure.axes:
        assert axes.lines or axes.collections
    if case == "refused" and name not in ("isoflop", "lr-sweep", "frontier", "loss-compute"):
        assert "not identifiable" in words(figure)


@pytest.mark.parametrize("name", OWN)
def test_every_axis_that_is_drawn_says_what_it_is(name: str, sheet: Callable[..., Figure]) -> None:
    figure = sheet(name, "two laws", look_of(name, "two laws"))
    if not figure.axes:
        return
    bottom = {round(axes.get_position().y0, 4) for axes in figure.axes if axes.axison}
    lowest = [axes for axes in figure.axes if round(axes.get_position().y0, 4) == min(bottom)]
    assert all(axes.get_xlabel() or axes.get_title(loc="left") for axes in lowest)
    assert any(axes.get_ylabel() or axes.get_yticklabels() for axes in figure.axes)


@pytest.mark.parametrize(("name", "case", "look"), LAID_OUT)
def test_no_words_overlap_or_leave_the_page(
    name: str, case: str, look: str, sheet: Callable[..., Figure]
) -> None:
    figure = sheet(name, case, look)
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    page = figure.bbox
    boxes = []
    for axes in figure.axes:
        shown = [axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label, *axes.texts]  # type: ignore[attr-defined]
        boxes += [(text.get_text(), text.get_window_extent(renderer)) for text in shown if text.get_text()]
        for axis in (axes.xaxis, axes.yaxis):
            for tick in axis.get_major_ticks():
                where = tick.get_loc()
                low, high = sorted(axis.get_view_interval())
                if tick.label1.get_visible() and tick.label1.get_text() and low <= where <= high:
                    boxes.append((tick.label1.get_text(), tick.label1.get_window_extent(renderer)))
    boxes += [("legend", legend.get_window_extent(renderer)) for legend in figure.findobj(Legend)]
    for text, box in boxes:
        assert box.x0 >= page.x0 - 1 and box.x1 <= page.x1 + 1, text  # noqa: PT018
        assert box.y0 >= page.y0 - 1 and box.y1 <= page.y1 + 1, text  # noqa: PT018
    for at, (text, box) in enumerate(boxes):
        for other, there in boxes[at + 1 :]:
            wide = min(box.x1, there.x1) - max(box.x0, there.x0)
            high = min(box.y1, there.y1) - max(box.y0, there.y0)
            assert wide <= 1 or high <= 1, (text, other)


def test_the_same_fit_gives_the_same_bytes_whatever_the_user_s_matplotlibrc(
    cases: dict[str, list[FitReport]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    formats = ["png", "svg", "pdf"]
    first = draw_figures(cases["reduced"], ["loss-data"], tmp_path / "a", formats)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    with rc_context({"font.size": 20.0, "axes.grid": False, "lines.linewidth": 5.0, "svg.hashsalt": "x"}):
        second = draw_figures(cases["reduced"], ["loss-data"], tmp_path / "b", formats)
    assert [file.suffix for file in first.files] == [*(f".{suffix}" for suffix in formats), ".txt", ".tex"]
    for one, other in zip(first.files, second.files, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.suffix


def test_withheld_parameters_are_named_where_parameters_are_drawn(
    sheet: Callable[..., Figure],
) -> None:
    pairs = sheet("parameter-pairs", "reduced")
    assert "$E$, $A$, $\\alpha $ withheld" in " ".join(text.get_text() for text in pairs.findobj(Text))
    assert "Withheld: E, A, alpha." in words(pairs)
    assert "Withheld: E, A, alpha." in words(sheet("profiles", "reduced"))


def test_a_frontier_is_drawn_only_for_a_law_that_is_believed(sheet: Callable[..., Figure]) -> None:
    reduced = sheet("frontier", "reduced")
    assert "joint-chinchilla tells no frontier. Withheld: E, A, alpha." in words(reduced)
    assert not [line for axes in reduced.axes for line in axes.lines if line.get_linestyle() == "-"]


def test_what_a_figure_has_no_room_for_is_said(cases: dict[str, list[FitReport]]) -> None:
    sizes, quick = list(np.geomspace(1e4, 1e7, 12)), Options(sensitivity=False)
    many = fitted(sizes, [1000, 4000, 16000, 64000], law="per-size", sensitivity=False)
    assert "per-size: 5 more groups not drawn." in words(drawn("profiles", [view(many)]))
    offset = view(fit_points(many.points, load_model("two-floor"), draws=20, options=quick))
    assert "two-floor: 8 more parameters not drawn." in words(drawn("parameter-pairs", [offset]))
    assert "two-floor: 2 more parameters not drawn." in words(drawn("profiles", [offset]))
    assert "Curves of 7 of 12 sizes." in words(drawn("loss-data", [offset]))


@pytest.mark.parametrize(("name", "case", "look"), LAID_OUT)
def test_nothing_is_written_below_the_axes(
    name: str, case: str, look: str, sheet: Callable[..., Figure]
) -> None:
    """What a figure shows stands beside it: the lowest words are names of axes."""
    figure = sheet(name, case, look)
    for axes in figure.axes:
        for text in axes.texts:
            assert text.get_window_extent().y0 >= axes.get_window_extent().y0 - 1, text.get_text()


def test_bands_and_draws_in_figures_are_as_wide_as_the_intervals(six: FitReport) -> None:
    """Draws of small random weights lie closer to the estimate than its own error is."""
    report = six
    fit, seen = report.fits[0], view(report)
    at = [one.name for one in fit.estimates].index("beta")
    error = fit.drawn.error_of(at, fit.solution.values[at], fit.drawn.values[:, at])
    assert fit.drawn.scale > 2
    assert np.std(seen.fits[0].draws[:, at]) == pytest.approx(error, rel=0.1)
    assert seen.frontier is not None
    found = seen.frontier()
    known = cost_of_points(report.points)
    assert known is not None
    middle = len(found.compute) // 2
    best = Predictor(fit, known[0]).best(float(found.compute[middle]), *known[0].reach)
    assert found.n[1:, middle] == pytest.approx(best.n_interval, rel=0.02)


def test_the_frontier_is_the_minimum_over_sizes_at_equal_compute(six: FitReport) -> None:
    report, seen = six, view(six)
    assert seen.frontier is not None, "the law was not believed"
    found = seen.frontier()
    inside = np.isfinite(found.n[0])
    assert inside.sum() > 10
    values = report.fits[0].values
    a, b = values["alpha"], values["beta"]
    # Hoffmann et al. (2022), equation 4: N* = G (C/6)^(b/(a+b)), G = (a A/(b B))^(1/(a+b)).
    expected = (a * values["A"] / (b * values["B"])) ** (1 / (a + b)) * (found.compute / 6) ** (b / (a + b))
    assert found.n[0][inside] == pytest.approx(expected[inside], rel=1e-3)
    assert (found.n[1][inside] <= found.n[0][inside]).all()


def test_autocorrelation_is_that_of_the_run() -> None:
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(20_000)
    series = np.zeros_like(noise)
    for at in range(1, len(noise)):
        series[at] = 0.8 * series[at - 1] + noise[at]
    assert by_lag(series)[:3] == pytest.approx([0.8, 0.64, 0.512], abs=0.03)


@pytest.mark.parametrize("low", [1e-7, 0.3, 1.1, 4e4, 1e18])
@pytest.mark.parametrize("span", [1.2, 3.0, 30.0, 1e5, 1e12])
def test_a_logarithmic_axis_has_a_few_round_ticks(low: float, span: float) -> None:
    ticks = log_ticks(low, low * span)
    assert 2 <= len(ticks) <= 7
    assert all(low <= tick <= low * span for tick in ticks)
    assert len({label("", tick) for tick in ticks}) == len(ticks)


def test_an_unknown_figure_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(
        LookupFailure, match='none of the figures is called "residual": did you mean "residuals"'
    ):
        draw_figures([], ["residual"], tmp_path)


FIGURE = """
from attrs import frozen
from fvlm_core.plugin_api import Component, hookimpl


@frozen
class Worst:
    colour: str = "#D55E00"


def draw(config, reports, figure):
    from fvlm_core.plugin_api import style

    axes = style.sheet(figure, 1, 1, caption=["The worst residual of each law."]).every[0]
    for at, report in enumerate(reports):
        worst = max(fit.points["residual"].abs().max() for fit in report.fits)
        axes.plot(at, worst, **style.marks(config.colour))
    axes.set_ylabel("worst residual")


@hookimpl
def fvlm_figures():
    yield Component("worst", target="acme_worst:draw", config="acme_worst:Worst", summary="worst residuals")
"""


def test_a_third_partys_figure_is_drawn_by_name(tmp_path: Path) -> None:
    (tmp_path / "acme_worst.py").write_text(FIGURE)
    info = tmp_path / "acme_worst-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-worst\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[fvlm]\nacme = acme_worst\n")
    points(TRUTH, list(SIZES.values()), SAMPLES, noise=0.003).to_csv(tmp_path / "points.csv", index=False)

    def fvlm(*arguments: str) -> subprocess.CompletedProcess[str]:
        return warm.fvlm(*arguments, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)})

    wrong = fvlm("fit", "--data", "points.csv", "--figures", "worse")
    assert wrong.returncode == 2
    assert 'none of the figures is called "worse": did you mean "worst"?' in wrong.stderr
    asked = ("--figures", "worst,residuals", "--figures-to", "out", "--format", "svg", "--format", "png")
    asked += ("--draws", "20", "--model", "joint-chinchilla")
    done = fvlm("fit", "--data", "points.csv", *asked)
    assert done.returncode == 0, done.stderr
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        "worst.svg",
        "worst.png",
        "residuals.svg",
        "residuals.png",
        "worst-caption.txt",
        "worst-caption.tex",
        "residuals-caption.txt",
        "residuals-caption.tex",
    }
    assert "#d55e00" in (tmp_path / "out/worst.svg").read_text()
    assert "figure: out/worst.svg" in done.stdout
