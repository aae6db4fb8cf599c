"""TOML that remembers its lines: every value knows the file and line it was written in."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any, cast

from attrs import define, field

from fvlm_core.utils.errors import Problem, Problems
from fvlm_core.utils.regular_files import open_regular

LARGEST = 2**20
"""Bytes of a recipe; ten thousand runs have about as many."""

MOST_VALUES = 100_000
"""In the lists of one recipe, all together."""

DEEPEST = 32
"""Tables and arrays inside each other; a recipe has about six."""

Key = tuple[str | int, ...]
"""A path into nested tables and arrays: ("data", "sources", 0, "name")."""


@define
class Located:
    """A TOML value with its place. value: a dict of Located, a list of Located, or a scalar.

    file: as shown to the user. base: the folder that relative paths in the value start from. line: 1-based; None
    for values that came from the command line.
    """

    value: Any
    file: str = ""
    line: int | None = None
    base: Path = field(factory=Path.cwd)

    def plain(self) -> Any:
        """The value without its places."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value

    def at(self, key: Key) -> Located:
        """The value at `key`, or its nearest enclosing one that exists."""
        here = self
        for part in key:
            try:
                here = here.value[part]
            except (KeyError, IndexError, TypeError):
                break
        return here

    def problem(self, key: Key, text: str) -> Problem:
        """A problem at `key`, placed as exactly as the file allows."""
        place = self.at(key)
        return Problem(text, file=place.file, line=place.line, key=dotted(key))


def from_plain(value: Any, shown: str) -> Located:
    """Values of Python as if they stood in a file that is shown as `shown`: mappings, lists and tuples, paths, and
    numbers and texts, of numpy too."""
    if isinstance(value, Mapping):
        table = cast("Mapping[str, Any]", value)
        return Located({k: from_plain(v, shown) for k, v in table.items()}, shown)
    if isinstance(value, list | tuple):
        items = cast("Sequence[Any]", value)
        return Located([from_plain(v, shown) for v in items], shown)
    if isinstance(value, PathLike):
        return Located(fspath(cast("PathLike[str]", value)), shown)
    numpy = sys.modules.get("numpy")  # whoever has such a number has imported it
    if numpy is not None and isinstance(value, numpy.generic):
        return Located(value.item(), shown)
    return Located(value, shown)


def dotted(key: Key) -> str:
    """A key as people write it: ("runs", 0, "id") -> "runs[0].id"."""
    text = ""
    for part in key:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


def read_toml(file: Path, shown: str | None = None) -> Located:
    """Read one TOML file. Raises `Problems` when it is missing or not TOML."""
    shown = shown or str(file)
    try:
        with open_regular(file, LARGEST) as handle:
            text = handle.read(LARGEST).decode(
                "utf-8-sig"
            )  # editors on Windows begin a file with a byte order mark
    except FileNotFoundError:
        raise Problems([Problem("no such file", file=shown)]) from None
    except OSError as error:
        raise Problems([Problem(f"cannot be read: {error.strerror}", file=shown)]) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        wrong = f"byte 0x{error.object[error.start]:02x} is not UTF-8; save the file in that encoding"
        raise Problems([Problem(wrong, file=shown, line=line)]) from None
    except ValueError as error:  # no file, or too large a one
        raise Problems([Problem(f"cannot be read: {error}", file=shown)]) from None
    document = parse_toml(text, shown)
    return _locate(document, (), _lines(text), shown, file.resolve().parent, 1)


class InvalidTOML(Problems):
    """A text that is no TOML at all."""


def parse_toml(text: str, shown: str, *, lines: bool = True) -> dict[str, Any]:
    """The tables of a TOML text, no deeper than `DEEPEST`, with whole numbers of at most 64 bits, as TOML has them.

    shown: the file, or the option, as users know it. lines: whether problems have one. Raises `Problems`.
    """

    def problem(reason: str, line: int) -> Problems:
        return Problems([Problem(reason, file=shown, line=line if lines else None)])

    commas = text.count(",")  # before anything is made of them
    if commas > MOST_VALUES:
        line = _line_of(text, lambda line: line.count(","))
        raise problem(f"lists of {commas:,} values; expected at most {MOST_VALUES:,} in one recipe", line)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line, reason = _toml_error(str(error), text)
        raise InvalidTOML(problem(f"not valid TOML: {reason}", line).problems) from None
    except RecursionError:
        document = None
    except ValueError:  # Python's own, of numbers with thousands of digits
        document = {"": 2**63}
    if document is None or _too_deep(document):
        line = _line_of(text, lambda line: max(_nesting(line), line.partition("=")[0].count(".")))
        raise problem(f"nested deeper than {DEEPEST} tables and arrays; nothing in a recipe is", line)
    if any(isinstance(leaf, int) and not -(2**63) <= leaf < 2**63 for leaf in _leaves(document)):
        line = _line_of(text, lambda line: max(map(len, re.findall(r"[0-9A-Fa-f_]+", line)), default=0))
        raise problem("a whole number of more than 64 bits; expected at most 9223372036854775807", line)
    return document


