"""What a fit minimises: a SUM over points, so that optimisers do not stop early on a mean's small numbers."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

Floats = NDArray[np.float64]
ObjectiveName = Literal["mse", "log-huber"]
OBJECTIVES: tuple[ObjectiveName, ...] = get_args(ObjectiveName)

HUBER_DELTA = 1e-3
"""Residuals of ln L beyond this count by their size, not their square (Hoffmann et al. 2022, section 3.3)."""


@frozen
class Objective:
    """`mse`: sum of squared residuals of L. `log-huber`: sum of Huber losses of residuals of ln L, with delta."""

    name: ObjectiveName

    @property
    def delta(self) -> float | None:
        """Where the loss turns from square to linear; None: nowhere."""
        return HUBER_DELTA if self.name == "log-huber" else None

    def residuals(self, predicted: Floats, loss: Floats) -> Floats:
        """Predicted minus measured, in the objective's own terms; infinite where the law gives no loss there."""
        with np.errstate(all="ignore"):
            apart = predicted - loss if self.name == "mse" else np.log(predicted) - np.log(loss)
        return np.where(np.isfinite(apart), apart, np.inf)

    def losses(self, residuals: Floats) -> Floats:
        """The loss of each residual."""
        if self.delta is None:
            return residuals * residuals
        size = np.abs(residuals)
        return np.where(size <= self.delta, 0.5 * size * size, self.delta * (size - 0.5 * self.delta))

    def weights(self, residuals: Floats) -> Floats:
        """How much each residual counts in a least-squares step (psi(r)/r): 1, less beyond delta."""
        if self.delta is None:
            return np.ones_like(residuals)
        return self.delta / np.maximum(np.abs(residuals), self.delta)

    def __str__(self) -> str:
        return self.name if self.delta is None else f"{self.name} (delta {self.delta:g})"
