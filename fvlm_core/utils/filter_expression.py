"""Conditions of `--where`, on runs and on points alike: `size=135M`, `best_loss < 1.3`, `training.lr >= 1e-3`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

from attrs import field, frozen

from fvlm_core.utils.errors import UsageError
from fvlm_core.utils.parse_number import parse_count

_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_CONDITION = re.compile(r"\s*([^=!<>~]*[^=!<>~\s])\s*(==|!=|!~|<=|>=|=|~|<|>)\s*(.*?)\s*", re.DOTALL)
_PATTERN = ("~", "!~")


@frozen
class Condition:
    """One condition. symbol: one of == != <= >= < > ~ !~; a single = is kept as ==. value: as written, without quotes;
    after ~ and !~, or with a * in it after = and !=, a pattern of words: * any letters, ? one. option: that asks, for
    messages."""

    key: str
    symbol: str
    value: str
    option: str = field(default="--where", kw_only=True, eq=False)

    @classmethod
    def parse(cls, text: str, option: str = "--where") -> Condition:
        """`KEY OP VALUE`, with or without spaces; quotes around the value keep its spaces. option: that asks, for
        messages. Raises `UsageError`."""
        found = _CONDITION.fullmatch(text)
        if found is None:
            raise UsageError(
                f'{option}: expected KEY OP VALUE, such as size=135M or "step >= 20k", with OP one of '
                f'= {" ".join([*_OPERATORS, *_PATTERN])}; got "{text}"'
            )
        key, symbol, value = found.groups()
        if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
            value = value[1:-1]
        elif not value or value[0] in "=<>!":
            raise UsageError(f'{option} "{text}": expected a value after {symbol}, got "{value}"')
        return cls(key, "==" if symbol == "=" else symbol, value, option=option)

    @property
    def is_pattern(self) -> bool:
        """Whether it is met by all words of one form."""
        return self.symbol in _PATTERN or (self.symbol in ("==", "!=") and "*" in self.value)

    def matches(self, word: str) -> bool:
        """Whether a word is of the pattern's form, whatever the symbol."""
        return fnmatchcase(word, self.value)

    def compare(self, found: Any, wanted: Any) -> Any:
        """`found OP wanted`; of arrays, element by element."""
        return _OPERATORS[self.symbol](found, wanted)

    def number(self) -> float:
        """The value, for a key that holds numbers. Raises `UsageError` when it is none."""
        number = None if self.symbol in _PATTERN else parse_count(self.value)
        if number is None:
            raise UsageError(f'{self.option} "{self}": {self.key} is a number; got "{self.value}"')
        return number

    def text(self) -> str:
        """The value, for a key that holds words. Raises `UsageError` when they would have to be ordered."""
        if self.symbol not in ("==", "!="):
            raise UsageError(f'{self.option} "{self}": {self.key} is text; compare it with = or !=')
        return self.value

    def __str__(self) -> str:
        return f"{self.key} {self.symbol} {self.value}"
