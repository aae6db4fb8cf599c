"""What is said of metrics and answers: a table with intervals, three answers of each run, nothing for other runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_folders import write_run
from tiny import run_cli

from fvlm_core.report.html.content import gather
from fvlm_core.report.html.parts import Section
from fvlm_core.runs.answers import ScoredAnswer, write_answers
from fvlm_core.runs.store import list_runs

MEANS = {
    "token_f1": 0.5,
    "token_f1_low": 0.25,
    "token_f1_high": 0.75,
    "chrf": 40.0,
    "chrf_low": None,
    "chrf_high": None,
}
SCORES = (0.9, 0.1, None, 0.5)


def sections(root: Path) -> dict[str, Section]:
    return {one.id: one for one in gather(list_runs(root), draw_fits=False).sections}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = write_run(tmp_path, "p/a", evaluation=MEANS)
    write_run(tmp_path, "p/b")
    answers = [
        ScoredAnswer(
            f"s/{at}",
            "What?",
            f"right {at}",
            "x" * 400 if at == 1 else f"said {at}",
            {"token_f1": score, "chrf": 1.0},
        )
        for at, score in enumerate(SCORES)
    ]
    write_answers(folder, 100, answers, None)
    return tmp_path


def test_metrics_stand_in_a_table_with_their_intervals(root: Path) -> None:
    (table,) = sections(root)["answers"].blocks[0].tables
    assert [column.title for column in table.columns] == ["run", "at step", "metric", "mean", "low", "high"]
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["a", "100", "token_f1", "0.5", "0.25", "0.75"],
        ["a", "100", "chrf", "40", "", ""],
    ]


def test_categories_stand_in_a_table_of_their_own_beside_their_chance(root: Path) -> None:
    kinds = {
        "where": {"answers": 12, "chance": 0.25, "token_f1": 0.5, "token_f1_low": 0.2, "token_f1_high": 0.8}
    }
    write_run(root, "r/d", evaluation={**MEANS, "answers_by_category": kinds})
    _, table = sections(root)["answers"].blocks[0].tables
    assert [column.title for column in table.columns] == (
        ["run", "at step", "category", "metric", "mean", "low", "high", "chance", "answers"]
    )
    (row,) = [[cell.text for cell in row] for row in table.rows]
    assert row[1:] == ["100", "where", "token_f1", "0.5", "0.2", "0.8", "0.25", "12"]


def test_the_best_the_typical_and_the_worst_answer_are_shown(root: Path) -> None:
    (block,) = sections(root)["answers"].blocks[1:]
    (table,) = block.tables
    shown = [[cell.text for cell in row] for row in table.rows]
    assert [row[:2] for row in shown] == [["best", "s/0"], ["typical", "s/3"], ["worst", "s/1"]]
    assert shown[0][2:] == ["What?", "right 0", "said 0", "0.9", "1"]
    assert shown[2][4] == "x" * 300 + " ..."
    assert table.caption == "Of 3 answers at step 100."


def test_answers_that_are_as_good_by_the_first_metric_are_ranked_by_the_next(root: Path) -> None:
    scores = {"s/0": 40.0, "s/1": 20.0, "s/2": 30.0}
    answers = [
        ScoredAnswer(name, "What?", "", "", {"token_f1": 0.5, "chrf": c}) for name, c in scores.items()
    ]
    write_answers(root / "p/a", 100, answers, None)
    (table,) = sections(root)["answers"].blocks[1].tables
    assert [row[1].text for row in table.rows] == ["s/0", "s/2", "s/1"]


def test_runs_without_metrics_have_no_such_section_and_damage_costs_the_answers_alone(root: Path) -> None:
    write_run(root / "other", "q/c")
    assert "answers" not in sections(root / "other")
    (root / "p/a/answers/step-00000100.jsonl").write_text('{"id": 3}\n')
    blocks = sections(root)["answers"].blocks
    assert len(blocks) == 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[1]", "expected an object of id, prompt"),
        (
            '{"id": 3, "prompt": "", "reference": "", "generated": "", "scores": {}}',
            "id: expected a text, got 3",
        ),
        (
            '{"id": "a", "prompt": "", "reference": "", "generated": "", "scores": [1]}',
            "scores: expected a number",
        ),
        (
            '{"id": "a", "prompt": "", "reference": "", "generated": "", "scores": {"token_f1": "high"}}',
            "scores: expected a number",
        ),
    ],
)
def test_a_file_that_holds_no_answers_is_named_and_passed_over(root: Path, line: str, said: str) -> None:
    file = root / "p/a/answers/step-00000100.jsonl"
    file.write_text(f"{line}\n")
    (block,) = sections(root)["answers"].blocks
    (warning,) = block.warnings
    assert f"answers of a are passed over: {file}: line 1: " in warning
    assert said in warning
    assert len(block.tables[0].rows) == 2


def test_runs_show_prints_metrics_with_their_intervals(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run_cli(["runs", "show", "p/a", "--runs", str(root)], monkeypatch, capsys)
    assert code == 0, err
    assert "token_f1 0.5 [0.25, 0.75]  chrf 40\n" in out
