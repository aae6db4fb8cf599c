"""N-gram scores of captions by sacrebleu, answer by answer, from 0 to 100.

BLEU: Papineni et al. (2002), ACL, with the exponential smoothing and the effective order that sacrebleu gives single
sentences (Post 2018, arXiv:1804.08771); the mean over answers is no corpus BLEU, whose counts are summed first. chrF:
Popović (2015), WMT.
"""

from __future__ import annotations

from collections.abc import Sequence

from sacrebleu.metrics.bleu import BLEU as LibraryBLEU
from sacrebleu.metrics.chrf import CHRF as LibraryChrF

from fvlm_answer_metrics.config import BLEU, ChrF
from fvlm_core.plugin_api import Answer, Metric


class SentenceBLEU(Metric):
    """BLEU of each answer."""

    column = "bleu"

    def __init__(self, config: BLEU) -> None:
        self._library = LibraryBLEU(
            lowercase=config.lowercase,
            tokenize=config.tokenizer,
            max_ngram_order=config.order,
            effective_order=True,
        )

    def score(self, answers: Sequence[Answer]) -> list[float]:
        """Of each answer."""
        return [self._library.sentence_score(one.generated, [one.reference]).score for one in answers]


class SentenceChrF(Metric):
    """chrF of each answer."""

    column = "chrf"

    def __init__(self, config: ChrF) -> None:
        self._library = LibraryChrF(
            char_order=config.order,
            word_order=config.word_order,
            beta=config.beta,
            lowercase=config.lowercase,
        )

    def score(self, answers: Sequence[Answer]) -> list[float]:
        """Of each answer."""
        return [self._library.sentence_score(one.generated, [one.reference]).score for one in answers]
