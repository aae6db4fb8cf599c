"""What this plugin offers."""

from __future__ import annotations

from collections.abc import Iterator

from fvlm_core.plugin_api import Component, hookimpl


@hookimpl
def fvlm_callbacks() -> Iterator[Component]:
    """All of them."""
    yield Component(
        "early-stopping",
        target="fvlm_training_callbacks.stopping:EarlyStopping",
        config="fvlm_training_callbacks.config:Patience",
        summary="ends a run whose validation loss falls no more",
        provides=("sharded",),
    )
    yield Component(
        "ema",
        target="fvlm_training_callbacks.averages:MovingAverage",
        config="fvlm_training_callbacks.config:Decay",
        summary="an exponential moving average of the weights, evaluated as a model of its own",
    )
    yield Component(
        "mean-of-last",
        target="fvlm_training_callbacks.averages:MeanOfLast",
        config="fvlm_training_callbacks.config:Last",
        summary="the mean of the weights at the last evaluations, evaluated as a model of its own",
    )
