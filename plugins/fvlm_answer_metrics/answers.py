"""Whether an answer is the right one: exact match, token F1, the right choice.

Exact match and F1 are those of SQuAD (Rajpurkar et al. 2016, arXiv:1606.05250, section 6.1), by the evaluation script
of SQuAD 2.0 with one reference; scores are in [0, 1].
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

from fvlm_answer_metrics.config import ExactMatch, MultipleChoice, TokenF1
from fvlm_core.plugin_api import Answer, Metric, chosen

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


class ExactMatches(Metric):
    """1 for an answer that is the reference, else 0."""

    column = "exact_match"

    def __init__(self, config: ExactMatch) -> None:
        self._plain = normalised if config.normalised else str.strip

    def score(self, answers: Sequence[Answer]) -> list[float]:
        """Of each answer."""
        return [float(self._plain(one.generated) == self._plain(one.reference)) for one in answers]


class F1(Metric):
    """The harmonic mean of precision and recall of the answer's words, counted with repetitions."""

    column = "token_f1"

    def __init__(self, config: TokenF1) -> None:
        pass

    def score(self, answers: Sequence[Answer]) -> list[float]:
        """Of each answer."""
        return [token_f1(one.generated, one.reference) for one in answers]


class RightChoices(Metric):
    """1 for an answer that names the right choice, 0 for one that names another or none; other questions have none."""

    column = "multiple_choice"

    def __init__(self, config: MultipleChoice) -> None:
        pass

    def score(self, answers: Sequence[Answer]) -> list[float | None]:
        """Of each answer to a multiple-choice question."""
        return [
            float(chosen(one.generated, one.choices) == one.right) if one.choices else None for one in answers
        ]


def normalised(text: str) -> str:
    """Lower case, without punctuation and the articles of English, one space between words."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def token_f1(said: str, reference: str) -> float:
    """2 P R / (P + R) over normalised words; 1 where neither text has any, 0 where one has none."""
    ours, theirs = (Counter(normalised(text).split()) for text in (said, reference))
    if not ours or not theirs:
        return float(ours == theirs)
    return 2 * (ours & theirs).total() / (ours.total() + theirs.total())
