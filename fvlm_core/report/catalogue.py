"""All figures by name: the core's own, and those of plugins.

The core's figures are no plugin: the picture at the end of a recipe must not depend on which plugins are switched on.
They are offered under the name "fvlm", by the same descriptors, so that lookup, clashes and hints are the registry's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import evolve

from fvlm_core import __version__
from fvlm_core.interfaces.figure import LawReport
from fvlm_registry import Component, Offer, Registry, registry

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_OWN: tuple[tuple[str, str, str, dict[str, str], str], ...] = (
    ("loss-data", "loss:draw", "Loss", {"against": "d"}, "loss against data, with fits and 95 % bands"),
    (
        "loss-size",
        "loss:draw",
        "Loss",
        {"against": "n"},
        "loss against parameters, at several amounts of data",
    ),
    ("loss-compute", "loss:draw", "Loss", {"against": "compute"}, "loss against training FLOPs"),
    ("residuals", "residuals:draw", "Plain", {}, "residuals by run, their autocorrelation, change points"),
    ("parameter-pairs", "pairs:draw", "Plain", {}, "bootstrap draws of each pair of parameters"),
    ("profiles", "profiles:draw", "Plain", {}, "the objective along each parameter, and where 95 % end"),
    ("isoflop", "optima:draw", "Optima", {"column": "n"}, "parabolas of equal compute and their minima"),
    ("frontier", "frontier:draw", "Plain", {}, "compute-optimal size and data against compute"),
    ("sensitivity", "sensitivity:draw", "Plain", {}, "each parameter under other objectives, cuts and runs"),
    ("lr-sweep", "optima:draw", "Optima", {"column": "lr"}, "loss against learning rate, and the best one"),
    ("law", "along:draw", "Plain", {}, "the law along each column that it reads, others held"),
)


def catalogue() -> Registry:
    """The registry with the core's own figures in front."""
    found = registry()
    own = tuple(
        Offer(
            "figure",
            Component(
                name,
                target=f"{__package__}.figures.{target}",
                config=f"{__package__}.figures.config:{config}",
                preset=preset,
                summary=summary,
            ),
            "fvlm",
            f"fvlm {__version__}",
        )
        for name, target, config, preset, summary in _OWN
    )
    return evolve(found, offers=(*own, *found.offers))


def names() -> list[str]:
    """What `all` stands for: every figure, qualified where two have one name."""
    offered = catalogue().offered("figure")
    plain = [offer.component.name for offer in offered]
    return [
        offer.component.name if plain.count(offer.component.name) == 1 else offer.qualified
        for offer in offered
    ]


def load_figure(name: str) -> Callable[[Sequence[LawReport], Figure], None]:
    """The figure called `name`, with its default settings. Raises `LookupFailure` for a name that nobody offers."""
    found = catalogue()
    component = found.find("figure", name).component
    config: Any = found.load(component.config)(**component.preset)
    return partial(found.load(component.target), config)
