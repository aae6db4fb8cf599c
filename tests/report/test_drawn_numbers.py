"""What figures and pages draw and tabulate are the numbers of the run that they name: read back from the drawing and
compared with the files of the run, or with the law's formula."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from measured import BATCH, SIZES, STEPS, TRUTH, chinchilla, points, run

from fvlm_core.interfaces.figure import LawReport
from fvlm_core.report.catalogue import load_figure
from fvlm_core.report.figures.view import view
from fvlm_core.report.html import gather
from fvlm_core.report.html.page import charts
from fvlm_core.report.html.parts import Chart, Section, Table
from fvlm_core.runs.store import list_runs
from fvlm_core.scaling.fit.fitting import fit_points, load_model
from fvlm_core.scaling.fit.options import Options
from fvlm_core.scaling.points.points import tidy

# ---------------------------------------------------------------- pages


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs none of whose numbers is another's, and whose last training row counts more FLOPs than the last
    evaluation; the middle one ends above its best."""
    root = tmp_path_factory.mktemp("store")
    for order, (size, n) in enumerate(SIZES.items()):
        losses = [chinchilla(n, step * BATCH, **TRUTH) + 0.3 * (order == 1 and step > 200) for step in STEPS]
        folder = run(root, size, size=size, n=n, order=order, losses=losses)
        rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for row in rows:
            if row["event_type"] == "train":
                row["train_loss"] = row["train_loss"] + 1.5 + order / 3
        last = next(row for row in reversed(rows) if row["event_type"] == "train")
        rows.append({**last, "step": last["step"] + 30, "samples_seen": last["samples_seen"] + 30 * BATCH,
                     "flops": 1.25 * last["flops"] * (2 + order), "train_loss": 1.1 + order})  # fmt: skip
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


@pytest.fixture(scope="module")
def sections(root: Path) -> dict[str, Section]:
    return {one.id: one for one in gather(list_runs(root), draw_fits=False).sections}


def written(root: Path, name: str, kind: str) -> list[dict[str, Any]]:
    """The rows of one kind in a run's metrics, straight from the file."""
    lines = (root / "grid" / name / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["event_type"] == kind]


def walked(value: Any) -> Iterator[dict[str, Any]]:
    """Every object inside a document of Bokeh's."""
    if isinstance(value, dict):
        yield value
        for one in value.values():
            yield from walked(one)
    elif isinstance(value, list):
        for one in value:
            yield from walked(one)


def numbers(value: Any) -> list[float]:
    """A column as Bokeh writes it: a list, or the base64 of its bytes, which it may have packed."""
    if isinstance(value, list):
        return value
    data = base64.b64decode(value["array"]["data"])
    data = gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
    return np.frombuffer(data, value["dtype"]).tolist()


def drawn(chart: Chart) -> dict[str, list[tuple[list[float], list[float]]]]:
    """x and y of every source in the document that the browser gets, by the label that the pointer is told."""
    found: dict[str, list[tuple[list[float], list[float]]]] = {}
    for one in walked(chart.item):
        if one.get("name") == "ColumnDataSource" and "data" in one.get("attributes", {}):
            data = one["attributes"]["data"]
            columns = dict(data["entries"]) if isinstance(data, dict) and "entries" in data else data
            if "label" in columns:
                (label,) = set(columns["label"])
                found.setdefault(label, []).append((numbers(columns["x"]), numbers(columns["y"])))
    return found


def cells(table: Table, row: str) -> dict[str, str]:
    (found,) = [cells for cells in table.rows if cells[0].text.endswith(row)]
    return {column.title: cell.text for column, cell in zip(table.columns, found, strict=True)}


@pytest.mark.parametrize(("at", "kind", "column"), [(0, "eval", "val_loss"), (1, "train", "train_loss")])
def test_a_curve_is_that_of_the_run_and_the_loss_it_names(
    at: int, kind: str, column: str, root: Path, sections: dict[str, Section]
) -> None:
    chart = charts(sections["curves"])[at]
    found = drawn(chart)
    assert chart.title == ("Validation loss", "Training loss")[at]
    for name in SIZES:
        rows = written(root, name, kind)
        samples, losses = ([row[of] for row in rows] for of in ("samples_seen", column))
        (label,) = [label for label in found if label.endswith(name)]
        assert found[label]
        for x, y in found[label]:
            assert (x, y) == (samples, pytest.approx(losses))
        (key,) = [key for key in chart.keys if key.label == label]
        assert key.text == f"{losses[-1]:.4f}"
        told = cells(chart.table, name)
        assert (told["first"], told["last"]) == (f"{losses[0]:.4f}", f"{losses[-1]:.4f}")
        assert told["lowest"] == f"{min(losses):.4f}"
        half = next(loss for x, loss in zip(samples, losses, strict=True) if x >= samples[-1] / 2)
        assert told["half"] == f"{half:.4f}"
        assert f"{label} from {losses[0]:.3f} to {losses[-1]:.3f}" in chart.description


def test_every_curve_has_the_colour_of_its_legend(sections: dict[str, Section]) -> None:
    for chart in charts(sections["curves"]):
        shown: dict[str, set[str]] = {}
        for one in walked(chart.item):
            if one.get("name") == "GlyphRenderer" and one["attributes"].get("tags"):
                glyph = one["attributes"]["glyph"]["attributes"]
                colour = glyph["line_color"]
                (series,) = one["attributes"]["tags"]
                shown.setdefault(series, set()).add(colour["value"] if isinstance(colour, dict) else colour)
        assert shown == {key.series: {key.colour[0]} for key in chart.keys}
        assert len({key.colour for key in chart.keys}) == len(SIZES)


