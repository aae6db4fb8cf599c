"""What a run needs in memory, from sizes alone: weights, gradients, moments, and what is kept for backward.

Imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import attrs
from attrs import frozen

from fvlm_core.interfaces.specs import EncoderSpec, LLMSpec
from fvlm_core.planning.activation_memory import FULL, HALF, Kept, LargestMicroBatch
from fvlm_core.planning.flops import ConnectorTrace

GIB = 1 << 30

RUNTIME = {"cpu": 1.0 * GIB, "cuda": 0.6 * GIB}
"""What is there before the model: Python with torch, transformers and what else `fvlm run` imports, libraries that are
mapped included; on a GPU, its context and the workspaces of the matrix library. 1.0 GiB measured on a CPU; assumed for
GPUs, where it differs by driver and card."""

USABLE = {"cpu": 0.9, "cuda": 0.95}
"""Share of a device's memory that a run is planned into; the rest is for what else runs there and for holes between
blocks."""


@frozen(kw_only=True)
class Trained:
    """What is trained, for how many bytes a weight. parameters: by component. frozen: those without gradients.

    factors: of components with LoRA, how many of their parameters train. still: components whose rate is 0: their
    gradients are made and thrown away, and the optimizer keeps nothing of them. kept: bytes of the optimizer's state,
    by component; None for two moments of float32. references: copies of it beside it that do not train. beside:
    parameters of other models that do not train.
    """

    parameters: Mapping[str, int]
    frozen: Collection[str] = ()
    factors: Mapping[str, int] = {}
    still: Collection[str] = ()
    kept: Mapping[str, float] | None = None
    references: int = 0
    beside: int = 0


@frozen(kw_only=True)
class Memory:
    """Bytes at the fullest moment of a training step, part by part, and at that of an evaluation.

    moment: which one that is. weights: float32. gradients: of earlier micro-batches or of what is done. optimizer:
    what it keeps of what trains. copies: bf16 copies of weights that autocast makes. activations: kept for backward, by
    component ("frames": the pixels). keys_values: the encoder's cached keys and values. working: what comes and goes: a
    chunk's logits, a layer made again, and `waiting` gradients (`Kept.waiting`). runtime: there before the model.
    evaluation: the whole peak of an evaluation. kept: what a forward pass leaves behind, at whatever moment.
    """

    moment: str
    weights: float
    gradients: float
    optimizer: float
    copies: float
    activations: dict[str, float]
    keys_values: float
    working: float
    runtime: float
    evaluation: float
    kept: float

    @property
    def training(self) -> float:
        """The peak of a training step."""
        static = self.weights + self.gradients + self.optimizer + self.runtime
        return static + self.copies + sum(self.activations.values()) + self.keys_values + self.working

    @property
    def total(self) -> float:
        """The peak of the run."""
        return max(self.training, self.evaluation)

    def to_json(self) -> dict[str, Any]:
        """Plain values, totals included."""
        return {**attrs.asdict(self), "training": self.training, "total": self.total}


def training_memory(
    encoder: EncoderSpec,
    connector: ConnectorTrace,
    llm: LLMSpec,
    trained: Trained,
    training: LargestMicroBatch,
    evaluation: LargestMicroBatch,
    *,
    autocast: bool,
    chunk: int,
    plain: int | None = None,
    accumulates: bool = True,
    device: str = "cuda",
    shards: int = 1,
) -> Memory:
    """The peak of a run. autocast: bf16 over float32 weights. chunk: logits that are made at once; more are made
    again in the backward pass. plain: logits from which the head's gradients are made with its losses instead; None:
    never. accumulates: whether a step has several micro-batches, so that gradients are there from
    the first on. shards: ranks that share weights and moments between steps (`fsdp2`); whole weights and gradients are
    there during a step all the same.
    """
    counts, frozen = trained.parameters, frozenset(trained.frozen)
    every = float(sum(counts.values()))
    learnt = {**counts, **trained.factors}
    weights = FULL * (every * (1 + trained.references + (1 / shards if shards > 1 else 0)) + trained.beside)
    keeps = trained.kept or {name: 2 * FULL * n for name, n in learnt.items()}
    optimizer = float(sum(n for name, n in keeps.items() if name not in (*frozen, *trained.still)) / shards)
    runtime = RUNTIME[device]
    narrow = HALF if autocast else FULL
    kept = Kept(encoder, connector, llm, counts, frozen, training, narrow, chunk, trained.factors, plain)
    peak = max(kept.moments(accumulates), key=lambda moment: moment.total)
    looked = Kept(encoder, connector, llm, counts, frozen, evaluation, narrow, chunk, trained.factors)
    copies = HALF * every if autocast else 0.0
    return Memory(
        moment=peak.name,
        weights=weights,
        gradients=peak.gradients,
        optimizer=optimizer,
        copies=peak.copies,
        activations=peak.activations,
        keys_values=peak.keys_values,
        working=peak.working,
        runtime=runtime,
        evaluation=weights + optimizer + copies + looked.seen_only() + runtime,
        kept=kept.kept,
    )
