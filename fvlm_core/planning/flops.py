"""The FLOP ledger: what a training sample costs, component by component and pass by pass.

Encoder and language model are counted from their sizes, for whatever a connector asks of them; the connector itself off
a run of it (`connector_trace`).

A multiply-add is 2 FLOPs. Counted are matrix products, convolutions and attention, as `torch.utils.flop_counter` does;
norms, activations, rotary positions and look-ups are left out (under 1 %). Frames and tokens are those really
processed. Imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Literal

from attrs import define, evolve, frozen

from fvlm_core.interfaces.specs import EncoderSpec, LLMSpec

COMPONENTS = ("encoder", "connector", "llm", "head")


@frozen
class LedgerRow:
    """FLOPs of one component in one pass of one training sample.

    component: "encoder", "connector", "llm" or "head". stage: the pass ("patches", "query 1", ...).
    backward: gradients of weights that train and of inputs that a gradient must go through; nothing else.
    masked: the part of forward + backward that a causal mask throws away: counted, because dense kernels do it, and
    skipped by those that know the mask. recompute: forward work done again in the backward pass to save memory;
    not part of forward + backward.
    """

    component: str
    stage: str
    forward: float
    backward: float
    masked: float = 0.0
    recompute: float = 0.0


@frozen
class Ledger:
    """What one training sample costs, in FLOPs. rows: an entry for each component and pass."""

    rows: tuple[LedgerRow, ...]

    @property
    def forward(self) -> float:
        """All forward work."""
        return sum(row.forward for row in self.rows)

    @property
    def backward(self) -> float:
        """All backward work."""
        return sum(row.backward for row in self.rows)

    @property
    def total(self) -> float:
        """Forward and backward: the FLOPs of budgets, metrics and scaling fits."""
        return self.forward + self.backward

    @property
    def masked(self) -> float:
        """The part of `total` that a causal mask throws away; kernels that know the mask do not do it."""
        return sum(row.masked for row in self.rows)

    @property
    def recompute(self) -> float:
        """Work done twice to save memory: not in `total`, which is of the model and not of the machine."""
        return sum(row.recompute for row in self.rows)

    def more(self, rows: Sequence[LedgerRow], times: Sequence[int]) -> Ledger:
        """With further rows, each so many times; without those that there are no numbers of."""
        further = [
            evolve(row, forward=n * row.forward, backward=n * row.backward)
            for row, n in zip(rows, times, strict=False)
        ]
        return Ledger((*self.rows, *further))

    def components(self) -> dict[str, float]:
        """`total` by component."""
        return {
            name: sum(row.forward + row.backward for row in self.rows if row.component == name)
            for name in COMPONENTS
        }


def mean_ledger(ledgers: Collection[Ledger]) -> Ledger:
    """The mean over samples of different lengths, entry by entry (cost is not linear in length)."""
    sums: dict[tuple[str, str], LedgerRow] = {}
    share = 1 / len(ledgers)
    for row in (row for ledger in ledgers for row in ledger.rows):
        key = (row.component, row.stage)
        before = sums.get(key, LedgerRow(*key, 0.0, 0.0))
        sums[key] = LedgerRow(
            *key,
            before.forward + share * row.forward,
            before.backward + share * row.backward,
            before.masked + share * row.masked,
            before.recompute + share * row.recompute,
        )
    return Ledger(tuple(sums.values()))


@define
class Call:
    """What a connector asks of the encoder or the language model in a training step of one sample.

    of: the encoder's pass over "patches", a depth of `VisionEncoder.attend`, or `LLMBackend.hidden`. rows: frames, or
    positions of the language model, of which `pairs` attend to each other and the mask hides `masked`. live, trains:
    whether the loss sends gradients through what goes in, and to the weights.
    """

    of: Literal["patches", "deep", "shallow", "hidden"]
    rows: int
    pairs: int = 0
    masked: int = 0
    live: bool = False
    trains: bool = False


Cost = tuple[float, float]
"""FLOPs: forward and backward."""


@frozen
class AdaptedEncoder:
    """What an encoder with LoRA's factors costs. patches: a frame. looks: a query, by depth and by whether a gradient
    goes to what goes in. keys: the keys and values of a frame's final features."""

    patches: Cost
    looks: Mapping[tuple[str, bool], Cost]
    keys: Cost


@frozen
class AdaptedLLM:
    """What a language model with LoRA's factors costs. positions, pairs: of a pass, by whether a gradient goes to what
    goes in. label: the head's."""

    positions: Mapping[bool, Cost]
    pairs: Mapping[bool, Cost]
    label: Cost


