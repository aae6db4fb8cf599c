"""Metrics by real generation: validation samples are answered, scored, kept, and training never notices."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import small
import torch
import trainer
from attrs import evolve
from fvlm_answer_metrics.answers import ExactMatches
from fvlm_answer_metrics.config import ExactMatch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, ttest_1samp

from fvlm_core.data.collate import Preparer
from fvlm_core.data.loader import ValidationSet, validation_set
from fvlm_core.evaluation.subject import choose_metrics, measure, open_data, open_subject
from fvlm_core.interfaces.data import DataSource, Progress, Sample, Turn
from fvlm_core.interfaces.metric import Answer, Metric
from fvlm_core.model.byte_tokenizer import ByteChat
from fvlm_core.recipes.read import read_metric, read_recipe
from fvlm_core.recipes.schema import Answering, Chosen, Training
from fvlm_core.runs.answers import ScoredAnswer, metric_means, read_answers, write_answers
from fvlm_core.runs.metrics import read_metrics
from fvlm_core.runs.record_shapes import ROW
from fvlm_core.training import answers as answering
from fvlm_core.training.answers import Examiner, mean_of, open_metrics
from fvlm_core.training.process_group import Ranks
from fvlm_core.utils.errors import FvlmError, Problems, UsageError
from fvlm_core.utils.json_shape import misfit
from fvlm_core.utils.shares import share_interval

METRICS = """
metrics = [{ name = "exact-match" }, { name = "token-f1" }, { name = "chrf" }]
[eval.generation]
limit = 6
samples = 4
temperature = 1.0
"""
COLUMNS = ("exact_match", "token_f1", "chrf")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run with metrics, the same one stopped twice on its way, and one without any; what each came to."""
    place = tmp_path_factory.mktemp("answers")
    found: dict[str, Any] = {"place": place}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FVLM_CACHE", str(place / "cache"))
        for name, text, stops in (("with", METRICS, ()), ("stopped", METRICS, (3, 7)), ("without", "", ())):
            patch.setattr(trainer, "TEXT", trainer.TEXT.partition("\nmetrics")[0] + "\n" + text)
            recipe = trainer.small(place / name, "training.steps=10", "eval.every=3")
            data = trainer.opened(recipe, place / name)
            for at in stops:
                trainer.go(recipe, place / name, data, at=at)
            trainer.go(recipe, place / name, data)
            found[name] = trainer.outcome(recipe, place / name)
            found[f"{name} folder"] = place / name / recipe.name / recipe.runs[0].id
    return found


def test_training_is_the_same_bit_for_bit_with_and_without_metrics(done: dict[str, Any]) -> None:
    ours, theirs = done["with"], done["without"]
    assert (ours["model"], ours["optimizer"]) == (theirs["model"], theirs["optimizer"])
    own = {end for name in COLUMNS for end in (name, f"{name}_low", f"{name}_high")}
    assert {key for row in ours["rows"] for key in row} - {
        key for row in theirs["rows"] for key in row
    } == own
    bare = [{key: value for key, value in row.items() if key not in own} for row in ours["rows"]]
    assert bare == theirs["rows"]


def test_a_run_that_was_stopped_gives_the_same_answers_bit_for_bit(done: dict[str, Any]) -> None:
    assert trainer.difference(done["with"], done["stopped"]) == ""
    files = [sorted((done[f"{name} folder"] / "answers").iterdir()) for name in ("with", "stopped")]
    assert [file.name for file in files[0]] == [file.name for file in files[1]]
    assert [file.read_bytes() for file in files[0]] == [file.read_bytes() for file in files[1]]


def test_columns_are_means_of_the_answers_with_students_interval(done: dict[str, Any]) -> None:
    folder: Path = done["with folder"]
    rows = {row["step"]: row for row in read_metrics(folder / "metrics.jsonl") if row["event_type"] == "eval"}
    best = json.loads((folder / "summary.json").read_text())["best_val_step"]
    kept = {int(file.stem.removeprefix("step-")) for file in (folder / "answers").iterdir()}
    assert kept == {10, best}
    for step in kept:
        answers = read_answers(folder, step)
        assert answers is not None
        assert len(answers) == 4
        for column in COLUMNS:
            scores = [each.scores[column] for each in answers]
            found = metric_means(rows[step])[column]
            assert found.mean == pytest.approx(sum(scores) / 4)  # type: ignore[arg-type]
            if len(set(scores)) > 1:
                interval = ttest_1samp(scores, 0.0).confidence_interval(0.95)
                assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert {each.prompt for each in answers} == {"Describe the clip."}
    assert all(each.id.startswith("shapes/") and each.reference for each in answers)


