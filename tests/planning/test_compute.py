"""The FLOP ledger against what `torch.utils.flop_counter` counts on the real modules; parameters; other accountings."""

from __future__ import annotations

import json
from functools import cache
from itertools import combinations, cycle
from pathlib import Path
from typing import Any

import pytest
import torch
from attrs import evolve
from compositions import CONNECTORS, FURTHER, SMALL_CONNECTORS, SMALL_ENCODER, SMALL_LLM, composed
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fvlm_core.data.batch import Batch
from fvlm_core.model.build import compose
from fvlm_core.model.vlm import PLAIN_LOGITS, VLM
from fvlm_core.planning.compute import count_parameters, nominal_flops, six_nd, vocabulary_parameters
from fvlm_core.planning.connector_trace import Tracer
from fvlm_core.planning.flops import Ledger, ledger, mean_ledger
from fvlm_core.recipes.parametrisation import LoRA
from fvlm_core.recipes.schema import Model

TOLERANCE = 0.01
SIZES = ("135M", "360M", "1.7B")
FROZEN: dict[str, tuple[str, ...]] = {
    "all trained": (),
    "encoder frozen": ("encoder",),
    "LLM frozen": ("llm",),
}
LENGTHS = ((8, 128), (32, 512))

SMALL_VOCABULARY = 500


def published(size: str, connector: dict[str, Any]) -> Model:
    """DINOv2-small with a published language model."""
    return composed({"name": "dinov2-small"}, connector, {"name": f"smollm2-{size.lower()}"})


@cache
def published_on_meta(size: str, connector: str) -> VLM:
    """A published composition without memory; all its parameters ask for gradients until `counted` says otherwise."""
    return on_meta(published(size, CONNECTORS[connector]))


def on_meta(model: Model, vocabulary: int = 0) -> VLM:
    """The model without memory."""
    with torch.device("meta"):
        return compose(model, vocabulary, 0, weights=False)


def counted(
    model: VLM, frames: int, text: int, frozen: tuple[str, ...], samples: int = 1, question: int = 0
) -> tuple[float, float]:
    """Forward, and forward + backward FLOPs of a batch of equal samples, counted while they run. question: text tokens
    before the first answer."""
    device = next(model.parameters()).device
    for component, parameters in model.parameter_groups().items():
        for parameter in parameters.values():
            parameter.requires_grad_(component not in frozen)
    side = model.encoder.spec.image_size
    every = torch.ones(samples, text, dtype=torch.bool)
    batch = Batch(
        frames=torch.zeros(samples * frames, 3, side, side, dtype=torch.uint8, device=device),
        counts=torch.full((samples,), frames),
        ids=torch.zeros(samples, text, dtype=torch.int64, device=device),
        lengths=torch.full((samples,), text),
        supervised=every,
        content=every,
        questions=torch.full((samples,), question),
    )
    with FlopCounterMode(display=False) as counter:
        loss = model(batch).loss
        forward = counter.get_total_flops()
        if loss.requires_grad:
            loss.backward()
    return forward, counter.get_total_flops()


def booked(model: VLM, frames: int, text: int, frozen: tuple[str, ...], question: int = 0) -> Ledger:
    """The ledger of the same sample."""
    llm = model.llm.spec
    assert llm.vocabulary
    tracer = Tracer(model.encoder.spec, model.connector, llm, question_first=model.question_first)
    return cost_of(tracer, frames, text, frozen, question)


def cost_of(
    tracer: Tracer, frames: int, text: int, frozen: tuple[str, ...] = (), question: int = 0, **more: Any
) -> Ledger:
    """A sample of so many frames and text tokens."""
    trace = tracer.trace(frames, frozen, question=question)
    return ledger(tracer.encoder, trace, tracer.llm, text=text, **more)


