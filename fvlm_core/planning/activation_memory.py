"""What a micro-batch leaves behind for its backward pass, and what there is at each moment of a training step.

What autograd keeps was read off the tensors that it really saves, layer by layer
(`tests/planning/test_memory_plan.py` does so again): it depends on how a layer is written, so a plugin's own layers
may keep more or less. Other than FLOPs, bytes depend on the precision: under autocast the residual stream stays
float32, every linear map keeps a bf16 copy of its input, and of its weights. Imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from fvlm_core.interfaces.specs import EncoderSpec, LLMSpec
from fvlm_core.planning.flops import ConnectorTrace

FULL, HALF = 4, 2
"""Bytes of a number in float32 and in bf16."""


@frozen(kw_only=True)
class LargestMicroBatch:
    """The largest micro-batch of a run.

    samples: B. frames: of all samples. followed: those that another one follows. positions: visual tokens and text of
    all samples, padding included where there is any. labels: supervised tokens of all samples. answers: texts that are
    read after the same frames, 2 for pairs.
    """

    samples: int
    frames: int
    followed: int
    positions: int
    labels: int
    answers: int = 1


@frozen(kw_only=True)
class Moment:
    """What there is at one moment of a step beside weights and optimizer state."""

    name: str
    gradients: float
    copies: float = 0.0
    activations: dict[str, float] = field(factory=dict[str, float])
    keys_values: float = 0.0
    working: float = 0.0

    @property
    def total(self) -> float:
        return self.gradients + self.copies + sum(self.activations.values()) + self.keys_values + self.working


@frozen
class Kept:
    """Bytes that autograd keeps of one micro-batch. narrow: bytes of a number in a matrix product.

    Nothing is kept of what no gradient goes through: a frozen encoder's patch pass, for one.
    """

    encoder: EncoderSpec
    connector: ConnectorTrace
    llm: LLMSpec
    counts: Mapping[str, int]
    frozen: frozenset[str]
    batch: LargestMicroBatch
    narrow: int
    chunk: int
    factors: Mapping[str, int] = {}
    """Parameters that train of components with LoRA. What these keep is taken for what they keep without, at least as
    much: inputs of layers whose weights need no gradient are not kept."""
    plain: int | None = None
    """Logits from which the head's gradients are made with its losses; None: never."""

    @property
    def kept(self) -> float:
        """What a forward pass leaves behind for the backward pass."""
        copies = sum(self.copies(name) for name in self.counts)
        return copies + sum(self.activations().values()) + self.keys_values()

    def activations(self) -> dict[str, float]:
        """All that is kept, by component, without keys, values and copies."""
        return {
            "frames": self.pixels(),
            "encoder": self.patches() + self.looks(),
            "connector": self.maps(),
            "llm": sum(self.reads()),
            "head": self.head(),
        }

    def moments(self, accumulates: bool) -> list[Moment]:
        """The moments that can be the fullest: what is kept falls during the backward pass, what waits grows."""
        count = {name: float(FULL * self._learnt(name) * self._trains(name)) for name in self.counts}
        learnt = sum(count.values())
        before = learnt if accumulates else 0.0
        passing = sum(HALF * n for n in self.counts.values()) if self._copied else 0.0
        passing -= self._head_copy * self._made  # counted beside its products
        copies = {name: self.copies(name) for name in self.counts}
        kept, first = self.activations(), self.reads()[:-1]
        eye = {"frames": kept["frames"], "encoder": self.patches()}
        read = {**kept, "llm": sum(first), "head": 0.0}
        done = before or sum(count.values()) - count.get("encoder", 0.0)
        return [
            Moment(
                name="the end of the forward pass",
                gradients=before,
                copies=max(passing, sum(copies.values())),
                activations=kept,
                keys_values=self.keys_values(),
                working=max(self.logits(), self._llm_forward()),
            ),
            Moment(
                name="the first layer of the backward pass",
                gradients=before,
                copies=sum(copies.values()),
                activations={**kept, "head": self._other_heads()},
                keys_values=self.keys_values(),
                working=self._llm_step() + self.llm.tied * self._head_gradient(),
            ),
            Moment(
                name="the backward pass of the language model",
                gradients=before,
                copies=sum(copies.values()),
                activations=read,
                keys_values=self.keys_values(),
                working=self.waiting("llm", accumulates)
                + max(self._llm_step(), self._embedding(accumulates)),
            ),
            Moment(
                name="the backward pass of the encoder",
                gradients=done,
                copies=copies.get("encoder", 0.0),
                activations=eye,
                keys_values=self.keys_values(),
                working=self.waiting("encoder", accumulates) + self._eye_trains * self._eye_step(),
            ),
            Moment(name="the optimizer's step", gradients=learnt),
        ]

    def waiting(self, component: str, accumulates: bool) -> float:
        """Gradients of weights that several passes use: those of the last pass wait, summed beside the ones that are
        there already, until the first pass has given its own. In bf16 where the passes share a bf16 copy."""
        spec = self.llm if component == "llm" else self.encoder
        shared = len(self._passes()) > 1 if component == "llm" else self._deep
        if not self._trains(component) or not (shared or not accumulates):
            return 0.0
        size = HALF if self._copied and not spec.recompute else FULL
        share = 1.0 if component == "llm" else self._looked_share
        return size * share * self._learnt(component)

    def copies(self, component: str) -> float:
        """bf16 copies of a component's weights that wait for the backward pass: one each of those that train, one for
        every pass of frozen ones that a gradient goes through; none of layers that are made again."""
        count = HALF * self.counts[component] * self._copied
        trains = self._trains(component) and component not in self.factors
        looks = self.connector.looks("deep")
        match component:
            case "llm" if self.llm.recompute:  # the head is no part of a layer
                return self._head_copy * (not self._made)
            case "llm":
                return float(count * (1 if trains else len(self._passes()))) - self._head_copy * self._made
            case "encoder" if self.encoder.recompute or not self._trains(component):
                return count * self._looked_share * (min(looks, 1) if trains else looks)
            case "encoder" if component in self.factors:
                return count * (1 + self._looked_share * looks)
            case _:
                return float(count * self._trains(component))

    def pixels(self) -> float:
        """Normalised frames, which the patch projection's weights need again."""
        return float(self._eye_trains * self.batch.frames * 3 * self.encoder.image_size**2 * self.narrow)

    def patches(self) -> float:
        """The encoder's pass over all tokens of all frames, keys and values left out where they are kept for looks."""
        if not self._eye_trains:
            return 0.0
        spec, rows = self.encoder, self.batch.frames * self.encoder.tokens
        full = spec.depth if self.connector.patches_read else spec.depth - 1
        keys = 2 * spec.width * self.narrow
        if spec.recompute:
            layers = spec.depth * FULL * spec.width
        else:
            layers = full * self._eye_layer() + (spec.depth - full) * self._keys_only()
            layers -= spec.depth * keys if self._deep else 0
        final = (FULL * spec.width + 8) if self.connector.patches_read else 0
        if self._shallow:
            final += self._keys_only() - keys  # the final features, projected once for all looks
        return float(rows * (layers + final))

    def keys_values(self) -> float:
        """Keys and values that queries look at, of every layer or of the final features."""
        layers = self.encoder.depth if self._deep else int(self._shallow)
        tokens = self.batch.frames * self.encoder.tokens
        return float(layers * tokens * 2 * self.encoder.width * self.narrow)

    def looks(self) -> float:
        """One token a frame through every layer, or one attention over the final features."""
        spec, narrow = self.encoder, self.narrow
        inputs = narrow * spec.width
        shallow = FULL * spec.width + 2 * inputs + 4 * spec.heads  # query, answer, norm
        mlp = (4 if spec.gated else 2) * self._inner * narrow
        deep = 2 * (FULL * spec.width + 8) + 6 * inputs + mlp + 4 * spec.heads
        each = {"deep": spec.depth * deep + FULL * spec.width, "shallow": shallow}
        return float(self.batch.frames * sum(self.connector.looks(depth) * each[depth] for depth in each))

    def maps(self) -> float:
        """Inputs of the connector's linear maps; pooled patches are in the final features that the encoder's norm
        leaves, a tensor of their own."""
        pooled = 0 if self._deep or self._shallow else self.encoder.tokens
        live = self._trains("connector") or self._eye_trains
        kept = self.connector.read * self.narrow + pooled * self.encoder.width * FULL * self._eye_trains
        return float(live * self.batch.frames * kept)

    def reads(self) -> list[float]:
        """The language model's passes: visual tokens alone, and with text, padding included; the scored one last."""
        return [rows * self._llm_rows() for rows in self._passes()]

    def head(self) -> float:
        """Hidden states of the labels, and log-probabilities of their whole vocabulary unless these are made again; or
        the gradients of the states and of the head's weight."""
        texts = len(self.connector.texts)
        labels, vocabulary = self.batch.labels, self.llm.vocabulary or 0
        if self._made:
            return texts * (2 * labels * self.llm.width * FULL + self._head_gradient())
        if self._chunked:
            return float(texts * labels * self.llm.width * FULL)
        states = self.llm.width * (self.narrow if self._trains("llm") else 0)
        return float(texts * labels * (states + vocabulary * FULL))

    def logits(self) -> float:
        """Logits on their way to a loss and back: their float32 form where they are bf16, log-probabilities where they
        are not kept, and the gradient. Where gradients are made with losses: a chunk in the precision of products, and
        in bf16 the weight and its gradient."""
        if self._made:
            chunk = min(self.batch.labels * (self.llm.vocabulary or 0) * self.narrow, FULL * self.chunk)
            return chunk + self._head_copy + self._copied * self._head_gradient() * HALF / FULL
        numbers = min(self.batch.labels * (self.llm.vocabulary or 0), self.chunk)
        logits = numbers * (FULL + (self.narrow if self._copied else 0) + (FULL if self._chunked else 0))
        return float(logits + (1 + self._chunked) * self._head_gradient())

    @property
    def _head_copy(self) -> float:
        """The head's weight in bf16."""
        return float(self._copied * HALF * self.llm.width * (self.llm.vocabulary or 0))

    def _other_heads(self) -> float:
        """What the heads of other texts wait with when the last one's has been read back."""
        return self._made * self.head() * (1 - 1 / len(self.connector.texts))

    def _head_gradient(self) -> float:
        """The gradient of the head's weights, which waits for that of the embedding where they are the same."""
        learns = self._trains("llm") and "llm" not in self.factors
        return float(learns * FULL * self.llm.width * (self.llm.vocabulary or 0))

    def _embedding(self, accumulates: bool) -> float:
        """Gradients of the embedding when the text has been read back, where the head is the same weight: the whole
        table's of the text, the head's, which waited, and their sum; what `waiting` has counted is left out."""
        return self.llm.tied * (2 if self.waiting("llm", accumulates) else 3) * self._head_gradient()

    def _llm_step(self) -> float:
        """One decoder layer on its way back: made again, if it is, and the gradients inside its MLP."""
        rows = max(self._passes())
        return float(rows * (self.llm.recompute * self._llm_layer() + 2 * self.llm.mlp * self.narrow))

    def _llm_forward(self) -> float:
        """What one decoder layer that is made again holds while it is made the first time."""
        rows = max(self._passes()) * self.llm.recompute
        return float(rows * (3 * self.llm.mlp * self.narrow + 3 * self.llm.width * FULL))

    def _eye_step(self) -> float:
        """The same of an encoder layer. Gradients of all cached keys and values are there by then."""
        rows, spec = self.batch.frames * self.encoder.tokens, self.encoder
        again = rows * (spec.recompute * self._eye_layer() + 2 * self._inner * self.narrow)
        return float(again + self.keys_values())

    def seen_only(self) -> float:
        """What an evaluation holds at its peak: keys and values of all frames, and a layer or a chunk of logits."""
        spec = self.encoder
        frames = self.batch.frames * (3 * spec.image_size**2 * (FULL + 1))
        layer = self.batch.frames * spec.tokens * (2 * FULL * spec.width + 2 * self._inner * self.narrow)
        numbers = min(self.batch.labels * (self.llm.vocabulary or 0), self.chunk)
        logits = numbers * (2 * FULL + (self.narrow if self._copied else 0))
        return frames + self.keys_values() + float(max(layer, logits))

    def _passes(self) -> list[float]:
        """Positions of each pass of the language model; of samples as long as the trace's, exactly."""
        followed, text = max(1, self.connector.frames - 1), self.batch.answers * self.batch.positions
        visual = [call.rows * self.batch.followed / followed for call in self.connector.of("hidden")]
        return [*visual, *[text] * len(self.connector.texts)]

    def _llm_rows(self) -> float:
        """Bytes a position of one pass through the language model."""
        spec = self.llm
        final = 2 * FULL * spec.width + FULL if self._trains("llm") else FULL * spec.width
        return spec.depth * (FULL * spec.width if spec.recompute else self._llm_layer()) + final

    def _llm_layer(self) -> float:
        """Bytes a position of one decoder layer: two root-mean-square norms (input, and the normalised one), attention
        with grouped keys and values, gated MLP."""
        spec, narrow, trains = self.llm, self.narrow, self._trains("llm")
        head = spec.head_width or spec.width // spec.heads
        queries, keys = spec.heads * head, spec.kv_heads * head
        norms = 2 * (FULL * spec.width * (2 if trains else 1) + FULL)
        inputs = spec.width * narrow * ((3 + 2) if self._copied else 2) if trains else 0
        attention = (2 * queries + 2 * keys) * narrow + FULL * spec.heads
        return norms + inputs + attention + (4 if trains else 3) * spec.mlp * narrow

    def _eye_layer(self) -> float:
        """Bytes a token of one encoder layer."""
        spec, narrow = self.encoder, self.narrow
        norms = 2 * (FULL * spec.width + 8)
        inputs = spec.width * narrow * ((3 if self._copied else 1) + 1)
        attention = 4 * spec.width * narrow + FULL * spec.heads
        scales = 2 * spec.width * narrow
        return norms + inputs + attention + scales + (4 if spec.gated else 2) * self._inner * narrow

    def _keys_only(self) -> float:
        """Bytes a token of a layer that stops at its keys and values."""
        spec, narrow = self.encoder, self.narrow
        return FULL * spec.width + 8 + spec.width * narrow * ((2 if self._copied else 1) + 2)

    def _learnt(self, component: str) -> int:
        """Parameters that get gradients, where the component trains."""
        return self.factors.get(component, self.counts.get(component, 0))

    def _trains(self, component: str) -> bool:
        return component not in self.frozen

    @property
    def _copied(self) -> bool:
        """Whether matrix products run in another precision than the weights."""
        return self.narrow != FULL

    @property
    def _chunked(self) -> bool:
        """Whether the head's logits are made in chunks, twice."""
        return not self._made and self.batch.labels * (self.llm.vocabulary or 0) > self.chunk

    @property
    def _made(self) -> bool:
        """Whether the head's gradients are made with its losses."""
        return self.plain is not None and self.batch.labels * (self.llm.vocabulary or 0) > self.plain

    @property
    def _looked_share(self) -> float:
        """Part of an encoder layer's weights that a look uses: it has no keys and values of its own."""
        mlp = (3 if self.encoder.gated else 2) * self._inner
        return 1 - 2 * self.encoder.width / (4 * self.encoder.width + mlp)

    @property
    def _eye_trains(self) -> bool:
        return self._trains("encoder")

    @property
    def _inner(self) -> int:
        return self.encoder.mlp or 4 * self.encoder.width

    @property
    def _deep(self) -> bool:
        return self.connector.looks("deep") > 0

    @property
    def _shallow(self) -> bool:
        return self.connector.looks("shallow") > 0
