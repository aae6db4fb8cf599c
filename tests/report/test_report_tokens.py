"""How many tokens a frame: runs know their frames and tokens, laws read both by themselves, and the report sets loss
and accuracy against them."""

from __future__ import annotations

import json
import shutil
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_folders import write_run
from scipy.stats import ttest_1samp
from tiny import CONNECTOR, RECIPE, run_cli, train

from fvlm_core.planning.plan import plan
from fvlm_core.recipes.read import read_recipe
from fvlm_core.report.html import token_budget
from fvlm_core.report.html.content import gather
from fvlm_core.report.html.parts import Section
from fvlm_core.report.html.run_data import gather_runs
from fvlm_core.runs.listing import list_entries
from fvlm_core.runs.store import list_runs
from fvlm_core.runs.visual_tokens import tokens_per_frame
from fvlm_core.scaling.fit.fitting import fit_points
from fvlm_core.scaling.points.in_fits import FITS
from fvlm_core.scaling.points.points_from_runs import from_runs
from fvlm_registry import registry

ACCURACY = {"exact_match": 0.5, "exact_match_low": 0.4, "exact_match_high": 0.6}


def known(
    folder: Path,
    tokens: int | None,
    flops: float = 2e9,
    rate: float = 50.0,
    answering: float | None = None,
    frames: int = 8,
) -> None:
    """Put into a written run's files what training puts there. answering: FLOPs of a frame."""
    record = json.loads((folder / "recipe.json").read_text())
    record |= {"flops_per_sample": flops} | ({} if tokens is None else {"tokens_per_frame": tokens})
    record |= {} if answering is None else {"answer_flops_per_sample": frames * answering}
    (folder / "recipe.json").write_text(json.dumps(record))
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps({**summary, "frames": frames * summary["total_samples"]}))
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        if row["event_type"] == "train":
            row["throughput_samples_sec"] = rate
        row["frames_seen"] = frames * row.get("samples_seen", 0)
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def sections(root: Path) -> dict[str, Section]:
    return {one.id: one for one in gather(list_runs(root), draw_fits=False).sections}


def budget(root: Path, draw_fits: bool = False) -> Section:
    """The section alone, without all the others of a report."""
    found = token_budget.section(gather_runs(list_runs(root)), draw_fits)
    assert found is not None
    return found


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
        known(folder, 4, answering=5e6)
    known(
        write_run(tmp_path, "p/one", 2.0, connector={"name": "x:pooled", "grid": 1}), 1, flops=1e9, rate=100.0
    )
    known(write_run(tmp_path, "p/blind", 3.0, model={"blind": True}), 1)
    return tmp_path


def test_seeds_are_one_row_with_their_interval_and_blind_runs_come_last(root: Path) -> None:
    block = budget(root).blocks[0]
    rows = [[cell.text for cell in row] for row in block.tables[0].rows]
    assert [row[:5] for row in rows] == [
        ["one", "pooled", "1", "8", "1"],
        ["pooled", "pooled", "4", "8", "3"],
        ["blind", "foveated, blind", "1", "8", "1"],
    ]
    losses = [1.0, 1.2, 1.4]
    interval = ttest_1samp(losses, 0).confidence_interval(0.95)
    half = (interval.high - interval.low) / 2
    assert rows[1][5:] == [f"{statistics.mean(losses):.4f}", f"{half:.4f}", "0.500", "0.000", "2", "5", "20"]
    assert rows[0][5:] == ["2.0000", "", "", "", "1", "", "10"]
    assert [picture.caption.partition(" ")[0] for picture in block.pictures] == ["Loss", "Accuracy"]
    assert [column.title for column in block.tables[0].columns[9:]] == [
        "GFLOP a sample",
        "MFLOP a frame, answering",
        "ms a sample",
    ]
    assert block.pictures[0].frames[0].url.startswith("data:image/png")


