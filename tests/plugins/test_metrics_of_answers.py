"""The first-party metrics: equal to the published script and the library, on answers of every kind."""

from __future__ import annotations

import collections
import re
import string

import pytest
import sacrebleu
from fvlm_answer_metrics.answers import F1, ExactMatches, RightChoices
from fvlm_answer_metrics.config import BLEU, ChrF, ExactMatch, MultipleChoice, TokenF1
from fvlm_answer_metrics.ngrams import SentenceBLEU, SentenceChrF

from fvlm_core.interfaces.metric import Answer
from fvlm_core.testing.metric import ANSWERS
from fvlm_core.utils.multiple_choice import choices, chosen

PAIRS = [(one.generated, one.reference) for one in ANSWERS] + [
    ("the cat", "cat."),
    ("a the an", "The."),
    ("to be or not to be", "be to be"),
    ("It's 5 o'clock", "its 5 oclock"),
]


def answers(pairs: list[tuple[str, str]]) -> list[Answer]:
    return [Answer(str(at), "s", "?", said, right) for at, (said, right) in enumerate(pairs)]


# --- the evaluation script of SQuAD 2.0 (Rajpurkar et al.; CC BY-SA 4.0), as published, for comparison ---
def normalize_answer(s: str) -> str:
    def remove_articles(text: str) -> str:
        regex = re.compile(r"\b(a|an|the)\b", re.UNICODE)
        return re.sub(regex, " ", text)

    def white_space_fix(text: str) -> str:
        return " ".join(text.split())

    def remove_punc(text: str) -> str:
        exclude = set(string.punctuation)
        return "".join(ch for ch in text if ch not in exclude)

    return white_space_fix(remove_articles(remove_punc(s.lower())))


def compute_f1(a_gold: str, a_pred: str) -> float:
    gold_toks = normalize_answer(a_gold).split()
    pred_toks = normalize_answer(a_pred).split()
    common = collections.Counter(gold_toks) & collections.Counter(pred_toks)
    num_same = sum(common.values())
    if len(gold_toks) == 0 or len(pred_toks) == 0:
        return int(gold_toks == pred_toks)
    if num_same == 0:
        return 0
    precision = 1.0 * num_same / len(pred_toks)
    recall = 1.0 * num_same / len(gold_toks)
    return (2 * precision * recall) / (precision + recall)


# --- until here ---


def test_exact_match_is_that_of_squad() -> None:
    expected = [float(normalize_answer(said) == normalize_answer(right)) for said, right in PAIRS]
    assert ExactMatches(ExactMatch()).score(answers(PAIRS)) == expected
    assert 0 < sum(expected) < len(expected)
    plain = ExactMatches(ExactMatch(normalised=False)).score(answers([("The cat", "cat"), (" cat\n", "cat")]))
    assert plain == [0.0, 1.0]


def test_token_f1_is_that_of_squad() -> None:
    expected = [compute_f1(right, said) for said, right in PAIRS]
    assert F1(TokenF1()).score(answers(PAIRS)) == pytest.approx(expected, abs=1e-15)
    assert len({round(value, 6) for value in expected}) > 4


def test_ngram_scores_are_those_of_sacrebleu() -> None:
    bleu = [sacrebleu.sentence_bleu(said, [right]).score for said, right in PAIRS]
    assert SentenceBLEU(BLEU()).score(answers(PAIRS)) == bleu
    chrf = [sacrebleu.sentence_chrf(said, [right]).score for said, right in PAIRS]
    assert SentenceChrF(ChrF()).score(answers(PAIRS)) == chrf
    plus = [sacrebleu.sentence_chrf(said, [right], word_order=2).score for said, right in PAIRS]
    assert SentenceChrF(ChrF(word_order=2)).score(answers(PAIRS)) == plus != chrf
    loud = SentenceBLEU(BLEU(lowercase=True, order=1)).score(answers([("RED", "red")]))
    assert loud == [pytest.approx(100.0)]


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("B", 1), ("b", 1), ("(B)", 1), ("B.", 1), ("B. the blue circle", 1), ("Answer: B", 1), ("B, of course", 1),
        ("The answer is B.", 1), ("the correct answer is: (C)", 2), ("Option A", 0), ("the blue circle.", 1),
        ("The Blue Circle", 1), ("A red square moves", None), ("D", None), ("", None), ("Because", None),
        ("both of them", None), ("C\n", 2),
    ],
)  # fmt: skip
def test_an_answer_names_a_choice_by_letter_or_text(text: str, at: int | None) -> None:
    assert chosen(text, ("the red square", "the blue circle", "nothing")) == at


def test_choices_are_read_where_a_prompt_lists_them_from_a_on() -> None:
    assert choices("Which?\nChoices:\nA. red\n B) blue \n(C) none of them\nAnswer with the letter.") == (
        "red",
        "blue",
        "none of them",
    )
    assert choices("Which?\nA. red") == ()
    assert choices("Which?\nB. red\nC. blue") == ()
    assert choices("Which?\nA. red\nA. blue") == ()
    assert choices("A. Smith saw B. Jones.") == ()


def test_accuracy_is_of_multiple_choice_questions_alone() -> None:
    asked = ("x", "y", "z")
    said = [Answer(text, "s", "?", text, "B", asked, 1) for text in ("B", "(b)", "C", "y", "dunno")]
    scores = RightChoices(MultipleChoice()).score([*said, Answer("free", "s", "?", "B", "B")])
    assert scores == [1.0, 1.0, 0.0, 1.0, 0.0, None]