def test_fvlm_eval_gives_the_metrics_of_the_run(
    done: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FVLM_CACHE", str(done["place"] / "cache"))
    folder: Path = done["with folder"]
    best = json.loads((folder / "summary.json").read_text())["best_val_step"]
    [row] = [row for row in done["with"]["rows"] if (row["step"], row["event_type"]) == (best, "eval")]
    subject = open_subject(str(folder), folder.parents[1])
    sources = open_data(subject, None, (), "validation", lambda what, now, total: None)
    chosen = choose_metrics(subject, ["token-f1", "chrf"])
    measured = measure(subject, sources, [subject.model.connector.spec.mode], None, metrics=chosen)
    [again] = measured.rows.values()
    for column in ("token_f1", "chrf"):
        for end in (column, f"{column}_low", f"{column}_high"):
            assert again[end] == row[end]


def test_means_leave_out_samples_without_a_score() -> None:
    assert mean_of("x", [1.0, None, 0.0, None]) == pytest.approx(
        {"x": 0.5, "x_low": 0.5 - 12.706204736 * 0.5, "x_high": 0.5 + 12.706204736 * 0.5}
    )
    assert mean_of("x", [None, 1.0]) == {"x": 1.0, "x_low": None, "x_high": None}
    assert mean_of("x", []) == {"x": None, "x_low": None, "x_high": None}


class Quiz(DataSource):
    """Text alone: multiple-choice questions, of which every third ends with a question."""

    def __init__(self, name: str, count: int) -> None:
        self.name, self.count = name, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        turns = (Turn("user", f"Which is {index}?\nA. {index}\nB. red"), Turn("assistant", "Answer: A"))
        return Sample(f"{index:03d}", self.name, (*turns, Turn("user", "Why?")) if index % 3 == 0 else turns)

    def prepare(self, progress: Progress) -> None:
        """Nothing to do."""


def preparer(**changes: Any) -> Preparer:
    return evolve(Preparer(ByteChat(), small.SIDE, "all", 400), **changes)


def test_every_source_has_an_equal_share_of_the_questions_the_same_ones_each_time() -> None:
    sources = (Quiz("a", 30), Quiz("b", 30), Quiz("c", 2))
    few = validation_set(sources, preparer(), 60, 8, 9).questions
    many = validation_set(sources, preparer(), 60, 8, 21).questions
    assert [sum(name.startswith(f"{source}/") for name in few) for source in "abc"] == [3, 3, 1]
    assert set(few) < set(many)
    assert all(asked.turns[-1].role == "assistant" for asked in many.values())
    assert validation_set(sources, preparer(), 60, 8, 9).questions == few
    assert validation_set(sources, preparer(max_tokens=12), 60, 8, 9).questions == {}
    assert validation_set(sources, preparer(), 60, 8).questions == {}


@pytest.fixture
def examiner(monkeypatch: pytest.MonkeyPatch) -> Examiner:
    """It asks eight questions of text alone."""
    chosen = validation_set((Quiz("a", 12),), preparer(), 12, 5, 8)
    training = Training(steps=1, precision="float32")
    metrics = {"exact-match": ExactMatches(ExactMatch())}
    return Examiner(ByteChat(), chosen, Answering(limit=5, temperature=1.0), metrics, training, "cpu")


@pytest.fixture
def vlm(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(small, "VOCABULARY", ByteChat().vocabulary)
    return small.model(pooled=1)


def test_multiple_choice_questions_come_with_their_choices_and_the_right_one(
    examiner: Examiner, vlm: Any
) -> None:
    answers = examiner.answers(vlm.train(), Ranks())
    assert vlm.training
    assert len(answers) == 8
    for each in answers:
        index = str(int(each.id))
        assert (each.source, each.choices, each.right) == ("a", (index, "red"), 0)
        assert (each.prompt, each.reference) == (f"Which is {index}?\nA. {index}\nB. red", "Answer: A")


class Kinds(DataSource):
    """Text alone: questions of two kinds, of which one is guessed by chance, and every fourth of no kind."""

    name = "kinds"

    def __len__(self) -> int:
        return 24

    def __getitem__(self, index: int) -> Sample:
        turns = (Turn("user", "Say"), Turn("assistant", "yes"))
        kind = ("where", "when", "where", "")[index % 4]
        return Sample(f"{index:03d}", "kinds", turns, category=kind, chance=0.25 if kind == "where" else None)


def test_scores_are_given_by_category_with_their_chance_and_intervals(examiner: Examiner, vlm: Any) -> None:
    chosen = validation_set((Kinds(),), preparer(), 24, 5, 24)
    half = lambda answers: [float(int(each.id) % 8 == 0) for each in answers]
    third = lambda answers: [int(each.id) / 3 if each.category == "when" else None for each in answers]
    metrics = {"half": Told(half), "third": Told(third)}
    metrics["half"].column = "half"
    row, scored = evolve(examiner, validation=chosen, metrics=metrics).examine(vlm)
    assert {each.category for each in scored} == {"where", "when", ""}
    found = row["answers_by_category"]
    assert list(found) == ["when", "where"]
    where = found["where"]
    assert (where["answers"], where["chance"], where["half"]) == (12, 0.25, 0.25)
    exact = binomtest(3, 12).proportion_ci(0.95, "exact")
    assert (where["half_low"], where["half_high"]) == pytest.approx((exact.low, exact.high))
    assert "told" not in where
    when = found["when"]
    assert (when["answers"], when["chance"], when["half"], when["half_low"]) == (6, None, 0.0, 0.0)
    assert when["half_high"] == pytest.approx(binomtest(0, 6).proportion_ci(0.95, "exact").high)
    student = ttest_1samp([index / 3 for index in range(1, 24, 4)], 0.0).confidence_interval(0.95)
    assert (when["told_low"], when["told_high"]) == pytest.approx((student.low, student.high))
    assert misfit(row, ROW) == ""


def test_the_category_of_an_answer_is_kept_and_files_without_one_are_read(tmp_path: Path) -> None:
    one, other = (ScoredAnswer("a/1", "?", "x", "y", {"m": 0.0}, kind) for kind in ("where", ""))
    write_answers(tmp_path, 1, [one, other], None)
    first, second = (tmp_path / "answers/step-00000001.jsonl").read_text().splitlines()
    assert '"category": "where"' in first
    assert "category" not in second
    assert read_answers(tmp_path, 1) == [one, other]


@given(hits=st.integers(0, 60), more=st.integers(0, 60))
def test_the_interval_of_a_share_is_the_exact_one(hits: int, more: int) -> None:
    low, high = share_interval(hits, hits + more)
    if hits + more == 0:
        assert (low, high) == (0.0, 1.0)
        return
    exact = binomtest(hits, hits + more).proportion_ci(0.95, "exact")
    assert (low, high) == pytest.approx((exact.low, exact.high), abs=1e-9)


class Shared:
    """One of two ranks in this process; the first one finds what the second one, asked before it, gave."""

    def __init__(self, rank: int, given: list[Any]) -> None:
        self.rank, self.size, self.given = rank, 2, given

    def exchange(self, value: Any) -> list[Any]:
        self.given.append(value)
        return [value, self.given[0]] if self.rank == 0 else [value, dict.fromkeys(range(0, 8, 2))]


def test_ranks_share_the_questions_and_say_the_same(examiner: Examiner, vlm: Any) -> None:
    alone = examiner.answers(vlm, Ranks())
    given: list[Any] = []
    second, first = Shared(1, given), Shared(0, given)
    examiner.answers(vlm, second)  # type: ignore[arg-type]
    assert sorted(given[0]) == [1, 3, 5, 7]
    assert examiner.answers(vlm, first) == alone  # type: ignore[arg-type]


class Told(Metric):
    """Scores what it was told to."""

    column = "told"

    def __init__(self, scores: Any) -> None:
        self.scores = scores

    def score(self, answers: Sequence[Answer]) -> Sequence[float | None]:
        return self.scores(answers)


@pytest.mark.parametrize(
    ("scores", "text"),
    [
        (lambda answers: [1 / 0], "metric mine failed: ZeroDivisionError: division by zero"),
        (lambda answers: [1.0], "metric mine: expected a score for each of 8 answers, got 1"),
        (lambda answers: [math.nan] * 8, r"metric mine: expected a finite number or None for a/\d+, got nan"),
    ],
)
def test_a_metric_that_breaks_its_promise_is_named(
    scores: Any, text: str, examiner: Examiner, vlm: Any
) -> None:
    with pytest.raises(FvlmError, match=text):
        evolve(examiner, metrics={"mine": Told(scores)}).examine(vlm)


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        (["told", "told"], 'eval.metrics: m1 has the column "told", and so has m0'),
        (["told", "told_low"], 'eval.metrics: m1 has the column "told_low", and so has m0'),
        (["val_loss"], 'eval.metrics: m0 has the column "val_loss", and so has every evaluation'),
        (["mfu"], 'eval.metrics: m0 has the column "mfu", and so has every evaluation'),
        (
            ["Right words"],
            'eval.metrics: m0: expected a column of lower-case letters, digits and _, got "Right words"',
        ),
    ],
)
def test_a_column_belongs_to_one_metric(
    columns: list[str], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Plugins:
        def find(self, kind: str, name: str) -> Any:
            return self

        component = target = property(lambda self: self)

        def load(self, target: Any) -> Any:
            return lambda column: type("M", (Told,), {"column": column})(None)

    monkeypatch.setattr(answering, "registry", Plugins)
    with pytest.raises(UsageError) as error:
        open_metrics([Chosen(f"m{at}", f"x:m{at}", column) for at, column in enumerate(columns)])
    assert str(error.value) == text


def test_metrics_are_read_by_name_and_a_wrong_one_has_a_nearest() -> None:
    assert read_metric("exact-match").component == "metrics:exact-match"
    with pytest.raises(Problems, match=r'--metric exct-match.*did you mean "exact-match"\?'):
        read_metric("exct-match")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[eval.generation]\nlimit = 4\n", "eval.generation: nothing is answered without a metric"),
        (
            'metrics = [{ name = "chrf" }, { name = "metrics:chrf" }]\n',
            'eval.metrics: "metrics:chrf" stands there twice',
        ),
        (
            'metrics = [{ name = "crf" }]\n',
            'eval.metrics[0].name: none of the metrics is called "crf": did you mean "chrf"?',
        ),
        (
            'metrics = [{ name = "chrf", oder = 2 }]\n',
            'eval.metrics[0].oder: unknown key; did you mean "order"?',
        ),
        (METRICS + "beams = 2\n", "eval.generation.temperature: a search of 2 beams samples nothing"),
        (
            METRICS.replace("temperature", "top_p"),
            "eval.generation.top_p: nothing is sampled without a temperature",
        ),
        (METRICS + "limt = 2\n", 'eval.generation.limt: unknown key; did you mean "limit"?'),
        (METRICS + "top_p = 1.5\n", "eval.generation.top_p: must be <= 1, got 1.5"),
        (METRICS + 'stop = [""]\n', "eval.generation.stop: must be texts of a character or more"),
        (METRICS.replace("samples = 4", "samples = 0"), "eval.generation.samples: must be >= 1, got 0"),
    ],
)
def test_wrong_keys_of_a_recipe_are_explained(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(trainer.TEXT + text)
    with pytest.raises(Problems) as error:
        read_recipe(str(file))
    assert said in str(error.value)
    assert f"{file}:" in str(error.value)


def test_a_recipe_without_metrics_is_recorded_as_before(tmp_path: Path) -> None:
    from fvlm_core.recipes.resolved import resolved

    assert set(resolved(trainer.small(tmp_path).runs[0].config)["eval"]) == {"every", "samples", "batch_size"}


def test_answers_replace_those_of_other_steps_and_no_link_is_followed(tmp_path: Path) -> None:
    write_answers(tmp_path, 1, [], None)
    write_answers(tmp_path, 2, [], 1)
    write_answers(tmp_path, 3, [], 2)
    assert sorted(file.name for file in (tmp_path / "answers").iterdir()) == [
        "step-00000002.jsonl",
        "step-00000003.jsonl",
    ]
    (tmp_path / "elsewhere").write_text("mine")
    (tmp_path / "answers/step-00000004.jsonl").symlink_to(tmp_path / "elsewhere")
    write_answers(tmp_path, 4, [], None)
    assert (tmp_path / "elsewhere").read_text() == "mine"
    assert read_answers(tmp_path, 4) == []
    assert read_answers(tmp_path, 1) is None


def test_the_empty_set_has_no_answers(vlm: Any) -> None:
    training = Training(steps=1, precision="float32")
    metrics = {"mine": Told(lambda answers: [])}
    empty = Examiner(ByteChat(), ValidationSet((), ()), Answering(), metrics, training, "cpu")
    assert empty.examine(vlm) == ({"told": None, "told_low": None, "told_high": None}, [])
    assert torch.is_grad_enabled()
