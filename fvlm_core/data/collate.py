"""Samples to a batch: decode, tokenise, mask, pad."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from attrs import evolve, field, frozen
from numpy.typing import NDArray

from fvlm_core.data.batch import Batch, Items
from fvlm_core.data.modalities import count_items, read_items
from fvlm_core.interfaces.chat import Chat
from fvlm_core.interfaces.data import Sample, Turn
from fvlm_core.interfaces.specs import ModalitySpec
from fvlm_core.media.bad_sample import BadSample
from fvlm_core.media.frames import decode_frames


@frozen(eq=False)
class Example:
    """A sample ready for the model. frames: uint8 [T, 3, H, W]; the text arrays are [S], S after truncation.

    truncated: text tokens cut off, of both answers of a pair. spelled: control tokens that its texts spell out
    (`EncodedChat.spelled`), of both answers too. rejected: the sample with its worse answer, without frames.
    question: how many of its tokens stand before the first answer. signals: by modality, its items [I, *item]. nats:
    the least that its labels cost together (`Sample.nats`), None where that is unknown.
    """

    id: str
    frames: NDArray[np.uint8]
    ids: NDArray[np.int64]
    supervised: NDArray[np.bool_]
    content: NDArray[np.bool_]
    truncated: int = 0
    rejected: Example | None = None
    spelled: tuple[str, ...] = ()
    signals: Mapping[str, NDArray[np.float32]] = field(factory=dict[str, NDArray[np.float32]])
    nats: float | None = None
    question: int = 0


@frozen
class Preparer:
    """What turns samples into examples; data workers hold a copy.

    size: side in pixels of the frames. supervise: "all", "answer" or "content". max_tokens: text tokens kept.
    score_first: whether the first text token is a label where `supervise` covers it. image_repeats: how often a still
    image is shown. pairs: whether examples are pairs of answers. modalities: what else than frames the model reads.
    """

    chat: Chat
    size: int
    supervise: str
    max_tokens: int
    score_first: bool = False
    image_repeats: int = 1
    pairs: bool = False
    modalities: tuple[ModalitySpec, ...] = ()

    def example(self, sample: Sample) -> Example:
        """Decode and tokenise. Raises `BadSample`, also when truncation would leave nothing to learn from."""
        example = self._text(sample, sample.turns)
        if self.pairs:
            if not sample.rejected:
                raise BadSample(sample.id, "has no rejected answer")
            rejected = self._text(sample, sample.rejected)
            if np.array_equal(example.ids, rejected.ids):
                raise BadSample(sample.id, "the chosen and the rejected answer are the same, as far as kept")
            example = evolve(
                example,
                rejected=rejected,
                truncated=example.truncated + rejected.truncated,
                spelled=example.spelled or rejected.spelled,
            )
        return evolve(
            example,
            frames=decode_frames(sample, self.size, self.image_repeats),
            signals={spec.modality: read_items(sample, spec) for spec in self.modalities},
            nats=sample.nats if self._only_answer(sample) and not example.truncated else None,
        )

    def asks(self, turns: Sequence[Turn]) -> bool:
        """Whether a chat ends with the assistant's answer to a question that is kept whole."""
        return turns[-1].role == "assistant" and len(self.chat.prompt(turns[:-1])) <= self.max_tokens

    def _only_answer(self, sample: Sample) -> bool:
        """Whether the labels are those of the last turn, the only answer."""
        answers = [turn.role == "assistant" for turn in sample.turns]
        return self.supervise != "all" and sum(answers) == 1 and answers[-1]

    def _text(self, sample: Sample, turns: tuple[Turn, ...]) -> Example:
        """The example without its frames."""
        encoded = self.chat.encode(turns)
        kept = slice(0, self.max_tokens)
        content, answer = encoded.content[kept], encoded.answer[kept]
        supervised = {"all": np.ones_like(answer), "answer": answer, "content": content}[
            self.supervise
        ].copy()
        before = sample.visual or any(count_items(sample, spec) for spec in self.modalities)
        if not (self.score_first and before):  # nothing stands before it to predict it from
            supervised[:1] = False
        if not supervised.any():
            total = len(encoded.ids)
            cut = f"; {total} tokens were cut to {self.max_tokens}" if total > self.max_tokens else ""
            raise BadSample(sample.id, f"no token left to supervise{cut}")
        truncated = max(0, len(encoded.ids) - self.max_tokens)
        return Example(
            f"{sample.source}/{sample.id}",
            np.zeros((0, 3, self.size, self.size), dtype=np.uint8),
            encoded.ids[kept],
            supervised,
            content & supervised,
            truncated,
            spelled=encoded.spelled,
            question=min(encoded.question, self.max_tokens),
        )


