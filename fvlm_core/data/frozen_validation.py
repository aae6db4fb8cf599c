"""A validation set built once: chosen by a rule, checked against the training data, written, hashed, named."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from attrs import asdict, frozen

from fvlm_core.datasets.shards.leaks import Known, Leak, join, sign, signatures
from fvlm_core.datasets.shards.pack import Packed, pack
from fvlm_core.datasets.shards.settings import PackSettings
from fvlm_core.interfaces.data import DataSource, Progress, Sample
from fvlm_core.media.decoders import DecodedSource
from fvlm_core.utils.atomic_files import write_json
from fvlm_core.utils.errors import FvlmError, UsageError

FROZEN = "frozen.json"
LEAKS = "leaks.jsonl"


class ChosenSamples(DataSource):
    """Samples of several sources, one after the other."""

    def __init__(self, name: str, samples: Sequence[Sample]) -> None:
        self.name, self._samples = name, tuple(samples)

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Sample:
        return self._samples[index]


@frozen
class FrozenSet:
    """What was frozen. left_out: leaks, all of them listed in `leaks.jsonl`. digest: over every file's hash."""

    packed: Packed
    left_out: tuple[Leak, ...]
    digest: str


def freeze(
    name: str,
    held_out: Sequence[DataSource],
    training: Sequence[DataSource],
    samples: int,
    folder: Path,
    settings: PackSettings,
    *,
    refuse: bool,
    processes: int,
    progress: Progress,
) -> FrozenSet:
    """Choose `samples` samples, an equal share of each source, by a hash of their ids, and pack those that no
    training source knows into `folder`.

    refuse: a leak is an error that lists all of them, instead of a sample that is left out and replaced by the next.
    Raises `UsageError` when the set exists, or nothing is left; `FvlmError` for leaks that are refused.
    """
    if (folder / FROZEN).exists():
        raise UsageError(f"{folder}: frozen already; a frozen set is not made again: give another --name")
    known = Known(join([signatures(source, settings.size, progress) for source in training]))
    chosen: list[Sample] = []
    leaks: list[Leak] = []
    for number, source in enumerate(held_out):
        share = samples // len(held_out) + (number < samples % len(held_out))
        clean, found = _clean(source, share, known, settings, progress)
        chosen += clean
        leaks += found
    if leaks and refuse:
        listed = "\n".join(f"  {leak.sample}: {leak.how} as {leak.training}" for leak in leaks)
        raise FvlmError(f"{len(leaks)} validation samples are known to training:\n{listed}")
    if not chosen:
        raise UsageError(
            f"{name}: none of the validation samples is unknown to training ({len(leaks)} leaks)"
        )
    decoder = next((source.decoder for source in held_out if isinstance(source, DecodedSource)), None)
    kept = ChosenSamples(name, chosen)
    packed = pack(
        kept if decoder is None else DecodedSource(kept, decoder),
        {"frozen": name},
        folder,
        settings,
        processes=processes,
        progress=progress,
    )
    files = [shard.sha256 for shard in packed.manifest.shards] + [packed.manifest.index.sha256]
    digest = sha256("\n".join(files).encode()).hexdigest()
    with (folder / LEAKS).open("w", encoding="utf-8") as out:
        out.writelines(json.dumps(asdict(leak), ensure_ascii=False) + "\n" for leak in leaks)
    record: dict[str, Any] = {
        "name": name,
        "sha256": digest,
        "samples": packed.manifest.samples,
        "leaks_left_out": len(leaks),
        "checked_against": [
            {"source": source.name, "samples": len(source), "fingerprint": source.fingerprint()}
            for source in training
        ],
    }
    write_json(folder / FROZEN, record)
    return FrozenSet(packed, tuple(leaks), digest)


def _clean(
    source: DataSource, share: int, known: Known, settings: PackSettings, progress: Progress
) -> tuple[list[Sample], list[Leak]]:
    """The first `share` usable samples, by the rule of every validation set, that training does not know."""
    from fvlm_core.data.loader import chosen_validation

    ranked = chosen_validation(source, len(source))
    kept: list[Sample] = []
    leaks: list[Leak] = []
    while ranked and len(kept) < share:
        batch, ranked = ranked[: share - len(kept)], ranked[share - len(kept) :]
        candidates = [source[index] for index in batch]
        signed, bad = sign(candidates, source.name, settings.size, progress)
        found = known.leaks(signed)
        leaks += found.values()
        kept += [sample for n, sample in enumerate(candidates) if n not in found and n not in bad]
    return kept, leaks