def check(
    model: VLM,
    frames: int,
    text: int,
    frozen: tuple[str, ...],
    tolerance: float = TOLERANCE,
    question: int = 0,
) -> None:
    forward, both = counted(model, frames, text, frozen, question=question)
    cost = booked(model, frames, text, frozen, question)
    made = (text - 1) * (
        model.llm.spec.vocabulary or 0
    ) > PLAIN_LOGITS  # the head's gradients, with its losses
    early = made * sum(row.backward for row in cost.rows if row.component == "head")
    assert cost.forward + early == pytest.approx(forward, rel=tolerance)
    assert cost.total + cost.recompute == pytest.approx(both, rel=tolerance)


@pytest.mark.parametrize(
    ("connector", "frozen"), [*zip(SMALL_CONNECTORS, cycle(FROZEN), strict=False)], ids=SMALL_CONNECTORS
)
def test_ledger_is_what_is_counted(connector: str, frozen: str) -> None:
    """Executed, since a meta tensor's operator is 2.6 times as slow; fused kernels do the scores again going back."""
    model = compose(composed(SMALL_ENCODER, SMALL_CONNECTORS[connector], SMALL_LLM), SMALL_VOCABULARY, 0)
    with sdpa_kernel(SDPBackend.MATH):
        check(model, 5, 20, FROZEN[frozen], tolerance=1e-9)
        check(model, 1, 9, (), tolerance=1e-9)  # a still image
        check(model, 0, 11, (), tolerance=1e-9)  # text alone


ASKED = ("foveated", "three queries", "shallow", "coarse loss", "random")


@pytest.mark.parametrize(
    ("connector", "frozen"),
    [
        pytest.param(connector, frozen, marks=() if (at + number) % len(FROZEN) == 0 else pytest.mark.soak)
        for at, connector in enumerate(ASKED)
        for number, frozen in enumerate(FROZEN)
    ],
)
def test_ledger_counts_the_question_that_is_read_before_looking(connector: str, frozen: str) -> None:
    recipe = composed(SMALL_ENCODER, SMALL_CONNECTORS[connector], SMALL_LLM)
    model = compose(evolve(recipe, question_first=True), SMALL_VOCABULARY, 0)
    with sdpa_kernel(SDPBackend.MATH):
        for frames in (5, 1, 0):
            check(model, frames, 20, FROZEN[frozen], tolerance=1e-9, question=7)
    looks = SMALL_CONNECTORS[connector]["name"] == "foveated"
    assert (booked(model, 5, 20, (), 7).total > booked(model, 5, 20, ()).total) == looks


@pytest.mark.soak
@pytest.mark.parametrize("connector", FURTHER)
def test_ledger_holds_at_published_sizes_of_further_connectors(connector: str) -> None:
    model = on_meta(published("135M", FURTHER[connector]))
    for frames, text in LENGTHS:
        for frozen in FROZEN.values():
            check(model, frames, text, frozen)


@pytest.mark.soak
@pytest.mark.parametrize("swiglu", [False, True])
@pytest.mark.parametrize("connector", SMALL_CONNECTORS)
def test_ledger_is_what_is_counted_whatever_is_frozen(connector: str, swiglu: bool) -> None:
    encoder = {**SMALL_ENCODER, "swiglu": swiglu}
    model = on_meta(composed(encoder, SMALL_CONNECTORS[connector], SMALL_LLM), SMALL_VOCABULARY)
    components = ("encoder", "connector", "llm")
    for frozen in (some for count in range(4) for some in combinations(components, count)):
        for frames, text in ((5, 20), (2, 9), (1, 9), (0, 11)):
            check(model, frames, text, frozen, tolerance=1e-9)


def test_ledger_counts_a_gated_encoder() -> None:
    model = on_meta(
        composed({**SMALL_ENCODER, "swiglu": True}, {"name": "foveated"}, SMALL_LLM), SMALL_VOCABULARY
    )
    check(model, 4, 12, ("connector",), tolerance=1e-9)


