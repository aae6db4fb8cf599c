"""A model and one video: what it says about it, and where it looks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fvlm_core.data.batch import Batch
from fvlm_core.interfaces.generation import Generation
from fvlm_core.interfaces.specs import Mode
from fvlm_core.media.decoders import open_decoder
from fvlm_core.model.answer import answer
from fvlm_core.model.gaze import attention_maps
from fvlm_core.model.generation import GREEDY
from fvlm_core.weights.restore import Restored


def load_frames(
    restored: Restored, file: Path, fps: float | None = None, max_frames: int | None = None
) -> NDArray[np.uint8]:
    """The frames that a model sees of a video or a picture, as in training unless told otherwise.

    uint8 RGB [T, 3, H, W]. Raises `BadSample`.
    """
    viewing = restored.viewing.told(fps=fps, max_frames=max_frames)
    return viewing.frames(file, open_decoder(restored.config.data.decoder))


def caption(
    restored: Restored,
    frames: NDArray[np.uint8],
    prompt: str | None = None,
    limit: int = 128,
    system: str | None = None,
    mode: Mode | None = None,
    visual: Tensor | None = None,
    settings: Generation = GREEDY,
    seed: int = 0,
) -> str:
    """What the model says about frames [T, 3, H, W], in at most `limit` tokens.

    prompt, system: the question and the system turn; None for those of training, where videos are asked about. mode,
    visual: as in `VLM.generate`. settings, seed: how each token is chosen, and of sampling.
    """
    viewing = restored.viewing.told(prompt=prompt, system=system)
    return answer(
        restored.model,
        restored.chat,
        viewing.asked(viewing.prompt),
        torch.from_numpy(frames),
        limit=limit,
        settings=settings,
        seed=seed,
        mode=mode,
        visual=visual,
    )


@torch.no_grad()
def look(
    restored: Restored, frames: NDArray[np.uint8], prompt: str | None = None
) -> dict[str, NDArray[np.float32]]:
    """Attention on the patches, [T, rows, columns] for each pass of the connector, mean over layers and heads.

    The rest of each frame's attention, up to 1, is on the tokens before the patches (CLS). prompt: the question, which
    a model with `question_first` reads before it looks; None for that of training.
    """
    viewing = restored.viewing.told(prompt=prompt)
    ids = torch.from_numpy(restored.chat.prompt(viewing.asked(viewing.prompt)))[None]
    count, length = torch.tensor([len(frames)]), torch.tensor([ids.shape[1]])
    unscored = torch.zeros_like(ids, dtype=torch.bool)
    batch = Batch(torch.from_numpy(frames), count, ids, length, unscored, unscored, questions=length)
    return attention_maps(restored.model, batch)
