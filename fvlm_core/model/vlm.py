"""The composed model: encoder + connector + language model, its loss, and generation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from attrs import evolve, frozen
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fvlm_core.data.batch import Batch, Items
from fvlm_core.interfaces.connector import Connector, FrameStream, Question, VisualTokens
from fvlm_core.interfaces.encoder import PatchFeatures, VisionEncoder
from fvlm_core.interfaces.generation import Generation
from fvlm_core.interfaces.llm import LLMBackend
from fvlm_core.interfaces.modality import ModalityEncoder
from fvlm_core.interfaces.specs import Mode
from fvlm_core.model.generation import GREEDY, End, continued
from fvlm_core.model.head import CHUNK_BYTES, head_losses
from fvlm_core.model.sequences import Layout, plan
from fvlm_core.utils.errors import FvlmError
from fvlm_core.utils.seeding import derive

EachLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Of hidden states [n, W], labels [n] and their places [n] in `Batch.ids`, flattened: the loss of each, [n], with
graph. Called for a chunk of the labels at a time, and once more in the backward pass where there are many."""

LOGITS_AT_ONCE = CHUNK_BYTES // 4
"""Logits of a chunk, 64 MiB of float32, where `each` or an evaluation needs more; for `each` they are made twice."""

PLAIN_LOGITS = 1 << 22
"""Logits up to which the head's loss is made as everybody makes it, bit for bit, and kept: 85 labels of 49,152. So many
take as long by `head_losses`, three times as many .92 of the time in float32 and .78 in bf16."""


@frozen(eq=False)
class Losses:
    """Losses of one batch: sums over supervised tokens, in nats, so that micro-batches add up.

    loss: with graph, fine + weight x auxiliary; divide by the tokens of the whole optimizer step.
    tokens: supervised tokens; 0 gives loss 0 (with a graph), never NaN. fine: detached sum of the text losses of the
    tokens the mode ends with. auxiliary: the same of each auxiliary loss, by its name. content, content_tokens:
    detached sum and count over the assistant's own words.
    per_sample: [B] sums of the fine loss, with graph (sequence log-probabilities, negated); per_sample_tokens:
    int64 [B] on the host. Counts are plain numbers: nothing waits for the device.
    rejected: of a batch of pairs, the same of the worse answers. Auxiliary losses are left out of pairs.
    """

    loss: Tensor
    tokens: int
    fine: Tensor
    auxiliary: dict[str, Tensor]
    content: Tensor
    content_tokens: int
    per_sample: Tensor
    per_sample_tokens: Tensor
    rejected: Losses | None = None