def study(
    root: Path, name: str, tokens: int, answering: float | None, losses: list[float], frames: int = 8
) -> None:
    """Runs of one setting, a seed each."""
    for seed, loss in enumerate(losses):
        settings = {"name": "x:pooled", "grid": tokens}
        folder = write_run(root, f"p/{name}-s{seed}", loss, seed=seed, connector=settings)
        record = json.loads((folder / "recipe.json").read_text())
        record["resolved"]["data"] = {"frames": frames}
        (folder / "recipe.json").write_text(json.dumps(record))
        known(folder, tokens, answering=answering, frames=frames)


def table_rows(section: Section) -> list[list[list[str]]]:
    [_, chosen] = section.blocks
    return [[[cell.text for cell in row] for row in table.rows] for table in chosen.tables]


def test_it_says_what_to_answer_with_at_each_budget_of_each_number_of_frames(tmp_path: Path) -> None:
    study(tmp_path, "one", 1, 1e6, [2.0, 2.5, 3.0])
    study(tmp_path, "four", 4, 4e6, [1.5, 2.01, 2.49])
    study(tmp_path, "nine", 9, 9e6, [1.6, 1.9, 2.6])
    study(tmp_path, "one-long", 1, 1e6, [1.0, 1.1, 1.0], frames=16)
    study(tmp_path, "nine-long", 9, 2e6, [1.2, 1.3, 1.2], frames=16)
    section = budget(tmp_path)
    eight, sixteen = table_rows(section)
    assert [row[:4] for row in eight] == [
        ["1", "1", "one", "2.5000"],
        ["4", "2", "four", "2.0000"],
        ["9", "3", "four", "2.0000"],
    ]
    assert eight[0][8] == "the only one"
    assert eight[1][5:7] == ["one", "0.5000"]
    assert eight[1][8] == "better than every other"
    assert eight[2][5] == "nine"
    assert eight[2][8] == "nothing can be said: nine may be as good"
    first, chosen = section.blocks
    assert [picture.caption.partition(":")[0] for picture in first.pictures] == ["8 frames", "16 frames"]
    assert chosen.words[:2] == [
        "8 frames: by loss, nothing can be said of which is the best of all: 2 of 3 settings may be, of these four is "
        "the cheapest (4 MFLOP a frame).",
        "16 frames: by loss, one-long is better than every other from 2 MFLOP a frame on, than the next by 0.2 (0.2 to "
        "0.2).",
    ]
    assert [row[2] for row in sixteen] == ["one-long"] * 2
    assert sixteen[1][8] == "better than every other"


def test_a_dear_setting_that_is_no_better_names_the_cheap_one(tmp_path: Path) -> None:
    study(tmp_path, "one", 1, 1e6, [2.0, 2.5, 3.0])
    study(tmp_path, "nine", 9, 9e6, [2.1, 2.3, 2.9])
    study(tmp_path, "all", 16, 16e6, [2.6, 2.4, 2.5])
    section = budget(tmp_path)
    [[_, dear]] = table_rows(section)
    assert (dear[2], dear[8]) == ("nine", "nothing can be said: one at 1 MFLOP may be as good")
    assert section.blocks[1].words[0] == (
        "By loss, nothing can be said of which is the best of all: 3 of 3 settings may be, of these one is the "
        "cheapest (1 MFLOP a frame)."
    )


def test_settings_of_other_seeds_or_of_unknown_cost_are_named_and_not_chosen(tmp_path: Path) -> None:
    study(tmp_path, "one", 1, 1e6, [2.0, 2.5, 3.0])
    study(tmp_path, "four", 4, 4e6, [1.5, 2.0, 2.5])
    study(tmp_path, "short", 5, 2e6, [0.5, 0.6])
    study(tmp_path, "earlier", 6, None, [0.5, 0.6, 0.7])
    [_, chosen] = budget(tmp_path).blocks
    assert chosen.words[1] == (
        "Left out, of other seeds: short; for what an answer costs is not in their records: earlier."
    )
    assert {row[2].text for row in chosen.tables[0].rows} == {"one", "four"}


