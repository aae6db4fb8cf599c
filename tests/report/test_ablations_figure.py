"""The figure of an ablation table: what it shows of each variant, in every style, and as an Axes to go on with; and
the table for one column of a paper."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from run_folders import validation, write_run
from tex import compiled
from tiny import run_cli

import fvlm
from fvlm_core.comparison import ComparisonTable, compare, table
from fvlm_core.comparison.formats import COLUMN, FORMATS, one_column
from fvlm_core.report.figures import COLOURS, LOOKS, PAPER
from fvlm_core.report.figures.ablations import ablations_panel, ablations_plot
from fvlm_core.report.figures.style import caption_of
from fvlm_core.runs.store import list_runs
from fvlm_core.utils.errors import FvlmError

Cli = Callable[..., tuple[int, str, str]]
CURVE = [(10, 3.0), (20, 2.5), (40, 2.0), (80, 1.7)]
SHIFTS = {
    "baseline": (0.0, 0.004, -0.004),
    "A1-better": (-0.08, -0.077, -0.085),
    "A2-worse": (0.09, 0.094, 0.085),
    "A3-noise": (0.03, -0.04, 0.02),
    "A4-one-seed": (0.05,),
}


def write_ablations(root: Path, shifts: Mapping[str, Sequence[float]] = SHIFTS, **more: Any) -> None:
    for order, (name, each) in enumerate(shifts.items()):
        for number, shift in enumerate(each):
            run = f"phase/{name}-s{number}" if len(each) > 1 else f"phase/{name}"
            own = {"query_dim": 100 + order} if order else {}
            samples = validation(shift, 0.02, seed=97 * order + number)
            write_run(
                root, run, seed=42 + number, samples=samples, order=order, connector=own, curve=CURVE, **more
            )


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FVLM_RUNS", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)
    write_ablations(tmp_path / "runs")
    return tmp_path / "runs"


@pytest.fixture
def cli(runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return lambda *arguments: run_cli(["runs", "compare", *arguments], monkeypatch, capsys)


def compared(root: Path, metric: str = "val_loss") -> ComparisonTable:
    return table(compare(list_runs(root), metric=metric))


def dots(axes: Axes, size: float) -> list[Any]:
    """Marks of a size."""
    return [line for line in axes.lines if line.get_marker() == "o" and line.get_markersize() == size]


def whole_figure(axes: Axes) -> Figure:
    figure = axes.figure.get_figure(root=True)
    assert isinstance(figure, Figure)
    return figure


def test_each_variant_has_a_dot_its_interval_and_its_seeds_in_the_tables_order(runs: Path) -> None:
    found = compared(runs)
    axes = ablations_panel(found, None, PAPER)
    rows = [row for row in found.rows if row["kind"] == "variant"]
    assert [label.get_text() for label in axes.get_yticklabels()] == list(SHIFTS)
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first row on top
    assert [float(dot.get_xdata()[0]) for dot in dots(axes, 4.2)] == [row["value"] for row in rows]
    colours = [to_hex(dot.get_color()).upper() for dot in dots(axes, 4.2)]
    assert colours[1:3] == list(COLOURS[:2])
    assert len(set(colours)) == 4  # the baseline's own, and grey for what is not known to differ
    base = rows[0]["value"]
    assert axes.lines[0].get_xdata() == [base, base]
    bars = [
        line
        for line in axes.lines[1:]
        if len(np.atleast_1d(line.get_xdata())) == 2 and line.get_marker() == "None"
    ]
    for row, bar in zip(rows[1:], bars, strict=True):
        kind = "seeds" if row["seeds"] > 1 else "weights"
        assert np.asarray(bar.get_xdata()).tolist() == [base + row[f"{kind}_low"], base + row[f"{kind}_high"]]
    assert bars[-1].get_linewidth() < bars[0].get_linewidth()
    small = dots(axes, 1.6)
    assert [len(line.get_xdata()) for line in small] == [3, 3, 3, 3]
    for line, row in zip(small, rows, strict=False):
        assert sum(line.get_xdata()) / 3 == pytest.approx(row["value"])


@pytest.mark.parametrize("look", LOOKS)
def test_the_command_draws_it_in_every_style_with_its_caption_beside_it(look: str, cli: Cli) -> None:
    code, out, err = cli("phase", "--plot", "figures/ablations.pdf", "--style", look)
    assert (code, "A1-better" in out) == (0, True)
    assert "plot: figures/ablations.pdf, figures/ablations-caption.txt" in err
    text = Path("figures/ablations-caption.txt").read_text()
    assert "over other seeds and samples" in text
    assert "Thin bars" in text
    assert "\\includegraphics" in Path("figures/ablations-caption.tex").read_text()
    assert Path("figures/ablations.pdf").read_bytes().startswith(b"%PDF")


def test_metrics_beside_each_other_share_the_names_of_the_variants(tmp_path: Path) -> None:
    write_ablations(tmp_path, evaluation={"attention_entropy": 5.2})
    tables = [compared(tmp_path, metric) for metric in ("val_loss", "attention_entropy")]
    files = ablations_plot(tables, tmp_path / "both.svg", PAPER)
    text = (tmp_path / "both.svg").read_text()
    assert [file.name for file in files] == ["both.svg", "both-caption.txt", "both-caption.tex"]
    assert text.count("A1-better") == 1
    assert "attention entropy" in text


def test_nothing_measured_is_an_error_and_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path, "phase/baseline", None)
    write_run(tmp_path, "phase/A1", 1.5, order=1)
    command = ["runs", "compare", "phase", "--runs", "."]
    code, _, err = run_cli([*command, "--baseline", "baseline", "--plot", "p.png"], monkeypatch, capsys)
    assert (code, err) == (2, "nothing to draw: baseline has no val_loss yet\n")
    assert not list(tmp_path.glob("p.*")) + list(tmp_path.glob("p-*"))
    code, _, err = run_cli([*command, "--plot", "p.gif"], monkeypatch, capsys)
    assert (code, err) == (2, "p.gif: expected a file name ending in .png, .pdf, .svg\n")


def test_what_is_not_measured_yet_is_said_and_left_out(tmp_path: Path) -> None:
    write_ablations(tmp_path)
    write_run(tmp_path, "phase/A9-waits", None, order=9)
    axes = ablations_panel(compared(tmp_path), None, PAPER)
    assert "A9-waits" not in [label.get_text() for label in axes.get_yticklabels()]
    assert "Not measured yet: A9-waits." in fvlm.compare("phase", root=tmp_path).caption()


def test_many_variants_are_as_high_as_they_need_and_a_slide_says_what_it_has_no_room_for(
    tmp_path: Path,
) -> None:
    write_ablations(tmp_path, {f"v{number:02}": (0.01 * number,) for number in range(40)})
    found = compared(tmp_path)
    heights = {
        look.name: whole_figure(ablations_panel(found, None, look)).get_size_inches()[1]
        for look in LOOKS.values()
    }
    assert heights["slide"] * 25.4 <= 76.1
    assert heights["paper"] > 4
    shown = ablations_panel(found, None, LOOKS["slide"])
    left = 40 - len(shown.get_yticklabels())
    assert left > 0
    assert f"{left} more variants not drawn" in " ".join(caption_of(whole_figure(shown)))


def test_from_python_it_is_an_axes_to_go_on_with(runs: Path) -> None:
    result = fvlm.compare("phase")
    own = result.plot(style="paper")
    assert whole_figure(own).get_size_inches()[0] * 25.4 == pytest.approx(84)
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert result.plot(left) is left
    assert not right.lines
    left.set_title("mine")
    assert "The line is baseline" in result.caption()
    with pytest.raises(FvlmError, match='style "papre": there is no such one: did you mean "paper"'):
        result.plot(style="papre")


def test_a_table_for_latex_has_the_columns_of_one_column_and_names_the_others(cli: Cli) -> None:
    code, out, err = cli("phase", "--out", "table.tex")
    assert (code, out) == (0, "table.tex\n")
    text = Path("table.tex").read_text()
    assert "variant & best val & seeds and samples" in text
    assert text.startswith(
        "% left out, for want of room: changes, seeds, sd, difference, these-weights, verdict,"
    )
    assert err.splitlines() == [
        "as wide as one column of a paper; left out: changes, seeds, sd, difference, these-weights, verdict, "
        "multiplier (--columns names those to show)"
    ]
    assert "multiplier:" not in text  # nor what would explain what is not there
    code, _, err = cli("phase", "--out", "table.tex", "--columns", "variant,verdict,multiplier")
    assert (code, err) == (0, "")
    text = Path("table.tex").read_text()
    assert "variant & verdict & multiplier" in text
    assert "multiplier: how many times" in text


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> ComparisonTable:
    root = tmp_path_factory.mktemp("runs")
    write_ablations(root)
    return compared(root)


@given(
    st.lists(st.text("abcXYZmW 0189-_+.", min_size=1, max_size=60), min_size=5, max_size=5),
    st.floats(30, 900),
)
def test_a_narrow_table_loses_no_column_in_silence(
    whole: ComparisonTable, names: list[str], width: float
) -> None:
    rows = tuple(row | {"variant": name} for row, name in zip(whole.rows, names, strict=True))
    narrow = one_column(evolve(whole, rows=rows), width)
    kept = [column.name for column in narrow.columns]
    every = [column.name for column in whole.columns]
    assert kept[0] == "variant"
    assert kept == [name for name in every if name in kept]
    assert list(narrow.left_out) == [name for name in every if name not in kept]
    wider = one_column(evolve(whole, rows=rows), 2 * width)
    assert len(wider.columns) >= len(kept)


@pytest.mark.skipif(
    shutil.which("pdflatex") is None,
    reason="pdflatex is not on this machine: apt-get install texlive-latex-recommended",
)
@pytest.mark.parametrize(
    "shifts",
    [
        SHIFTS,
        {"baseline": (0.0,), "A1": (0.1,), "an ablation's rather long name": (0.2,)},
        {"MMWMWMW-1_2": (0.0, 0.01), "48%&mode+WWW": (0.0, 0.02), "i": (0.0, 0.0012)},
    ],
)
def test_the_table_of_one_column_fits_into_it(shifts: Mapping[str, Sequence[float]], tmp_path: Path) -> None:
    write_ablations(tmp_path / "runs", shifts)
    (tmp_path / "table.tex").write_text(FORMATS["latex"]([one_column(compared(tmp_path / "runs"))]))
    text = compiled(tmp_path, "\\begin{table}\\small\n\\input{table}\n\\end{table}\n")
    log = (tmp_path / "page.log").read_text(errors="replace")
    assert "best val" in text
    assert "Overfull \\hbox" not in log
    assert COLUMN <= 229.5  # \columnwidth of that page
