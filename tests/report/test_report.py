"""The report: one page that holds all it shows, loads nothing, and says nothing that a run's name could make it do."""

from __future__ import annotations

import base64
import json
import os
import re
from hashlib import sha256
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from fvlm_fits.config import Repetition
from measured import grid
from run_folders import validation, write_run
from tiny import run_cli

from fvlm_core.recipes.read import read_recipe
from fvlm_core.recipes.resolved import resolved
from fvlm_core.recipes.schema import FitSettings
from fvlm_core.recipes.written import whole
from fvlm_core.report.html import gather, page
from fvlm_core.report.html.run_data import thin
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
    return page(gather(list_runs(root)))


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
        if about.get("type") == "application/json"
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
