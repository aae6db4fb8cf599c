"""Frames of training samples, varied: cropped, flipped, recoloured, some left out.

Every number is drawn by (seed, purpose, place of the sample in training), so that neither workers, micro-batches and
ranks nor a stop change it, and one purpose's numbers stay when another is switched on.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from fvlm_core.interfaces.data import Sample, StoredFrames
from fvlm_core.recipes.augment import Augment
from fvlm_core.utils.seeding import derive

GREY = np.array([0.2989, 0.587, 0.114], np.float32)[:, None, None]
"""Of red, green and blue: luma of ITU-R BT.601, as torchvision rounds it."""

Frames = NDArray[np.uint8]


def augmented(frames: Frames, sample: Sample, settings: Augment, seed: int, place: int) -> Frames:
    """The frames of a sample, uint8 RGB [T, 3, S, S], as they are shown at a place: uint8 [T', 3, S, S], T' <= T."""
    if not len(frames):
        return frames
    if settings.drop:
        frames = frames[kept(len(frames), sample, settings, seed, place)]
    if settings.crop is not None:
        rng, side = _rng(seed, "crop", place), frames.shape[-1]
        part = max(1, round(side * rng.uniform(settings.crop, 1) ** 0.5))
        top, left = rng.integers(0, side - part + 1, 2).tolist()
        frames = cropped(frames, top, left, part)
    if settings.flip and _rng(seed, "flip", place).random() < settings.flip:
        frames = frames[..., ::-1].copy()  # torch takes no array that runs backwards
    if settings.colour:
        strength = settings.colour
        brightness, contrast, saturation = _rng(seed, "colour", place).uniform(1 - strength, 1 + strength, 3)
        frames = recoloured(frames, brightness, contrast, saturation)
    return frames


def kept(frames: int, sample: Sample, settings: Augment, seed: int, place: int) -> NDArray[np.intp]:
    """Which of a sample's frames are shown at a place, in order: of a clip some, of pictures all."""
    video = sample.video
    clip = video is not None and not (isinstance(video, StoredFrames) and (video.still or video.apart))
    if not (settings.drop and clip and frames):
        return np.arange(frames)
    drawn = _rng(seed, "drop", place).random(frames)
    stays = np.flatnonzero(drawn >= settings.drop)
    return stays if len(stays) else np.array([drawn.argmax()])


def cropped(frames: Frames, top: int, left: int, part: int) -> Frames:
    """The square [T, 3, part, part] from a row and a column on, scaled to the frames' own size (bicubic)."""
    side = frames.shape[-1]
    inner = torch.from_numpy(frames[:, :, top : top + part, left : left + part])
    if part == side:
        return frames
    scaled = torch.nn.functional.interpolate(inner, (side, side), mode="bicubic", antialias=True)
    return scaled.numpy()


def recoloured(frames: Frames, brightness: float, contrast: float, saturation: float) -> Frames:
    """Brighter, then about the mean grey of each frame, then away from its own grey, by these factors."""
    out = np.empty(frames.shape, np.uint8)
    for frame, to in zip(frames, out, strict=True):
        colours = (frame * np.float32(brightness)).clip(0, 255)
        mean = (colours * GREY).sum(0).mean()
        colours = (mean + (colours - mean) * np.float32(contrast)).clip(0, 255)
        grey = (colours * GREY).sum(0)
        to[:] = (grey + (colours - grey) * np.float32(saturation)).clip(0, 255).round()
    return out


def _rng(seed: int, purpose: str, place: int) -> np.random.Generator:
    return np.random.default_rng(derive(seed, "augment", purpose, place))
