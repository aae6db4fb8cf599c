"""The FLOP ledger: what a training sample costs, component by component and pass by pass.

Encoder and language model are counted from their sizes, for whatever a connector asks of them; the connector itself off
a run of it (`connector_trace`).

A multiply-add is 2 FLOPs. Counted are matrix products, convolutions and attention, as `torch.utils.flop_counter` does;
norms, activations, rotary positions and look-ups are left out (under 1 %). Frames and tokens are those really
processed. Imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

from attrs import define, evolve, field, frozen

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


@define(kw_only=True)
class Call:
    """What a connector asks of the encoder or the language model in a training step of one sample."""

    of: Literal["patches", "deep", "shallow", "hidden", "head"] = field(kw_only=False)
    """The encoder's pass over patches, a depth of its `attend`, or a method of the language model."""

    rows: int = field(kw_only=False)
    """Frames, or positions of the language model."""

    pairs: int = 0
    """Of queries and keys that `hidden` attends with, were there no mask."""

    hidden: int = 0
    """Pairs that the causal mask hides."""

    live: bool = False
    """Whether the loss sends a gradient through its input."""

    trains: bool = False
    """Whether the loss gives its weights gradients."""


@frozen(kw_only=True)
class ConnectorTrace:
    """What a connector does in a training step of one sample, up to its visual tokens."""

    frames: int
    """Of the sample."""

    tokens_per_frame: int
    """Visual tokens k."""

    patches_read: bool
    """Whether what the encoder's last layer makes of the patches is read."""

    frozen: frozenset[str]
    """Components that do not train."""

    calls: tuple[Call, ...]
    """In their order, the patch pass first."""

    texts: tuple[tuple[str, bool], ...]
    """Text passes: name, and whether a gradient goes to its visual tokens. The scored one is the last, without a name."""

    forward: int = 0
    """FLOPs of the connector's own operations."""

    backward: int = 0
    """FLOPs of their gradients."""

    read: int = 0
    """Numbers a frame that its matrix products read, weights left out."""

    problem: str = ""
    """Why it cannot be run without memory: nothing of its own is counted then."""

    def looks(self, depth: str) -> float:
        """Queries of a frame that look so deep."""
        return sum(call.rows for call in self.calls if call.of == depth) / max(1, self.frames)

    @property
    def passes(self) -> list[Call]:
        """The language model's before the text is read."""
        return [call for call in self.calls if call.of == "hidden"]


def ledger(
    encoder: EncoderSpec,
    connector: ConnectorTrace,
    llm: LLMSpec,
    *,
    text: int,
    supervised: int | None = None,
    recompute_head: bool = False,
    rejected: tuple[int, int] | None = None,
) -> Ledger:
    """What one training sample costs: that of the trace, with a text.

    What is frozen there costs no weight gradients, and no input gradients where nothing before it trains. text: tokens
    S. supervised: how many of them are labels (default all but the first). recompute_head: whether the head's logits are
    made again in the backward pass. rejected: of a preference pair, text tokens and labels with the worse answer: the
    policy makes visual tokens once and reads both answers after them, and so does the frozen reference, forward only
    (stages "reference ..."); the trace is one without auxiliary losses.
    """
    texts = [(text, text - 1 if supervised is None else supervised)]
    if rejected is None:
        return Ledger(_Count(encoder, connector, llm, recompute_head).run(texts))
    texts.append(rejected)
    still = evolve(
        connector,
        frozen=frozenset(COMPONENTS),
        calls=tuple(evolve(call, live=False, trains=False) for call in connector.calls),
        texts=(("", False),),
        backward=0,
    )
    policy = _Count(encoder, connector, llm, recompute_head).run(texts)
    reference = _Count(encoder, still, llm, recompute_head=False).run(texts)
    return Ledger((*policy, *(evolve(row, stage=f"reference {row.stage}") for row in reference)))


