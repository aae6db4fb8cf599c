"""A connector that states nothing of what it does costs what it costs: counted against a sum by hand, and torch."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import pytest
import small
import torch
import torch.nn.functional as F
from attrs import evolve
from test_compute import check, cost_of
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from fvlm_core.model.vlm import VLM
from fvlm_core.planning.connector_trace import Tracer
from fvlm_core.plugin_api import (
    LLM_WIDTH,
    Auxiliary,
    Connector,
    ConnectorSpec,
    LinearMap,
    Look,
    TextPass,
    VisualPass,
    VisualTokens,
)

LATENTS, FRAMES, TEXT = 3, 4, 10
FROZEN = ((), ("encoder",), ("connector", "llm"))


class CrossAttention(Connector):
    """Learned latents that attend to the patches of their frame; between frames, tokens attend to each other."""

    encoder_tokens, encoder_layers = True, False

    def __init__(self, eye: int, speaker: int) -> None:
        super().__init__()
        self.spec = ConnectorSpec(tokens_per_frame=LATENTS, mode="coarse_only")
        self.latents = nn.Parameter(torch.randn(LATENTS, speaker))
        self.query = nn.Linear(speaker, speaker)
        self.key, self.value = nn.Linear(eye, speaker), nn.Linear(eye, speaker, bias=False)

    def connect(
        self, features: Any, counts: Tensor, encoder: Any, llm: Any, *, mode: Any = None
    ) -> VisualTokens:
        seen = features.tokens
        query = self.query(self.latents).expand(len(seen), -1, -1)
        tokens = F.scaled_dot_product_attention(query, self.key(seen), self.value(seen))
        samples = [
            F.scaled_dot_product_attention(*[sample.flatten(0, 1)[None]] * 3)[0]
            for sample in tokens.split(counts.tolist())
        ]
        return VisualTokens(torch.cat(samples).unflatten(0, (-1, LATENTS)))


class Resampler(CrossAttention):
    """The same of `nn.MultiheadAttention`, with the features as they are."""

    def __init__(self, eye: int, speaker: int) -> None:
        super().__init__(eye, speaker)
        self.attend = nn.MultiheadAttention(speaker, 2, kdim=eye, vdim=eye, batch_first=True)
        self.query = self.key = self.value = None  # type: ignore[assignment]

    def connect(self, features: Any, counts: Tensor, *rest: Any, mode: Any = None) -> VisualTokens:
        seen = features.tokens
        return VisualTokens(self.attend(self.latents.expand(len(seen), -1, -1), seen, seen)[0])


class Stepping(CrossAttention):
    """Looks at every frame twice, the second time with what a language model makes of two prompts; a further loss."""

    encoder_layers = True

    def connect(
        self, features: Any, counts: Tensor, encoder: Any, llm: Any, *, mode: Any = None
    ) -> VisualTokens:
        made = super().connect(features, counts, encoder, llm, mode=mode)
        asked = llm.hidden(llm.embed(counts.new_zeros(2, 5).to(features.tokens.device)))
        said = llm.logits(asked[:, -1]).sum()
        seen = encoder.attend(features.tokens[:, 0] + asked.sum() + said, features)
        again = encoder.attend(seen, features, depth="shallow")
        tokens = made.tokens + self.value(again)[:, None]
        return VisualTokens(tokens, [Auxiliary("coarse", 0.5, made.tokens)])


class Watching(CrossAttention):
    """A frame after the other through a cache; where it looked decides what it takes."""

    encoder_layers = True

    def connect(
        self, features: Any, counts: Tensor, encoder: Any, llm: Any, *, mode: Any = None
    ) -> VisualTokens:
        made, cache = super().connect(features, counts, encoder, llm, mode=mode).tokens, llm.new_cache()
        where: list[Tensor] = []
        seen = encoder.attend(features.tokens[:, 0], features, depth="shallow", weights=where)
        taken = seen + (where[0].mean(1)[:, None] @ features.tokens)[:, 0]
        steps = [llm.hidden(token, cache=cache) for token in made.split(1)]
        return VisualTokens(torch.cat(steps) + self.key(taken)[:, None])


def composed(kind: type[CrossAttention]) -> VLM:
    torch.manual_seed(0)
    eye, speaker = small.encoder(), small.llm(width=24)
    return VLM(eye, kind(eye.spec.width, speaker.spec.width), speaker)


def tracer_of(kind: type[CrossAttention]) -> Tracer:
    vlm = composed(kind)
    return Tracer(vlm.encoder.spec, vlm.connector, vlm.llm.spec)


def booked(tracer: Tracer, frozen: Sequence[str] = (), frames: int = FRAMES) -> tuple[float, float]:
    """FLOPs of the connector, forward and backward."""
    rows = cost_of(tracer, frames, TEXT, tuple(frozen)).rows
    (row,) = (row for row in rows if row.component == "connector")
    return row.forward, row.backward


def test_cross_attention_costs_what_a_sum_by_hand_says() -> None:
    """Multiply-adds: a linear map in x out a row; attention, scores and values, 2 x queries x keys x width."""
    tracer = tracer_of(CrossAttention)
    eye, width = tracer.encoder, tracer.llm.width
    maps = LATENTS * width * width + 2 * FRAMES * eye.tokens * eye.width * width
    within = 2 * FRAMES * LATENTS * eye.tokens * width
    between = 2 * (FRAMES * LATENTS) ** 2 * width
    forward = 2 * (maps + within + between)
    assert booked(tracer) == (forward, 2 * forward)
    # Frozen patches: no gradient of the keys' and values' inputs, which are two maps' worth.
    inputs = 2 * 2 * FRAMES * eye.tokens * eye.width * width
    assert booked(tracer, ("encoder",)) == (forward, 2 * forward - inputs)
    # Frozen itself, it passes gradients on to the patches: of attention's keys and values, not of the latents' query.
    frozen = 2 * FRAMES * eye.tokens * eye.width * width * 2 + 2 * between * 2 + 3 * within
    assert booked(tracer, ("connector",)) == (forward, frozen)
    assert booked(tracer, ("encoder", "connector")) == (forward, 0)
    assert booked(tracer, frames=0)[0] == 2 * LATENTS * width * width


@pytest.mark.parametrize("kind", [CrossAttention, Resampler, Stepping, Watching])
def test_a_model_with_it_costs_what_torch_counts(kind: type[CrossAttention]) -> None:
    vlm = composed(kind)
    with sdpa_kernel(SDPBackend.MATH):  # fused kernels do the scores again in the backward pass
        for frozen in FROZEN:
            check(vlm, FRAMES, TEXT, frozen, tolerance=1e-9)
        check(vlm, 1, TEXT, (), tolerance=1e-9)


def test_time_and_memory_know_what_it_asks_for() -> None:
    trace = tracer_of(Stepping).trace(FRAMES)
    assert (trace.looks("deep"), trace.looks("shallow"), trace.patches_read) == (1, 1, True)
    assert [name for name, _ in trace.texts] == ["coarse", ""]
    assert [call.rows for call in trace.of("hidden")] == [10]


def test_counting_leaves_the_connector_and_the_random_numbers_as_they_are() -> None:
    vlm, state = composed(Stepping), torch.get_rng_state()
    Tracer(vlm.encoder.spec, vlm.connector, vlm.llm.spec).trace(FRAMES, ("connector",))
    assert torch.equal(state, torch.get_rng_state())
    assert all(
        p.requires_grad and p.grad is None and p.device.type == "cpu" for p in vlm.connector.parameters()
    )


def test_one_that_looks_at_values_is_named() -> None:
    class Looking(CrossAttention):
        def connect(self, features: Any, counts: Tensor, *rest: Any, **more: Any) -> VisualTokens:
            assert features.tokens.isfinite().all()
            return super().connect(features, counts, *rest, **more)

    tracer = tracer_of(Looking)
    assert "meta" in tracer.trace(FRAMES).problem
    whole, known = (cost_of(one, FRAMES, TEXT).components() for one in (tracer_of(CrossAttention), tracer))
    assert known == {**whole, "connector": 0}


def test_stated_work_is_accepted_and_not_read() -> None:
    """What stood in plugins before."""
    work = (
        LinearMap("tokens", 8, LLM_WIDTH, times=2),
        Look("query", "deep"),
        VisualPass("read"),
        TextPass("first"),
    )
    with pytest.warns(DeprecationWarning, match=r"`Connector\.connect` is run to count FLOPs; leave it out"):
        stated = ConnectorSpec(tokens_per_frame=1, work=work)
    assert stated == ConnectorSpec(tokens_per_frame=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert evolve(ConnectorSpec(tokens_per_frame=1), tokens_per_frame=2).work is None