@frozen
class ConnectorTrace:
    """What a connector does in a training step of one sample, up to its visual tokens.

    frames: of the sample, as many as the connector is shown. tokens_per_frame: visual tokens k. patches_read: whether
    what the encoder's last layer makes of the patches is read. frozen: components that do not train. calls: in their
    order. texts: text passes, by name, and whether a gradient goes to their visual tokens; the scored one is the last,
    without a name. forward, backward: FLOPs of the connector's own operations. read: numbers a frame that its matrix
    products read, weights left out. problem: why it cannot be run without memory: nothing of its own is counted then.
    encoder, llm: what these cost where they have LoRA's factors; None where their sizes say it. last_frames: see
    `ConnectorSpec`.
    """

    frames: int
    tokens_per_frame: int
    patches_read: bool
    frozen: frozenset[str]
    calls: tuple[Call, ...]
    texts: tuple[tuple[str, bool], ...]
    forward: int
    backward: int
    read: int
    problem: str = ""
    encoder: AdaptedEncoder | None = None
    llm: AdaptedLLM | None = None
    last_frames: int | None = None

    def looks(self, depth: str) -> float:
        """Queries of a frame that look so deep."""
        return sum(call.rows for call in self.of(depth)) / max(1, self.frames)

    def of(self, *kinds: str) -> list[Call]:
        """Calls of these kinds."""
        return [call for call in self.calls if call.of in kinds]


def ledger(
    encoder: EncoderSpec,
    connector: ConnectorTrace,
    llm: LLMSpec,
    *,
    text: int,
    supervised: int | None = None,
    recompute_head: bool = False,
    rejected: tuple[int, int] | None = None,
    reference: bool = False,
) -> Ledger:
    """What one training sample costs.

    What is frozen in the trace costs no weight gradients, and no input gradients where nothing before it trains. text:
    text tokens S. supervised: how many of them are labels (default all but the first). recompute_head: whether the
    head's logits are made again in the backward pass. rejected: of a preference pair, text tokens and labels with the
    worse answer: visual tokens are made once, and both answers are read after them; the trace is to be one without
    auxiliary losses. reference: whether the frozen model that the run starts as reads the same, forward only (stages
    "reference ...").
    """
    texts = [(text, text - 1 if supervised is None else supervised), *([rejected] if rejected else [])]
    rows = tuple(_rows(encoder, connector, llm, texts, recompute_head))
    return Ledger((*rows, *(_read_only("reference", encoder, connector, llm, texts) if reference else ())))


def read_only(
    name: str, encoder: EncoderSpec, connector: ConnectorTrace, llm: LLMSpec, text: int, supervised: int
) -> tuple[LedgerRow, ...]:
    """What a frozen model costs that reads a sample beside the one that trains; stages "NAME ..."."""
    return _read_only(name, encoder, connector, llm, [(text, supervised)])


def _read_only(
    name: str,
    encoder: EncoderSpec,
    connector: ConnectorTrace,
    llm: LLMSpec,
    texts: Sequence[tuple[int, int]],
) -> tuple[LedgerRow, ...]:
    calls = tuple(evolve(call, live=False, trains=False) for call in connector.calls)
    frozen = frozenset(COMPONENTS)
    still = evolve(connector, frozen=frozen, calls=calls, texts=(("", False),), backward=0)
    return tuple(evolve(r, stage=f"{name} {r.stage}") for r in _rows(encoder, still, llm, texts, False))