def test_runs_of_one_choice_have_no_such_section(tmp_path: Path) -> None:
    known(write_run(tmp_path, "p/a"), 4)
    known(write_run(tmp_path, "p/b", seed=1), 4)
    assert "token-budget" not in sections(tmp_path)
    known(write_run(tmp_path, "p/c", connector={"name": "x:pooled"}), 1)
    assert "token-budget" in sections(tmp_path)


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


def test_runs_know_what_an_answer_costs_as_the_plan_does(trained: Path) -> None:
    for run in list_runs(trained / "runs"):
        [planned] = plan(read_recipe(str(trained / f"{run.recipe}.toml"), []))
        forward = sum(row.forward for row in planned.ledger)  # no auxiliary loss
        assert run.record["answer_flops_per_sample"] == planned.answer_flops_per_sample
        assert planned.answer_flops_per_sample == pytest.approx(forward)


def truth(n: Any, frames: Any, tokens: Any, samples: Any) -> Any:
    """Of made runs: nothing of frames beyond the law's own term, and much of tokens."""
    return 0.5 + 300 / n**0.6 + 0.3 / frames**0.9 + 0.8 / tokens**0.7 + 30 / samples**0.5


@pytest.fixture(scope="module")
def lawful(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of three sizes, frames and tokens whose losses are the law's, and a fit of it."""
    root = tmp_path_factory.mktemp("lawful")
    model = next(run.record for run in list_runs(trained / "runs") if run.recipe == "pooled")["resolved"][
        "model"
    ]
    generator, order = np.random.default_rng(0), 0
    for width, n in ((8, 20_000), (16, 90_000), (32, 400_000)):
        for frames in (2, 4, 8):
            for grid, tokens in ((1, 1), (2, 4), (3, 9)):
                noise = generator.normal(0, 0.002)
                losses = [
                    (step, float(truth(n, frames, tokens, 32 * step)) * (1 + noise)) for step in (25, 50, 100)
                ]
                folder = write_run(
                    root, f"p/{width}-{tokens}-{frames}", losses[-1][1], curve=losses[:-1], size=f"{n}", order=order
                )  # fmt: skip
                order += 1
                record = json.loads((folder / "recipe.json").read_text())
                table = json.loads(json.dumps(model))
                table["connector"]["grid"] = grid
                table["llm"] |= {"width": width, "mlp": 3 * width}
                record |= {"llm_params": n, "total_params": n}
                record["resolved"]["model"] = table
                (folder / "recipe.json").write_text(json.dumps(record))
                known(folder, tokens, answering=1e6 * tokens, frames=frames)
    law: Any = registry().load("fvlm_fits.video:build")(None)
    report = fit_points(from_runs(list_runs(root), "runs", laws=[law]), law, draws=40)
    assert report.status == "ok"
    (root / "p" / FITS).write_text(json.dumps({"reports": [report.to_json()]}))
    return root


def law_block(root: Path) -> Any:
    return budget(root, draw_fits=True).blocks[-1]


def test_the_law_says_what_to_answer_with_as_its_truth_does(lawful: Path) -> None:
    block = law_block(lawful)
    assert block.heading == "What video says to answer with"
    [table] = block.tables
    values = [[cell.value for cell in row] for row in table.rows]
    assert [row[0] for row in values] == sorted(row[0] or 0 for row in values)
    losses = [row[6] or 0 for row in values]
    assert losses == sorted(losses, reverse=True)
    dearest = values[-1]
    assert (dearest[2], dearest[4]) == (8, 9)  # all of everything is paid for
    for row in values:
        n, frames, tokens = (float(row[at] or 0) for at in (1, 2, 4))
        assert row[6] == pytest.approx(truth(n, frames, tokens, 3200), rel=0.01)


def test_a_law_that_was_refused_says_nothing(lawful: Path, tmp_path: Path) -> None:
    copied = tmp_path / "runs"
    shutil.copytree(lawful, copied)
    file = copied / "p" / FITS
    stored = json.loads(file.read_text())
    stored["reports"][0]["status"] = "refused"
    file.write_text(json.dumps(stored))
    block = law_block(copied)
    assert block.words == ["Nothing: the law is refused, and the reasons stand with it."]
    assert not block.tables


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
