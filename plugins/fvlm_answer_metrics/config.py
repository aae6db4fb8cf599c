"""What a recipe may say of these metrics. Imports nothing heavy."""

from __future__ import annotations

from typing import Literal

from attrs import field, frozen
from attrs.validators import ge, gt

Tokenizer = Literal["13a", "intl", "char", "zh", "none"]


@frozen(kw_only=True)
class ExactMatch:
    """normalised: compare as SQuAD does, without case, punctuation and articles; else the texts as they are."""

    normalised: bool = True


@frozen(kw_only=True)
class TokenF1:
    """SQuAD's token F1: it has no settings."""


@frozen(kw_only=True)
class MultipleChoice:
    """Accuracy on multiple-choice questions: it has no settings."""


@frozen(kw_only=True)
class BLEU:
    """order: longest n-grams that are counted. tokenizer: sacrebleu's: `13a` of WMT, `intl` for every script with words
    between spaces, `zh` for Chinese, `char` for single characters. lowercase: whether case is left aside."""

    order: int = field(default=4, validator=ge(1))
    tokenizer: Tokenizer = "13a"
    lowercase: bool = False


@frozen(kw_only=True)
class ChrF:
    """order: longest n-grams of characters. word_order: longest n-grams of words beside them; 2 is chrF++. beta: how
    much more recall counts than precision. lowercase: whether case is left aside."""

    order: int = field(default=6, validator=ge(1))
    word_order: int = field(default=0, validator=ge(0))
    beta: int = field(default=2, validator=gt(0))
    lowercase: bool = False