def _rows(
    encoder: EncoderSpec,
    connector: ConnectorTrace,
    llm: LLMSpec,
    texts: Sequence[tuple[int, int]],
    recompute_head: bool,
) -> Iterator[LedgerRow]:
    """texts: text tokens and labels, of a pair those of each answer."""
    yield from (_patches(encoder, call, connector) for call in connector.of("patches"))
    shallow = connector.of("shallow")
    if shallow:  # projected once for all looks
        keys, learnt = shallow[0].rows * encoder.tokens * 2 * encoder.width**2, any(c.trains for c in shallow)
        part = _linear(keys, 2 * learnt)
        if connector.encoder is not None:
            part = _times(shallow[0].rows, connector.encoder.keys, learnt)
        yield _row("encoder", "final keys and values", [part])
    for number, call in enumerate(connector.of("deep", "shallow"), 1):
        yield _look(f"query {number}", encoder, call, connector.encoder)
    yield LedgerRow("connector", "connector", float(connector.forward), float(connector.backward))
    passes = connector.of("hidden")
    for number, call in enumerate(passes, 1):
        yield _read(f"visual pass {number}", llm, [call], connector.llm)
    visual, trains = connector.frames * connector.tokens_per_frame, "llm" not in connector.frozen
    for name, before in connector.texts:
        live, stage = before or trains, f"{name} text LLM" if name else "fine LLM" if passes else "LLM"
        lengths = [visual + text for text, _ in texts]
        calls = [Call("hidden", n, n * n, n * (n - 1) // 2, before, trains) for n in lengths]
        yield _read(stage, llm, calls, connector.llm)
        labels = sum(labels for _, labels in texts)
        part = _linear(labels * llm.width * (llm.vocabulary or 0), trains + live)
        if connector.llm is not None:
            part = _times(labels, connector.llm.label, live)
        stage, again = f"{stage} head" if name else "head", recompute_head and live
        yield _row("head", stage, [part], again)


def _patches(spec: EncoderSpec, call: Call, connector: ConnectorTrace) -> LedgerRow:
    """The encoder over the patches of every frame. The last layer only makes keys and values unless its update of
    the patches is read."""
    rows, pixels, trains = call.rows * spec.tokens, spec.image_size**2 // spec.patches, call.trains
    updates = spec.depth if connector.patches_read else spec.depth - 1
    weights = 2 * spec.width**2 * spec.depth + (2 * spec.width**2 + _encoder_mlp(spec)) * updates
    parts = [
        # No gradient goes to the pixels, but the first norm trains, so one goes to everything after it.
        _linear(call.rows * spec.patches * spec.width * 3 * pixels, trains),
        _linear(rows * weights, 2 * trains),
        _attention(rows * spec.tokens * spec.width * updates, trains, trains),
    ]
    if connector.encoder is not None:
        parts = [_times(call.rows, connector.encoder.patches, trains)]
    return _row("encoder", "patches", parts, spec.recompute and trains)


def _look(stage: str, spec: EncoderSpec, call: Call, adapted: AdaptedEncoder | None) -> LedgerRow:
    """A query a frame. Deep: through all layers, with query and output projections, MLP, and attention over the kept
    keys. Shallow: one attention over the final features."""
    scores, trains = call.rows * spec.tokens * spec.width, call.trains
    if adapted is not None:
        learnt = call.live or trains
        return _row("encoder", stage, [_times(call.rows, adapted.looks[call.of, call.live], learnt)])
    if call.of == "shallow":
        return _row("encoder", stage, [_attention(scores, call.live, trains)])
    weights, live = (2 * spec.width**2 + _encoder_mlp(spec)) * spec.depth, call.live or trains
    parts = [_linear(call.rows * weights, trains + live), _attention(scores * spec.depth, live, trains)]
    return _row("encoder", stage, parts)


def _read(stage: str, spec: LLMSpec, calls: Sequence[Call], adapted: AdaptedLLM | None) -> LedgerRow:
    """Positions through every layer of the language model."""
    head = spec.head_width or spec.width // spec.heads
    queries, keys = spec.heads * head, spec.kv_heads * head
    weights = 2 * spec.width * (queries + keys) + 3 * spec.width * spec.mlp
    parts: list[_Part] = []
    for call in calls:
        live, masked = call.live or call.trains, call.masked / max(1, call.pairs)
        if adapted is not None:
            forward, backward, _ = _times(call.pairs, adapted.pairs[call.live], live)
            parts.append(_times(call.rows, adapted.positions[call.live], live))
            parts.append((forward, backward, masked * (forward + backward)))
            continue
        parts.append(_linear(call.rows * weights * spec.depth, call.trains + live))
        parts.append(_attention(call.pairs * queries * spec.depth, live, live, masked))
    return _row("llm", stage, parts, spec.recompute and any(call.live or call.trains for call in calls))


_Part = tuple[float, float, float]
"""FLOPs: forward, backward, and those of both that a mask hides."""


def _linear(products: int, again: int) -> _Part:
    """Products of activations and weights, and `again` times as many for the inputs' and the weights' gradients."""
    return 2.0 * products, 2.0 * products * again, 0.0


def _times(rows: int, cost: Cost, learnt: bool) -> _Part:
    """What was counted for one, `rows` times. learnt: whether there is a backward pass."""
    return rows * cost[0], rows * cost[1] * learnt, 0.0


def _attention(products: int, live: bool, keys: bool, masked: float = 0.0) -> _Part:
    """Scores and weighted values, `products` multiply-adds each. live, keys: whether queries, and keys and values, need
    gradients. masked: the share that a mask hides."""
    # Gradients of the scores, of the queries, and of keys and values: half of the forward work each.
    forward, backward = 4.0 * products, 2.0 * products * (2 * keys + live + (live or keys))
    return forward, backward, masked * (forward + backward)


def _row(component: str, stage: str, parts: Collection[_Part], again: bool = False) -> LedgerRow:
    """again: whether forward work is done again in the backward pass."""
    forward, backward, masked = (sum(each) for each in zip(*parts, strict=True))
    return LedgerRow(component, stage, forward, backward, masked, forward if again else 0.0)


def _encoder_mlp(spec: EncoderSpec) -> int:
    """Weights of one MLP of the encoder."""
    return (3 if spec.gated else 2) * spec.width * (spec.mlp or 4 * spec.width)