def fitted(example: Example, frames: int, tokens: int, *, replaced: bool) -> Example:
    """An example no longer than was planned for its place.

    replaced: it stands in for a bad sample, which the plan was made for: of more frames, as many as there is room for
    are taken, evenly spaced over all of them; text that is longer is cut. Any other one that is too long is not what
    its source said. Raises `BadSample` for that, and when a replacement would lose all its frames or labels.
    """
    shown, length = len(example.frames), len(example.ids)
    if shown <= frames and length <= tokens:
        return example
    if not replaced:
        said = f"where {frames} and {tokens} were planned"
        raise BadSample(example.id, f"has {shown} frames and {length} text tokens, {said}")
    if shown and not frames:
        raise BadSample(example.id, "has frames, and stands in for a sample of text only")
    kept = slice(0, tokens)
    if not example.supervised[kept].any():
        raise BadSample(
            example.id, f"no token left to supervise in the {tokens} of the sample it stands in for"
        )
    chosen = np.arange(frames) * shown // max(1, frames) if shown > frames else np.arange(shown)
    return evolve(
        example,
        frames=example.frames[chosen],
        ids=example.ids[kept],
        supervised=example.supervised[kept],
        content=example.content[kept],
        question=min(example.question, tokens),
        truncated=example.truncated + max(0, length - tokens),
    )


def fillers(examples: Sequence[Example], frames: int, tokens: int, longest: int) -> list[Example]:
    """What makes a batch of exactly so many frames and text tokens: black frames and texts that nothing learns from.

    They are samples without a name, of at most `longest` tokens each, so that none is longer than the model can read.
    Nobody sees them: samples never see each other.
    """
    missing = frames - sum(len(example.frames) for example in examples)
    black = np.zeros((max(0, missing), *examples[0].frames.shape[1:]), dtype=np.uint8)
    rest = tokens - sum(len(example.ids) for example in examples)
    made: list[Example] = []
    while len(black) or rest > 0:
        length = min(rest, longest)
        nothing = np.zeros(length, dtype=np.bool_)
        made.append(Example("", black, np.zeros(length, dtype=np.int64), nothing, nothing))
        black, rest = black[:0], rest - length
    return made


def collate(examples: Sequence[Example]) -> Batch:
    """Examples to a batch; text is padded right to the longest. `fillers` come last, and have no id."""
    lengths = np.array([len(example.ids) for example in examples], dtype=np.int64)
    shape = (len(examples), int(lengths.max()))
    ids = np.zeros(shape, dtype=np.int64)
    supervised = np.zeros(shape, dtype=np.bool_)
    content = np.zeros(shape, dtype=np.bool_)
    for row, example in enumerate(examples):
        ids[row, : lengths[row]] = example.ids
        supervised[row, : lengths[row]] = example.supervised
        content[row, : lengths[row]] = example.content
    batch = Batch(
        frames=torch.from_numpy(np.concatenate([example.frames for example in examples])),
        counts=torch.tensor([len(example.frames) for example in examples]),
        ids=torch.from_numpy(ids),
        lengths=torch.from_numpy(lengths),
        questions=torch.tensor([example.question for example in examples]),
        supervised=torch.from_numpy(supervised),
        content=torch.from_numpy(content),
        sample_ids=tuple(example.id for example in examples if example.id),
        signals={
            name: _items([example.signals[name] for example in examples]) for name in examples[0].signals
        },
    )
    rejected = [example.rejected for example in examples if example.rejected is not None]
    if not rejected:
        return batch
    shared = {name: Items(items.data[:0], items.counts) for name, items in batch.signals.items()}
    return evolve(batch, rejected=evolve(collate(rejected), counts=batch.counts, signals=shared))


def _items(given: Sequence[NDArray[np.float32]]) -> Items:
    return Items(torch.from_numpy(np.concatenate(given)), torch.tensor([len(each) for each in given]))