@define
class _Count:
    """Adds up what is asked for, in the order of the forward pass."""

    encoder: EncoderSpec
    trace: ConnectorTrace
    llm: LLMSpec
    recompute_head: bool
    entries: dict[tuple[str, str], LedgerRow] = field(factory=dict[tuple[str, str], LedgerRow])

    def run(self, texts: Collection[tuple[int, int]]) -> tuple[LedgerRow, ...]:
        """texts: tokens and labels, of a pair those of each answer."""
        trace, looks, passes = self.trace, 0, 0
        for call in trace.calls:
            match call.of:
                case "patches":
                    self._patches(call)
                case "hidden":
                    passes += 1
                    self._read(f"visual pass {passes}", call)
                case "head":
                    self._head("visual head", call)
                case _:
                    looks += 1
                    self._look(f"query {looks}", call)
        self._add("connector", "connector", trace.forward, trace.backward)
        trains = "llm" not in trace.frozen
        for name, live in trace.texts:
            for text, labels in texts:
                tokens = trace.frames * trace.tokens_per_frame + text
                mask = {"pairs": tokens**2, "hidden": tokens * (tokens - 1) // 2}
                self._read(
                    f"{name} text LLM" if name else "LLM",
                    Call("hidden", tokens, live=live, trains=trains, **mask),
                )
                head = Call("head", labels, live=live or trains, trains=trains)
                self._head(f"{name} text LLM head" if name else "head", head)
        return tuple(self.entries.values())

    def _patches(self, call: Call) -> None:
        """The encoder over the patches of every frame. The last layer only makes keys and values unless its update of
        the patches is read."""
        spec, trains = self.encoder, call.trains
        rows, pixels = call.rows * spec.tokens, spec.image_size**2 // spec.patches
        updates = spec.depth if self.trace.patches_read else spec.depth - 1
        weights = 2 * spec.width**2 * spec.depth + (2 * spec.width**2 + self._encoder_mlp()) * updates
        # No gradient goes to the pixels, but the first norm trains, so one goes to everything after it.
        self._linear("encoder", "patches", call.rows * spec.patches * spec.width * 3 * pixels, trains)
        self._linear("encoder", "patches", rows * weights, 2 * trains)
        self._attention("encoder", "patches", rows * spec.tokens * spec.width * updates, trains, trains)
        if spec.recompute and trains:
            self._again("encoder", "patches")

    def _look(self, stage: str, call: Call) -> None:
        """A query a frame. Deep: through all layers, with query and output projections, MLP, and attention over the
        kept keys. Shallow: one attention over the final features, whose keys and values are projected once."""
        spec, live, trains = self.encoder, call.live, call.trains
        scores = call.rows * spec.tokens * spec.width
        if call.of == "deep":
            live = live or trains
            weights = (2 * spec.width**2 + self._encoder_mlp()) * spec.depth
            self._linear("encoder", stage, call.rows * weights, trains + live)
            scores *= spec.depth
        elif ("encoder", "final keys and values") not in self.entries:
            every = any(each.trains for each in self.trace.calls if each.of == "shallow")
            keys = call.rows * spec.tokens * 2 * spec.width**2
            self._linear("encoder", "final keys and values", keys, 2 * every)
        self._attention("encoder", stage, scores, live, trains)

    def _read(self, stage: str, call: Call) -> None:
        """Positions through every layer of the language model."""
        spec, live = self.llm, call.live or call.trains
        head = spec.head_width or spec.width // spec.heads
        queries, keys = spec.heads * head, spec.kv_heads * head
        weights = 2 * spec.width * (queries + keys) + 3 * spec.width * spec.mlp
        self._linear("llm", stage, call.rows * weights * spec.depth, call.trains + live)
        masked = call.hidden / call.pairs if call.pairs else 0.0
        self._attention("llm", stage, call.pairs * queries * spec.depth, live, live, masked)
        if spec.recompute and live:
            self._again("llm", stage)

    def _head(self, stage: str, call: Call) -> None:
        products = call.rows * self.llm.width * (self.llm.vocabulary or 0)
        self._linear("head", stage, products, call.trains + call.live)
        if self.recompute_head and call.live:
            self._again("head", stage)

    def _linear(self, component: str, stage: str, products: int, again: int) -> None:
        """Products of activations and weights, and `again` times as many for the inputs' and the weights' gradients."""
        self._add(component, stage, 2.0 * products, 2.0 * products * again)

    def _attention(
        self, component: str, stage: str, products: int, live: bool, keys: bool, masked: float = 0.0
    ) -> None:
        """Scores and weighted values, `products` multiply-adds each. live, keys: whether queries, and keys and values,
        need gradients."""
        # Gradients of the scores, of the queries, and of keys and values: half of the forward work each.
        again = 0.5 * (2 * keys + live + (live or keys))
        self._add(component, stage, 4.0 * products, 4.0 * products * again, masked)

    def _add(self, component: str, stage: str, forward: float, backward: float, masked: float = 0.0) -> None:
        """Book FLOPs, of which a mask hides a share."""
        key = (component, stage)
        entry = self.entries.get(key, LedgerRow(*key, 0.0, 0.0))
        self.entries[key] = evolve(
            entry,
            forward=entry.forward + forward,
            backward=entry.backward + backward,
            masked=entry.masked + masked * (forward + backward),
        )

    def _again(self, component: str, stage: str) -> None:
        entry = self.entries[component, stage]
        self.entries[component, stage] = evolve(entry, recompute=entry.forward)

    def _encoder_mlp(self) -> int:
        """Weights of one MLP of the encoder."""
        spec = self.encoder
        return (3 if spec.gated else 2) * spec.width * (spec.mlp or 4 * spec.width)
