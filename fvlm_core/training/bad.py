"""What a run says of the samples that it reads: bad ones, and texts that spell out control tokens."""

from __future__ import annotations

from pathlib import Path

from fvlm_core.data.loader import Reading, ValidationSet
from fvlm_core.media.bad_sample import allowed_bad
from fvlm_core.runs.store import BAD_SAMPLES
from fvlm_core.training.callbacks import Observer
from fvlm_core.training.process_group import Ranks
from fvlm_core.training.state import Progress
from fvlm_core.utils.errors import FvlmError


def note_bad(
    readings: list[Reading],
    progress: Progress,
    max_bad: float,
    folder: Path,
    observer: Observer,
    ranks: Ranks,
) -> None:
    """Name bad samples. folder: of the run. Raises `FvlmError` for too many distinct ones."""
    reports = [bad for reading in readings for bad in reading.bad]
    for report in reports:
        if report.sample not in progress.bad:
            progress.bad[report.sample] = report.reason
            observer.warned(
                f"bad sample {report.sample}: {report.reason} (replaced; {len(progress.bad)} so far)"
            )
    allowed = allowed_bad(max_bad, progress.samples)
    if len(progress.bad) > allowed:
        raise ranks.refusal(
            f"{len(progress.bad)} bad samples in {progress.samples} (data.max_bad allows {allowed:.0f}); "
            f"they are named in {folder / BAD_SAMPLES}"
        )


def note_spelled(readings: list[Reading], progress: Progress, observer: Observer) -> None:
    """Say once that a text spells out a control token; the metrics count such samples."""
    found = [one for reading in readings for one in reading.spelled]
    if found and not progress.spelled:
        sample, token = found[0]
        observer.warned(
            f'{sample}: the text spells out the control token "{token}": it is read as text, here and in every '
            "other sample (control_token_samples in the metrics counts them)"
        )


def report_validation(validation: ValidationSet, observer: Observer) -> dict[str, dict[str, str]]:
    """Name the bad samples of the validation: what the run's summary says of them. Raises `FvlmError` when no other is
    there."""
    for bad in validation.bad:
        observer.warned(f"bad validation sample {bad.sample}: {bad.reason} (left out)")
    if not validation.samples:
        raise FvlmError("no usable validation sample; check [data.validation]")
    bad = {bad.sample: bad.reason for bad in validation.bad}
    return {"bad_validation_samples": bad} if bad else {}