def test_the_compute_of_a_run_is_all_that_it_counted(root: Path, sections: dict[str, Section]) -> None:
    """A run's FLOPs grow, and its last row has most."""
    (table,) = sections["compute"].blocks[0].tables
    total = 0.0
    for name in SIZES:
        rows = [*written(root, name, "train"), *written(root, name, "eval")]
        spent = max(row["flops"] for row in rows)
        assert spent > written(root, name, "eval")[-1]["flops"]
        (found,) = [row for row in table.rows if row[0].text.endswith(name)]
        assert found[1].value == spent
        digits, exponent = f"{spent:.2e}".split("e+")
        assert found[1].text.startswith(digits)
        assert found[1].text.translate(str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")).endswith(str(int(exponent)))
        assert cells(table, name)["time"] == "0:00:45"  # .0125 hours in the summary
        total += spent
    said = sections["compute"].blocks[0].words[0]
    assert f"{total:.2e}".split("e")[0] in said


def test_the_sentence_on_top_names_the_run_of_the_lowest_loss(root: Path) -> None:
    best = {
        name: json.loads((root / "grid" / name / "summary.json").read_text())["best_val_loss"]
        for name in SIZES
    }
    name = min(best, key=lambda one: best[one])
    lede = gather(list_runs(root), draw_fits=False).lede
    assert f"lowest validation loss {best[name]:.4f}, of " in lede
    assert lede.split(f"{best[name]:.4f}, of ")[1].split(";")[0].rstrip(".").endswith(name)


# ---------------------------------------------------------------- figures


@pytest.fixture(scope="module")
def law() -> LawReport:
    table = points(TRUTH, list(SIZES.values()), [step * BATCH for step in STEPS], noise=0.003)
    table["size"] = table["n"].map({n: size for size, n in SIZES.items()})
    table["compute"] = 6 * table["n"] * table["d"]
    options = Options(sensitivity=False)
    return view(fit_points(tidy(table, "points"), load_model("joint-chinchilla"), "log-mse", 40, options))


def figure_of(name: str, law: LawReport) -> Figure:
    figure = FigureCanvasAgg(Figure()).figure
    load_figure(name)([law], figure)
    return figure


def colours_of(figure: Figure) -> dict[str, Any]:
    """The colour of each size, by the names at the ends of curves, or by the legend."""
    shown = {text.get_text(): to_rgba(text.get_color()) for text in figure.axes[0].texts}
    for legend in filter(None, (axes.get_legend() for axes in figure.axes)):
        for text, handle in zip(legend.get_texts(), legend.legend_handles, strict=True):
            shown[text.get_text()] = to_rgba(handle.get_color())
    return {size: next(at for label, at in shown.items() if label.startswith(size)) for size in SIZES}


@pytest.mark.parametrize(("name", "x"), [("loss-data", "d"), ("loss-compute", "compute")])
def test_points_and_curves_of_a_figure_are_those_of_their_size(name: str, x: str, law: LawReport) -> None:
    """Marks are the table's rows; lines are E + A/N^alpha + B/D^beta with the fit's numbers at the size's N."""
    figure = figure_of(name, law)
    values = {one.name: one.value for one in law.fits[0].parameters}
    for size, colour in colours_of(figure).items():
        rows = law.points[law.points["size"] == size]
        own = [line for line in figure.axes[0].lines if to_rgba(line.get_color()) == colour]
        (marks,) = [line for line in own if line.get_linestyle() == "None"]
        (curve,) = [line for line in own if line.get_linestyle() == "-"]
        assert np.asarray(marks.get_xydata()).tolist() == rows[[x, "loss"]].to_numpy().tolist()
        at, best = np.asarray(curve.get_xydata()).T
        n = float(SIZES[size])
        d = at if x == "d" else at / (6 * n)
        assert best == pytest.approx(chinchilla(n, d, **values), rel=1e-9)


def test_bands_of_a_figure_hold_their_curve_and_are_as_wide_as_the_laws_interval(law: LawReport) -> None:
    figure = figure_of("loss-data", law)
    (fit,) = law.fits
    for size, colour in colours_of(figure).items():
        (area,) = [
            one for one in figure.axes[0].collections if tuple(one.get_facecolor()[0][:3]) == colour[:3]
        ]
        edge = area.get_paths()[0].vertices
        rows = law.points[law.points["size"] == size]
        last = rows.loc[rows["d"].idxmax(), ["n", "d", "compute", "size"]].to_frame().T
        _, low, high = (float(part[0]) for part in fit.predict(last.infer_objects()))
        there = edge[np.isclose(edge[:, 0], float(rows["d"].max()))][:, 1]
        assert (there.min(), there.max()) == (pytest.approx(low), pytest.approx(high))


def test_residuals_of_a_figure_are_measured_over_fitted(law: LawReport) -> None:
    figure = figure_of("residuals", law)
    values = {one.name: one.value for one in law.fits[0].parameters}
    for size, colour in colours_of(figure).items():
        rows = law.points[law.points["size"] == size]
        fitted = chinchilla(rows["n"].to_numpy(), rows["d"].to_numpy(), **values)
        expected = 100 * (rows["loss"].to_numpy() / fitted - 1)
        own = [line for line in figure.axes[0].lines if to_rgba(line.get_color()) == colour]
        assert own
        for line in own:
            d, residual = np.asarray(line.get_xydata()).T
            assert d.tolist() == rows["d"].tolist()
            assert residual == pytest.approx(expected, abs=1e-7)
