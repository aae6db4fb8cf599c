"""How a data source shows what it has, as its samples say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterable
from typing import Any, Literal, TypeVar

import numpy as np

from fvlm_core.interfaces.data import DataSource, Fit, Role, Sample, StoredFrames
from fvlm_core.media.bad_sample import BadSample
from fvlm_core.media.viewing import Shown

SAMPLES = 16
"""Samples that are asked, evenly spaced over the source: what decides is the same for all, or for none."""

_T = TypeVar("_T", bound=Hashable)
_KINDS: tuple[Literal["videos", "pictures"], ...] = ("videos", "pictures")


def shown_by(source: DataSource, weight: float) -> list[Shown]:
    """How a source shows its videos and its pictures; nothing for text alone. Nothing is decoded.

    weight: of the source, which both kinds share as they do its samples. What most of the samples say holds; a question
    is the source's when more than half of them ask it.
    """
    samples = _some(source)
    found: list[Shown] = []
    for kind in _KINDS:
        own = [sample for sample in samples if _kind(sample) == kind]
        if not own:
            continue
        fps, max_frames, fit = _most_common(map(_how, own))[0]
        prompt, system = (_shared([_first(sample, role) for sample in own]) for role in ("user", "system"))
        share = weight * len(own) / len(samples)
        found.append(
            Shown(
                source=source.name,
                kind=kind,
                weight=share,
                fps=fps,
                max_frames=max_frames,
                fit=fit,
                prompt=prompt,
                system=system,
            )
        )
    return found


def sampling_of(source: DataSource, fps: float | None, max_frames: int | None) -> dict[str, Any]:
    """How the frames of a source's clips are chosen where video files are told so: `fps` and `max_frames`.

    Each is None where samples differ or do not say. Frames that are stored already stay as they are.
    """
    ways = {
        (sample.video.fps, sample.video.max_frames)
        if isinstance(sample.video, StoredFrames)
        else (fps or sample.video.fps, max_frames or sample.video.max_frames)
        for sample in _some(source)
        if sample.video is not None and _kind(sample) == "videos"
    }
    return {
        "fps": _one({way[0] for way in ways} or {fps}),
        "max_frames": _one({way[1] for way in ways} or {max_frames}),
    }


def _one(values: Collection[_T]) -> _T | None:
    return next(iter(values)) if len(values) == 1 else None


def _some(source: DataSource) -> list[Sample]:
    found: list[Sample] = []
    for index in np.unique(np.linspace(0, len(source) - 1, SAMPLES).round().astype(int)).tolist():
        try:
            found.append(source[index])
        except BadSample:  # named and counted where it is drawn
            continue
    return found


def _kind(sample: Sample) -> str:
    if isinstance(sample.video, StoredFrames) and sample.video.still:
        return "pictures"
    return "videos" if sample.video is not None else "pictures" if sample.images else "text"


def _how(sample: Sample) -> tuple[float | None, int | None, Fit | None]:
    """Frames a second and most frames of a video; how a picture becomes a square."""
    if sample.images:
        return None, None, sample.images[0].fit
    video = sample.video
    assert video is not None
    if isinstance(video, StoredFrames) and video.still:
        return None, None, video.fit
    return video.fps, video.max_frames, None


def _first(sample: Sample, role: Role) -> str:
    return next((turn.content for turn in sample.turns if turn.role == role), "")


def _most_common(values: Iterable[_T]) -> tuple[_T, int]:
    return Counter(values).most_common(1)[0]


def _shared(texts: list[str]) -> str:
    """What more than half of the samples say, else nothing."""
    text, count = _most_common(texts)
    return text if 2 * count > len(texts) else ""
