"""What a recipe says of how weights are parametrised: low-rank factors, and rates that fit all widths."""

from __future__ import annotations

import math
from typing import Any, Literal

from attrs import Attribute, field, frozen
from attrs.validators import and_, ge, gt, lt

from fvlm_core.recipes.located import Located


def _table(config: Any, attribute: Attribute[Any], value: Any) -> None:
    if value is not None and not isinstance(value, dict):
        raise ValueError(
            f"'{attribute.name}': expected a table, as in {{ width = 32, heads = 4 }}, got {value!r}"
        )


def _apart(config: Any, attribute: Attribute[Any], names: tuple[str, ...]) -> None:
    if not names or len(set(names)) < len(names):
        raise ValueError(
            f"'{attribute.name}': expected one name or more, none of them twice, got {list(names)}"
        )


@frozen(kw_only=True)
class LoRA:
    """Low-rank adaptation (Hu et al. 2021, arXiv:2106.09685) of whole components: their weights stay, and beside linear
    layers two factors train, weighed alpha / rank.

    components: which; the others train as without it. rank, alpha: of the factors. targets: patterns of the layers'
    names inside the component: the whole name or its last part, whose "_proj" may be left out ("q" is q_proj, "*" all).
    """

    components: tuple[Literal["encoder", "connector", "llm"], ...] = field(default=("llm",), validator=_apart)
    rank: int = field(default=8, validator=ge(1))
    alpha: float = field(default=16.0, validator=and_(gt(0), lt(math.inf)))
    targets: tuple[str, ...] = field(default=("q", "v"), validator=_apart)


def _settings(value: Any) -> dict[str, Any] | None:
    """A component's settings as plain values; which there are, the component says."""
    return value.plain() if isinstance(value, Located) else value


@frozen(kw_only=True)
class MuP:
    """What the model is at the base width of its maximal update parametrisation (Yang et al. 2022, arXiv:2203.03466).

    encoder, connector, llm: those of their settings that are other ones there, as { width = 32, heads = 4 }; its
    learning rate is the recipe's, and what has grown since learns more slowly.
    """

    encoder: dict[str, Any] | None = field(default=None, converter=_settings, validator=_table)
    connector: dict[str, Any] | None = field(default=None, converter=_settings, validator=_table)
    llm: dict[str, Any] | None = field(default=None, converter=_settings, validator=_table)
