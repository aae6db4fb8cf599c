"""The record of one attempt, kept by rank 0: metrics rows, bad samples, the summary."""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from types import TracebackType
from typing import Any

from attrs import asdict, define

from fvlm_core.data.loader import BadReport
from fvlm_core.data.mixture_counts import samples
from fvlm_core.hardware.devices import memory_gb
from fvlm_core.runs.answers import ScoredAnswer, write_answers
from fvlm_core.runs.metrics import MetricsWriter
from fvlm_core.runs.per_sample_loss import Scored, write_scored
from fvlm_core.runs.store import BAD_SAMPLES, METRICS, SUMMARY
from fvlm_core.training.length import Spent
from fvlm_core.training.process_group import Ranks
from fvlm_core.training.state import Progress
from fvlm_core.utils.atomic_files import open_to_append, write_json


@define
class Clock:
    """What was done since the last training row, and how long it took. Seconds are of the monotonic clock.

    begun: when this attempt would have begun had it done all the training of those before it. at, samples, tokens,
    frames: where the run stood at the last row.
    """

    begun: float
    at: float
    samples: int
    tokens: int
    frames: int

    @classmethod
    def start(cls, progress: Progress) -> Clock:
        """Now; what earlier attempts did counts for the wall time and for no rate."""
        now = time.monotonic()
        return cls(now - progress.wall_time, now, progress.samples, progress.tokens, progress.frames)

    def rates(self, progress: Progress) -> dict[str, float]:
        """Samples, frames and supervised tokens a second since the last row; also brings the wall time up to date."""
        now = time.monotonic()
        progress.wall_time = now - self.begun
        seconds = max(now - self.at, 1e-9)
        return {
            "throughput_samples_sec": (progress.samples - self.samples) / seconds,
            "throughput_frames_sec": (progress.frames - self.frames) / seconds,
            "throughput_tokens_sec": (progress.tokens - self.tokens) / seconds,
        }

    def lap(self, progress: Progress) -> None:
        """A training row was written: count from here."""
        self.at = time.monotonic()
        self.samples, self.tokens, self.frames = progress.samples, progress.tokens, progress.frames

    @contextmanager
    def paused(self, progress: Progress) -> Generator[None]:
        """Evaluating and saving are no training: they slow no rate down."""
        before = time.monotonic()
        progress.wall_time = before - self.begun  # what a checkpoint made in here has to say
        yield
        now = time.monotonic()
        self.at += now - before
        progress.wall_time = now - self.begun


class MetricsLog:
    """Writes the record on rank 0; on the others every method does nothing."""

    def __init__(self, folder: Path, run_id: str, progress: Progress, ranks: Ranks) -> None:
        self._folder = folder
        self._metrics = MetricsWriter(folder / METRICS, run_id, progress.step) if ranks.first else None

    def write(self, event_type: str, row: dict[str, Any]) -> None:
        """Append a row to the metrics."""
        if self._metrics is not None:
            self._metrics.write(event_type, **row)

    def bad(self, step: int, reports: Sequence[BadReport]) -> None:
        """Append bad samples to their file."""
        if self._metrics is None or not reports:
            return
        attempt = self._metrics.attempt
        rows = [{"step": step, "attempt": attempt, **asdict(report)} for report in reports]
        with open_to_append(self._folder / BAD_SAMPLES) as out:
            out.write("".join(json.dumps(row) + "\n" for row in rows).encode())

    def scored(self, step: int, samples: Sequence[Scored], best: int | None) -> None:
        """Keep every validation sample's loss at this evaluation; of the earlier ones, the best one's stay."""
        if self._metrics is not None:
            write_scored(self._folder, step, samples, best)

    def answered(self, step: int, answers: Sequence[ScoredAnswer], best: int | None) -> None:
        """Keep the model's answers at this evaluation; of the earlier ones, the best one's stay."""
        if self._metrics is not None:
            write_answers(self._folder, step, answers, best)

    def sync(self) -> None:
        """Make the rows durable: no checkpoint may be ahead of its metrics."""
        if self._metrics is not None:
            self._metrics.sync()

    def summarise(self, summary: dict[str, Any]) -> None:
        """Replace the summary."""
        if self._metrics is not None:
            write_json(self._folder / SUMMARY, summary)

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._metrics is not None:
            self._metrics.__exit__(kind, error, trace)


def training_row(
    progress: Progress,
    clock: Clock,
    *,
    losses: dict[str, float | None],
    spent: Spent,
    norm: float,
    rates: dict[str, float],
    peak: float | None,
    device: str,
) -> dict[str, Any]:
    """Every column of a training row. losses: the objective's own. spent: FLOPs as they add up. peak: FLOP/s of all
    devices together, None when not known."""
    speed = clock.rates(progress)
    used = speed["throughput_samples_sec"] * spent.each
    memory = memory_gb(device)
    return {
        "step": progress.step,
        "samples_seen": progress.samples,
        "wall_time_sec": round(progress.wall_time, 3),
        **losses,
        "grad_norm": norm,
        **rates,
        **speed,
        "mfu": used / peak if peak else None,
        "memory_gb": memory,
        "gpu_mem_gb": memory if device == "cuda" else None,
        "tokens_seen": progress.tokens,
        "frames_seen": progress.frames,
        "samples_by_source": samples(progress.mixture),
        "mixture": deepcopy(progress.mixture),  # it is counted on in place, and rows wait in trackers' queues
        "bad_samples": len(progress.bad),
        "dropped_samples": progress.dropped,
        "truncated_tokens": progress.truncated,
        "control_token_samples": progress.spelled,
        "unchanged_steps": progress.unchanged,
        "loss_spikes": progress.spikes.count,
        "samples_hash": progress.read,
        "flops": spent.at(progress.samples),
    }


def summarised(known: dict[str, Any], progress: Progress, steps: int) -> dict[str, Any]:
    """The summary of a run as it stands. known: what was known before training."""
    return {
        **known,
        "total_samples": progress.samples,
        "total_steps": progress.step,
        "planned_steps": steps,
        "best_val_loss": progress.best_val_loss,
        "best_val_step": progress.best_val_step,
        "best_val_loss_content": progress.best_val_loss_content,
        "final_train_loss": progress.final_train_loss,
        "wall_time_hours": progress.wall_time / 3600,
        "supervised_tokens": progress.tokens,
        "frames": progress.frames,
        "truncated_tokens": progress.truncated,
        "control_token_samples": progress.spelled,
        "samples_by_source": samples(progress.mixture),
        "mixture": progress.mixture,
        "bad_samples": progress.bad,
        "dropped_samples": progress.dropped,
        "unchanged_steps": progress.unchanged,
        "loss_spikes": progress.spikes.count,
        "complete": progress.step >= steps or bool(progress.ended),
        **({"ended": progress.ended} if progress.ended else {}),
    }