class VLM(nn.Module):
    """A vision-language model: frames to visual tokens, which the language model reads before the text, or between the
    question and the rest of it.

    modalities: encoders of what samples give beside frames, by modality; their tokens stand between the two.
    blind: encoders see zeros in place of normalised frames and of items: what the text alone would give.
    score_first_token: whether a supervised first text token is scored, from the last visual token; one rule in every
    mode. question_first: whether the text before the first answer stands before the visual tokens. logit_scale: factor
    on the logits, 1 until somebody sets another. pack: whether samples share a row of the language model, with equal
    results; None where it saves work.
    """

    def __init__(
        self,
        encoder: VisionEncoder,
        connector: Connector,
        llm: LLMBackend,
        *,
        modalities: Mapping[str, ModalityEncoder] | None = None,
        blind: bool = False,
        score_first_token: bool = False,
        question_first: bool = False,
        pack: bool | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.connector = connector
        self.llm = llm
        self.modalities = nn.ModuleDict(modalities or {})
        self.blind = blind
        self.score_first_token = score_first_token
        self.question_first = question_first
        self.pack = pack
        self.logit_scale = 1.0
        normalise = torch.tensor([encoder.spec.mean, encoder.spec.std])[:, :, None, None]
        self._mean: Tensor
        self._scale: Tensor
        self.register_buffer("_mean", normalise[0] / normalise[1], persistent=False)
        self.register_buffer("_scale", 1 / (255 * normalise[1]), persistent=False)

    def forward(self, batch: Batch, mode: Mode | None = None, each: EachLoss | None = None) -> Losses:
        """The losses of a batch. mode: how visual tokens are made; None for the connector's own. each: what gives the
        losses of the tokens the mode ends with, in place of cross-entropy.

        Visual tokens are made before any answer is read, so those of a pair are made once, for both answers.
        """
        visual, signals = self.see(batch, mode), self.hear(batch)
        if batch.rejected is None:
            return self._losses(batch, visual, signals, each)
        visual, each = VisualTokens(visual.tokens), self.cross_entropy  # of single answers, not of their sum
        chosen = self._losses(batch, visual, signals, each)
        return evolve(chosen, rejected=self._losses(batch.rejected, visual, signals, each))

    def _losses(
        self, batch: Batch, visual: VisualTokens, signals: Sequence[Tensor], each: EachLoss | None = None
    ) -> Losses:
        layout = self.plan(batch)
        text = self.llm.embed(batch.ids.flatten().index_select(0, layout.source))
        labels = batch.ids.flatten().index_select(0, layout.label)
        fine, scored = self._score(visual.tokens, signals, text, labels, layout, each)
        per_sample = scored.new_zeros(len(batch.counts)).index_add(0, layout.owner, scored)
        loss, auxiliary = fine, dict[str, Tensor]()
        for extra in visual.auxiliary:
            if extra.name not in self.connector.spec.auxiliary:
                raise FvlmError(
                    f'the connector gives an auxiliary loss "{extra.name}", which its spec does not declare: expected '
                    f"one of {', '.join(self.connector.spec.auxiliary) or 'none'}; or ConnectorSpec("
                    f'auxiliary=("{extra.name}",))'
                )
            other, _ = self._score(extra.tokens, signals, text, labels, layout)
            loss = loss + extra.weight * other
            auxiliary[extra.name] = auxiliary.get(extra.name, 0) + other.detach()
        detached = scored.detach()
        return Losses(
            loss=loss,
            tokens=layout.tokens,
            fine=fine.detach(),
            auxiliary=auxiliary,
            content=(detached * layout.content).sum(),
            content_tokens=layout.content_tokens,
            per_sample=per_sample,
            per_sample_tokens=layout.labels_per_sample,
        )

    def plan(self, batch: Batch) -> Layout:
        """Where every token of the batch goes."""
        spec = self.connector.spec
        if spec.last_frames is not None:
            batch = evolve(batch, counts=batch.counts.clamp(max=spec.last_frames))
        return plan(
            batch,
            spec.tokens_per_frame,
            [encoder.spec for encoder in self.signal_encoders],
            pack=self.pack,
            score_first_token=self.score_first_token,
            question_first=self.question_first,
        )

    def see(self, batch: Batch, mode: Mode | None = None) -> VisualTokens:
        """The visual tokens of a batch; none, but with the same losses to come, for a batch of text only."""
        features, counts = self._shown(batch)
        return self.connector.connect(
            features, counts, self.encoder, self.llm, mode=mode, **self._read(batch)
        )

    def looks(self, batch: Batch) -> dict[str, list[Tensor]]:
        """Where each pass of the connector looks; see `Connector.attention`."""
        features, counts = self._shown(batch)
        asked = {name: value for name, value in self._read(batch).items() if name == "question"}
        return self.connector.attention(features, counts, self.encoder, self.llm, **asked)

    def stream(self, question: Sequence[int] = (), keys: Sequence[int] = (0,)) -> FrameStream | None:
        """Videos that come frame by frame, in step; see `Connector.stream`. question: token ids of what is asked of
        each, with `question_first`. keys: of the samples, one each, see `Connector.reads`."""
        ids = torch.tensor([list(question)] * len(keys), dtype=torch.int64, device=self._mean.device)
        known = {"keys": torch.tensor(keys)} | (
            {"question": self.llm.embed(ids)} if self.question_first else {}
        )
        read = {name: known[name] for name in self.connector.reads if name in known}
        return self.connector.stream(self.encoder, self.llm, **read)

    def _shown(self, batch: Batch) -> tuple[PatchFeatures, Tensor]:
        """What the encoder sees of the frames that the connector is shown, and how many these are of each sample."""
        last, counts, frames = self.connector.spec.last_frames, batch.counts.cpu(), batch.frames
        if last is not None:
            ends, sample = counts.cumsum(0), torch.arange(len(counts)).repeat_interleave(counts)
            kept = (torch.arange(len(frames)) >= ends[sample] - last).nonzero()[:, 0]
            frames, counts = frames[kept.to(frames.device, non_blocking=True)], counts.clamp(max=last)
        return self.encode(frames), counts

    def _read(self, batch: Batch) -> dict[str, Any]:
        """What the connector reads beside frames, by name."""
        found: dict[str, Any] = {}
        if "question" in self.connector.reads and self.question_first:
            lengths = batch.questions.cpu()
            asked = torch.arange(batch.ids.shape[1]) < lengths[:, None]
            places = asked.flatten().nonzero()[:, 0].to(batch.ids.device, non_blocking=True)
            found["question"] = Question(self.llm.embed(batch.ids.flatten().index_select(0, places)), lengths)
        if "keys" in self.connector.reads:
            names = [*batch.sample_ids, *[""] * (len(batch.counts) - len(batch.sample_ids))]
            found["keys"] = torch.tensor([sample_key(name) for name in names])
        return found

    @property
    def signal_encoders(self) -> tuple[ModalityEncoder, ...]:
        """The encoders of other modalities, in the recipe's order."""
        return cast("tuple[ModalityEncoder, ...]", tuple(self.modalities.values()))

    def hear(self, batch: Batch) -> list[Tensor]:
        """The tokens [I, k, W] of each modality beside frames, in the order of the encoders."""
        items = [batch.items(encoder.spec).data for encoder in self.signal_encoders]
        shown = [torch.zeros_like(each) for each in items] if self.blind else items
        return [encoder.encode(each) for encoder, each in zip(self.signal_encoders, shown, strict=True)]

    def encode(self, frames: Tensor) -> PatchFeatures:
        """Patch features of frames [F, 3, H, W]: uint8 RGB, or floating point and already normalised."""
        connector = self.connector
        return self.encoder.encode(
            self.normalise(frames), tokens=connector.encoder_tokens, layers=connector.encoder_layers
        )

    def normalise(self, frames: Tensor) -> Tensor:
        """uint8 RGB to the encoder's (x / 255 - mean) / std; floating point stays as it is; blind gives zeros."""
        if self.blind:
            return torch.zeros_like(frames, dtype=self._mean.dtype)
        if frames.is_floating_point():
            return frames
        return frames.to(self._mean.dtype).mul_(self._scale).sub_(self._mean)

    def logits(self, batch: Batch, mode: Mode | None = None) -> list[Tensor]:
        """Logits at every position of every sample, [its tokens in their order, vocabulary]: for inspection."""
        layout = self.plan(batch)
        text = self.llm.embed(batch.ids.flatten().index_select(0, layout.source))
        hidden = self._hidden(self.see(batch, mode).tokens, self.hear(batch), text, layout)
        return [self.predict(hidden[first : first + length]) for first, length in layout.spans]

    def predict(self, hidden: Tensor) -> Tensor:
        """Hidden states [..., W] to logits [..., vocabulary], scaled."""
        return self.llm.logits(hidden if self.logit_scale == 1 else self.logit_scale * hidden)

    def compile_layers(self) -> None:
        """Compile the layers of the encoder and of the language model, as far as these say how."""
        self.encoder.compile_layers()
        self.llm.compile_layers()

    def parameter_groups(self) -> dict[str, dict[str, nn.Parameter]]:
        """Parameters by full name, in the groups that get learning rates of their own: connector, encoder, llm.

        Every new projection is the connector's, and so are the encoders of other modalities, which end in one.
        """
        groups: dict[str, dict[str, nn.Parameter]] = {"connector": {}, "encoder": {}, "llm": {}}
        for name, parameter in self.named_parameters():
            part = name.partition(".")[0]
            groups["connector" if part == "modalities" else part][name] = parameter
        return groups

    def decayed(self) -> set[str]:
        """Full names of the parameters that weight decay acts on; see `VisionEncoder.decays`.

        Those are matrices and kernels: decaying norms, biases, embeddings and learned queries pulls them towards values
        that mean nothing.
        """
        found: set[str] = set()
        for path, module in self.named_modules():
            part, inside = self._part_of(path)
            for name, parameter in module.named_parameters(recurse=False):
                said = part.decays(f"{inside}.{name}".lstrip(".")) if part else None
                matrix = parameter.ndim >= 2 and "weight" in name and not isinstance(module, nn.Embedding)
                if matrix if said is None else said:
                    found.add(f"{path}.{name}")
        return found

    def _part_of(
        self, path: str
    ) -> tuple[VisionEncoder | Connector | LLMBackend | ModalityEncoder | None, str]:
        """The component that a module belongs to, and the module's path inside it."""
        name, _, inside = path.partition(".")
        part: Any = getattr(self, name) if name else None
        if part is self.modalities:
            name, _, inside = inside.partition(".")
            part = self.modalities[name] if name else None
        return part, inside

    @torch.no_grad()
    def generate(
        self,
        frames: Tensor,
        prompt: Sequence[int],
        *,
        limit: int,
        end: int,
        mode: Mode | None = None,
        signals: Mapping[str, Tensor] | None = None,
        visual: Tensor | None = None,
        question: int | None = None,
        key: str = "",
        settings: Generation = GREEDY,
        seed: int = 0,
        decode: Callable[[Sequence[int]], str] | None = None,
    ) -> list[int]:
        """The continuation of one sample: the token ids after the prompt, without `end`.

        frames: [T, 3, H, W] as for `encode`, T may be 0. prompt: token ids. limit: most new tokens. end: the id that
        ends the answer. signals: items [I, *item] of modalities beside frames; the others have none. visual: tokens
        [T, k, W] that were made of the frames already; `frames` are not looked at then. question: of a prompt that
        holds answers, its tokens before the first one; None: all of it. key: the sample's "source/id", which what is
        drawn at random for it depends on. settings: how each token is chosen. seed: of sampling. decode: ids to text,
        which `settings.stop` is looked for in; the token that completes a stop text is among those returned.
        """
        device = self._mean.device
        given = {
            name: Items(items.to(device), torch.tensor([len(items)]))
            for name, items in (signals or {}).items()
        }
        ids = torch.tensor([list(prompt)], device=device)
        mask = torch.zeros(ids.shape, dtype=torch.bool)
        asked = ids.shape[1] if question is None else question
        batch = Batch(
            frames=frames.to(device),
            counts=torch.tensor([len(frames)]),
            ids=ids,
            lengths=torch.tensor([ids.shape[1]]),
            supervised=mask,
            content=mask,
            sample_ids=(key,),
            signals=given,
            questions=torch.tensor([asked]),
        )
        seen = self.see(batch, mode).tokens if visual is None else visual
        shown = [tokens.flatten(0, 1)[None] for tokens in (seen, *self.hear(batch))]
        before, after = self.llm.embed(ids).tensor_split([asked if self.question_first else 0], 1)
        read = torch.cat([before, *shown, after], 1)
        end_of = End(limit, end, settings.stop, decode)
        return continued(self.llm, self.predict, read, end_of, settings, seed)

    def _hidden(self, visual: Tensor, signals: Sequence[Tensor], text: Tensor, layout: Layout) -> Tensor:
        """Hidden states of every position, flat: [rows * width, W]."""
        rows = layout.arrange(visual, signals, text)
        return self.llm.hidden(rows, lengths=layout.lengths).flatten(0, 1)

    def predicting(self, batch: Batch, mode: Mode | None = None) -> tuple[Tensor, Tensor]:
        """Hidden states [P, W] of the positions that predict a label, and the labels' places [P] in `batch.ids`,
        flattened."""
        layout = self.plan(batch)
        text = self.llm.embed(batch.ids.flatten().index_select(0, layout.source))
        hidden = self._hidden(self.see(batch, mode).tokens, self.hear(batch), text, layout)
        return hidden.index_select(0, layout.predictor), layout.label

    def _score(
        self,
        visual: Tensor,
        signals: Sequence[Tensor],
        text: Tensor,
        labels: Tensor,
        layout: Layout,
        each: EachLoss | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The loss of all labels [], and of every one [P], in nats. The head runs at the positions that predict one:
        never [B, S, vocabulary]. Many cross-entropies give their gradients at once; of other losses, the logits are
        made in chunks, and again in the backward pass."""
        hidden = self._hidden(visual, signals, text, layout).index_select(0, layout.predictor)
        vocabulary = self.llm.spec.vocabulary
        assert vocabulary is not None
        if each is None and torch.is_grad_enabled() and len(labels) * vocabulary > PLAIN_LOGITS:
            weight = self.llm.head_weight()
            if weight is not None:
                return self.summed_cross_entropy(hidden, weight, labels)
        losses = self._each(each or self.cross_entropy, hidden, labels, layout.label, vocabulary)
        return losses.sum(), losses

    def _each(
        self, each: EachLoss, hidden: Tensor, labels: Tensor, places: Tensor, vocabulary: int
    ) -> Tensor:
        chunk = max(1, LOGITS_AT_ONCE // vocabulary)
        if len(labels) <= chunk:
            return each(hidden, labels, places)
        pieces = [
            checkpoint(each, *piece, use_reentrant=False, preserve_rng_state=False)
            for piece in zip(*(one.split(chunk) for one in (hidden, labels, places)), strict=True)
        ]
        return torch.cat(pieces)

    def summed_cross_entropy(self, hidden: Tensor, weight: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """See `head_losses`."""
        return head_losses(hidden if self.logit_scale == 1 else self.logit_scale * hidden, weight, labels)

    def cross_entropy(self, hidden: Tensor, labels: Tensor, places: Tensor | None = None) -> Tensor:
        """Losses [P] of labels [P], at least in float32 whatever autocast makes of the head."""
        logits = self.predict(hidden)
        precise = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return F.cross_entropy(precise, labels, reduction="none")


def sample_key(name: str) -> int:
    """The number by which connectors know a sample, "source/id"; 0 for one without a name. See `Connector.reads`."""
    return derive(0, "sample", name) if name else 0
