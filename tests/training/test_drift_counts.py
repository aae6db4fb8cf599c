"""What a run has done is counted: no accepted drift changes a number of the past, or loses or repeats a sample."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from trainer import TEXT, Killed, Watch

from fvlm_core.data.batch import Batch
from fvlm_core.execution.sequential import prepare, run_all
from fvlm_core.recipes.read import read_recipe
from fvlm_core.runs.metrics import read_metrics
from fvlm_core.runs.store import list_runs
from fvlm_core.training import gradient
from fvlm_core.training.signals import Stopped, StopRequest

LENGTHS = {"1": 11, "2": 7, "3": 5}
"""Samples of each source, by the seed in the ids of its samples; all three have one name."""

SOURCES = """
[[data.sources]]
name = "shapes"
seed = 1
clips = 11
text_only = true
weight = 2.0
[[data.sources]]
name = "shapes"
seed = 2
clips = 7
text_only = true
[data.text]
name = "shapes"
seed = 3
clips = 5
text_only = true
share = 0.25
"""
RECIPE = TEXT[: TEXT.index("[[data.sources]]")] + SOURCES + TEXT[TEXT.index("[training]") :]
EVERYTHING = ("training", "data", "eval", "seed", "model")


class Trainer:
    """Trains a run attempt by attempt and keeps the batches of every step, and what each sample of it was said to cost.

    held, cost: by step, of the attempt that made it last.
    """

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.file = folder / "small.toml"
        self.file.write_text(RECIPE)
        self.root = folder / "runs"
        self.held: dict[int, list[Batch]] = {}
        self.cost: dict[int, float] = {}
        self.watch: Watch | None = None
        self._batches: list[Batch] = []
        plain = gradient._step

        def kept(stream: Any) -> Any:
            micro = plain(stream)
            self._batches = [one.batch for one in micro]
            return micro

        patch.setattr(gradient, "_step", kept)

    def go(self, *overrides: str, at: int | None = None, die: bool = False) -> Watch:
        """Train on, for `at` steps more. die: and end there without saving."""
        recipe = read_recipe(str(self.file), overrides)
        stop = StopRequest()
        watch = Counting(self, stop, at, die)
        data = prepare(recipe, self.root, lambda what, done, total: None)
        with suppress(Stopped, Killed):
            run_all(recipe, self.root, data, watch, stop, EVERYTHING)
        self.watch = watch
        return watch

    def made(self, step: int) -> None:
        self.held[step] = self._batches
        (run,) = list_runs(self.root)
        self.cost[step] = run.record["flops_per_sample"]


class Counting(Watch):
    """Asks for a stop, or dies, a number of steps after the start."""

    def __init__(self, trainer: Trainer, stop: StopRequest, more: int | None, die: bool) -> None:
        super().__init__(stop)
        self.trainer, self.more, self.dies = trainer, more, die

    def started(self, run: Any, step: int, steps: int) -> None:
        self.began, self.steps = step, steps
        for made in [made for made in self.trainer.held if made > step]:
            del self.trainer.held[made]
        if self.more is not None:
            self.at = step + self.more
            self.die = self.at if self.dies else None
            self.at = None if self.dies else self.at
        if self.at == step + 1:
            self.stop.number = 15

    def stepped(self, step: int, row: dict[str, Any] | None) -> None:
        self.trainer.made(step)
        super().stepped(step, row)


def recounted(trainer: Trainer) -> dict[int, dict[str, Any]]:
    """What rows must say at every step: sums over the batches themselves."""
    samples = tokens = 0
    flops: list[float] = []
    found: dict[int, dict[str, Any]] = {}
    for step in sorted(trainer.held):
        for batch in trainer.held[step]:
            samples += len(batch.sample_ids)
            tokens += int(batch.supervised.sum())
            flops += [trainer.cost[step]] * len(batch.sample_ids)
        found[step] = {"samples_seen": samples, "tokens_seen": tokens, "flops": math.fsum(flops)}
    return found


def check(trainer: Trainer) -> None:
    """Everything that the module promises, of a run as it stands."""
    (run,) = list_runs(trainer.root)
    expected = recounted(trainer)
    rows = [
        row for row in read_metrics(run.folder / "metrics.jsonl") if row["event_type"] in ("train", "eval")
    ]
    # `log_every` is 3 at most, and another one in each attempt, which may end before a step that is a multiple of it.
    assert rows or max(expected) < 6
    for row in rows:
        right = expected[row["step"]]
        for name in ("samples_seen", "tokens_seen"):
            assert row[name] == right[name], (row["step"], name)
        assert row["flops"] == pytest.approx(right["flops"], rel=1e-12)
        assert sum(row["samples_by_source"].values()) == row["samples_seen"]
    for name in ("samples_seen", "tokens_seen", "flops", "frames_seen"):
        values = [row[name] for row in rows]
        assert values == sorted(values), name
    last = expected[max(expected)]
    assert run.summary["total_samples"] == last["samples_seen"]
    assert run.summary["supervised_tokens"] == last["tokens_seen"]
    read_by_turns(
        [[name for batch in held for name in batch.sample_ids] for _, held in sorted(trainer.held.items())]
    )


def read_by_turns(steps: list[list[str]]) -> None:
    """After every step, no sample of a source was read twice more often than another one."""
    read = {source: Counter(dict.fromkeys(range(length), 0)) for source, length in LENGTHS.items()}
    for step, names in enumerate(steps, 1):
        for name in names:
            _, source, _, number = name.split("/")[1].split("-")
            read[source][int(number)] += 1
        for source, counts in read.items():
            assert max(counts.values()) - min(counts.values()) <= 1, (step, source, counts)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FVLM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield patch


SIZES = st.sampled_from([(1, 1), (2, 1), (3, 3), (4, 2), (6, 2), (7, 7)]).map(
    lambda size: {"training.batch_size": size[0], "training.micro_batch_size": size[1]}
)
PLANNED = st.sampled_from([2, 5]).map(
    lambda size: {
        "training.batch_size": size, "training.micro_batch_frames": 4, "training.micro_batch_tokens": 600,
    }
)  # fmt: skip
OTHERS = st.fixed_dictionaries(
    {},
    optional={
        "training.workers": st.sampled_from([0, 1]),
        "training.log_every": st.integers(1, 3),
        "eval.every": st.integers(1, 5),
        "checkpoints.every": st.integers(1, 4),
        "data.text.share": st.sampled_from([0.0, 0.1, 0.6]),
        "data.weigh_by": st.sampled_from(["samples", "tokens"]),
        "data.max_text_tokens": st.sampled_from([48, 512]),
        "training.seed": st.sampled_from([42, 7]),
        "training.supervise": st.sampled_from(["answer", "all"]),
        "training.frozen": st.sampled_from(["[]", '["encoder"]']),
        "training.schedule": st.sampled_from(["cosine", "constant"]),
    },
)
GOALS = st.one_of(
    st.integers(8, 14).map(lambda steps: {"training.steps": steps}),
    st.integers(20, 50).map(lambda samples: {"training.samples": samples}),
    st.integers(20, 50).map(lambda samples: {"training.budget": samples + 0.5}),
)
"""A budget is counted here in samples of the first recipe."""

ATTEMPTS = st.lists(
    st.tuples(st.one_of(SIZES, PLANNED), OTHERS, GOALS, st.integers(1, 4), st.booleans()),
    min_size=2,
    max_size=4,
)


def written(values: Mapping[str, Any], each: float) -> list[str]:
    goal = {"training.budget": values["training.budget"] * each} if "training.budget" in values else {}
    return [f"{key}={value}" for key, value in {**values, **goal}.items()]


FEW = settings(
    max_examples=3, deadline=None, phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
Attempts = list[tuple[dict[str, Any], dict[str, Any], dict[str, Any], int, bool]]


@FEW
@given(attempts=ATTEMPTS)
def test_no_drift_loses_or_repeats_a_sample_or_changes_a_number_of_the_past(
    attempts: Attempts, tmp_path_factory: pytest.TempPathFactory, cache: pytest.MonkeyPatch
) -> None:
    trained_and_checked(attempts, tmp_path_factory.mktemp("run"))


@pytest.mark.soak
@settings(FEW, max_examples=40)
@given(attempts=ATTEMPTS)
def test_no_drift_of_many_does(
    attempts: Attempts, tmp_path_factory: pytest.TempPathFactory, cache: pytest.MonkeyPatch
) -> None:
    trained_and_checked(attempts, tmp_path_factory.mktemp("run"))


def trained_and_checked(attempts: Attempts, folder: Path) -> None:
    """A run made in these attempts, looked at after each that was not killed."""
    with pytest.MonkeyPatch.context() as patch:
        trainer = Trainer(folder, patch)
        each = 1e6
        for number, (sizes, others, goal, more, die) in enumerate(attempts):
            overrides = written({"training.steps": 14, **sizes, **others}, each)
            if number == len(attempts) - 1:  # its goal is met from wherever the run stands
                trainer.file.write_text(RECIPE.replace("steps = 20\n", "", 1))
                overrides = written({**sizes, **others, **goal}, trainer.cost[min(trainer.cost)])
            trainer.go(*overrides, at=None if number == len(attempts) - 1 else more, die=die and number > 0)
            if not die or number == 0:
                check(trainer)
        check(trainer)
        (run,) = list_runs(trainer.root)
        done = run.summary["total_samples"]
        before = recounted(trainer).get(trainer.watch.began, {}).get("samples_seen", 0)
        assert run.state == "complete"
        if "training.samples" in goal:
            assert done == max(goal["training.samples"], before)
        if "training.budget" in goal and done > before:
            budget = goal["training.budget"] * trainer.cost[min(trainer.cost)]
            (*_, last) = [row for row in run.rows() if "flops" in row]
            assert last["flops"] <= budget * (1 + 1e-9)
            step = sizes["training.batch_size"] * run.record["flops_per_sample"]
            assert budget - last["flops"] < step * (1 + 1e-9)
        json.dumps(run.summary)
