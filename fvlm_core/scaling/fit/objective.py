"""What a fit minimises: a SUM over points, so that optimizers do not stop early on a mean's small numbers."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

Floats = NDArray[np.float64]
ObjectiveName = Literal["log-huber", "log-lad", "log-mse", "mse"]
OBJECTIVES: tuple[ObjectiveName, ...] = get_args(ObjectiveName)

HUBER_DELTA = 1e-3
"""Residuals of ln L beyond this count by their size, not their square (Hoffmann et al. 2022, section 3.3)."""

LAD_DELTA = 1e-7
"""Least absolute deviations are found as Huber losses with this delta; the objective is the sum of absolute values."""


@frozen
class FitObjective:
    """What is summed over points.

    `log-huber`: Huber losses, with `delta`, of residuals of ln L. `log-lad`: their absolute values. `log-mse`: their
    squares. `mse`: squared residuals of L.
    """

    name: ObjectiveName = "log-huber"
    huber: float = HUBER_DELTA

    @property
    def delta(self) -> float | None:
        """Where the loss turns from square to linear; None: nowhere."""
        return {"log-huber": self.huber, "log-lad": LAD_DELTA}.get(self.name)

    @property
    def logarithmic(self) -> bool:
        """Whether residuals are of ln L."""
        return self.name != "mse"

    def residuals(self, predicted: Floats, loss: Floats) -> Floats:
        """Predicted minus measured, in the objective's own terms; infinite where the law gives no loss there."""
        with np.errstate(all="ignore"):
            apart = np.log(predicted) - np.log(loss) if self.logarithmic else predicted - loss
        return np.where(np.isfinite(apart), apart, np.inf)

    def losses(self, residuals: Floats) -> Floats:
        """The loss of each residual."""
        if self.delta is None:
            with np.errstate(over="ignore"):
                return residuals * residuals
        size = np.abs(residuals)
        huber = np.where(size <= self.delta, 0.5 * size * size, self.delta * (size - 0.5 * self.delta))
        return huber / self._unit

    def weights(self, residuals: Floats) -> Floats:
        """How much each residual counts in a least-squares step (psi(r)/r): 1, less beyond delta."""
        if self.delta is None:
            return np.ones_like(residuals)
        return self.delta / np.maximum(np.abs(residuals), self.delta) / self._unit

    @property
    def _unit(self) -> float:
        return LAD_DELTA if self.name == "log-lad" else 1.0

    def __str__(self) -> str:
        return f"{self.name} (delta {self.delta:g})" if self.name == "log-huber" else self.name


PLAIN = FitObjective("mse")
"""Of targets that may be 0 or negative."""
