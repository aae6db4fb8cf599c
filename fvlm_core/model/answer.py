"""What a model answers when it is asked: a chat without its last turn to a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from fvlm_core.interfaces.chat import Chat
from fvlm_core.interfaces.data import Turn
from fvlm_core.interfaces.generation import Generation
from fvlm_core.interfaces.specs import Mode
from fvlm_core.model.generation import GREEDY
from fvlm_core.model.vlm import VLM


def answer(
    model: VLM,
    chat: Chat,
    turns: Sequence[Turn],
    frames: Tensor,
    *,
    limit: int,
    settings: Generation = GREEDY,
    seed: int = 0,
    mode: Mode | None = None,
    signals: Mapping[str, Tensor] | None = None,
    visual: Tensor | None = None,
    key: str = "",
) -> str:
    """The model's next turn, cut before the first stop text.

    turns: up to the question. Everything else: see `VLM.generate`.
    """
    answered = any(turn.role == "assistant" for turn in turns)
    said = model.generate(
        frames,
        chat.prompt(turns).tolist(),
        limit=limit,
        end=chat.end_of_turn,
        mode=mode,
        signals=signals,
        visual=visual,
        question=chat.encode(turns).question if answered else None,
        key=key,
        settings=settings,
        seed=seed,
        decode=chat.decode,
    )
    return settings.cut(chat.decode(said))