def _too_deep(document: Any) -> bool:
    """Whether something is nested deeper than `DEEPEST`."""
    level: list[Any] = [document]
    for _ in range(DEEPEST + 1):
        level = [child for value in level for child in _children(value)]
        if not level:
            return False
    return True


def _leaves(document: Any) -> Iterator[Any]:
    waiting = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict | list):
            waiting += _children(value)
        else:
            yield value


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _nesting(line: str) -> int:
    return line.count("[") + line.count("{")


def _line_of(text: str, measure: Callable[[str], int]) -> int:
    """The number of the line that has most of something."""
    found = text.splitlines() or [""]
    return max(range(len(found)), key=lambda at: measure(found[at])) + 1


def _toml_error(message: str, text: str) -> tuple[int, str]:
    place = re.search(r" \(at line (\d+), column (\d+)\)$", message)
    if place is None:  # "(at end of document)"
        return len(text.splitlines()), message
    return int(place[1]), f"{message[: place.start()]} (column {place[2]})"


def _locate(value: Any, key: Key, lines: dict[Key, int], shown: str, base: Path, above: int) -> Located:
    line = lines.get(key, above)
    children: Any = value
    if isinstance(value, dict):
        children = {k: _locate(v, (*key, k), lines, shown, base, line) for k, v in value.items()}
    elif isinstance(value, list):
        children = [_locate(v, (*key, i), lines, shown, base, line) for i, v in enumerate(value)]
    return Located(children, shown, line, base)


def _lines(text: str) -> dict[Key, int]:
    """The line of every key and table of a valid TOML text, from its syntax tree (tomllib gives none)."""
    import tree_sitter_toml
    from tree_sitter import Language, Parser

    root = Parser(Language(tree_sitter_toml.language())).parse(text.encode()).root_node
    lines: dict[Key, int] = {}
    counts: dict[Key, int] = {}

    def note(key: Key, node: Any) -> Key:
        for length in range(1, len(key) + 1):
            lines.setdefault(key[:length], node.start_point[0] + 1)
        return key

    def pair(prefix: Key, node: Any) -> None:
        name, value = node.named_children[0], node.named_children[-1]
        walk(note(prefix + tuple(_key_parts(name)), node), value)

    def walk(key: Key, node: Any) -> None:
        if node.type == "inline_table":
            for child in node.named_children:
                if child.type == "pair":
                    pair(key, child)
        elif node.type == "array":
            items = [child for child in node.named_children if child.type != "comment"]
            for index, child in enumerate(items):
                walk(note((*key, index), child), child)

    def inside_arrays(parts: list[str]) -> Key:
        """A header's key with the index of the current element after each array of tables on its way."""
        key: Key = ()
        for part in parts:
            key = (*key, part)
            if key in counts:
                key = (*key, counts[key] - 1)
        return key

    for node in root.named_children:
        if node.type == "pair":
            pair((), node)
        elif node.type in ("table", "table_array_element"):
            parts = list(_key_parts(node.named_children[0]))
            if node.type == "table_array_element":
                array: Key = (*inside_arrays(parts[:-1]), parts[-1])
                counts[array] = counts.get(array, 0) + 1
            prefix = note(inside_arrays(parts), node)
            for child in node.named_children[1:]:
                if child.type == "pair":
                    pair(prefix, child)
    return lines


def _key_parts(node: Any) -> Iterator[str]:
    if node.type == "dotted_key":
        for child in node.named_children:
            yield from _key_parts(child)
    elif node.type == "quoted_key":
        # The TOML parser itself undoes the quoting, so that escapes mean the same in both.
        yield next(iter(tomllib.loads(f"{node.text.decode()} = 0")))
    else:
        yield node.text.decode()
