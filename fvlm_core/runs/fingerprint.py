"""What makes a run the run it is: its recipe, its seed, the data it sees, and the software that decides its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from fvlm_core.interfaces.data import DataSource
from fvlm_core.recipes.drift import NOT_SET, Change, changes
from fvlm_core.recipes.read import Run, from_resolved
from fvlm_core.recipes.resolved import flat, resolved
from fvlm_core.recipes.schema import Chosen, RunRecipe
from fvlm_core.utils.address import Address
from fvlm_core.utils.errors import Problems
from fvlm_core.utils.versions import version
from fvlm_registry import Offer, registry
from fvlm_registry.lookup import HERE

DECODER = "av"
"""The distribution of the core's own decoder; FFmpeg comes inside its wheel, so its version is the decoder's."""


def identity(run: Run, seen: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What a run would be if it began now, as nested JSON values. seen: `seen_data`; None leaves the data out."""
    return _joined(resolved(run.config), run.seed, software(run.config), seen)


def recorded_identity(record: Mapping[str, Any], *, seen: bool = True) -> dict[str, Any]:
    """The same of a run on disk, from its `recipe.json`. seen: whether to compare the data's fingerprints."""
    return _joined(
        record["resolved"], record["seed"], record.get("software"), record["data"] if seen else None
    )


def drift(record: Mapping[str, Any], run: Run, seen: Mapping[str, Any] | None = None) -> list[Change]:
    """Every key in which a run on disk and the recipe that would continue it differ."""
    now = identity(run, seen)
    if run.config.training.precision == "auto":  # the one that the run began in
        now["training"]["precision"] = record["resolved"]["training"].get("precision", "auto")
    if "software" not in record:  # written before it was recorded: nothing to compare with
        del now["software"]
    found = changes(recorded_identity(record, seen=seen is not None), now, data_places(run.config))
    since = _come_since(record["resolved"])
    return [change for change in found if change.before != NOT_SET or change.after != since.get(change.key)]


def _come_since(table: Mapping[str, Any]) -> dict[str, Any]:
    """A recorded recipe, flat, with the defaults of keys that have come since: to name no such key is no change."""
    try:
        return flat(resolved(from_resolved(table)))
    except Problems:  # a key or a component of it is gone: told key by key
        return {}


def software(config: RunRecipe) -> dict[str, Any]:
    """Versions that decide what a run computes: the decoder's, and of each plugin its components come from."""
    model, found = config.model, registry()
    chosen = [
        *(found.find("encoder", model.encoder.component), found.find("connector", model.connector.component)),
        found.find("llm", model.llm.component),
        *(found.find("modality", chosen.component) for chosen in model.modalities or ()),
        *(found.find("data", chosen.component) for chosen in _sources(config).values()),
    ]
    decoder, training = config.data.decoder, config.training
    if decoder is not None:
        chosen.append(found.find("decoder", decoder.component))
    if training.optimizer is not None:
        chosen.append(found.find("optimizer", training.optimizer.component))
    if training.objective is not None:
        chosen.append(found.find("objective", training.objective.component))
    if not isinstance(training.schedule, str):
        chosen.append(found.find("schedule", training.schedule.component))
    chosen += [found.find("callback", each.component) for each in training.callbacks or ()]
    metrics = [found.find("metric", each.component) for each in config.eval.metrics or ()]
    chosen += [
        offer for offer in metrics if offer.plugin == HERE.name
    ]  # no version tells them from what they were
    return {
        "decoder": _versions(decoder) if decoder else f"{DECODER} {version(DECODER)}",
        "plugins": {_brings(offer): offer.origin for offer in sorted(chosen, key=_brings)},
    }


def _brings(offer: Offer) -> str:
    """Whose version tells what a component computes: its plugin's, its own where it was registered in this process."""
    return offer.qualified if offer.plugin == HERE.name else offer.plugin


def seen_data(train: tuple[DataSource, ...], validation: tuple[DataSource, ...]) -> dict[str, Any]:
    """The sources of a run by name, length and fingerprint, as its record has them."""
    return {
        split: [
            {"source": source.name, "samples": len(source), "fingerprint": source.fingerprint()}
            for source in of
        ]
        for split, of in (("train", train), ("validation", validation))
    }


def data_places(config: RunRecipe) -> set[str]:
    """The keys of a recipe's data that are paths or addresses."""
    return {
        f"{key}.{attribute.name}"
        for key, chosen in _sources(config).items()
        for attribute in attrs.fields(type(chosen.config))
        if isinstance(getattr(chosen.config, attribute.name), Path | Address)
    }


def _sources(config: RunRecipe) -> dict[str, Chosen]:
    """Every source that a recipe names, by the key of its table."""
    data = config.data
    found = {f"data.sources[{number}]": entry.source for number, entry in enumerate(data.sources)}
    alone = {"data.text": data.text, "data.validation": data.validation}
    return found | {key: entry.source for key, entry in alone.items() if entry is not None}


def _versions(chosen: Chosen) -> str:
    from fvlm_core.media.decoders import open_decoder

    decoder = open_decoder(chosen)
    assert decoder is not None
    return ", ".join(f"{name} {version}" for name, version in sorted(decoder.versions().items()))


def _joined(table: Mapping[str, Any], seed: int, versions: Any, seen: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {**table, "seed": seed}
    if versions is not None:
        whole["software"] = versions
    if seen is not None:
        whole["data"] = {**table["data"], "seen": seen}
    return whole
