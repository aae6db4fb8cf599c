"""The report: one page that holds all it shows, loads nothing, and says nothing that a run's name could make it do."""

from __future__ import annotations

import base64
import json
import math
import os
import re
from hashlib import sha256
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from attrs import evolve
from fvlm_fits.config import Repetition
from hypothesis import given
from hypothesis import strategies as st
from measured import grid
from run_folders import validation, write_run
from tiny import RECIPE, run_cli

from fvlm_core.recipes.read import read_recipe
from fvlm_core.recipes.resolved import resolved
from fvlm_core.recipes.schema import FitSettings
from fvlm_core.recipes.written import whole
from fvlm_core.report.html import gather, page, predictions
from fvlm_core.report.html.run_data import thin
from fvlm_core.runs.per_sample_loss import Scored
from fvlm_core.runs.store import list_runs
from fvlm_core.scaling.fit.fitting import fit_points, fit_runs, load_model
from fvlm_core.scaling.fit.options import Options
from fvlm_core.scaling.points.points_from_runs import from_runs

pytestmark = pytest.mark.usefixtures("quick_fits")

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&"
VOID = {"meta", "link", "input", "img", "br", "hr", "line", "circle"}


class Read(HTMLParser):
    """A page as a list of elements, and the text of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            about, text = self.scripts[-1]
            self.scripts[-1] = (about, text + data)
        elif self.open and self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        """What a reader sees, on one line."""
        return " ".join(" ".join(self.texts).split())

    def of(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of all elements of a kind."""
        return [about for name, about in self.elements if name == tag]