@pytest.mark.parametrize("connector", ["foveated", "pooled 16"])
def test_ledger_is_what_an_executed_model_does(connector: str) -> None:
    model = compose(composed(SMALL_ENCODER, SMALL_CONNECTORS[connector], SMALL_LLM), SMALL_VOCABULARY, 0)
    with sdpa_kernel(SDPBackend.MATH):  # fused kernels do the scores again in the backward pass
        forward, both = counted(model, 6, 24, (), samples=3)
    cost = booked(model, 6, 24, ())
    assert 3 * cost.forward == pytest.approx(forward, rel=TOLERANCE)
    assert 3 * cost.total == pytest.approx(both, rel=TOLERANCE)


@pytest.mark.soak
@pytest.mark.parametrize("frames_and_text", LENGTHS, ids=str)
@pytest.mark.parametrize("frozen", FROZEN)
@pytest.mark.parametrize("connector", CONNECTORS)
@pytest.mark.parametrize("size", SIZES)
def test_ledger_holds_at_published_sizes(
    size: str, connector: str, frozen: str, frames_and_text: tuple[int, int]
) -> None:
    check(published_on_meta(size, connector), *frames_and_text, FROZEN[frozen])


def test_head_made_twice_is_booked_apart() -> None:
    tracer = tracer_of("135M", "foveated")
    once = cost_of(tracer, 8, 512)
    twice = cost_of(tracer, 8, 512, recompute_head=True)
    assert twice.total == once.total
    assert twice.recompute == 2 * 511 * 576 * 49_152


def test_causal_mask_hides_half_of_attention_but_the_diagonal() -> None:
    tracer = tracer_of("135M", "coarse only")
    short, llm = cost_of(tracer, 0, 100, ("encoder", "connector", "llm")), tracer.llm
    pairs_hidden = 100 * 99 // 2
    assert short.masked == pytest.approx(llm.depth * 4 * llm.width * pairs_hidden)


def test_mean_ledger_is_the_mean_of_totals() -> None:
    tracer = tracer_of("135M", "foveated")
    ledgers = [cost_of(tracer, frames, text) for frames, text in ((0, 40), (8, 128), (64, 512))]
    mean = mean_ledger(ledgers)
    assert mean.total == pytest.approx(sum(each.total for each in ledgers) / 3)
    assert mean.masked == pytest.approx(sum(each.masked for each in ledgers) / 3)
    assert sum(mean.components().values()) == pytest.approx(mean.total)


def tracer_of(size: str, connector: str) -> Tracer:
    """Of a published composition."""
    return Tracer.of(published(size, CONNECTORS[connector]), 0)


def test_a_model_is_counted_once_and_whatever_differs_anew() -> None:
    model = composed(SMALL_ENCODER, SMALL_CONNECTORS["pooled 16"], SMALL_LLM)
    same = composed(SMALL_ENCODER, SMALL_CONNECTORS["pooled 16"], SMALL_LLM)
    first = Tracer.of(model, 500)
    first.trace(4)
    assert Tracer.of(same, 500) is first
    assert Tracer.of(evolve(same, size="another label"), 500) is first
    lora = LoRA(components=("llm",))
    assert Tracer.of(same, 500, lora) is Tracer.of(model, 500, lora)
    others = [
        Tracer.of(evolve(model, question_first=True), 500),
        Tracer.of(model, 501),
        Tracer.of(composed(SMALL_ENCODER, SMALL_CONNECTORS["foveated"], SMALL_LLM), 500),
        Tracer.of(composed({**SMALL_ENCODER, "depth": 3}, SMALL_CONNECTORS["pooled 16"], SMALL_LLM), 500),
        Tracer.of(model, 500, lora),
        Tracer.of(model, 500, evolve(lora, rank=2)),
    ]
    assert len({id(one) for one in [first, *others]}) == 1 + len(others)
    assert not any(one.known for one in others)


def nominal_of(size: str, connector: str, **lengths: int) -> float:
    """Of a sample of a published composition, in the founding accounting."""
    tracer = tracer_of(size, connector)
    return nominal_flops(tracer.encoder, tracer.trace(8), tracer.llm, **lengths)


