"""Arithmetic that somebody types: `2*alpha`, `V*T + exp(P)`. Names, numbers, operators and a few functions; no code."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from attrs import frozen

_FUNCTIONS: Mapping[str, Callable[[Any], Any]] = {"exp": np.exp, "log": np.log, "sqrt": np.sqrt}
_OPERATORS: Mapping[type[ast.AST], Callable[..., Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.Pow: np.float_power,
    ast.UAdd: np.positive,
    ast.USub: np.negative,
}


@frozen
class Arithmetic:
    """An expression, and the names in it."""

    tree: ast.expr
    words: frozenset[str]

    @classmethod
    def parse(cls, text: str) -> Arithmetic | None:
        """None for what is no arithmetic with numbers, names and exp, log and sqrt."""
        try:
            tree = ast.parse(text, mode="eval").body
            return cls(tree, frozenset(_words(tree)))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None

    def value(self, values: Mapping[str, Any]) -> Any:
        """What it is where names have these values, numbers or arrays: in floating point, so that no number is without
        end."""
        return _value(self.tree, values)


def _words(node: ast.AST) -> set[str]:
    """The names in an expression. Raises ValueError for what is no arithmetic with numbers and `_FUNCTIONS`."""
    match node:
        case ast.Name(id=word):
            return {word}
        case ast.Constant(value=int() | float()) if not isinstance(node.value, bool):
            return set()
        case ast.UnaryOp(op=op, operand=inner) if type(op) in _OPERATORS:
            return _words(inner)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _words(left) | _words(right)
        case ast.Call(func=ast.Name(id=word), args=[inner], keywords=[]) if word in _FUNCTIONS:
            return _words(inner)
        case _:
            raise ValueError(ast.dump(node))


def _value(node: ast.AST, values: Mapping[str, Any]) -> Any:
    """As `_words` has let it through."""
    match node:
        case ast.Name(id=word):
            return np.float64(values[word])
        case ast.UnaryOp(op=op, operand=inner):
            return _OPERATORS[type(op)](_value(inner, values))
        case ast.BinOp(left=left, op=op, right=right):
            return _OPERATORS[type(op)](_value(left, values), _value(right, values))
        case ast.Call(func=ast.Name(id=word), args=[inner]):
            return _FUNCTIONS[word](_value(inner, values))
        case ast.Constant(value=int() | float() as number):
            try:
                return np.float64(number)
            except OverflowError:  # a whole number that is larger than any other
                return np.float64(np.inf)
        case _:
            raise AssertionError(ast.dump(node))
