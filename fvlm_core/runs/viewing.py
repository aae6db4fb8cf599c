"""How the model of a run is shown things: written into the run's record when it starts, read by every command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fvlm_core.data.shown import shown_by
from fvlm_core.errors import FvlmError, Problems
from fvlm_core.interfaces.data import DataSource
from fvlm_core.interfaces.llm import Chat
from fvlm_core.missing import open_all
from fvlm_core.recipes.read import from_plain
from fvlm_core.recipes.schema import Chosen, Model, RunRecipe
from fvlm_core.recipes.structure import Invalid, structure
from fvlm_core.viewing import Shown, Viewing, viewing

VIEWING = "viewing"
"""In a run's record, and in the `config.json` of an exported model."""


def viewing_of(config: RunRecipe, chat: Chat, train: Sequence[DataSource]) -> Viewing:
    """How a run shows things to its model. train: its sources, one for each of `config.data.mixed`."""
    shown = [
        one
        for source, (_, share) in zip(train, config.data.mixed, strict=True)
        for one in shown_by(source, share)
    ]
    return _resolved(config.model, chat, shown, config.data.image_repeats)


def viewing_from_recipe(config: RunRecipe, chat: Chat) -> Viewing:
    """The same of a run whose record does not say: from its data where they are here, else from their settings that are
    called fps, max_frames, fit and prompt."""
    try:
        sources = open_all(config.data)
    except (FvlmError, OSError):
        sources = []
    if not isinstance(sources, list):
        return viewing_of(config, chat, sources.train)
    shown = [one for part in config.data.mixed for one in _as_set(*part)]
    return _resolved(config.model, chat, shown, config.data.image_repeats)


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
    return _resolved(model, None, ()) if written is None else read_viewing(written, file)


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


def _resolved(model: Model, chat: Chat | None, shown: Sequence[Shown], repeats: int = 1) -> Viewing:
    size = model.encoder.config.spec().image_size
    return viewing(shown, size, repeats=repeats, system=str(getattr(chat, "system", "")))


def _as_set(chosen: Chosen, share: float) -> list[Shown]:
    """How a source shows things, by its settings; nothing where it has none of these names."""
    own = {name: getattr(chosen.config, name, None) for name in ("fps", "max_frames", "fit")}
    kind = "videos" if own["fps"] and own["max_frames"] else "pictures" if own["fit"] else None
    if kind is None:
        return []
    prompt = getattr(chosen.config, "prompt", "")
    return [Shown(source=chosen.name, kind=kind, weight=share, prompt=prompt, **own)]
