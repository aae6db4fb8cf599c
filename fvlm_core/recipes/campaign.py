"""What a recipe says of its campaign: what is to be predicted, what it may cost, and what may be run for it."""

from __future__ import annotations

from typing import Any

from attrs import Attribute, field, frozen
from attrs.validators import and_, deep_iterable, ge, gt, le, lt, min_len, optional

from fvlm_core.utils.parse_number import parse_count

WITHIN = 0.02
"""The half-width of the target's interval that ends a campaign, unless another is asked for."""

SEEDS = 3
"""Runs of one size on one number of samples that may be made at most, unless told otherwise."""


def _count(value: float | str | None) -> float | None:
    """A number, or a text such as "360M"."""
    if not isinstance(value, str):
        return value
    found = parse_count(value)
    if found is None:
        raise ValueError(f'expected a number such as 360M or 1.6e16, got "{value}"')
    return found


def part(value: float | str | None) -> float | None:
    """A part of a whole as a number, or as a text: 0.02, "2%"."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    found = parse_count(text.removesuffix("%"))
    if found is None:
        raise ValueError(f'expected a part such as 0.02 or "2%", got "{value}"')
    return found / 100 if text.endswith("%") else found


_POSITIVE = optional(and_(gt(0.0), lt(float("inf"))))


def _samples(config: Any, attribute: Attribute[Any], value: tuple[int, ...] | None) -> None:
    if value is not None and len(set(value)) < len(value):
        raise ValueError(f"'{attribute.name}' expected each number once: {list(value)}")


_LENGTHS = optional(and_(deep_iterable(ge(1)), min_len(1)))


@frozen(kw_only=True)
class CampaignTarget:
    """The run whose loss is to be predicted.

    N: its parameters. size: in N's place, a run of the recipe of that size. D: the training samples that it sees.
    """

    N: float | None = field(default=None, converter=_count, validator=_POSITIVE)
    size: str | None = None
    D: float | None = field(default=None, converter=_count, validator=_POSITIVE)

    def __attrs_post_init__(self) -> None:
        if (self.N is None) == (self.size is None):
            raise ValueError("N: expected N, or the size of a run of the recipe, one of them")
        if self.D is None:
            raise ValueError("D: missing; expected the training samples of the target")


@frozen(kw_only=True)
class Pilot:
    """The runs that are made first: every size on every number of samples, once.

    sizes: ids of runs of the recipe. samples: that each of them sees. What is left out is chosen by the planner.
    """

    sizes: tuple[str, ...] = field(validator=min_len(1))
    samples: tuple[int, ...] = field(validator=and_(deep_iterable(ge(1)), min_len(1), _samples))


@frozen(kw_only=True)
class RateSweep:
    """Learning rates that are tried before the pilot: the best of each size is found, and followed as a power of N to
    the sizes that were not swept.

    rates: of the connector; at least three. sizes: ids of runs of the recipe; None for the two smallest. samples: that
    each run of the sweep sees; None for the fewest of the campaign.
    """

    rates: tuple[float, ...] = field(
        validator=and_(deep_iterable(and_(gt(0.0), lt(float("inf")))), min_len(3))
    )
    sizes: tuple[str, ...] | None = None
    samples: int | None = field(default=None, validator=optional(ge(1)))


@frozen(kw_only=True)
class CampaignSettings:
    """A campaign of `fvlm campaign`; options of the command win over it.

    target: the run whose loss is to be predicted. budget: training FLOPs that all its runs may take together, by the
    ledger. within: it ends when half of the target's 95 % interval is at most this part of the predicted loss (0.02,
    or "2%"). law: a fit of N and D. sizes: ids of the runs of the recipe whose sizes may be run; None for all that are
    meant for fits. samples: that a run may see; None for doublings from 100 steps on. seeds: how often a size may be
    run on one number of samples. pilot: the first runs; None lets the planner choose them. sweep: learning rates to try
    before; None takes the recipe's own.
    """

    target: CampaignTarget | None = None
    budget: float | None = field(default=None, converter=_count, validator=_POSITIVE)
    within: float | None = field(default=None, converter=part, validator=optional(and_(gt(0), lt(1))))
    law: str = "joint-chinchilla"
    sizes: tuple[str, ...] | None = field(default=None, validator=optional(min_len(1)))
    samples: tuple[int, ...] | None = field(default=None, validator=and_(_LENGTHS, _samples))
    seeds: int = field(default=SEEDS, validator=and_(ge(1), le(100)))
    pilot: Pilot | None = None
    sweep: RateSweep | None = None
