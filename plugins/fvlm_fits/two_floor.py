"""What two sizes can tell of the joint law: a floor for each, and one power of the data."""

from __future__ import annotations

from fvlm_core.plugin_api import FitModel, Parameter
from fvlm_fits.config import NoSettings
from fvlm_fits.joint_chinchilla import floors, floors_gradient


def build(config: NoSettings) -> FitModel:
    """The law with a floor a size, and shared B and beta."""
    return FitModel(
        "two-floor",
        floors,
        (
            Parameter("floor", 1.0, min=0.0, linear=True, per="size"),
            Parameter("B", 400.0, min=0.0, log=True, linear=True),
            Parameter("beta", 0.3, min=0.01, max=5.0),
        ),
        needs="points at three or more amounts of data",
        gradient=floors_gradient,
    )
