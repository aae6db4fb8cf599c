"""Figures for papers: columns in millimetres, fonts embedded, solid points, captions beside them, and a page of LaTeX
with two figures and a table that compiles."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.mathtext import MathTextParser
from measured import SIZES, STEPS, TRUTH, points
from PIL import Image
from tex import compiled
from tiny import run_cli

from fvlm_core.report.figures import LOOKS, PAPER, draw_figures, law_figure, scaling_law_plot
from fvlm_core.report.figures.captions import latex
from fvlm_core.report.figures.formula import formula, symbol
from fvlm_core.report.figures.panel import law_panel
from fvlm_core.scaling.fit.fitting import fit_points, load_model
from fvlm_core.scaling.fit.report import FitReport
from fvlm_core.scaling.points.points import tidy
from fvlm_core.utils.errors import UsageError
from fvlm_registry import registry

pytestmark = pytest.mark.usefixtures("quick_fits")

SAMPLES = [step * 32 for step in STEPS]


@pytest.fixture(scope="module")
def reports() -> list[FitReport]:
    table = tidy(points(TRUTH, list(SIZES.values()), SAMPLES, noise=0.003), "points")
    return [fit_points(table, load_model(name), draws=20) for name in ("per-size", "joint-chinchilla")]


@pytest.mark.parametrize("look", LOOKS)
def test_a_figure_is_as_wide_as_the_column_it_goes_into(
    look: str, reports: list[FitReport], tmp_path: Path
) -> None:
    style = LOOKS[look]
    draw_figures(reports[:1], ["loss-data"], tmp_path / "one", ("pdf", "png"), style)
    draw_figures(reports, ["loss-data"], tmp_path / "two", ("pdf",), style)
    for folder, width in (("one", style.column), ("two", style.page)):
        box = re.search(
            rb"/MediaBox \[ ?0 0 ([\d.]+) ([\d.]+)", (tmp_path / folder / "loss-data.pdf").read_bytes()
        )
        assert box is not None
        assert float(box[1]) / 72 * 25.4 == pytest.approx(width, abs=0.1)
    image = Image.open(tmp_path / "one/loss-data.png")
    assert image.width == pytest.approx(style.column / 25.4 * style.dpi, abs=1)
    if style.highest:
        assert image.height / style.dpi * 25.4 <= style.highest + 0.5


def test_fonts_are_embedded(reports: list[FitReport], tmp_path: Path) -> None:
    if shutil.which("pdffonts") is None:
        pytest.skip("pdffonts (poppler-utils) is not on this machine")
    for look in LOOKS.values():
        file = tmp_path / f"{look.name}.pdf"
        scaling_law_plot(reports, file, look=look)
        lines = subprocess.run(
            ["pdffonts", file], capture_output=True, text=True, check=True
        ).stdout.splitlines()[2:]
        assert lines
        assert {line[54:].split()[-5] for line in lines} == {"yes"}, (
            lines
        )  # emb, before sub, uni and the object
        if look is PAPER:
            assert any("STIX" in line for line in lines)


def test_points_are_solid(reports: list[FitReport]) -> None:
    marks = [line for line in law_figure(reports).axes[0].lines if line.get_linestyle() == "None"]
    assert marks
    for line in marks:
        assert to_rgba(line.get_markerfacecolor())[3] == 1
        assert line.get_alpha() in (None, 1)


def test_sizes_are_named_at_the_ends_of_their_curves_and_not_in_a_legend(reports: list[FitReport]) -> None:
    axes = law_figure(reports[1:]).axes[0]
    named = {text.get_text(): text for text in axes.texts if text.get_text() in SIZES}
    assert set(named) == set(SIZES)
    assert axes.get_legend() is None
    heights = [named[size].xy[1] for size in sorted(SIZES, key=SIZES.__getitem__)]  # type: ignore[attr-defined]
    assert heights == sorted(heights, reverse=True)  # larger models reach lower losses


def test_a_caption_stands_beside_its_figure_as_text_and_for_latex(
    reports: list[FitReport], tmp_path: Path
) -> None:
    (tmp_path / "law.tex").write_text("my paper")
    _, text, tex = scaling_law_plot(reports, tmp_path / "law.pdf", look=PAPER, captioned=True)
    assert (text.name, tex.name) == ("law-caption.txt", "law-caption.tex")
    assert (tmp_path / "law.tex").read_text() == "my paper"
    assert "alpha 0.3" in text.read_text()
    written = tex.read_text()
    assert "\\begin{figure*}" in written
    assert "\\includegraphics[width=174mm]{law}" in written
    assert "$\\alpha$ 0.3" in written
    assert "95~\\%" in written


def test_what_has_nothing_to_show_is_no_file_and_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    points(TRUTH, list(SIZES.values()), SAMPLES, noise=0.003).to_csv("points.csv", index=False)
    asked = [
        "fit",
        "--data",
        "points.csv",
        "--model",
        "joint-chinchilla",
        "--draws",
        "20",
        "--style",
        "paper",
    ]
    code, out, err = run_cli([*asked, "--figures", "lr-sweep,law"], monkeypatch, capsys)
    assert code == 0, err
    assert sorted(file.name for file in Path("figures").iterdir()) == [
        "law-caption.tex",
        "law-caption.txt",
        "law.pdf",
    ]
    assert (
        "no figure lr-sweep: None of these laws has learning-rate minima: ask for --model lr-optimum." in out
    )
    code, _, err = run_cli([*asked, "--style", "print"], monkeypatch, capsys)
    assert code == 2
    assert 'did you mean "paper"?' in err


def test_a_law_is_drawn_on_anybodys_axes(reports: list[FitReport]) -> None:
    with matplotlib.rc_context({"font.size": 20.0}):
        figure = Figure()
        left, right = figure.subplots(1, 2)
        assert law_panel(reports[1], left, "d", LOOKS["screen"]) is left
    assert len([line for line in left.lines if line.get_linestyle() == "None"]) == len(SIZES)
    assert left.get_xscale() == "log"
    assert not right.lines
    left.set_xlabel("mine")  # it is an Axes to go on with
    own = law_panel(reports[1], None, "d", PAPER)
    assert own.figure.get_size_inches()[0] * 25.4 == pytest.approx(84)
    assert law_panel(reports[1], None, "n", PAPER).get_xscale() == "log"
    with pytest.raises(UsageError, match='along "m": joint-chinchilla is not drawn along it'):
        law_panel(reports[1], None, "m", PAPER)
    with pytest.raises(UsageError, match="the points do not say training compute"):
        law_panel(reports[1], None, "compute", PAPER)


def test_every_law_that_comes_with_fvlm_has_a_formula_that_is_typeset() -> None:
    laws = [load_model(offer.component.name) for offer in registry().offered("fit")]
    assert len(laws) > 15
    for law in laws:
        assert formula(law.form).startswith("$"), law.form
        for parameter in law.parameters:
            assert "$" in symbol(parameter.name), parameter.name


@pytest.mark.parametrize(
    ("typed", "typeset"),
    [
        ("L = E + A/N^alpha", r"$L = E + A/N^{\alpha }$"),
        ("L = a*D^-b + E", r"$L = a\,D^{-b} + E$"),
        ("L = b*6^(-c/2)*D^-c", r"$L = b\,6^{-c/2}\,D^{-c}$"),
        ("L = L*(C) + k*(ln N)^2", r"$L = L^{*}(C) + k\,(\ln  N)^{2}$"),
        ("eta_(k-1)", r"$\eta _{k-1}$"),
        ("no formula; 5 % of it", "no formula; 5 % of it"),
    ],
)
def test_a_formula_is_read_as_people_type_it(typed: str, typeset: str) -> None:
    assert formula(typed) == typeset


@given(st.text(st.sampled_from("LEaN_^*()-+/ 0123{}$\\%#~'\"éαβ|<>"), max_size=24))
def test_any_text_is_a_formula_that_can_be_set_or_stays_as_it_is(text: str) -> None:
    found = formula(text)
    if found != text:
        MathTextParser("path").parse(found)


TEX = shutil.which("pdflatex")


@pytest.mark.skipif(
    TEX is None, reason="pdflatex is not on this machine: apt-get install texlive-latex-recommended"
)
def test_a_page_of_a_paper_with_two_figures_and_a_table_compiles(
    reports: list[FitReport], tmp_path: Path
) -> None:
    from run_folders import write_run

    from fvlm_core.comparison import compare, table
    from fvlm_core.comparison.formats import FORMATS, one_column
    from fvlm_core.runs.store import list_runs

    draw_figures(reports, ["loss-data", "residuals"], tmp_path / "figures", ("pdf",), PAPER)
    for order, name in enumerate(("baseline", "A_1", "50%&more")):
        write_run(
            tmp_path / "runs", f"phase/{name}", order=order, connector={"depth": "shallow"} if order else {}
        )
    chosen = one_column(table(compare(list_runs(tmp_path / "runs"))))
    (tmp_path / "table.tex").write_text(FORMATS["latex"]([chosen]))
    text = compiled(
        tmp_path,
        "\\input{figures/loss-data-caption}\n\\input{figures/residuals-caption}\n"
        "\\begin{table}\\small\n\\input{table}\n\\end{table}\n"
        "See Figures~\\ref{fig:loss-data} and~\\ref{fig:residuals}.",
    )
    assert "50%&more" in text
    assert "joint-chinchilla" in text
    assert "best val" in text


@pytest.mark.skipif(
    TEX is None, reason="pdflatex is not on this machine: apt-get install texlive-latex-recommended"
)
def test_no_name_is_taken_for_a_command_of_latex(tmp_path: Path) -> None:
    hostile = "a\\b {c} $d^e_f$ 5% #1 &~ <g> 'h' \"i\" \x1b[31m \u00a0 \u202e alpha… ≥ × ± – ü"
    text = compiled(tmp_path, latex(hostile, ["L = E"]))
    assert "5% #1 &" in text.replace("\n", " ")


def test_a_screens_picture_keeps_its_size(reports: list[FitReport], tmp_path: Path) -> None:
    scaling_law_plot(reports, tmp_path / "plot.png")
    head = (tmp_path / "plot.png").read_bytes()[16:24]
    assert struct.unpack(">II", head) == (1600, 1000)
    assert (
        np.asarray(Image.open(tmp_path / "plot.png").convert("L"))[-12:].min() == 255
    )  # no words at the lower edge
