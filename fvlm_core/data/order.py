"""How far a run has read its sources: what keeps every sample read once an epoch when the recipe's data drift.

A mixture is a pure function of places under fixed shares. Under other shares the same place would stand for another
sample, and some would be read twice and others never; so what each source gave is kept, and the new shares begin there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from attrs import evolve, frozen

from fvlm_core.data.mixture import Mixture


@frozen
class OrderedSource:
    """One source in an order. name: of the source, with a number where several have one name. length: its samples.

    share: of the samples, 0 for a source that the recipe no longer names. number: tells its order from the others'.
    read: its samples before the order's `start`.
    """

    name: str
    length: int
    share: float
    number: int
    read: int = 0


@frozen
class Order:
    """The samples of training from place `start` on. seed: what they are drawn by. cycle: whether sources begin again.

    parts: those of the recipe, as it has them; then those that it no longer names.
    """

    seed: int
    cycle: bool
    parts: tuple[OrderedSource, ...]
    start: int = 0

    @classmethod
    def of(cls, sources: Iterable[tuple[str, int, float]], seed: int, *, cycle: bool) -> Order:
        """From the first sample on. sources: name, length and share of the samples of each."""
        seen = Counter[str]()
        parts: list[OrderedSource] = []
        for number, (name, length, share) in enumerate(sources):
            seen[name] += 1
            unique = f"{name}#{seen[name]}" if seen[name] > 1 else name
            parts.append(OrderedSource(unique, length, share, number))
        return cls(seed, cycle, tuple(parts))

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Order:
        """What `attrs.asdict` made of one."""
        parts = tuple(OrderedSource(**part) for part in state["parts"])
        return cls(state["seed"], state["cycle"], parts, state["start"])

    @property
    def mixture(self) -> Mixture:
        """Its samples by place, from `start` on."""
        parts = self._mixed
        return Mixture(
            [part.length for part in parts],
            [part.share for part in parts],
            self.seed,
            cycle=self.cycle,
            start=self.start,
            used=[part.read for part in parts],
            numbers=[part.number for part in parts],
        )

    def continued(self, now: Order, place: int) -> Order:
        """This order where `now`, the recipe's, has its sources and shares; else a new one from `place` on.

        In the new one every source goes on where it stands. One that is new, or that has another length and so other
        samples, begins. The seed stays: in another order some samples of an epoch would be read twice.
        """
        if _mixed_alike(self, now) and self.cycle == now.cycle:
            return self
        read = self._read(place)
        old = {part.name: part for part in self.parts}
        fresh = max(part.number for part in self.parts) + 1
        parts: list[OrderedSource] = []
        for part in now.parts:
            known = old.get(part.name)
            if known is not None and known.length == part.length:
                parts.append(evolve(part, number=known.number, read=read[part.name]))
            else:
                parts.append(evolve(part, number=fresh, read=0))
                fresh += 1
        named = {part.name for part in parts}
        gone = [evolve(part, share=0.0, read=read[name]) for name, part in old.items() if name not in named]
        return Order(self.seed, now.cycle, (*parts, *gone), place)

    def begun_anew(self, earlier: Order) -> list[str]:
        """Sources that stood in an earlier order with another length, in words."""
        lengths = {part.name: part.length for part in earlier.parts}
        return [
            f"{part.name} held {lengths[part.name]:,} samples and holds {part.length:,}: it is read from its beginning"
            for part in self.parts
            if part.length != lengths.get(part.name, part.length)
        ]

    @property
    def _mixed(self) -> list[OrderedSource]:
        return [part for part in self.parts if part.share]

    def _read(self, place: int) -> dict[str, int]:
        """Samples of each source before `place`."""
        counts = iter(self.mixture.drawn(place))
        return {part.name: next(counts) if part.share else part.read for part in self.parts}


def _mixed_alike(one: Order, other: Order) -> bool:
    return [(part.name, part.length, part.share) for part in one.parts if part.share] == [
        (part.name, part.length, part.share) for part in other.parts if part.share
    ]