def change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps({**(json.loads(file.read_text()) if file.exists() else {}), **values}))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign of three runs, one of which failed, and a law that its points cannot tell."""
    root = tmp_path_factory.mktemp("store")
    curve = [(step, 2.0 + 60.0 / step) for step in (20, 40, 60, 80)]
    write_run(root, "phase/baseline", samples=validation(), curve=curve, order=0)
    write_run(
        root,
        "phase/shallow",
        samples=validation(0.02, 0.01),
        curve=curve,
        order=1,
        connector={"depth": "shallow"},
    )
    failed = write_run(root, "phase/odd", 1.7, curve=curve, order=2, steps=90)
    change(failed / "recipe.json", id=HOSTILE)
    change(failed / "failure.json", error="X", message=f"died of {HOSTILE}")
    summary = {
        "bad_samples": {f"clip {HOSTILE}": f"no video {HOSTILE}"},
        "dropped_samples": {HOSTILE: 3},
        "mixture": {HOSTILE: {"samples": 10, "tokens": 100, "frames": 40}},
        "loss_spikes": 2,
    }
    change(failed / "summary.json", **summary)
    record = json.loads((failed / "recipe.json").read_text())
    change(failed / "recipe.json", resolved={**record["resolved"], "description": f"about {HOSTILE}"})
    (failed / "environment.json").write_text(
        json.dumps({"fvlm": "0.1.0", "commit": "abc", "platform": HOSTILE})
    )
    points = from_runs(list_runs(root), "here")
    reports = [
        fit_points(points, load_model(name), draws=40, options=Options(sensitivity=False)).to_json()
        for name in ("per-size", "joint-chinchilla")
    ]
    (root / "phase" / "scaling_fits.json").write_text(json.dumps({"reports": reports}))
    return root


@pytest.fixture(scope="module")
def text(root: Path) -> str:
    """The page of these runs."""
    return page(gather(list_runs(root), two=True))


@pytest.fixture(scope="module")
def read(text: str) -> Read:
    """The page, read."""
    return Read(text)


def test_nothing_of_a_user_becomes_markup(text: str, read: Read) -> None:
    """Names, reasons, descriptions and versions are text; only our two scripts run."""
    assert HOSTILE in read.text.replace("\xa0", " ")
    assert f"died of {HOSTILE}" in read.text
    assert not [about for _, about in read.elements if any(name.startswith("on") for name in about)]
    run = [about for about, _ in read.scripts if about.get("type") != "application/json"]
    assert len(run) == 2
    assert all((about.get("src") or "").startswith("data:image/png") for about in read.of("img"))
    for about, content in read.scripts:
        if about.get("type") == "application/json":
            json.loads(content)
            assert "<" not in content


def test_the_policy_lets_two_scripts_run_and_nothing_load(text: str, read: Read) -> None:
    """By their hashes; and the page names no address that a browser would load."""
    policy = next(about["content"] for about in read.of("meta") if about.get("http-equiv"))
    assert policy is not None
    parts = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert parts["default-src"] == "'none'"
    assert parts["connect-src"] == "'none'"
    hashes = {
        f"'sha256-{base64.b64encode(sha256(content.encode()).digest()).decode()}'"
        for about, content in read.scripts
        if about.get("type") != "application/json"
    }
    assert set(parts["script-src"].split()) == hashes
    loaded = [
        about.get(name) or "" for _, about in read.elements for name in ("src", "href") if name in about
    ]
    assert all(address.startswith(("#", "data:")) for address in loaded)
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_it_can_be_read_without_eyes(read: Read) -> None:
    """Landmarks, headings in order, captions and scopes, names of charts and controls, no id twice."""
    tags = [tag for tag, _ in read.elements]
    assert all(tags.count(tag) == 1 for tag in ("main", "header", "nav", "footer", "h1"))
    levels = [int(tag[1]) for tag in tags if re.fullmatch(r"h[1-6]", tag)]
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))
    ids = [about["id"] for _, about in read.elements if "id" in about]
    assert len(ids) == len(set(ids))
    assert {about["href"] for about in read.of("a")} <= {f"#{name}" for name in ids}
    assert tags.count("table") == tags.count("caption") > 5
    assert all("scope" in about for about in read.of("th"))
    plots = [about for about in read.of("div") if about.get("class") == "plot"]
    assert len(plots) >= 3
    assert all(about["role"] == "img" and len(about["aria-label"] or "") > 40 for about in plots)
    assert next(iter(read.of("html")))["lang"] == "en"
    labelled = {about.get("aria-labelledby") for _, about in read.elements} - {None}
    assert labelled <= set(ids)


def test_every_section_says_what_the_records_say(root: Path, read: Read) -> None:
    """The numbers and the refusals, in words."""
    said = read.text
    baseline, shallow, _ = list_runs(root)
    assert f"{baseline.summary['best_val_loss']:.4f}" in said
    assert f"{shallow.summary['best_val_loss']:.4f}" in said
    assert "depth = shallow" in said  # the comparison says what differs
    assert "Refused: the points cannot tell" in said
    joint = json.loads((root / "phase" / "scaling_fits.json").read_text())["reports"][1]
    assert all(reason.rstrip(".") in said for reason in joint["reasons"])
    assert "2 spikes of the training loss" in said
    assert "fvlm run phase.toml" in said
    assert "1 complete" not in said
    assert "2 complete, 1 failed" in said


def test_a_refused_law_has_no_curve_and_a_fitted_one_has_a_band(text: str) -> None:
    """What is withheld in numbers is not drawn either."""
    items = {
        about["data-chart"]: content
        for about, content in Read(text).scripts
        if about.get("class") == "chart-data"
    }
    assert "VArea" not in items["law-0-1"]
    assert '"name":"Line"' not in items["law-0-1"]
    per_size = json.loads(text_file := items["law-0-0"])
    assert per_size["item"]["root_id"]
    assert "VArea" in text_file


def test_a_law_with_settings_of_its_own_is_drawn_with_them(tmp_path: Path) -> None:
    """This one cannot be made of runs at all without a setting."""
    runs = grid(tmp_path)
    recipe = FitSettings(model="repetition", config=Repetition(unique_samples=2_000))
    reports = [report.to_json() for report in fit_runs(runs, [recipe, FitSettings(model="per-size")])]
    assert [report.get("settings") for report in reports] == [
        {"unique_samples": 2_000, "excess": False},
        None,
    ]
    (runs[0].folder.parent / "scaling_fits.json").write_text(json.dumps({"reports": reports}))
    seen = Read(page(gather(runs)))
    charts = {about.get("data-chart") for about, _ in seen.scripts}
    assert {"law-0-0", "law-0-1"} <= charts
    assert "Not drawn" not in seen.text
    assert "Settings: unique_samples = 2000" in seen.text


def test_thirty_runs_stay_under_5_mb(tmp_path: Path) -> None:
    """Long runs too: curves are thinned, and keep their extremes."""
    curve = [(step, 1.5 + 40.0 / step + (step == 333)) for step in range(1, 500)]
    for number in range(30):
        write_run(tmp_path, f"grid/run-{number:02d}", 1.5, curve=curve, steps=500, planned=500, order=number)
    text = page(gather(list_runs(tmp_path)))
    assert len(text.encode()) < 5_000_000
    assert "30 complete" in text


def test_seeds_of_one_setting_are_one_line_with_their_mean_and_a_band(tmp_path: Path) -> None:
    for seed, shift in enumerate((0.0, 0.1, 0.5)):
        curve = [(step, 2.0 + shift) for step in (20, 40)]
        write_run(tmp_path, f"phase/A1-s{seed}", 1.5 + shift, seed=42 + seed, order=seed, curve=curve)
    write_run(tmp_path, "phase/alone", 1.5, order=3, curve=[(20, 2.0)])
    curves = next(one for one in gather(list_runs(tmp_path)).sections if one.id == "curves")
    chart = curves.blocks[0].charts[0]
    assert [key.label for key in chart.keys] == ["A1, 3 seeds", "alone"]
    assert chart.keys[0].text == "1.7000, 1.5000 to 2.0000"
    band, mean = chart.series["validation-0"], chart.series["validation-1"]
    assert (band["low"], band["high"]) == ([2.0, 2.0, 1.5], [2.5, 2.5, 2.0])
    assert mean["y"] == pytest.approx([2.2, 2.2, 1.7])
    assert [row[0].text for row in chart.table.rows] == ["A1-s0", "A1-s1", "A1-s2", "alone"]
    assert "the band goes from the lowest of them to the highest" in chart.note


def test_seeds_that_were_measured_at_other_steps_keep_a_line_each(tmp_path: Path) -> None:
    for seed, steps in enumerate(((20, 40), (30, 50))):
        curve = [(step, 2.0) for step in steps]
        write_run(tmp_path, f"phase/A1-s{seed}", seed=42 + seed, order=seed, curve=curve, steps=100 + seed)
    curves = next(one for one in gather(list_runs(tmp_path)).sections if one.id == "curves")
    assert [key.label for key in curves.blocks[0].charts[0].keys] == ["A1-s0", "A1-s1"]


def test_two_runs_stand_beside_each_other_settings_that_differ_first(tmp_path: Path) -> None:
    write_run(tmp_path, "phase/baseline", 1.5, order=0)
    write_run(tmp_path, "phase/better", 1.3, order=1, connector={"depth": "shallow"})
    write_run(tmp_path, "phase/worse", 1.7, order=2, connector={"query_dim": 8})
    section = next(one for one in gather(list_runs(tmp_path), two=True).sections if one.id == "two-runs")
    pair = section.blocks[0].pair
    assert pair is not None
    assert [pair.runs[at] for at in pair.chosen] == ["baseline", "better"]
    assert pair.rows(alike=False) == [("model.connector.depth", "deep", "shallow")]
    assert ("training.lr", "0.001", "0.001") in pair.rows(alike=True)
    assert dict(pair.facts)["best validation loss"] == ("1.5000", "1.3000", "1.7000")
    settings = {row[0]: row[1:] for row in pair.data()["settings"]}
    assert settings["model.connector.query_dim"] == [["384", "8"], [0, 0, 1]]
    assert settings["training.lr"] == [["0.001"]]
    assert not [one for one in gather(list_runs(tmp_path)).sections if one.id == "two-runs"]


@given(st.lists(st.builds(Scored, st.text(min_size=1), st.floats(0, 100) | st.just(math.nan), st.integers(0, 9))),
       st.integers(1, 4))  # fmt: skip
def test_predictions_are_of_the_best_the_typical_and_the_worst_and_of_none_twice(
    scored: list[Scored], each: int
) -> None:
    scored = [evolve(one, id=str(at)) for at, one in enumerate(scored)]
    found = predictions.chosen(scored, each)
    losses = {one.id: one.loss / one.tokens for one in scored if one.tokens and math.isfinite(one.loss)}
    shown = [one.id for of in found.values() for one in of]
    assert len(set(shown)) == len(shown)
    if losses:
        assert losses[found["best"][0].id] == min(losses.values())
    if len(losses) > 1:
        assert losses[found["worst"][0].id] == max(losses.values())
    if len(losses) > 2:
        assert found["typical"]
    assert all(len(of) <= each for of in found.values())


def test_what_a_model_says_stands_beside_the_truth_with_frames_and_where_it_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.toml").write_text(RECIPE)
    assert run_cli(["run", "tiny.toml"], monkeypatch, capsys)[0] == 0
    code, _, err = run_cli(["report", "tiny", "--predictions", "1"], monkeypatch, capsys)
    assert code == 0, err
    read = Read((tmp_path / "report.html").read_text())
    assert [kind for kind in ("best of", "typical of", "worst of") if kind in read.text] == [
        "best of", "typical of", "worst of",
    ]  # fmt: skip
    assert read.texts.count("truth") == read.texts.count("said") == 3
    looked = [
        about["alt"]
        for about in read.of("img")
        if "heat maps of the coarse and fine pass" in str(about["alt"])
    ]
    assert len(looked) >= 3
    write_run(tmp_path / "others", "phase/measured")
    section = next(
        one
        for one in gather(list_runs(tmp_path / "others"), predictions=1).sections
        if one.id == "predictions"
    )
    assert section.blocks[0].warnings == ["measured: the losses of single samples were not kept"]


def test_thinning_keeps_both_ends_and_every_extreme() -> None:
    """A spike of one step is still there."""
    import numpy as np

    values = np.linspace(4, 1, 10_000)
    values[7_001] = 9.0
    kept = thin(values, 100)
    assert len(kept) <= 100
    assert {0, 7_001, 9_999} <= set(kept.tolist())


def test_the_recipe_in_the_report_gives_the_same_runs(root: Path, tmp_path: Path) -> None:
    """Shipped recipes, written as `How to repeat it` does, resolve to the very same settings."""
    source = Path(__file__).parents[2] / "recipes"
    for name in ("captions_small.toml",):
        asked = read_recipe(str(source / name))
        file = tmp_path / name
        runs = [(run.id, resolved(run.config)) for run in asked.runs]
        file.write_text(
            whole(asked.name, runs, [{"model": fit.model, "objective": fit.objective} for fit in asked.fits])
        )
        again = read_recipe(str(file))
        assert [(run.id, resolved(run.config)) for run in again.runs] == runs
        assert [fit.model for fit in again.fits] == [fit.model for fit in asked.fits]


def test_the_command_writes_one_file_and_says_where(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By recipe, by run; and a name that is not there is misuse, with the nearest one."""
    out = tmp_path / "deep" / "r.html"
    code, said, _ = run_cli(
        ["report", "phase/baseline", "--runs", str(root), "--out", str(out)], monkeypatch, capsys
    )
    assert (code, said.strip()) == (0, str(out))
    assert [file.name for file in out.parent.iterdir()] == ["r.html"]
    assert "shallow" not in Read(out.read_text()).text
    code, _, error = run_cli(["report", "phas", "--runs", str(root)], monkeypatch, capsys)
    assert code == 2
    assert 'did you mean "phase"' in error
    code, _, error = run_cli(
        ["report", "--runs", str(root), "--out", str(root / "phase" / "scaling_fits.json" / "x")],
        monkeypatch,
        capsys,
    )
    assert code == 2
    assert "cannot be written" in error


def test_what_is_no_file_is_written_to_and_never_replaced(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pipe (as `/dev/null`) stays what it is, and a link stays a link."""
    pipe, link = tmp_path / "pipe", tmp_path / "link.html"
    os.mkfifo(pipe)
    link.symlink_to("page.html")
    got: list[str] = []
    reader = Thread(target=lambda: got.append(pipe.read_text()), daemon=True)
    reader.start()
    for out in (pipe, link):
        code, _, _ = run_cli(
            ["report", "phase/baseline", "--runs", str(root), "--out", str(out)], monkeypatch, capsys
        )
        assert code == 0
    assert pipe.is_fifo()
    reader.join(10)
    assert got[0].startswith("<!doctype html>")
    assert link.is_symlink()
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["link.html", "page.html", "pipe"]
