"""What a run writes down is what it did: rates, losses, counts, the best evaluation, and in which order it is kept."""

from __future__ import annotations

import json
from math import cos, pi
from pathlib import Path
from typing import Any

import pytest
import torch
from attrs import define, field
from disk import Event, Renamed, Synced, watch
from trainer import go, opened, small

from fvlm_core.runs.metrics import read_metrics
from fvlm_core.runs.per_sample_loss import Scored
from fvlm_core.training import loop
from fvlm_core.training.objective import Contribution, TokenLoss

KEYS = (
    *("training.steps=8", "training.log_every=2", "training.warmup=0.5", "training.lr=0.01"),
    *("eval.every=2", "checkpoints.keep_last=1"),
)
VALIDATION = (3.0, 2.0, 2.5, 2.2)
"""Losses that the evaluations give."""


@define
class Seen:
    """A run as it was watched. rates: the share of the peak that each update was made with. moved: whether it moved a
    weight. parts: loss (a sum), supervised tokens and frames of each micro-batch, two a step."""

    folder: Path
    rates: list[float] = field(factory=list[float])
    moved: list[bool] = field(factory=list[bool])
    parts: list[tuple[float, int, int]] = field(factory=list[tuple[float, int, int]])
    events: list[Event] = field(factory=list[Event])

    def rows(self, event_type: str) -> list[dict[str, Any]]:
        rows = read_metrics(self.folder / "metrics.jsonl")
        return [row for row in rows if row["event_type"] == event_type]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Any:
    place = tmp_path_factory.mktemp("accounts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FVLM_CACHE", str(place / "cache"))
        recipe = small(place, *KEYS)
        data = opened(recipe, place / "none")
        seen = Seen(place / "runs" / "small" / "small")
        seen.events = watch(patch, seen.folder / "metrics.jsonl")
        update, contribution = torch.optim.AdamW.step, TokenLoss.contribution
        losses = iter(VALIDATION)

        def step(self: torch.optim.AdamW) -> None:
            (share,) = {group["lr"] / group["peak"] for group in self.param_groups}
            weights = [p.detach().clone() for group in self.param_groups for p in group["params"]]
            update(self)
            now = [p for group in self.param_groups for p in group["params"]]
            seen.rates.append(share)
            seen.moved.append(not all(map(torch.equal, weights, now)))

        def contribute(self: TokenLoss, model: Any, batch: Any) -> Contribution:
            found = contribution(self, model, batch)
            seen.parts.append((float(found.sums[0]), found.count, len(batch.frames)))
            return found

        def evaluate(*_: Any, **__: Any) -> tuple[dict[str, Any], list[Scored]]:
            loss = next(losses)
            return {"val_loss": loss, "val_loss_content": loss / 2}, [Scored("shapes/a", loss, 1)]

        patch.setattr(torch.optim.AdamW, "step", step)
        patch.setattr(TokenLoss, "contribution", contribute)
        patch.setattr(loop, "evaluate", evaluate)
        go(recipe, place / "runs", data)
        yield seen


def test_rates_are_the_schedules_and_the_first_update_moves_nothing(seen: Seen) -> None:
    """A warm-up of four updates of eight, then half a cosine to a tenth."""
    fall = [0.1 + 0.9 * (1 + cos(pi * k / 4)) / 2 for k in range(4)]
    assert seen.rates == pytest.approx([0, 1 / 4, 2 / 4, 3 / 4, *fall], abs=1e-12)
    assert seen.moved == [False, *[True] * 7]
    for row in seen.rows("train"):
        assert row["lr_connector"] == pytest.approx(0.01 * seen.rates[row["step"] - 1], abs=1e-12)


def test_a_row_is_the_mean_over_the_tokens_since_the_row_before(seen: Seen) -> None:
    rows = seen.rows("train")
    assert [row["step"] for row in rows] == [2, 4, 6, 8]
    other = 0
    for number, row in enumerate(rows):
        parts = seen.parts[4 * number : 4 * number + 4]
        assert row["train_loss"] == pytest.approx(
            sum(loss for loss, _, _ in parts) / sum(tokens for _, tokens, _ in parts), rel=1e-6
        )
        steps = [(a[0] + b[0]) / (a[1] + b[1]) for a, b in (parts[:2], parts[2:])]
        other += sum(steps) / 2 != pytest.approx(row["train_loss"], rel=1e-5)
    assert other, "steps of equal length cannot tell a mean over tokens from one over steps"


def test_tokens_frames_and_samples_are_those_that_were_trained_on(seen: Seen) -> None:
    assert len(seen.parts) == 16
    last = seen.rows("train")[-1]
    assert last["samples_seen"] == 32
    assert last["tokens_seen"] == sum(tokens for _, tokens, _ in seen.parts)
    assert last["frames_seen"] == sum(frames for _, _, frames in seen.parts)


def test_the_best_evaluation_is_the_lowest_and_its_weights_are_kept(seen: Seen) -> None:
    assert [row["val_loss"] for row in seen.rows("eval")] == list(VALIDATION)
    summary = json.loads((seen.folder / "summary.json").read_text())
    assert (summary["best_val_loss"], summary["best_val_step"]) == (2.0, 4)
    assert summary["best_val_loss_content"] == 1.0
    kept = sorted(path.name for path in (seen.folder / "checkpoints").iterdir())
    assert kept == ["step-00000004", "step-00000008"]
    scored = sorted(path.name for path in (seen.folder / "validation").iterdir())
    assert scored == ["step-00000004.json", "step-00000008.json"]


def test_no_checkpoint_is_ahead_of_the_metrics_on_the_disk(seen: Seen) -> None:
    metrics = str(seen.folder / "metrics.jsonl")
    on_disk, saved = 0, 0
    for event in seen.events:
        if isinstance(event, Synced) and event.path == metrics:
            on_disk = event.size
        elif isinstance(event, Renamed) and event.target.startswith(
            str(seen.folder / "checkpoints" / "step-")
        ):
            assert event.sizes == (on_disk,)
            saved += 1
    assert saved == 4
