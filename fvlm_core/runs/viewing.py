"""How the model of a run is shown things: written into the run's record when it starts, read by every command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fvlm_core.data.sources import open_all
from fvlm_core.interfaces.chat import Chat
from fvlm_core.interfaces.data import DataSource
from fvlm_core.media.shown import shown_by
from fvlm_core.media.viewing import Shown, Viewing, viewing
from fvlm_core.recipes.located import from_plain
from fvlm_core.recipes.schema import Chosen, Data, Model
from fvlm_core.recipes.structure import Invalid, structure
from fvlm_core.utils.errors import FvlmError, Problems

VIEWING = "viewing"
"""In a run's record, and in the `config.json` of an exported model."""


def viewing_of(data: Data, train: Sequence[DataSource], size: int, chat: Chat) -> Viewing:
    """How a run shows things to its model. train: its sources, one for each of `data.mixed`. size: side of a frame."""
    shown = [
        one for source, (_, share) in zip(train, data.mixed, strict=True) for one in shown_by(source, share)
    ]
    return viewing(shown, size, repeats=data.image_repeats, system=_system(chat))


def viewing_from_recipe(data: Data, size: int, chat: Chat) -> Viewing:
    """The same of a run whose record does not say: from its data where they are here, else from their settings that are
    called fps, max_frames, fit and prompt."""
    try:
        sources = open_all(data)
    except (FvlmError, OSError):
        sources = []
    if not isinstance(sources, list):
        return viewing_of(data, sources.train, size, chat)
    shown = [one for part in data.mixed for one in _as_set(*part)]
    return viewing(shown, size, repeats=data.image_repeats, system=_system(chat))


def read_viewing(table: Mapping[str, Any], file: str) -> Viewing:
    """A viewing that was written. file: for messages. Raises `Problems`."""
    located = from_plain(dict(table), file)
    try:
        return structure(located, Viewing)
    except Invalid as invalid:
        raise Problems([located.problem((VIEWING, *key), text) for key, text in invalid.problems]) from None


def exported_viewing(written: Mapping[str, Any] | None, model: Model, file: str) -> Viewing:
    """The viewing in the `config.json` of an exported model; the defaults, without a source, where it was written
    before that was kept. file: for messages. Raises `Problems`."""
    if written is None:
        return viewing((), model.encoder.config.spec().image_size)
    return read_viewing(written, file)


def differences(seen: Viewing, sources: Sequence[DataSource]) -> list[str]:
    """Every source that shows things in a way that the model was never shown any, a line each.

    What is not recorded is no difference, nor is a question where one of the two has none of its own.
    """
    found: list[str] = []
    for source in sources:
        for shown in shown_by(source, 1.0):
            known = [one for one in seen.sources if one.kind == shown.kind]
            if known and not any(_agree(shown, one) for one in known):
                found.append(f"{shown}; the model was trained on {known[0]}")
    return found


def _agree(one: Shown, other: Shown) -> bool:
    ways = ((one.fps, other.fps), (one.max_frames, other.max_frames), (one.fit, other.fit))
    return all(a == b or a is None or b is None for a, b in ways) and (
        one.prompt == other.prompt or not one.prompt or not other.prompt
    )


def _system(chat: Chat) -> str:
    """The system turn of chats that have none, where the chat format says it."""
    return str(getattr(chat, "system", ""))


def _as_set(chosen: Chosen, share: float) -> list[Shown]:
    """How a source shows things, by its settings; nothing where it has none of these names."""
    fps, most, fit = (getattr(chosen.config, name, None) for name in ("fps", "max_frames", "fit"))
    kind = "videos" if fps and most else "pictures" if fit else None
    if kind is None:
        return []
    prompt = getattr(chosen.config, "prompt", "")
    return [
        Shown(source=chosen.name, kind=kind, weight=share, fps=fps, max_frames=most, fit=fit, prompt=prompt)
    ]
