"""The processor of an exported model: files and questions to what `generate` takes. Needs PyAV to decode videos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import BatchFeature
from transformers.processing_utils import ProcessorMixin

from .inputs_fvlm import is_still, prompt_ids, read_frames

Shown = str | Path | np.ndarray
"""A file, or frames: uint8 RGB [T, 3, size, size]."""


class FvlmProcessor(ProcessorMixin):
    """Shows videos and pictures as in training, and asks the question of training, unless told otherwise.

    image_size: side of a frame in pixels. fps, max_frames: frames a second of a video; one that would give more gives
    `max_frames`, evenly spaced. fit, repeats: how a picture becomes a square ("letterbox" or "crop"), and how many
    frames. prompt, picture_prompt: the question about a video, and about a picture. system: the system turn; empty for
    none.
    """

    def __init__(
        self,
        tokenizer: Any,
        image_size: int = 224,
        fps: float = 1.0,
        max_frames: int = 64,
        fit: str = "letterbox",
        repeats: int = 1,
        prompt: str = "Describe what happens in this video.",
        picture_prompt: str = "Describe what happens in this video.",
        system: str = "",
        **others: Any,
    ) -> None:
        super().__init__(tokenizer, **others)
        self.image_size, self.fps, self.max_frames = image_size, fps, max_frames
        self.fit, self.repeats = fit, repeats
        self.prompt, self.picture_prompt, self.system = prompt, picture_prompt, system

    def __call__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        videos: Shown | Sequence[Shown],
        text: str | Sequence[str] | None = None,
        system: str | None = None,
        **otherwise: Any,
    ) -> BatchFeature:
        """Clips, and a question for all or for each, to pixel_values uint8 [F, 3, H, W], frame_counts int64 [B], and
        input_ids and attention_mask int64 [B, S], padded on the left.

        otherwise: fps, max_frames, fit and repeats, in place of those of training. Raises ValueError for a file that
        cannot be read, and for frames of another shape.
        """
        if unknown := otherwise.keys() - {"fps", "max_frames", "fit", "repeats"}:
            raise TypeError(f"{', '.join(sorted(unknown))}: expected fps, max_frames, fit or repeats")
        clips = [videos] if isinstance(videos, str | Path | np.ndarray) else list(videos)
        asked = [text] * len(clips) if text is None or isinstance(text, str) else list(text)
        if len(asked) != len(clips):
            raise ValueError(f"text: expected a question for each of {len(clips)} clips, got {len(asked)}")
        frames = [self._frames(clip, otherwise) for clip in clips]
        said = self.system if system is None else system
        ids = [
            prompt_ids(
                self.tokenizer.backend_tokenizer, self._question(clip) if question is None else question, said
            )
            for clip, question in zip(clips, asked, strict=True)
        ]
        longest = max(map(len, ids))
        pad = self.tokenizer.pad_token_id
        return BatchFeature(
            {
                "pixel_values": torch.from_numpy(np.concatenate(frames)),
                "frame_counts": torch.tensor([len(clip) for clip in frames]),
                "input_ids": torch.tensor([[pad] * (longest - len(one)) + one for one in ids]),
                "attention_mask": torch.tensor([[0] * (longest - len(one)) + [1] * len(one) for one in ids]),
            }
        )

    def decode(self, ids: Any, **options: Any) -> Any:
        """Token ids back to text, without special tokens."""
        return self.tokenizer.decode(ids, **{"skip_special_tokens": True, **options})

    def batch_decode(self, ids: Any, **options: Any) -> list[str]:
        """As `decode`, for several answers."""
        return self.tokenizer.batch_decode(ids, **{"skip_special_tokens": True, **options})

    def _frames(self, clip: Shown, otherwise: dict[str, Any]) -> np.ndarray:
        if not isinstance(clip, np.ndarray):
            usual: dict[str, Any] = {
                "fps": self.fps,
                "max_frames": self.max_frames,
                "fit": self.fit,
                "repeats": self.repeats,
            }
            return read_frames(clip, self.image_size, **{**usual, **otherwise})
        side = self.image_size
        if clip.dtype != np.uint8 or clip.ndim != 4 or clip.shape[1:] != (3, side, side):
            raise ValueError(
                f"frames: expected uint8 [T, 3, {side}, {side}], got {clip.dtype} {list(clip.shape)}"
            )
        return clip

    def _question(self, clip: Shown) -> str:
        """What is asked about a clip where nobody says."""
        if isinstance(clip, np.ndarray):
            return self.prompt
        with open(clip, "rb") as opened:
            return self.picture_prompt if is_still(opened.read(64 << 10)) else self.prompt
