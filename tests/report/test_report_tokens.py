"""How many tokens a frame: runs know their frames and tokens, laws read both by themselves, and the report sets loss
and accuracy against them."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest
from run_folders import write_run
from scipy.stats import ttest_1samp
from tiny import CONNECTOR, RECIPE, run_cli, train

from fvlm_core.report.html.content import gather
from fvlm_core.report.html.parts import Section
from fvlm_core.runs.listing import list_entries
from fvlm_core.runs.store import list_runs
from fvlm_core.runs.visual_tokens import tokens_per_frame
from fvlm_core.scaling.points.points_from_runs import from_runs
from fvlm_registry import registry

ACCURACY = {"exact_match": 0.5, "exact_match_low": 0.4, "exact_match_high": 0.6}


def known(folder: Path, tokens: int | None, flops: float = 2e9, rate: float = 50.0) -> None:
    """Put into a written run's files what training puts there."""
    record = json.loads((folder / "recipe.json").read_text())
    record |= {"flops_per_sample": flops} | ({} if tokens is None else {"tokens_per_frame": tokens})
    (folder / "recipe.json").write_text(json.dumps(record))
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps({**summary, "frames": 8 * summary["total_samples"]}))
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        if row["event_type"] == "train":
            row["throughput_samples_sec"] = rate
        row["frames_seen"] = 8 * row.get("samples_seen", 0)
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def sections(root: Path) -> dict[str, Section]:
    return {one.id: one for one in gather(list_runs(root), draw_fits=False).sections}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for seed, loss in ((0, 1.0), (1, 1.2), (2, 1.4)):
        folder = write_run(
            tmp_path,
            f"p/pooled-s{seed}",
            loss,
            seed=seed,
            connector={"name": "x:pooled"},
            evaluation=ACCURACY,
        )
        known(folder, 4)
    known(
        write_run(tmp_path, "p/one", 2.0, connector={"name": "x:pooled", "grid": 1}), 1, flops=1e9, rate=100.0
    )
    known(write_run(tmp_path, "p/blind", 3.0, model={"blind": True}), 1)
    return tmp_path


def test_seeds_are_one_row_with_their_interval_and_blind_runs_come_last(root: Path) -> None:
    block = sections(root)["token-budget"].blocks[0]
    rows = [[cell.text for cell in row] for row in block.tables[0].rows]
    assert [row[:5] for row in rows] == [
        ["one", "pooled", "1", "8", "1"],
        ["pooled-s0 and 2 more", "pooled", "4", "8", "3"],
        ["blind", "foveated, blind", "1", "8", "1"],
    ]
    losses = [1.0, 1.2, 1.4]
    interval = ttest_1samp(losses, 0).confidence_interval(0.95)
    half = (interval.high - interval.low) / 2
    assert rows[1][5:] == [f"{statistics.mean(losses):.4f}", f"{half:.4f}", "0.500", "0.000", "2", "20"]
    assert rows[0][5:] == ["2.0000", "", "", "", "1", "10"]
    assert block.pictures[0].frames[0].url.startswith("data:image/png")


def test_runs_of_one_choice_have_no_such_section(tmp_path: Path) -> None:
    known(write_run(tmp_path, "p/a"), 4)
    known(write_run(tmp_path, "p/b", seed=1), 4)
    assert "token-budget" not in sections(tmp_path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of two connectors, trained here."""
    folder = tmp_path_factory.mktemp("tokens")
    pooled = '\n[model.connector]\nname = "pooled"\ngrid = 3\n'
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FVLM_CACHE", str(folder / "cache"))
        for name, text in (("tiny", RECIPE), ("pooled", RECIPE.replace(CONNECTOR, pooled))):
            (folder / f"{name}.toml").write_text(text.replace('name = "tiny"', f'name = "{name}"'))
            train(folder / f"{name}.toml", folder / "runs")
    return folder


def test_runs_know_their_frames_and_tokens(trained: Path) -> None:
    found = {entry.recipe: (entry.frames, entry.tokens_per_frame) for entry in list_entries(trained / "runs")}
    assert found == {"tiny": (4.0, 1), "pooled": (4.0, 9)}


def test_the_video_law_reads_frames_and_tokens_of_runs_by_itself(trained: Path) -> None:
    law: Any = registry().load("fvlm_fits.video:build")(None)
    points = from_runs(list_runs(trained / "runs"), "runs", laws=[law])
    table = points.table
    assert set(table["T"]) == {4.0}
    assert set(zip(table["run"], table["V"], strict=True)) == {("tiny", 1), ("pooled", 9)}


def test_runs_of_earlier_versions_are_asked_by_their_recipe(trained: Path) -> None:
    for run in list_runs(trained / "runs"):
        record = {key: value for key, value in run.record.items() if key != "tokens_per_frame"}
        assert tokens_per_frame(record) == run.record["tokens_per_frame"]
    assert tokens_per_frame({}) is None
    assert tokens_per_frame({"resolved": {"model": {"connector": {"name": "gone:gone"}}}}) is None


def test_the_list_of_runs_has_both(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run_cli(["runs", "list", "--runs", str(trained / "runs"), "--json"], monkeypatch, capsys)
    assert code == 0
    assert {(run["run"], run["frames"], run["tokens_per_frame"]) for run in json.loads(out)} == {
        ("tiny/tiny", 4.0, 1),
        ("pooled/pooled", 4.0, 9),
    }
