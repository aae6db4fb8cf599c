"""What this plugin offers."""

from __future__ import annotations

from collections.abc import Iterator

from fvlm_core.plugin_api import Component, hookimpl

_WITH_SACREBLEU = "by sacrebleu (pip install 'fvlm[metrics]')"


@hookimpl
def fvlm_metrics() -> Iterator[Component]:
    """Five of them; n-gram scores need a library."""
    for name, module, build, config, summary in (
        ("exact-match", "answers", "ExactMatches", "ExactMatch", "whether the answer is the right one"),
        ("token-f1", "answers", "F1", "TokenF1", "words that the answer and the right one share, SQuAD's F1"),
        (
            "multiple-choice",
            "answers",
            "RightChoices",
            "MultipleChoice",
            "share of the questions answered right",
        ),
        (
            "bleu",
            "ngrams",
            "SentenceBLEU",
            "BLEU",
            f"n-grams of words, BLEU of each answer, {_WITH_SACREBLEU}",
        ),
        ("chrf", "ngrams", "SentenceChrF", "ChrF", f"n-grams of characters, chrF, {_WITH_SACREBLEU}"),
    ):
        yield Component(
            name,
            target=f"fvlm_answer_metrics.{module}:{build}",
            config=f"fvlm_answer_metrics.config:{config}",
            summary=summary,
        )
