"""How long a run takes on a device of a known speed: training beside decoding, and evaluations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil

from fvlm_core.hardware.throughput import Speed, StatedSpeed
from fvlm_core.interfaces.specs import EncoderSpec, LLMSpec
from fvlm_core.planning.flops import ConnectorTrace, Ledger, LedgerRow
from fvlm_core.recipes.schema import RunRecipe


def micro_batch_layers(encoder: EncoderSpec, connector: ConnectorTrace, llm: LLMSpec) -> float:
    """Layers that a micro-batch passes through."""
    reads = len(connector.of("hidden")) + len(connector.texts)
    return encoder.depth * (1 + connector.looks("deep")) + llm.depth * reads


def run_seconds(
    config: RunRecipe,
    at_once: float,
    cost: Ledger,
    widths: Mapping[str, int],
    steps: float,
    evaluations: int,
    speed: Speed | StatedSpeed,
    layers: float,
    decoding: float,
) -> float:
    """Seconds of a run.

    at_once: samples of a micro-batch. steps: a smaller last one counts in part. widths: of each component. decoding:
    seconds a sample on one core.
    """
    training, held_out = config.training, config.eval

    def by_width(samples: int, of: Callable[[LedgerRow], float]) -> dict[int, float]:
        sums = dict.fromkeys(widths.values(), 0.0)
        for row in cost.rows:
            sums[widths[row.component]] += samples * of(row)
        return sums

    micro = ceil(training.batch_size / at_once)
    again = isinstance(speed, Speed)  # a stated utilisation is of the model's own work, as MFU is defined
    work = by_width(training.batch_size, lambda row: row.forward + row.backward + again * row.recompute)
    compute = speed.seconds(work, micro * layers)
    read = decoding * training.batch_size
    step = max(compute, read / training.workers) if training.workers else compute + read
    # A forward pass is a third of a training step in operations, too.
    batches = ceil(held_out.samples / held_out.batch_size)
    evaluation = speed.seconds(by_width(held_out.samples, lambda row: row.forward), batches * layers / 3)
    return steps * step + evaluations * evaluation
