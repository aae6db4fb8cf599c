"""What trained models say of samples of their validation sets, beside what is true, with where they look: the samples
that a model foresees best, worst, and as well as most."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO

import numpy as np
from PIL import Image

from fvlm_core.data.sources import open_sources
from fvlm_core.evaluation.gaze import GazeMaps
from fvlm_core.evaluation.inference import caption, look
from fvlm_core.interfaces.data import Sample
from fvlm_core.media.bad_sample import BadSample
from fvlm_core.media.frames import decode_frames
from fvlm_core.report.html.parts import Block, Frame, Picture, Section, minus
from fvlm_core.report.html.run_data import Gathered
from fvlm_core.runs.per_sample_loss import Scored, read_scored
from fvlm_core.utils.errors import FvlmError
from fvlm_core.weights.restore import Restored, restore
from fvlm_registry import LookupFailure

FRAMES = 3
"""Frames of a sample that are shown, evenly spaced, with both ends."""

TOKENS = 64
"""Of an answer, at most."""

_HEIGHT = 132
"""Pixels of a frame: what is seen is still told apart, and thirty runs stay below three megabytes."""

_COLOURS = 64

_LONGEST = 400
"""Characters of a text that the page holds."""


def section(runs: Sequence[Gathered], each: int) -> Section:
    """each: the most samples of each kind that are shown of a run (best, typical, worst), of each source where there
    are several. Why a run has none is said."""
    blocks: list[Block] = []
    reasons: list[str] = []
    for one in runs:
        try:
            blocks.append(Block(one.label, pictures=list(_pictures(one, each))))
        except (FvlmError, LookupFailure, BadSample, OSError, ValueError, KeyError) as error:
            reasons.append(f"{one.label}: {error}")
    words = [
        "Samples of each run's validation set, by the loss of its best evaluation: those that it foresees best, worst, "
        "and as well as most. Beside each frame the share of the queries' attention, where the connector has queries."
    ]
    return Section("predictions", "Predictions beside the truth", [Block("", words, reasons), *blocks])


def chosen(scored: Sequence[Scored], each: int) -> dict[str, list[Scored]]:
    """The `each` samples of lowest, middle and highest loss a token, none twice: of few samples the ends come first."""
    ranked = sorted((one for one in scored if np.isfinite(one.loss) and one.tokens), key=_a_token)
    each = min(each, max(1, len(ranked) // 3))
    best, worst = ranked[:each], ranked[max(each, len(ranked) - each) :]
    inner = ranked[each : len(ranked) - each]
    start = max(0, (len(inner) - each) // 2)
    kinds = {"best": best, "typical": inner[start : start + each], "worst": worst[::-1]}
    return {kind: found for kind, found in kinds.items() if found}


def _a_token(one: Scored) -> float:
    return one.loss / one.tokens


def _pictures(one: Gathered, each: int) -> Iterator[Picture]:
    step = one.summary.get("best_val_step")
    scored = read_scored(one.run.folder, step) if step is not None else None
    if not scored:
        raise FvlmError("the losses of single samples were not kept")
    restored = restore(one.run)
    samples = _by_id(restored)
    known = [found for found in scored if found.id in samples]
    if not known:
        raise FvlmError("no picture or video in its validation set")
    sources = dict.fromkeys(samples[found.id].source for found in known)
    for source in sources:
        own = [found for found in known if samples[found.id].source == source]
        of = f"{source}, " if len(sources) > 1 else ""
        for kind, picked in chosen(own, each).items():
            for found in picked:
                rank = f"{of}{kind} of {len(own)}: {minus(f'{_a_token(found):.3f}')} nats a token"
                yield _picture(restored, samples[found.id], rank)


def _by_id(restored: Restored) -> Mapping[str, Sample]:
    """The validation samples that show something, by the id that their losses are kept under."""
    found: dict[str, Sample] = {}
    for source in open_sources(restored.config.data).validation:
        for index in range(len(source)):
            sample = source[index]
            if sample.visual:
                found[f"{sample.source}/{sample.id}"] = sample
    return found


def _picture(restored: Restored, sample: Sample, rank: str) -> Picture:
    frames = decode_frames(sample, restored.model.encoder.spec.image_size, restored.config.data.image_repeats)
    asked = next((turn.content for turn in sample.turns if turn.role == "user"), None)
    truth = next((turn.content for turn in reversed(sample.turns) if turn.role == "assistant"), "")
    maps = GazeMaps(frames, look(restored, frames, asked))
    places = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), FRAMES)).round().astype(int)).tolist()
    pictures = [
        _frame(maps.picture(at), f"Frame {at + 1} of {len(frames)} of {sample.id}"
               + (f", with heat maps of the {' and '.join(maps.arrays)} pass" if maps.arrays else ""))
        for at in places
    ]  # fmt: skip
    said = caption(restored, frames, asked, TOKENS)
    facts = [("asked", asked or ""), ("truth", truth), ("said", said)]
    return Picture(
        pictures, f"{sample.id}: {rank}", facts=[(name, _short(text)) for name, text in facts if text]
    )


def _frame(picture: Image.Image, alt: str) -> Frame:
    small = picture.resize(
        (round(picture.width * _HEIGHT / picture.height), _HEIGHT), Image.Resampling.LANCZOS
    )
    out = BytesIO()
    small.quantize(_COLOURS).save(out, "PNG", optimize=True)
    return Frame(f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}", *small.size, alt)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"
