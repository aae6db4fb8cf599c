"""One of several words on the command line; a mistyped one is told the nearest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click


class NearestChoice(click.Choice[str]):
    """As click's, with the word that was probably meant.

    synonyms: other words, which are not taken, and what they mean.
    """

    def __init__(self, words: Sequence[str], synonyms: Mapping[str, str] | None = None) -> None:
        super().__init__(words)
        self.synonyms = dict(synonyms or {})

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """What was expected, and what is near."""
        from fvlm_registry.nearest import did_you_mean

        meant = self.synonyms.get(str(value).lower())
        near = f': did you mean "{meant}"?' if meant else did_you_mean(str(value), self.choices)
        return super().get_invalid_choice_message(value, ctx).removesuffix(".") + (near or ".")
