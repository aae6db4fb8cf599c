"""How a model goes on with a text. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import Attribute, field, frozen
from attrs.validators import and_, ge, gt, le, optional


def giving_way(said: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that somebody says, and what of a recipe's gives way to them: its sampling to a search of beams, and its
    search to sampling. said: without what is left open."""
    beams, temperature = said.get("beams"), said.get("temperature")
    if isinstance(beams, int) and beams > 1 and temperature is None:
        return {"temperature": None, "top_p": None, **said}
    return {"beams": 1, **said} if temperature is not None else {**said}


def _texts(config: Any, attribute: Attribute[Any], texts: tuple[str, ...]) -> None:
    if not all(texts):
        raise ValueError(f"'{attribute.name}' must be texts of a character or more: {list(texts)}")


@frozen(kw_only=True)
class Generation:
    """How each next token is chosen; the default is the likeliest one (greedy).

    beams: of a beam search; 1 searches none. Beams are scored by their log-probability over their length, as
    transformers does with `length_penalty=1`. temperature: of sampling, which divides the logits; None samples none.
    top_p: sample from the likeliest tokens alone that together have this probability. stop: texts that end an answer,
    which is cut before them.
    """

    beams: int = field(default=1, validator=ge(1))
    temperature: float | None = field(default=None, validator=optional(and_(gt(0), le(100))))
    top_p: float | None = field(default=None, validator=optional(and_(gt(0), le(1))))
    stop: tuple[str, ...] = field(default=(), validator=_texts)

    def __attrs_post_init__(self) -> None:
        if self.temperature is not None and self.beams > 1:
            raise ValueError(
                f"temperature: a search of {self.beams} beams samples nothing; expected none with beams"
            )
        if self.top_p is not None and self.temperature is None:
            raise ValueError(
                "top_p: nothing is sampled without a temperature; expected temperature = 1.0, say, with it"
            )

    def cut(self, text: str) -> str:
        """The text before the first of the stop texts in it."""
        return text[: min((at for one in self.stop if (at := text.find(one)) >= 0), default=None)]
