"""The FLOP ledger: what a training sample costs, component by component and pass by pass, from sizes alone.

A multiply-add is 2 FLOPs. Counted are matrix products, convolutions and attention, as `torch.utils.flop_counter` does;
norms, activations, rotary positions and look-ups are left out (under 1 %). Frames and tokens are those really
processed. Imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from attrs import define, evolve, field, frozen

from fvlm_core.interfaces.specs import (
    ConnectorSpec,
    EncoderSpec,
    LinearMap,
    LLMSpec,
    Look,
    TextPass,
    VisualPass,
)

COMPONENTS = ("encoder", "connector", "llm", "head")


@frozen
class LedgerRow:
    """FLOPs of one component in one pass of one training sample.

    component: "encoder", "connector", "llm" or "head". stage: the pass ("patches", "coarse query", ...).
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


def ledger(
    encoder: EncoderSpec,
    connector: ConnectorSpec,
    llm: LLMSpec,
    *,
    frames: int,
    text: int,
    supervised: int | None = None,
    frozen: Collection[str] = (),
    recompute_head: bool = False,
    rejected: tuple[int, int] | None = None,
) -> Ledger:
    """What one training sample costs.

    frames: T, 0 for a sample of text only. text: text tokens S. supervised: how many of them are labels (default all
    but the first). frozen: components ("encoder", "connector", "llm") whose weights do not train: they cost no weight
    gradients, and no input gradients where nothing before them trains. recompute_head: whether the head's logits are
    made again in the backward pass. rejected: of a preference pair, text tokens and labels with the worse answer: the
    policy makes visual tokens once and reads both answers after them, and so does the frozen reference, forward only
    (stages "reference ..."); auxiliary text passes are left out.
    """
    texts = [(text, text - 1 if supervised is None else supervised)]
    if rejected is None:
        return Ledger(_Count(encoder, connector, llm, frames, texts, frozenset(frozen), recompute_head).run())
    texts.append(rejected)
    read = evolve(
        connector, work=tuple(item for item in connector.work or () if not isinstance(item, TextPass))
    )
    policy = _Count(encoder, read, llm, frames, texts, frozenset(frozen), recompute_head).run()
    reference = _Count(
        encoder, read, llm, frames, texts, frozenset({"encoder", "connector", "llm"}), False
    ).run()
    return Ledger((*policy, *(evolve(row, stage=f"reference {row.stage}") for row in reference)))


