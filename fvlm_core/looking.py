"""A model and one video: what it says about it, and where it looks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fvlm_core.data.batch import Batch
from fvlm_core.data.decoders import decode_timed, open_decoder
from fvlm_core.interfaces.data import Turn, VideoFile
from fvlm_core.runs.restore import Restored


def load_frames(restored: Restored, video: Path, fps: float = 1.0, max_frames: int = 64) -> NDArray[np.uint8]:
    """The frames a model sees of a video: uint8 [T, 3, H, W]. Raises `BadSample`."""
    decoder = open_decoder(restored.config.data.decoder)
    clip = VideoFile(video, fps, max_frames, decoder=decoder)
    return decode_timed(clip, restored.model.encoder.spec.image_size)[0]


def caption(restored: Restored, frames: NDArray[np.uint8], prompt: str, limit: int) -> str:
    """What the model says about frames [T, 3, H, W], greedily, in at most `limit` tokens."""
    ids = restored.chat.prompt([Turn("user", prompt)])
    said = restored.model.generate(
        torch.from_numpy(frames), ids.tolist(), limit=limit, end=restored.chat.end_of_turn
    )
    return restored.chat.decode(said)


@torch.no_grad()
def look(restored: Restored, frames: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """Attention on the patches, [T, rows, columns] for each pass of the connector, mean over layers and heads.

    The rest of each frame's attention, up to 1, is on the tokens before the patches (CLS).
    """
    model, spec = restored.model, restored.model.encoder.spec
    none = torch.zeros((1, 0), dtype=torch.int64)
    count = torch.tensor([len(frames)])
    batch = Batch(torch.from_numpy(frames), count, none, torch.tensor([0]), none.bool(), none.bool())
    looks = model.connector.attention(model.encode(batch.frames), batch.counts, model.encoder, model.llm)
    return {
        name: torch.stack(layers)
        .mean((0, 2))[:, spec.prefix_tokens :]
        .unflatten(1, spec.patch_grid)
        .float()
        .numpy()
        for name, layers in looks.items()
    }
