"""Which points enter a fit: policies do what they say, count what they leave out, and are stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from measured import STEPS, grid, run
from tiny import run_cli

from fvlm_core.api.points import load_points, requested
from fvlm_core.runs.store import list_runs
from fvlm_core.scaling.points.point_selection import PointSelection, apply
from fvlm_core.scaling.points.points import Points, tidy
from fvlm_core.scaling.points.points_from_runs import from_runs
from fvlm_core.utils.errors import Problems, UsageError
from fvlm_core.utils.parse_number import parse_count

pytestmark = pytest.mark.usefixtures("quick_fits")


def table() -> pd.DataFrame:
    """Run a: D 10 to 100; run b: D 10 to 50; two points of no run."""
    rows = [{"run": "a", "n": 1e6, "d": 10.0 * i, "loss": 4 - i / 10, "schedule": "cosine", "lr": i / 1000}
            for i in range(1, 11)]  # fmt: skip
    rows += [
        {"run": "b", "n": 2e6, "d": 10.0 * i, "loss": 3 - i / 10, "schedule": "constant"} for i in range(1, 6)
    ]
    rows += [{"n": 3e6, "d": 5.0, "loss": 2.0}, {"n": 3e6, "d": 6.0, "loss": 1.9}]
    return pd.DataFrame(rows)


@pytest.fixture
def points() -> Points:
    return tidy(table(), "points.csv")


def kept(points: Points, asked: dict[str, Any]) -> dict[str, list[float]]:
    found = apply(PointSelection.parse(**asked), points).table
    return {str(run): of["d"].tolist() for run, of in found.groupby("run", observed=True)}


ALONE = {"": [5.0, 6.0]}
A, B = [10.0 * i for i in range(1, 11)], [10.0 * i for i in range(1, 6)]

KEPT: dict[str, tuple[dict[str, Any], dict[str, list[float]]]] = {
    "all": ({}, {"a": A, "b": B, **ALONE}),
    "final": ({"points": "final"}, {"a": [100], "b": [50], **ALONE}),
    "tail": ({"points": "tail:0.3"}, {"a": [80, 90, 100], "b": [40, 50], **ALONE}),
    "whole_tail": ({"points": "tail:1"}, {"a": A, "b": B, **ALONE}),
    "cut_of_each_run": ({"warmup_cut": "0.5"}, {"a": A[4:], "b": [30, 40, 50], **ALONE}),
    "cut_at_a_count": ({"warmup_cut": "0.04k"}, {"a": A[3:], "b": [40, 50]}),
    "without_a": ({"drop_runs": ("a",)}, {"b": B, **ALONE}),
    "where_number": ({"where": ("lr>=0.009",)}, {"a": [90, 100]}),
    "where_equal": ({"where": ("schedule=cosine", "D = 90", "lr == 0.009")}, {"a": [90]}),
    "where_label": ({"where": ('schedule == "constant"',)}, {"b": B}),
    "where_not": ({"where": ("run != a", "N < 2.5M")}, {"b": B}),
    "cut_is_of_whole_runs": ({"where": ("d < 100",), "warmup_cut": "0.5"}, {"a": A[4:9], "b": [30, 40, 50], **ALONE}),
    "final_of_what_is_left": ({"where": ("d < 100",), "points": "final"}, {"a": [90], "b": [50], **ALONE}),
}  # fmt: skip


@pytest.mark.parametrize("name", KEPT)
def test_a_policy_keeps_what_it_says_and_counts_the_others(name: str, points: Points) -> None:
    asked, expected = KEPT[name]
    assert kept(points, asked) == expected
    found = apply(PointSelection.parse(**asked), points)
    said = [
        int(remark.rsplit(": ", 1)[1]) for remark in found.remarks if remark.startswith("points left out")
    ]
    assert len(points.table) - sum(said) == len(found.table)
    assert found.policy == PointSelection.parse(**asked)
    assert set(found.table["run"].cat.categories) == set(found.table["run"])


def test_a_policy_is_told_in_words_and_stored(points: Points) -> None:
    policy = PointSelection.parse("tail:0.5", "20k", ("a", "a"), ("lr >= 1e-3", "schedule == 'co sine'"))
    assert str(policy) == (
        "the last 0.5 of each run's points; from D = 20000 on; without run a; "
        "where lr >= 1e-3 and schedule == co sine"
    )
    assert json.loads(json.dumps(policy.to_json())) == {
        "points": "tail:0.5",
        "warmup_cut": {"count": 20000.0},
        "drop_runs": ["a"],
        "where": ["lr >= 1e-3", "schedule == co sine"],
    }
    assert PointSelection().to_json() == {"points": "all"}
    remarks = apply(PointSelection.parse(drop_runs=("b",), where=("lr > 0.002",)), points).remarks
    assert remarks == ("points left out, of run b: 5", "points left out, not where lr > 0.002: 4")


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "points": (
        {"points": "last"},
        '--points: expected final, all, best, or tail:F with 0 < F <= 1, got "last"',
    ),
    "tail": (
        {"points": "tail:0"},
        '--points: expected final, all, best, or tail:F with 0 < F <= 1, got "tail:0"',
    ),
    "cut": (
        {"warmup_cut": "500"},
        "--warmup-cut: expected a fraction of each run's D below 1 (0.05), or a count of D with one of the suffixes "
        'k, M, B, T (20k); got "500"',
    ),
    "shape": (
        {"where": ("lr",)},
        '--where: expected KEY OP VALUE, such as size=135M or "step >= 20k", with OP one of = == != <= >= < > ~ !~; '
        'got "lr"',
    ),
    "valueless": ({"where": ("lr >=",)}, '--where "lr >=": expected a value after >=, got ""'),
    "run": ({"drop_runs": ("c",)}, '--drop-run: no point is of a run "c"; there are a, b'),
    "column": (
        {"where": ("schedul == x",)},
        '--where "schedul == x": the points have no column "schedul": did you mean "schedule"?',
    ),
    "label": (
        {"where": ("schedule == cosin",)},
        '--where "schedule == cosin": no point has that schedule: did you mean "cosine"?',
    ),
    "order": (
        {"where": ("run < b",)},
        '--where "run < b": run is text; compare it with = or !=',
    ),
    "text": ({"where": ("n == big",)}, '--where "n == big": n is a number; got "big"'),
    "nothing": (
        {"where": ("loss > 100",)},
        "points.csv: no point is left of 17:\n  points left out, not where loss > 100: 17",
    ),
    "both": (
        {"points": "x", "warmup_cut": "-1"},
        '--points: expected final, all, best, or tail:F with 0 < F <= 1, got "x"\n'
        "--warmup-cut: expected a fraction of each run's D below 1 (0.05), or a count of D with one of the suffixes "
        'k, M, B, T (20k); got "-1"',
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_policy_that_cannot_be_is_explained(name: str, points: Points) -> None:
    asked, expected = WRONG[name]
    with pytest.raises(UsageError) as error:
        apply(PointSelection.parse(**asked), points)
    assert str(error.value) == expected


def test_curves_are_of_whole_runs_whatever_points_are_kept(points: Points) -> None:
    rows = table().assign(step=lambda frame: frame["d"])
    final = apply(PointSelection.parse("final"), tidy(rows, "x", warmup=7))
    assert final.curves["a"].steps.tolist() == A
    assert final.curves["a"].warmup == 7
    assert "b" not in final.curves  # no rate is known of it
    twice = pd.concat([rows, rows.iloc[[3]].assign(lr=9.0)])
    disputed = tidy(twice, "x")
    assert "a" not in disputed.curves
    assert "run a has no learning-rate curve: some of its steps have two rates" in disputed.remarks


def test_runs_say_which_n_and_which_d(tmp_path: Path) -> None:
    folder = run(tmp_path / "runs", "a")
    record = json.loads((folder / "recipe.json").read_text())
    counts = {"trainable_params": 30_000, "non_embedding_params": 20_000, "llm_params": 10_000}
    training = {"steps": 240, "resolved": {"training": {"warmup": 0.25}}}
    (folder / "recipe.json").write_text(json.dumps({**record, **counts, **training}))
    runs = list_runs(tmp_path / "runs")
    usual = from_runs(runs, "runs")
    assert (usual.n_kind, usual.d_kind) == ("total parameters", "training samples")
    assert usual.curves["a"].steps.tolist() == sorted({*STEPS, *(step - 1 for step in STEPS)})
    assert usual.curves["a"].warmup == 19  # its first step is within the warm-up of 60
    other = from_runs(runs, "runs", "non-embedding", "flops")
    assert other.table["n"].unique().tolist() == [20_000]
    assert other.table["d"].tolist() == usual.table["compute"].tolist()
    assert (other.n_kind, other.d_kind) == ("parameters without token embeddings", "training FLOPs")
    with pytest.raises(
        UsageError, match=r'"--d frames" cannot be had: no video frames .* by a, .* Use --d samples'
    ):
        from_runs(runs, "runs", d="frames")
    grid(tmp_path / "old")
    with pytest.raises(
        UsageError, match='"--n llm" cannot be had: no count of parameters of the language model'
    ):
        from_runs(list_runs(tmp_path / "old"), "runs", "llm")


def test_d_in_tokens_is_the_tokens_that_were_seen(tmp_path: Path) -> None:
    metrics = run(tmp_path / "runs", "a") / "metrics.jsonl"
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    rows = [
        {**row, "tokens_seen": 17 * row["samples_seen"]} if "samples_seen" in row else row for row in rows
    ]
    metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = from_runs(list_runs(tmp_path / "runs"), "runs", d="tokens")
    assert found.d_kind == "supervised text tokens"
    assert found.table["d"].tolist() == [17 * 32 * step for step in STEPS]


def test_the_options_reach_the_fit_and_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    steps = np.arange(1, 25) * 640
    rows = [
        {
            "name": f"{family}-{n}",
            "family": family,
            "params": n,
            "seen": d,
            "nll": 0.4 + shift + 20 / n**0.35 + 60 / d**0.6,
        }
        for family, shift in (("x", 0.0), ("y", 0.3))
        for n in (4e4, 1.2e5, 4e5)
        for d in steps
    ]
    pd.DataFrame(rows).to_csv("p.csv", index=False)
    call = ["fit", "--data", "p.csv", "--model", "per-size", "--draws", "20", "--json", "fit.json", "--columns",
            "N=params,D=seen,loss=nll,run=name", "--where", "family == x", "--warmup-cut", "0.25", "--drop-run",
            "x-400000.0", "--d", "samples"]  # fmt: skip
    call[call.index("x-400000.0")] = pd.read_csv("p.csv")["name"].unique()[2]
    code, out, err = run_cli(call, monkeypatch, capsys)
    assert (code, err) == (0, "")
    assert "points left out, not where family == x: 72" in out
    report = json.loads(Path("fit.json").read_text())["reports"][0]
    assert report["n_points"] == 2 * 19
    assert report["policy"]["where"] == ["family == x"]
    assert report["data"]["d"] == "training samples"
    assert report["fits"][0]["parameters"]["b"]["value"] == pytest.approx(0.6, rel=1e-3)
    code, _, again = run_cli(["fit", "--data", "fit.json", "--model", "per-size", "--draws", "20", "--json",
                              "again.json"], monkeypatch, capsys)  # fmt: skip
    assert (code, again) == (0, "")
    second = json.loads(Path("again.json").read_text())["reports"][0]
    assert second["data"]["fingerprint"] == report["data"]["fingerprint"]
    code, _, err = run_cli(["fit", "--columns", "N=a"], monkeypatch, capsys)
    assert (code, "--columns is for points of files: it goes with --data" in err) == (2, True)


def test_seeds_that_number_the_runs_of_every_size_are_runs_of_their_own() -> None:
    rows = [
        {"n": n, "run": seed, "d": d, "loss": 2.0, "step": d, "lr": n / 1e9}
        for n in (1e6, 2e6)
        for seed in ("1", "2", "alone" if n == 1e6 else "")
        for d in (10.0, 20.0)
    ]
    points = tidy(pd.DataFrame(rows), "seeds")
    assert set(points.table["run"]) == {"1M/1", "1M/2", "2M/1", "2M/2", "alone", ""}
    assert set(points.curves) == {"1M/1", "1M/2", "2M/1", "2M/2", "alone"}
    assert points.curves["2M/1"].rates.tolist() == [2e-3, 2e-3]
    assert points.remarks == ("runs of one name in several sizes are called size/run: 1, 2",)
    assert set(apply(PointSelection(drop_runs=("2M/1",)), points).table["run"]) == {
        "1M/1",
        "1M/2",
        "2M/2",
        "alone",
        "",
    }


@pytest.mark.parametrize("text", ["547k", "547K", "547_000", "5.47e5"])
def test_a_count_is_read_as_tables_and_recipes_write_it(text: str) -> None:
    assert parse_count(text) == 547_000


def test_the_best_of_a_sweep_is_taken_for_each_setting() -> None:
    """The lowest loss of the rates tried at each N and D; of an accuracy the highest."""
    rows = [
        {
            "n": n,
            "d": d,
            "lr": lr,
            "loss": 2 + abs(np.log(lr / 1e-3)) + 1 / n + 1 / d,
            "acc": -abs(np.log(lr / 1e-3)),
        }
        for n in (1e6, 1e7)
        for d in (1e8, 1e9)
        for lr in (1e-4, 1e-3, 3e-3)
    ]
    points = tidy(pd.DataFrame(rows), "sweep")
    best = PointSelection.parse("best", per="N,D")
    kept = apply(best, points)
    assert len(kept.table) == 4
    assert (kept.table["lr"] == 1e-3).all()
    assert "points left out, not the best for their N, D: 8" in kept.remarks
    assert (apply(best, points, "acc", True).table["lr"] == 1e-3).all()
    assert (apply(best, points, "acc").table["lr"] == 1e-4).all()
    with pytest.raises(UsageError, match="--points best --per N,D"):
        PointSelection.parse("best")
    with pytest.raises(UsageError, match='no column "M"'):
        apply(PointSelection.parse("best", per="N,M"), points)


def test_words_are_compared_with_patterns() -> None:
    points = tidy(
        pd.DataFrame({"run": ["wsd-1", "wsd-2", "cosine"], "d": [1.0, 2.0, 3.0], "loss": [3.0, 2.0, 1.0]}),
        "x",
    )
    for text, kept in (
        ("run=wsd*", 2),
        ("run ~ wsd-?", 2),
        ("run!=wsd*", 1),
        ("run !~ wsd*", 1),
        ("run=cosine", 1),
    ):
        assert len(apply(PointSelection.parse(where=(text,)), points).table) == kept, text
    with pytest.raises(UsageError, match="no point has such a run"):
        apply(PointSelection.parse(where=("run~linear*",)), points)


def test_the_final_point_without_d_is_that_of_the_last_step() -> None:
    table = pd.DataFrame(
        {"run": ["a", "a", "b", "b"], "step": [1.0, 2.0, 1.0, 3.0], "loss": [4.0, 3.0, 4.0, 2.0]}
    )
    kept = apply(PointSelection.parse("final"), tidy(table, "x")).table
    assert sorted(kept["loss"]) == [2.0, 3.0]
    with pytest.raises(UsageError, match="do not say either"):
        apply(PointSelection.parse("final"), tidy(table.drop(columns="step"), "x"))


@pytest.mark.parametrize("kept", ["State=finished", "State != crashed", ""])
@pytest.mark.parametrize("cell", ["", "-", "nan", "inf", "N/A", "-1"])
def test_what_a_condition_leaves_out_needs_no_loss(cell: str, kept: str, tmp_path: Path) -> None:
    """Runs that crashed stand in every table of a tracker: what says so leaves them out, and is counted;
    so does what the error names."""
    file = tmp_path / "runs.csv"
    file.write_text(f"State,N,D,loss\nfinished,1e8,1e9,3\ncrashed,1e8,2e9,{cell}\nfinished,1e8,4e9,2.5\n")
    with pytest.raises(Problems, match=r"runs.csv:3: loss: expected") as refused:
        load_points(requested(file, tmp_path, where=("N > 1",)), [], print)
    way_out = str(refused.value).split('--where "')[1].split('"')[0]
    points = load_points(requested(file, tmp_path, where=(kept or way_out,)), [], print)
    assert points.table["loss"].tolist() == [3.0, 2.5]
    assert any(
        said.startswith("points left out, not where") and said.endswith(": 1") for said in points.remarks
    )


def test_what_a_condition_on_another_unit_keeps_needs_a_loss(tmp_path: Path) -> None:
    """N is 300 in the file and 300M to the condition, which keeps both rows."""
    file = tmp_path / "runs.csv"
    file.write_text("N (M),D,loss\n300,1e9,3\n300,2e9,\n")
    how: dict[str, Any] = {"columns": {"N": "N (M)*1e6"}}
    with pytest.raises(Problems, match=r"runs.csv:3: loss: expected"):
        load_points(requested(file, tmp_path, where=("N >= 300M",), **how), [], print)
    points = load_points(requested(file, tmp_path, where=("N >= 300M", "loss > 0"), **how), [], print)
    assert points.table["n"].tolist() == [3e8]
