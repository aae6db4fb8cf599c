"""Sections that plugins bring to the report: what they say is shown as text, and one that fails takes nothing along."""

from __future__ import annotations

import base64
import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import frozen
from fvlm_sections.config import Stability
from PIL import Image
from run_folders import write_run
from test_report import HOSTILE, Read
from tiny import run_cli

from fvlm_core.plugin_api import ReportedRun, Section, SectionFigure, SectionTable
from fvlm_core.recipes.schema import Chosen
from fvlm_core.report.html import failures, gather, offered, page
from fvlm_core.runs.metrics import read_metrics
from fvlm_core.runs.store import list_runs
from fvlm_core.runs.tags import change_tags
from fvlm_registry import Component, Offer, Registry

MODULE = f"""
from matplotlib.figure import Figure
from fvlm_core.plugin_api import Section, SectionFigure, SectionTable

HOSTILE = {HOSTILE!r}

def hostile(config, runs):
    figure = Figure(figsize=(3, 2))
    figure.add_subplot().plot([1, 2], [3, 4], label=HOSTILE)
    table = SectionTable(HOSTILE, ["name " + HOSTILE, "x"], [[HOSTILE, 2.5]])
    return Section("title " + HOSTILE, ["said " + HOSTILE, table, SectionFigure(figure, "figure " + HOSTILE)])

def failing(config, runs):
    runs[0].summary.clear()
    return {{}}[HOSTILE]

def nothing(config, runs):
    return "a text"

def drawn(config, runs):
    return Section("x", [SectionFigure("no figure", "a caption")])

def seen(config, runs):
    lines = [
        f"{{run.name}} {{run.state}} {{run.tags}} {{run.summary['best_val_loss']}} {{len(run.metrics())}}"
        for run in runs
    ]
    return Section("Seen", [*lines, SectionTable("t", ["n"], [[1234567], [-0.12345678], [None], [float("nan")]])])
"""


@frozen
class Empty:
    """No settings."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs; one had a spike, and a step that changed nothing."""
    root = tmp_path_factory.mktemp("store")
    write_run(root, "phase/baseline", curve=[(20, 2.0), (40, 1.8)], order=0)
    odd = write_run(root, "phase/odd", curve=[(20, 2.0), (40, 1.8)], order=1)
    change_tags(odd, ["paper"])
    row = {"run_id": "odd", "attempt": 1}
    with (odd / "metrics.jsonl").open("a") as file:
        for step, norm in enumerate([1.0, 4.0, 2.0, 0.5, None], 101):
            file.write(json.dumps({**row, "event_type": "train", "step": step, "grad_norm": norm}) + "\n")
        # as every evaluation does, it repeats what its step's training row says
        file.write(
            json.dumps({**row, "event_type": "eval", "step": 104, "val_loss": 1.7, "grad_norm": 0.5}) + "\n"
        )
        file.write(
            json.dumps({**row, "event_type": "spike", "step": 102, "reason": f"above {HOSTILE}"}) + "\n"
        )
        file.write(json.dumps({**row, "event_type": "skipped", "step": 105, "reason": "not finite"}) + "\n")
    return root