@define
class _Count:
    """One walk through a training step, in the order of the forward pass.

    texts: text tokens and labels, of a pair those of each answer. live: whether the activations reached so far need a
    gradient (something before them trains). reached: whether the
    loss depends on them.
    """

    encoder: EncoderSpec
    connector: ConnectorSpec
    llm: LLMSpec
    frames: int
    texts: list[tuple[int, int]]
    frozen: frozenset[str]
    recompute_head: bool
    live: bool = False
    reached: bool = True
    entries: dict[tuple[str, str], LedgerRow] = field(factory=dict[tuple[str, str], LedgerRow])

    def run(self) -> tuple[LedgerRow, ...]:
        work = self.connector.work or ()
        self._patches()
        # A learned query starts the chain of a connector that looks; patch features that of any other.
        looks = any(isinstance(item, Look) for item in work)
        self.live = self._trains("connector" if looks else "encoder")
        for index, item in enumerate(work):
            self.reached = self._loss_depends_on(index)
            self._do(item)
        self.reached = True
        self._text_pass("LLM" if not any(isinstance(i, VisualPass) for i in work) else "fine LLM", "head")
        return tuple(self.entries.values())

    def _do(self, item: LinearMap | Look | VisualPass | TextPass) -> None:
        match item:
            case LinearMap():
                rows = (self.frames if item.last else self._followed) * item.times
                # LLM_WIDTH is 0
                inputs, outputs = (width or self.llm.width for width in (item.inputs, item.outputs))
                self._linear("connector", item.stage, rows * inputs * outputs)
                self.live = self.live or self._trains("connector")
            case Look(stage, "deep"):
                self._look_deep(stage)
            case Look(stage):
                self._look_shallow(stage)
            case VisualPass(stage):
                self._read(stage, self._followed * self.connector.tokens_per_frame)
                # With a single frame nothing was read, and the next query is the first one, which is learned.
                read = (self.live or self._trains("llm")) and self._followed > 0
                self.live = read or self._trains("connector")
            case TextPass(stage):
                self._text_pass(stage, f"{stage} head")

    def _patches(self) -> None:
        """The encoder over the patches of every frame. The last layer only makes keys and values unless its update of
        the patches is read."""
        spec, work = self.encoder, self.connector.work or ()
        deep = any(isinstance(item, Look) and item.depth == "deep" for item in work)
        tokens_read = not deep or any(isinstance(item, Look) and item.depth == "shallow" for item in work)
        rows = self.frames * spec.tokens
        pixels = spec.image_size**2 // spec.patches
        before = self.live
        # No gradient goes to the pixels, but the first norm trains, so one goes to everything after it.
        self.live = False
        self._linear("encoder", "patches", self.frames * spec.patches * spec.width * 3 * pixels)
        self.live = self._trains("encoder")
        updates = spec.depth if tokens_read else spec.depth - 1
        self._linear("encoder", "patches", rows * 2 * spec.width**2 * spec.depth)
        self._linear("encoder", "patches", rows * (2 * spec.width**2 + self._encoder_mlp()) * updates)
        self._attention("encoder", "patches", rows * spec.tokens * spec.width * updates, keys=self.live)
        if spec.recompute and self.live:
            self._again("encoder", "patches")
        self.live = before

    def _look_deep(self, stage: str) -> None:
        """A query a frame through all layers: query and output projections, MLP, attention over the kept keys."""
        spec = self.encoder
        trains = self._trains("encoder")
        self.live = self.live or trains
        self._linear("encoder", stage, self.frames * (2 * spec.width**2 + self._encoder_mlp()) * spec.depth)
        self._attention("encoder", stage, self.frames * spec.tokens * spec.width * spec.depth, keys=trains)

    def _look_shallow(self, stage: str) -> None:
        """One attention over the final features, whose keys and values are projected once for all looks."""
        spec = self.encoder
        before, trains, reached = self.live, self._trains("encoder"), self.reached
        final = ("encoder", "final keys and values")
        if final not in self.entries:
            self.live, self.reached = trains, True  # the last look reads them, whichever is first
            self._linear(*final, self.frames * spec.tokens * 2 * spec.width**2)
        self.live, self.reached = before, reached
        self._attention("encoder", stage, self.frames * spec.tokens * spec.width, keys=trains)
        self.live = self.live or trains

    def _text_pass(self, stage: str, head: str) -> None:
        """Visual tokens and each text through the language model, the head at supervised positions only."""
        before = self.live
        for text, supervised in self.texts:
            self._read(stage, self.frames * self.connector.tokens_per_frame + text)
            self.live = self.live or self._trains("llm")
            self._linear("head", head, supervised * self.llm.width * (self.llm.vocabulary or 0))
            if self.recompute_head and self.live:
                self._again("head", head)
            self.live = before

    def _read(self, stage: str, tokens: int) -> None:
        """`tokens` through every layer of the language model."""
        spec = self.llm
        head = spec.head_width or spec.width // spec.heads
        queries, keys = spec.heads * head, spec.kv_heads * head
        weights = 2 * spec.width * (queries + keys) + 3 * spec.width * spec.mlp
        before = self.live
        self.live = self.live or self._trains("llm")
        self._linear("llm", stage, tokens * weights * spec.depth)
        self._attention("llm", stage, tokens * tokens * queries * spec.depth, keys=self.live, tokens=tokens)
        if spec.recompute and self.live:
            self._again("llm", stage)
        self.live = before

    def _linear(self, component: str, stage: str, products: float) -> None:
        """Products of activations and weights: one more time each for the inputs' and the weights' gradients."""
        trains = self._trains("llm" if component == "head" else component)
        self._add(component, stage, 2.0 * products, trains + self.live)

    def _attention(self, component: str, stage: str, products: float, *, keys: bool, tokens: int = 0) -> None:
        """Scores and weighted values, `products` multiply-adds each.

        keys: whether keys and values need gradients. tokens: positions of a causal mask, which leaves (tokens + 1) / 2
        of them visible on average; 0 for none.
        """
        # Gradients of the scores, of the queries, and of keys and values: half of the forward work each.
        again = 0.5 * (2 * keys + self.live + (self.live or keys))
        masked = (tokens - 1) / (2 * tokens) if tokens else 0.0
        self._add(component, stage, 4.0 * products, again, masked)

    def _add(self, component: str, stage: str, forward: float, again: float, masked: float = 0.0) -> None:
        """Book `forward` FLOPs, and `again` times as many backward where the loss depends on them."""
        key = (component, stage)
        backward = forward * again * self.reached
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

    @property
    def _followed(self) -> int:
        """Frames that another one follows."""
        return max(0, self.frames - 1)

    def _trains(self, component: str) -> bool:
        return component not in self.frozen

    def _encoder_mlp(self) -> int:
        """Weights of one MLP of the encoder."""
        spec = self.encoder
        return (3 if spec.gated else 2) * spec.width * (spec.mlp or 4 * spec.width)

    def _loss_depends_on(self, index: int) -> bool:
        """With a single frame there is no next query, so what leads to one trains nothing, unless it is scored too."""
        if self._followed:
            return True
        following = (self.connector.work or ())[index:]
        stop = next((i for i, item in enumerate(following) if isinstance(item, VisualPass)), None)
        return stop is None or any(isinstance(item, TextPass) for item in following[:stop])
