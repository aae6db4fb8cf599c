"""Where trained models look in videos of their own validation set."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fvlm_core.data.sources import open_sources
from fvlm_core.evaluation.gaze import GazeMaps
from fvlm_core.evaluation.inference import look
from fvlm_core.interfaces.data import Sample
from fvlm_core.media.bad_sample import BadSample
from fvlm_core.media.frames import decode_frames
from fvlm_core.report.html.parts import Block, Cell, Column, Frame, Picture, Section, Table, number
from fvlm_core.report.html.run_data import Gathered
from fvlm_core.utils.errors import FvlmError
from fvlm_core.weights.restore import Restored, restore
from fvlm_registry import LookupFailure

_FRAMES = 4
"""Frames of a video that are shown, evenly spaced, with both ends."""

_COLOURS = 96
"""Of a picture in the page: a heat map needs no more, and the page stays small."""

_LOOKED_AT = 200
"""Samples of the validation set among which videos are sought."""


def section(runs: Sequence[Gathered], videos: int) -> Section:
    """The first `videos` validation videos of each run that has a checkpoint and queries; why not, of the others."""
    blocks: list[Block] = []
    reasons: list[str] = []
    for at, one in enumerate(runs):
        try:
            blocks.append(Block(one.label, pictures=_pictures(one, videos, at)))
        except (FvlmError, LookupFailure, BadSample, OSError) as error:
            reasons.append(f"{one.label}: {error}")
    words = [
        "Each frame, and beside it the share of the queries' attention on every patch, mean over layers and heads; "
        "one scale a video."
    ]
    return Section("gaze", "Where the models look", [Block("", words, reasons), *blocks])


def _pictures(one: Gathered, videos: int, at: int) -> list[Picture]:
    restored = restore(one.run)
    found: list[Picture] = []
    for sample in _samples(restored, videos):
        frames = decode_frames(
            sample, restored.model.encoder.spec.image_size, restored.config.data.image_repeats
        )
        asked = next((turn.content for turn in sample.turns if turn.role == "user"), None)
        looks = look(restored, frames, asked)
        if not looks:
            name = restored.config.model.connector.name
            raise FvlmError(f'no queries: its connector "{name}" never looks')
        found.append(_picture(f"{at}-{len(found)}", sample.id, frames, looks, restored.step))
    if not found:
        raise FvlmError("no video in its validation set")
    return found


def _samples(restored: Restored, videos: int) -> list[Sample]:
    sources = open_sources(restored.config.data).validation
    found: list[Sample] = []
    for source in sources:
        for index in range(min(len(source), _LOOKED_AT)):
            if len(found) == videos:
                return found
            if source[index].video is not None:
                found.append(source[index])
    return found


def _picture(
    id: str, sample: str, frames: NDArray[np.uint8], looks: dict[str, NDArray[np.float32]], step: int
) -> Picture:
    shown = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), _FRAMES)).round().astype(int))
    gaze = GazeMaps(frames, looks)
    passes = " and ".join(looks)
    pictures = [
        _frame(gaze.picture(at), f"Frame {at + 1} of {sample}, with heat maps of the {passes} pass.")
        for at in shown.tolist()
    ]
    caption = f"{sample}: {len(shown)} of {len(frames)} frames, weights of step {step:,}."
    return Picture(pictures, caption, _peaks(id, sample, looks))


def _frame(picture: Image.Image, alt: str) -> Frame:
    out = BytesIO()
    picture.quantize(_COLOURS).save(out, "PNG", optimize=True)
    return Frame(f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}", *picture.size, alt)


def _peaks(id: str, sample: str, looks: dict[str, NDArray[np.float32]]) -> Table:
    """Where each frame's attention is highest."""
    frames = len(next(iter(looks.values())))
    rows: list[list[Cell]] = []
    for at in range(frames):
        cells = [Cell(str(at + 1), at + 1)]
        for heat in looks.values():
            row, column = np.unravel_index(int(heat[at].argmax()), heat[at].shape)
            cells += [Cell(f"{row + 1}, {column + 1}"), number(float(heat[at].max()), "{:.3f}")]
        rows.append(cells)
    names = [
        Column(f"{name} {what}", what != "row, column") for name in looks for what in ("row, column", "share")
    ]
    columns = [Column("frame", number=True), *names]
    return Table(
        f"gaze-{id}", f"{sample}: the patch with the most attention, by frame.", columns, rows, plain=True
    )
