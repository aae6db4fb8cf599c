"""A clip, watched: what the model says after every frame, and where each pass looked, as events for the page."""

from __future__ import annotations

import io
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from attrs import frozen
from numpy.typing import NDArray
from PIL import Image

from fvlm_core.data.batch import Batch
from fvlm_core.evaluation.inference import caption, look
from fvlm_core.media.moving_pictures import shows_still
from fvlm_core.report.demo.decode import frames_apart
from fvlm_core.weights.restore import Restored

Event = dict[str, Any]

COARSE = "coarse_only"


@frozen(eq=False)
class Watcher:
    """A model that watches clips. name: of its run. tokens: most of an answer."""

    restored: Restored
    name: str
    tokens: int = 48

    @property
    def modes(self) -> tuple[str, ...]:
        """The model's own way to make visual tokens, and the coarse pass alone before it where it has one."""
        spec = self.restored.model.connector.spec
        return (COARSE, spec.mode) if COARSE in spec.modes and spec.mode != COARSE else (spec.mode,)

    def watch(self, file: Path, question: str = "") -> Iterator[Event]:
        """The events of one file, each a table with its "kind": `clip` (how many frames, the question, the modes); for
        each frame `frame` (its picture, where each pass looked, milliseconds of looking) and a `text` for each mode;
        `done`. Raises `BadSample`.

        What is said after frame t is said of the frames up to t alone: under a causal mask later ones change nothing
        of their visual tokens, which are made once. question: empty for that of training.
        """
        viewing = self.restored.viewing
        frames = frames_apart(viewing, file)
        asked = question or (viewing.picture_prompt if shows_still(file) else viewing.prompt)
        yield self._clip(len(frames), asked)
        begin = time.perf_counter()
        yield from self._seen(frames, range(len(frames)), asked)
        yield {"kind": "done", "seconds": round(time.perf_counter() - begin, 1)}

    def watch_on(self, frames: NDArray[np.uint8], question: str = "") -> Iterator[Event]:
        """Of frames [T, 3, S, S] that come one by one, the events of the last: `frame`, and a `text` for each mode, as
        of a clip that ends there; a `clip` of the most frames there can be before the first. All are looked at anew:
        what a pass sees of one may depend on all before it."""
        asked = question or self.restored.viewing.prompt
        if len(frames) == 1:
            yield self._clip(self.restored.viewing.max_frames, asked)
        yield from self._seen(frames, range(len(frames) - 1, len(frames)), asked)

    def _clip(self, frames: int, asked: str) -> Event:
        return {"kind": "clip", "frames": frames, "question": asked, "modes": list(self.modes)}

    def _seen(self, frames: NDArray[np.uint8], places: range, asked: str) -> Iterator[Event]:
        begin = time.perf_counter()
        tokens = {mode: self._see(frames, mode, asked) for mode in self.modes}
        gaze = look(self.restored, frames, asked)
        spent = 1000 * (time.perf_counter() - begin) / (len(frames) * (len(self.modes) + bool(gaze)))
        top = {name: max(float(share.max()), 1e-9) for name, share in gaze.items()}
        for at in places:
            heat = {name: (share[at] / top[name]).round(3).tolist() for name, share in gaze.items()}
            yield {
                "kind": "frame",
                "at": at,
                "picture": _picture(frames[at]),
                "gaze": heat,
                "ms": round(spent, 1),
            }
            for mode in self.modes:
                yield self._say(frames[: at + 1], tokens[mode], mode, asked)

    def _say(self, frames: NDArray[np.uint8], tokens: torch.Tensor, mode: str, asked: str) -> Event:
        begin = time.perf_counter()
        last = self.restored.model.connector.spec.last_frames
        seen = tokens[: len(frames)] if last is None else None
        said = caption(self.restored, frames, asked, self.tokens, mode=mode, visual=seen)
        seconds = time.perf_counter() - begin
        return {
            "kind": "text",
            "at": len(frames) - 1,
            "mode": mode,
            "text": said,
            "ms": round(1000 * seconds),
        }

    @torch.no_grad()
    def _see(self, frames: NDArray[np.uint8], mode: str, asked: str) -> torch.Tensor:
        """The visual tokens [T, k, W] of all frames."""
        model, viewing = self.restored.model, self.restored.viewing.told(prompt=asked)
        device = next(model.parameters()).device
        ids = torch.from_numpy(self.restored.chat.prompt(viewing.asked(asked)))[None].to(device)
        nothing, length = torch.zeros(ids.shape, dtype=torch.bool), torch.tensor([ids.shape[1]])
        batch = Batch(
            torch.from_numpy(frames).to(device),
            torch.tensor([len(frames)]),
            ids,
            length,
            nothing,
            nothing,
            questions=length,
        )
        return model.see(batch, mode).tokens


def _picture(frame: NDArray[np.uint8]) -> str:
    """A frame [3, H, W] as the address of a JPEG."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(frame.transpose(1, 2, 0))).save(file, "JPEG", quality=88)
    return f"data:image/jpeg;base64,{b64encode(file.getvalue()).decode()}"
