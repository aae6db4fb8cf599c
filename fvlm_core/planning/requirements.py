"""What a recipe names that is not on this machine: weights and libraries, each with the way to get it."""

from __future__ import annotations

from collections.abc import Iterable

from fvlm_core.recipes.schema import Chosen, Model
from fvlm_core.utils.errors import MissingWeights
from fvlm_core.utils.pretrained import SEEDED, pretrained_folder
from fvlm_registry import Kind, MissingLibrary, registry


def missing_weights(model: Model) -> list[str]:
    """The pretrained weights of a model that are not on this machine: a message each, with the way to get them."""
    missing: list[str] = []
    for chosen in (model.encoder, model.llm, *(model.modalities or ())):
        weights = getattr(chosen.config, "weights", SEEDED)
        if weights == SEEDED:
            continue
        # A config may know its own layout of files; else weights are a hub id or a folder as transformers writes it.
        locate = getattr(chosen.config, "weights_file", lambda weights=weights: pretrained_folder(weights))
        try:
            locate()
        except MissingWeights as error:
            missing.append(str(error))
    return missing


def missing_libraries(kind: Kind, components: Iterable[Chosen]) -> list[str]:
    """The libraries that trackers or metrics need and this machine lacks. What else is wrong with one is told where it
    is built."""
    missing: list[str] = []
    for chosen in components:
        try:
            registry().load(registry().find(kind, chosen.component).component.target)
        except MissingLibrary as error:
            missing.append(f"{kind} {chosen.name}: {error}")
        except (Exception, SystemExit):  # of a tracker, told with the run that goes on without it
            continue
    return missing
