"""Where the contract says what a check tries: file and line of a sentence in the interfaces."""

from __future__ import annotations

import ast
import inspect
from functools import cache
from pathlib import Path
from typing import Any

from attrs import frozen


@frozen
class Clause:
    """A sentence of the contract.

    file: as it is imported ("fvlm_core/interfaces/encoder.py"). line: 1-based. owner: the class or method that says it.
    """

    file: str
    line: int
    owner: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.owner}: {self.text}"


def clause(owner: Any, phrase: str) -> Clause:
    """The sentence of `owner`, a class or function, that begins with or holds `phrase`.

    An empty phrase is the owner's first line. Raises `LookupError` when there is no such sentence: the contract was
    rewritten, and the check has to follow.
    """
    file = Path(inspect.getsourcefile(owner) or "")
    lines, spans = _source(str(file))
    name: str = owner.__qualname__
    first, last = spans[name]
    module: str = owner.__module__
    shown = "/".join(file.parts[-1 - module.count(".") :])
    if not phrase:
        return Clause(shown, first, name, lines[first - 1].strip().rstrip(":"))
    for at in range(first, last + 1):
        if phrase in lines[at - 1]:
            return Clause(shown, at, name, _sentence(lines[at - 1 : last], phrase))
    raise LookupError(f'{shown}: {name} no longer says "{phrase}"')


@cache
def _source(file: str) -> tuple[list[str], dict[str, tuple[int, int]]]:
    """The lines of a module, and first and last line of every class and function in it."""
    text = Path(file).read_text(encoding="utf-8")
    spans: dict[str, tuple[int, int]] = {}

    def walk(body: list[ast.stmt], inside: str) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                spans[inside + node.name] = (node.lineno, node.end_lineno or node.lineno)
                walk(node.body, f"{inside}{node.name}.")

    walk(ast.parse(text).body, "")
    return text.splitlines(), spans


def _sentence(lines: list[str], phrase: str) -> str:
    """From the phrase to the end of its sentence, which may go on in the lines below."""
    first, *rest = lines
    text = phrase + first.partition(phrase)[2]
    for line in rest:
        if ". " in text or text.rstrip().endswith((".", ":", '"""')) or not line.strip():
            break
        text += f" {line.strip()}"
    return " ".join(text.partition(". ")[0].replace('"""', "").split()).rstrip(".:")
