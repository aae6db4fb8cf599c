"""Whether a validation sample is in the training data under any name: by id, by content, by how its frames look."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

from fvlm_core.interfaces.data import DataSource, Progress

DISTANCE = 4
"""Bits of 64 in which two perceptual hashes may differ and still be of the same picture: recompression and scaling
change up to four, other pictures differ in about 32."""

_BANDS = DISTANCE + 1
_EDGES = tuple(np.linspace(0, 64, _BANDS + 1).astype(int).tolist())


@frozen(eq=False)
class Signatures:
    """What N samples are recognised by. names: "source/id" [N]. content: a hash of each one's file, uint64 [N], 0 for
    text. hashes: perceptual, uint64 [H], of some frames of the samples `owners` [H]."""

    names: list[str]
    content: NDArray[np.uint64]
    owners: NDArray[np.int64]
    hashes: NDArray[np.uint64]


@frozen
class Leak:
    """A validation sample that training knows. how: same id, same file, or frames that look the same."""

    sample: str
    how: str
    training: str


def signatures(source: DataSource, size: int, progress: Progress) -> Signatures:
    """The signatures of a source: those recorded when it was packed, else by reading and decoding all of it."""
    recorded: Signatures | None = getattr(source, "signatures", lambda: None)()
    if recorded is not None:
        return recorded
    return sign([source[number] for number in range(len(source))], source.name, size, progress)[0]


def sign(samples: list[Any], what: str, size: int, progress: Progress) -> tuple[Signatures, dict[int, str]]:
    """The signatures of samples by reading and decoding them; and why some could not be, by their number."""
    from fvlm_core.datasets.shards.encode import content_hash, frame_hashes
    from fvlm_core.media.bad_sample import BadSample
    from fvlm_core.media.frames import decode_frames

    content: list[int] = []
    owners: list[int] = []
    hashes: list[int] = []
    bad: dict[int, str] = {}
    for number, sample in enumerate(samples):
        progress(f"looking at {what}", number, len(samples))
        try:
            frames = decode_frames(sample, size)
            content.append(content_hash(sample))
            found = frame_hashes(frames) if len(frames) else ()
        except BadSample as error:
            bad[number] = str(error)
            content.append(0)
            continue
        owners += [number] * len(found)
        hashes += found
    progress(f"looking at {what}", len(samples), len(samples))
    names = [f"{sample.source}/{sample.id}" for sample in samples]
    return Signatures(
        names, np.array(content, np.uint64), np.array(owners, np.int64), np.array(hashes, np.uint64)
    ), bad


@frozen(eq=False)
class Known:
    """The training samples, sorted for looking up. A million of three frames take 200 MB."""

    training: Signatures
    _ids: dict[int, int] = field(init=False)
    _order: NDArray[np.int64] = field(init=False)
    _bands: list[tuple[NDArray[np.uint64], NDArray[np.int64]]] = field(init=False)

    def __attrs_post_init__(self) -> None:
        ids = {_key(name): number for number, name in enumerate(self.training.names)}
        bands: list[tuple[NDArray[np.uint64], NDArray[np.int64]]] = []
        for band in range(_BANDS):
            part = _band(self.training.hashes, band)
            order = np.argsort(part, kind="stable")
            bands.append((part[order], order))
        object.__setattr__(self, "_ids", ids)
        object.__setattr__(self, "_order", np.argsort(self.training.content, kind="stable"))
        object.__setattr__(self, "_bands", bands)

    def leaks(self, held_out: Signatures) -> dict[int, Leak]:
        """The held-out samples that training knows, by their number: the surest way that each is known."""
        found: dict[int, Leak] = {}
        names = self.training.names
        content = self.training.content[self._order]
        for number, name in enumerate(held_out.names):
            if (same := self._ids.get(_key(name))) is not None:
                found[number] = Leak(name, "the same id", names[same])
                continue
            wanted = held_out.content[number]
            at = int(np.searchsorted(content, wanted))
            if wanted and at < len(content) and content[at] == wanted:
                found[number] = Leak(name, "the same file", names[int(self._order[at])])
        for owner in sorted(set(held_out.owners.tolist()) - set(found)):
            looks = held_out.hashes[held_out.owners == owner]
            alike: dict[int, list[int]] = {}
            for wanted in looks:
                for sample, bits in self._near(wanted).items():
                    alike.setdefault(sample, []).append(bits)
            # One frame alone may be a title that a thousand clips begin with.
            enough = {sample: bits for sample, bits in alike.items() if len(bits) >= min(2, len(looks))}
            if enough:
                sample = min(enough, key=lambda one: (-len(enough[one]), sum(enough[one]), one))
                bits = enough[sample]
                how = f"{len(bits)} of {len(looks)} frames look the same (at most {max(bits)} of 64 bits differ)"
                found[owner] = Leak(held_out.names[owner], how, names[sample])
        return dict(sorted(found.items()))

    def _near(self, wanted: np.uint64) -> dict[int, int]:
        """The training samples with a hash within `DISTANCE`, and in how many bits the nearest of each differs."""
        near: dict[int, int] = {}
        for band, (values, order) in enumerate(self._bands):
            # Within the distance, at least one of the bands is equal to the last bit.
            part = _band(np.array([wanted]), band)[0]
            rows = order[np.searchsorted(values, part) : np.searchsorted(values, part, side="right")]
            differ = np.bitwise_count(self.training.hashes[rows] ^ wanted)
            for row in np.flatnonzero(differ <= DISTANCE):
                sample, bits = int(self.training.owners[rows[row]]), int(differ[row])
                near[sample] = min(bits, near.get(sample, 64))
        return near


def join(parts: list[Signatures]) -> Signatures:
    """Several sources' signatures as one."""
    starts = np.cumsum([0, *(len(part.names) for part in parts)])
    return Signatures(
        [name for part in parts for name in part.names],
        np.concatenate([part.content for part in parts]),
        np.concatenate([part.owners + start for part, start in zip(parts, starts[:-1], strict=True)]),
        np.concatenate([part.hashes for part in parts]),
    )


def _band(hashes: NDArray[np.uint64], band: int) -> NDArray[np.uint64]:
    low, high = _EDGES[band], _EDGES[band + 1]
    return (hashes >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)


def _key(name: str) -> int:
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest())