@pytest.fixture
def brought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sections of `MODULE`, as a plugin called acme brings them."""
    (tmp_path / "acme_sections_under_test.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    named = {
        name: Component(name, target=f"acme_sections_under_test:{name}", config=f"{__name__}:Empty")
        for name in ("hostile", "failing", "nothing", "drawn", "seen")
    }
    offers = tuple(Offer("section", component, "acme", "acme 1.0") for component in named.values())
    monkeypatch.setattr(offered, "registry", lambda: Registry((), offers))


def content(root: Path, *names: str) -> Any:
    chosen = [Chosen(name, f"acme:{name}", Empty()) for name in names]
    return gather(list_runs(root), draw_fits=False, chosen=chosen)


@pytest.mark.usefixtures("brought")
def test_nothing_of_a_section_becomes_markup(root: Path) -> None:
    """Its title, texts, captions, heads and cells are text; its figure is a picture, and no script but ours runs."""
    text = page(content(root, "hostile"))
    read = Read(text)
    said = read.text.replace("\xa0", " ")
    for part in ("title ", "said ", "name ", "figure "):
        assert part + HOSTILE in said
    assert not [about for _, about in read.elements if any(name.startswith("on") for name in about)]
    assert len([about for about, _ in read.scripts if about.get("type") != "application/json"]) == 2
    [picture] = read.of("img")
    assert picture["alt"] == f"figure {HOSTILE}"
    shown = Image.open(BytesIO(base64.b64decode((picture["src"] or "").partition(",")[2])))
    assert shown.size == (576, 384)
    assert (picture["width"], picture["height"]) == ("288", "192")


@pytest.mark.usefixtures("brought")
def test_a_section_that_fails_is_named_and_the_others_are_there(root: Path) -> None:
    """With the line of the plugin; what it broke of its own copy is whole for the next one."""
    made = content(root, "failing", "nothing", "drawn", "seen")
    said = Read(page(made)).text
    for reason in (
        "left out, for it failed: KeyError",
        "TypeError: expected a Section of fvlm_core.plugin_api, got str",
        "ValueError: figure: expected a matplotlib Figure, got str",
    ):
        assert reason in said
    assert [one.split(":")[0] for one in failures(made.sections)] == [
        "section failing",
        "section nothing",
        "section drawn",
    ]
    assert "odd complete ('paper',) 1.5 8" in said
    assert "What was run" in said


@pytest.mark.usefixtures("brought")
def test_numbers_are_shown_as_numbers(root: Path) -> None:
    section = content(root, "seen").sections[-3]
    [table] = [table for block in section.blocks for table in block.tables]
    assert [row[0].text for row in table.rows] == ["1,234,567", "\u22120.12346", "", "nan"]
    assert [row[0].value for row in table.rows] == [1234567.0, -0.12345678, None, None]
    assert table.columns[0].number


def test_what_is_no_section_is_refused_where_it_is_made() -> None:
    """In the plugin's own line, not in the report's."""
    with pytest.raises(ValueError, match="row 1 has 1 cells, and there are 2 columns"):
        SectionTable("t", ["a", "b"], [[1, 2], [3]])
    with pytest.raises(ValueError, match='row 0, "b": expected text, a number or None, got dict'):
        SectionTable("t", ["a", "b"], [[np.int64(1), {}]])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="got int"):
        Section("t", [3])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="title"):
        Section(" ", [])


def test_stability_says_what_the_metrics_say(root: Path) -> None:
    """Counted anew, from the file."""
    from fvlm_sections.stability import build

    runs = [
        ReportedRun(run.id, run.recipe, run.id, run.state, (), {}, {}, run.rows) for run in list_runs(root)
    ]
    summed, events, more, figure = build(Stability(most=1), runs).parts
    assert isinstance(summed, SectionTable)
    train = [row for row in read_metrics(root / "phase/odd/metrics.jsonl") if row["event_type"] == "train"]
    norms = [row["grad_norm"] for row in train if row.get("grad_norm")]
    by_run = {row[0]: row[1:] for row in summed.rows}
    assert by_run["odd"] == [4, 1, 1, np.median(norms), np.quantile(norms, 0.99), 4.0, 102.0]
    assert by_run["baseline"] == [0, 0, 0, None, None, None, None]
    assert isinstance(events, SectionTable)
    assert events.rows == [("odd", 102, "spike", f"above {HOSTILE}")]
    assert more == "odd: 1 more."
    assert isinstance(figure, SectionFigure)
    [line] = figure.figure.axes[0].get_lines()
    assert line.get_xydata().tolist() == [[101, 1], [102, 4], [103, 2], [104, 0.5]]


def test_the_command_adds_sections_with_their_settings(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is mistyped is misuse, and says what to write."""
    out = tmp_path / "r.html"

    def run(*words: str) -> tuple[int, str, str]:
        return run_cli(["report", "--runs", str(root), "--out", str(out), *words], monkeypatch, capsys)

    code, _, error = run("--section", "stability", "-s", "stability:most=1")
    assert (code, error.splitlines()[0]) == (0, "report of phase (2: baseline, odd)")
    assert "odd: 1 more." in Read(out.read_text()).text
    for words, said in (
        (["--section", "stabilty"], 'did you mean "stability"'),
        (["--section", "stability", "-s", "most=1"], "expected -s stability:KEY=VALUE"),
        (["-s", "stability:most=1"], "belongs to no --section"),
        (["--section", "stability", "-s", "stability:most=0"], "most"),
        (["--section", "stability", "-s", "stability:mst=1"], 'did you mean "most"'),
    ):
        code, _, error = run(*words)
        assert code == 2, error
        assert said in error
        assert "Traceback" not in error
