"""How many frames a run's samples have, and how many tokens the language model reads of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def tokens_per_frame(record: Mapping[str, Any]) -> int | None:
    """Of the run's connector: as recorded, or, of a run of an earlier version, as its recipe says; None where nobody
    can tell, as of imported measurements."""
    known = record.get("tokens_per_frame")
    if known is not None:
        return int(known)
    table = (record.get("resolved") or {}).get("model")
    if not table:
        return None
    from fvlm_core.recipes.read import model_from_resolved
    from fvlm_core.utils.pretrained import known_architectures

    try:
        with known_architectures(dict(record.get("architectures_read") or {})):
            model = model_from_resolved(table)
            return model.connector.config.spec(model.encoder.config.spec()).tokens_per_frame
    except Exception:  # of plugins that are gone or changed since: what they say now would be of another run
        return None


def frames_per_sample(frames: float | None, samples: float | None) -> float | None:
    """The mean; None where nothing was counted, or no sample had a frame."""
    return frames / samples if frames and samples else None
