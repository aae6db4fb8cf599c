"""The question may come before the frames: what then stands where, who sees whom, and what is looked for."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from attrs import evolve
from small import batch, connected, only
from torch import Tensor

from fvlm_core.data.batch import Batch
from fvlm_core.data.collate import Preparer, collate
from fvlm_core.model.answer import answer
from fvlm_core.model.byte_tokenizer import ByteChat
from fvlm_core.model.gaze import attention_entropy
from fvlm_core.model.vlm import VLM
from fvlm_core.plugin_api import Sample, Turn
from fvlm_core.recipes.schema import Model

MIX = batch([3, 0, 1, 5, 2], [7, 9, 4, 6, 8], questions=[3, 2, 0, 4, 8])
FOVEATED = ("foveated", "foveated, 3 queries", "foveated, shallow")
HISTORY = (Turn("user", "Who?"), Turn("assistant", "A cat."), Turn("user", "Where?"))


def model(name: str = "foveated", *, first: bool = True, **changes: Any) -> VLM:
    """A small VLM that reads the question first."""
    return connected(name, whole={"question_first": first}, **changes)


def asked(one: Batch, *, otherwise: int = 1) -> Batch:
    """The same sample with another question: every token of it is the next one."""
    ids = one.ids.clone()
    question = int(one.questions[0])
    ids[0, :question] = (ids[0, :question] + otherwise) % 50
    return evolve(one, ids=ids)


@torch.no_grad()
@pytest.mark.parametrize("name", ["pooled", "foveated, 3 queries", "last-frames"])
def test_a_sample_is_its_question_what_is_seen_and_the_rest(name: str) -> None:
    vlm = model(name).double()
    for sample, found in enumerate(vlm.logits(MIX)):
        one = only(MIX, sample)
        question, rest = vlm.llm.embed(one.ids[0]).tensor_split([int(one.questions[0])])
        row = torch.cat([question, vlm.see(one).tokens.flatten(0, 1), rest])
        expected = vlm.llm.logits(vlm.llm.hidden(row[None])[0])
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
        labels = one.supervised[0].nonzero()[:, 0]
        labels = labels[labels > 0]  # nothing stands before the first one
        places = labels + (len(row) - one.ids.shape[1]) * (labels >= len(question))
        nats = -expected.log_softmax(-1)[places - 1, one.ids[0, labels]]
        torch.testing.assert_close(vlm(one).loss, nats.sum())
        assert vlm(one).tokens == len(labels)


def test_pixels_do_not_reach_the_question_and_the_question_reaches_all_that_follows() -> None:
    vlm, one = model("pooled"), only(MIX, 3)  # 4 tokens, 5 frames of 4 tokens, 2 tokens
    frames, rest = one.frames.clone(), one.ids.clone()
    frames[2] ^= 255
    rest[0, 5] = (rest[0, 5] + 1) % 50
    with torch.no_grad():
        before, seen, said, after = (
            vlm.logits(each)[0]
            for each in (one, evolve(one, frames=frames), evolve(one, ids=rest), asked(one))
        )
    assert torch.equal(before[:12], seen[:12])
    assert not torch.isclose(before[12:], seen[12:]).all(1).any()
    assert torch.equal(before[:25], said[:25])
    assert not torch.isclose(before, after).all(1).any()


@pytest.mark.parametrize("name", FOVEATED)
def test_another_question_is_looked_for_with_other_queries(name: str) -> None:
    one = only(MIX, 3)
    for first in (True, False):
        vlm = model(name, first=first)
        before, after = (vlm.see(each).diagnostics for each in (one, asked(one)))
        assert torch.equal(before["z_coarse"], after["z_coarse"])  # the coarse look is everybody's
        changed = ~torch.isclose(before["queries"], after["queries"], atol=1e-4).all(1)
        assert changed.tolist() == [first] * len(before["queries"])  # the first frame's too
        looks = [vlm.looks(each)["fine"] for each in (one, asked(one))]
        assert torch.equal(looks[0][0], looks[1][0]) != first
        entropy = [attention_entropy(vlm, each)["fine"] for each in (one, asked(one))]
        assert torch.equal(*entropy) != first


@torch.no_grad()
@pytest.mark.parametrize("name", FOVEATED)
def test_queries_are_what_the_language_model_says_after_question_and_frames(name: str) -> None:
    vlm, one = model(name).double(), only(MIX, 3)
    n = vlm.connector.spec.tokens_per_frame
    read = lambda what: vlm.connector.get_parameter(what)
    to_query = lambda state: state @ read("llm_to_query.weight").T + read("llm_to_query.bias")
    coarse = vlm.see(one, "coarse_only").tokens.flatten(0, 1)
    states = vlm.llm.hidden(torch.cat([vlm.llm.embed(one.ids[0, :4]), coarse])[None])[0]
    first = read("q_init") + to_query(states[3])
    expected = torch.cat([first, to_query(states[4 : 4 + 4 * n])])
    torch.testing.assert_close(vlm.see(one).diagnostics["queries"], expected, rtol=0, atol=1e-12)


def test_a_sample_that_asks_nothing_is_looked_at_as_before() -> None:
    mute = evolve(MIX, questions=torch.zeros_like(MIX.questions))
    for name in FOVEATED:
        for mode in ("coarse_fine", "autoregressive"):
            before, after = model(name, first=False).see(MIX, mode).tokens, model(name).see(mute, mode).tokens
            assert torch.equal(before, after)


@pytest.mark.parametrize("name", FOVEATED)
def test_true_inference_is_what_fine_passes_settle_on(name: str) -> None:
    """Whatever the lengths of the questions, with gradients."""
    stepwise, settled = model(name).double(), model(name, fine_iterations=5).double()
    torch.testing.assert_close(
        stepwise.see(MIX, "autoregressive").tokens, settled.see(MIX, "coarse_fine").tokens, rtol=0, atol=1e-12
    )
    found: list[Tensor | None] = []
    for vlm, mode in ((stepwise, "autoregressive"), (settled, "coarse_fine")):
        vlm(MIX, mode).loss.backward()
        found.append(vlm.connector.get_parameter("llm_to_query.weight").grad)
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-9)


@torch.no_grad()
@pytest.mark.parametrize("name", ["foveated", "foveated, 3 queries", "perceiver", "last-frames"])
def test_what_is_generated_is_likeliest_at_every_place(name: str) -> None:
    """Through the cache, against whole passes; the questions of a chat with an answer in it end before that."""
    vlm, one = model(name).double(), only(MIX, 3)
    for question in (4, None):
        said = vlm.generate(one.frames, one.ids[0].tolist(), limit=6, end=-1, question=question)
        ids = torch.tensor([[*one.ids[0].tolist(), *said]])
        unscored = torch.zeros_like(ids, dtype=torch.bool)
        whole = evolve(one, ids=ids, supervised=unscored, content=unscored, sample_ids=("",))
        whole = evolve(whole, lengths=torch.tensor([12]), questions=torch.tensor([question or 6]))
        assert vlm.logits(whole)[0][-7:-1].argmax(-1).tolist() == said


@torch.no_grad()
def test_a_streams_cache_goes_on_with_the_rest_of_the_text() -> None:
    vlm, one = model(), only(MIX, 3)
    stream: Any = vlm.stream(one.ids[0, :4].tolist())
    for frame in one.frames:
        stream.push(vlm.normalise(frame[None]))
    said = vlm.llm.logits(vlm.llm.hidden(vlm.llm.embed(one.ids[:, 4:]), cache=stream.cache))[0]
    torch.testing.assert_close(said, vlm.logits(one, "autoregressive")[0][-2:], rtol=0, atol=1e-5)


def test_an_answer_is_asked_for_after_the_first_question() -> None:
    """Of a chat with a history the first question alone comes first."""
    vlm, chat, given = model("pooled"), ByteChat(), list[dict[str, Any]]()
    vlm.generate = lambda *_, **how: given.append(how) or []  # type: ignore[method-assign]
    frames = torch.zeros(2, 3, 42, 42, dtype=torch.uint8)
    for turns in (HISTORY[:1], HISTORY):
        answer(vlm, chat, turns, frames, limit=1)
    assert [how["question"] for how in given] == [None, len(chat.prompt(HISTORY[:1]))]


def test_a_batch_knows_where_the_first_answer_of_each_chat_begins() -> None:
    chat = ByteChat()
    preparer = Preparer(chat, 42, "answer", 40)
    samples = [
        Sample("a", "s", (*HISTORY, Turn("assistant", "On the mat, where else would a cat be?"))),
        Sample("b", "s", (Turn("system", "Short."), Turn("user", "Who is it?"), Turn("assistant", "Me."))),
    ]
    made = collate([preparer.example(sample) for sample in samples])
    assert made.questions.tolist() == [
        len(chat.prompt(each.turns[:at])) for each, at in zip(samples, (1, 2), strict=True)
    ]
    assert [part.questions.tolist() for _, part in made.cut(2)] == [[7], [21]]
    unanswered = chat.encode([Turn("user", "Who?")])
    assert unanswered.question == 0
    assert not np.any(unanswered.answer)


def test_the_first_token_is_not_scored_there() -> None:
    chosen: Any = object()
    with pytest.raises(ValueError, match=r"^score_first_token: nothing stands before a first question"):
        Model(encoder=chosen, connector=chosen, llm=chosen, question_first=True, score_first_token=True)


@pytest.mark.parametrize("pack", [False, True])
def test_both_answers_of_a_pair_follow_the_same_question(pack: bool) -> None:
    vlm = connected("foveated", whole={"question_first": True, "pack": pack}).double()
    worse = batch(MIX.counts.tolist(), MIX.lengths.tolist(), questions=MIX.questions.tolist(), seed=1)
    own = torch.arange(9) < MIX.questions[:, None]
    worse = evolve(worse, ids=torch.where(own, MIX.ids, worse.ids), frames=worse.frames[:0])
    both = vlm(evolve(MIX, rejected=worse))
    assert both.rejected is not None
    alone = vlm(evolve(worse, frames=MIX.frames))
    torch.testing.assert_close(both.rejected.per_sample, alone.per_sample)
    torch.testing.assert_close(both.per_sample, vlm(MIX).per_sample)


def test_an_exported_model_is_told_where_questions_end() -> None:
    from fvlm_core.hf import FvlmConfig, FvlmModel

    vlm = model("pooled")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = FvlmModel(FvlmConfig(vocab_size=50), vlm)
    ids = MIX.ids
    given = {
        "pixel_values": MIX.frames, "input_ids": ids, "frame_counts": MIX.counts,
        "attention_mask": torch.arange(ids.shape[1]) < MIX.lengths[:, None],
    }  # fmt: skip
    with pytest.raises(
        ValueError, match=r"^question_lengths: this model reads the question before the frames"
    ):
        exported(**given)
    labels = ids.masked_fill(~MIX.supervised, -100)
    out = exported(**given, labels=labels, question_lengths=MIX.questions)
    losses = vlm(MIX)
    torch.testing.assert_close(out.loss, losses.loss / losses.tokens)
    for row, logits, length, question in zip(
        out.logits, vlm.logits(MIX), MIX.lengths.tolist(), MIX.questions.tolist(), strict=True
    ):
        assert torch.equal(row[:question], logits[:question])
        assert torch.equal(row[question:length], logits[len(logits) - length + question :])
