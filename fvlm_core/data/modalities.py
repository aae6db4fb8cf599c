"""What a sample gives of other modalities than frames, to arrays that an encoder takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from fvlm_core.interfaces.data import DataSource, Sample, Signal
from fvlm_core.interfaces.specs import ModalitySpec
from fvlm_core.media.bad_sample import BadSample
from fvlm_core.utils.listing import listed


def count_items(sample: Sample, spec: ModalitySpec) -> int:
    """How many items `read_items` gives, without reading. Raises `BadSample` when that cannot be told."""
    signal = _signal(sample, spec)
    return signal.count(spec.item) if signal else 0


def read_items(sample: Sample, spec: ModalitySpec) -> NDArray[np.float32]:
    """The items that an encoder takes of a sample: float32 [I, *spec.item], I = 0 where it gives none. Raises
    `BadSample`, also for a signal that is not what it says."""
    signal = _signal(sample, spec)
    if signal is None:
        return np.zeros((0, *spec.item), dtype=np.float32)
    items = signal.read(spec.item)
    wanted = (signal.count(spec.item), *spec.item)
    if items.dtype != np.float32 or items.shape != wanted or not np.isfinite(items).all():
        raise BadSample(
            sample.id,
            f"its {spec.modality} is {items.dtype} {list(items.shape)}; expected finite float32 {list(wanted)}",
        )
    return items


def _signal(sample: Sample, spec: ModalitySpec) -> Signal | None:
    return next((signal for signal in sample.signals if signal.modality == spec.modality), None)


def unread(specs: Sequence[ModalitySpec], sources: Iterable[DataSource]) -> list[str]:
    """What sources give that no encoder of the recipe reads, a line each."""
    read = [spec.modality for spec in specs]
    return [
        f'{source.name} gives "{name}", which no encoder of the recipe reads: it is left out '
        "(an entry of [[model.modalities]] reads it)"
        for source in {source.name: source for source in sources}.values()
        for name in source.modalities
        if name not in read
    ]


def ungiven(specs: Sequence[ModalitySpec], sources: Sequence[DataSource]) -> list[str]:
    """What encoders of the recipe read and no source of it gives, a message each."""
    given = dict.fromkeys(name for source in sources for name in source.modalities)
    names = dict.fromkeys(source.name for source in sources)
    return [
        f'model.modalities: an encoder reads "{spec.modality}", which no data source of the recipe gives: expected '
        f"one of {listed(given)} ({listed(names)})"
        for spec in specs
        if spec.modality not in given
    ]