PARAMETERS = {"135M": 157_310_976, "360M": 384_912_384, "1.7B": 1_735_304_320}
NEW = {"135M": 739_392, "360M": 1_034_688, "1.7B": 1_871_360}


@pytest.mark.parametrize("size", SIZES)
def test_parameters_are_exact(size: str) -> None:
    model = published_on_meta(size, "foveated")
    parameters = count_parameters(model)
    assert parameters.total == parameters.trainable == PARAMETERS[size]
    assert parameters.components["connector"] == NEW[size]
    assert parameters.components["encoder"] == 22_056_576
    frozen = count_parameters(model, ("encoder", "llm"))
    assert (frozen.total, frozen.trainable) == (PARAMETERS[size], NEW[size])
    assert frozen.groups == {"connector": NEW[size]}


def test_a_vocabulary_is_counted_once_where_it_is_tied() -> None:
    llm = tracer_of("135M", "foveated").llm
    assert vocabulary_parameters(llm) == 576 * 49_152
    assert vocabulary_parameters(evolve(llm, tied=False)) == 2 * 576 * 49_152


def test_nominal_accounting_gives_the_founding_sample_counts() -> None:
    cost = nominal_of("135M", "foveated")
    assert [int(budget / cost) for budget in (1.6e16, 5.6e16, 1.6e17)] == [64_688, 226_408, 646_882]


def test_nominal_accounting_is_the_recorded_one(shared: Path) -> None:
    facts = json.loads((shared / "parity" / "facts.json").read_text())["flop_counter"]
    architectures = {"foveated": "foveated", "multi_token": "pooled 16"}
    for row in facts["per_sample"]:
        lengths = {"frames": row["avg_frames"], "text": row["avg_seq_len"]}
        assert nominal_of(row["llm"], architectures[row["arch"]], **lengths) == 3 * row["value"]
    for row in facts["samples_for_budget"]:
        assert int(row["budget"] / nominal_of(row["llm"], architectures[row["arch"]])) == row["samples"]


def test_tables_of_the_documentation_are_current(root: Path) -> None:
    text = (root / "docs" / "explanation" / "flops.md").read_text(encoding="utf-8")
    for table in (ledger_table(), nominal_table()):
        assert table in text, f"docs/explanation/flops.md does not hold this table:\n{table}"


def ledger_table() -> str:
    """Training GFLOPs of a sample, and 6ND over them, for every composition, freezing and length."""
    head = " | ".join(f"{name} | 6ND" for name in FROZEN)
    lines = [f"| size | connector | frames + text | {head} |", "|---|---|---|" + "---:|" * (2 * len(FROZEN))]
    for size in SIZES:
        for connector in CONNECTORS:
            tracer = tracer_of(size, connector)
            parameters = count_parameters(published_on_meta(size, connector)).total
            for frames, text in LENGTHS:
                rule = six_nd(parameters, frames * tracer.connector.spec.tokens_per_frame + text)
                costs = [cost_of(tracer, frames, text, frozen).total for frozen in FROZEN.values()]
                cells = " | ".join(f"{cost / 1e9:,.0f} | x {rule / cost:.2f}" for cost in costs)
                lines.append(f"| {size} | {connector} | {frames} + {text} | {cells} |")
    return "\n".join(lines)


def nominal_table() -> str:
    """The founding accounting against the ledger, 8 frames and 128 text tokens, everything trained."""
    lines = [
        "| size | connector | nominal | ledger | nominal : ledger | samples at 1.6e16, nominal | by the ledger |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for size in SIZES:
        for connector in ("foveated", "pooled 16"):
            cost = cost_of(tracer_of(size, connector), 8, 128).total
            nominal = nominal_of(size, connector)
            counts = f"{int(1.6e16 / nominal):,} | {int(1.6e16 / cost):,}"
            lines.append(
                f"| {size} | {connector} | {nominal:.3e} | {cost:.3e} | {nominal / cost:.3f} | {counts} |"
            )
    return "\n".join(lines)
