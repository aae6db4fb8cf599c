"""Loss masks over random conversations: every supervised token belongs to the right turn, and none is lost."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest
from fvlm_smollm2 import chat
from fvlm_smollm2.chat import SYSTEM, ChatML
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from fvlm_core.data.collate import Preparer
from fvlm_core.media.bad_sample import BadSample
from fvlm_core.plugin_api import Sample, Turn

CORPUS = [
    "The cat sat on the mat.\n\nThe dog did not.\n\n\nYes. No. assistant\n\nuser\n\nsystem\n\n",
    "A long answer, in several words, repeated: word word word word.  Two  spaces.\r\n\tTab\n \n",
    "Ein Käfer läuft – 虫 🐞 über das Blatt; naïve café.",
]
PIECES = [
    "\n",
    "\n\n",
    " ",
    "",
    "word",
    "The cat",
    "!",
    "虫",
    "🐞",
    "é",
    "<|im",
    "assistant\n",
    "12",
    "\t",
    "Yes.",
]
text = st.lists(st.sampled_from(PIECES), max_size=6).map("".join) | st.text(max_size=12)
long_text = st.builds(str.__mul__, st.sampled_from(["word ", "\n", "虫"]), st.integers(20, 60))
exchange = st.tuples(text | long_text, text)
conversation = st.tuples(st.none() | text, st.lists(exchange, min_size=1, max_size=4), st.booleans())

Drawn = tuple[str | None, list[tuple[str, str]], bool]


@pytest.fixture(scope="module")
def form(tmp_path_factory: pytest.TempPathFactory) -> ChatML:
    """Byte-level BPE like SmolLM2's, with merges over white space, among them of newlines."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )  # type: ignore[assignment]
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        min_frequency=1,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS * 20, trainer)
    file = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.save(str(file))
    return chat.load(file)


def turns_of(drawn: Drawn) -> list[Turn]:
    """A system turn or none, then questions and answers; the last question may be left open."""
    system, exchanges, unanswered = drawn
    turns = [] if system is None else [Turn("system", system)]
    for question, answer in exchanges:
        turns += [Turn("user", question), Turn("assistant", answer)]
    return turns[:-1] if unanswered and len(exchanges) > 1 else turns


def spans(form: ChatML, ids: np.ndarray, mask: np.ndarray) -> list[tuple[bool, str]]:
    """The text of each run of tokens that are all in the mask or all out of it."""
    runs = groupby(zip(ids.tolist(), mask.tolist(), strict=True), key=lambda pair: pair[1])
    return [
        (inside, form.tokenizer.decode([token for token, _ in run], skip_special_tokens=False))
        for inside, run in runs
    ]


def check(form: ChatML, turns: list[Turn]) -> None:
    encoded = form.encode(turns)
    answers = [turn.content for turn in turns if turn.role == "assistant"]
    whole = "" if turns[0].role == "system" else f"<|im_start|>system\n{SYSTEM}<|im_end|>\n"
    whole += "".join(f"<|im_start|>{turn.role}\n{turn.content}<|im_end|>\n" for turn in turns)
    answer_runs = spans(form, encoded.ids, encoded.answer)
    assert "".join(piece for _, piece in answer_runs) == whole
    found = [piece for inside, piece in answer_runs if inside]
    assert len(found) == len(answers)
    for piece, answer in zip(found, answers, strict=True):
        # A token may join the newline of the template and the answer's first: it is the answer's.
        joined = answer[:1].isspace() and piece == f"\n{answer}<|im_end|>\n"
        assert joined or piece == f"{answer}<|im_end|>\n"
    for inside, piece in answer_runs:
        if not inside:
            assert (
                piece.endswith(("<|im_start|>assistant\n", "<|im_start|>assistant"))
                or piece == answer_runs[-1][1]
            )
    said = [piece for inside, piece in spans(form, encoded.ids, encoded.content) if inside]
    for piece, answer in zip(said, [answer for answer in answers if answer], strict=True):
        assert piece in (answer, f"\n{answer}")
    assert not (encoded.content & ~encoded.answer).any()


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(drawn=conversation)
def test_every_supervised_token_belongs_to_an_answer_and_none_is_lost(form: ChatML, drawn: Drawn) -> None:
    check(form, turns_of(drawn))


@pytest.mark.soak
@settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(drawn=conversation)
def test_no_token_is_lost_in_ten_thousand_conversations(form: ChatML, drawn: Drawn) -> None:
    check(form, turns_of(drawn))


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(drawn=conversation, limit=st.integers(8, 80), supervise=st.sampled_from(["all", "answer", "content"]))
def test_truncation_is_counted_and_moves_no_label(
    form: ChatML, drawn: Drawn, limit: int, supervise: str
) -> None:
    turns = turns_of(drawn)
    whole = form.encode(turns)
    mask = {"all": np.ones_like(whole.answer), "answer": whole.answer, "content": whole.content}[
        supervise
    ].copy()
    mask[0] = False
    try:
        example = Preparer(form, 8, supervise, limit).example(Sample("x", "x", tuple(turns)))
    except BadSample as error:
        assert "no token left to supervise" in error.reason  # noqa: PT017
        assert not mask[:limit].any()
        return
    assert len(example.ids) + example.truncated == len(whole.ids)
    assert len(example.ids) == min(limit, len(whole.ids))
    assert example.supervised.tolist() == mask[:limit].tolist()
    assert not (example.content & ~whole.content[:limit]).any()
