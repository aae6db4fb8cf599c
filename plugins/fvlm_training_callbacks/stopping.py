"""A run ends where it gets no better."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fvlm_core.plugin_api import Callback, CallbackRun, UsageError
from fvlm_training_callbacks.config import Patience


class EarlyStopping(Callback):
    """Ends the run after `patience` evaluations in a row without a better one."""

    def __init__(self, config: Patience, run: CallbackRun) -> None:
        self._settings = config
        self._best, self._waited = math.inf, 0

    def evaluated(self, step: int, row: Mapping[str, Any]) -> str | None:
        """Counts; an evaluation that is no number is no better one."""
        column = self._settings.column
        if column not in row:
            numbers = ", ".join(name for name, value in row.items() if name.startswith("val_") and value)
            raise UsageError(
                f'early-stopping: column = "{column}": no evaluation has it; expected one of {numbers}'
            )
        value = row[column]
        if value is not None and value < self._best - self._settings.least:
            self._best, self._waited = float(value), 0
            return None
        self._waited += 1
        if self._waited < self._settings.patience:
            return None
        return f"{column} was no better than {self._best:.4g} at {self._waited} evaluations in a row"

    def state(self) -> Mapping[str, Tensor]:
        """The best value, and how long ago it was."""
        return {"best": torch.tensor(self._best, dtype=torch.float64), "waited": torch.tensor(self._waited)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Both, of a run that had them."""
        if state:
            self._best, self._waited = state["best"].item(), int(state["waited"])
