"""The directive `recipe-keys`: the tables of a recipe with their keys, from the JSON Schema of `fvlm schema`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from fvlm_core.recipes.json_schema import recipe_schema

Schema = dict[str, Any]
HEADERS = ("key", "expects", "default", "meaning")


class RecipeKeys(SphinxDirective):
    """A section for each table."""

    def run(self) -> list[nodes.Node]:
        """The sections."""
        schema = recipe_schema()
        found: list[nodes.Node] = [_section("a recipe", "whole", schema)]
        for name, table in _tables(schema["$defs"]):
            found.append(_section(_title(name), name, table))
        return found


def _tables(definitions: dict[str, Schema]) -> Iterator[tuple[str, Schema]]:
    for name, table in definitions.items():
        own = table.get("properties")
        if own and name not in ("changes", "complete", "run") and not name.endswith("-complete"):
            yield name, table


def _title(name: str) -> str:
    return name.replace("-", " ", 1)


def _section(title: str, name: str, table: Schema) -> nodes.section:
    section = nodes.section(ids=[f"recipe-{nodes.make_id(name)}"])
    section += nodes.title(title, title)
    if text := table.get("description"):
        section += nodes.paragraph("", "", *_words(text))
    section += _table(_rows(table))
    return section


def _rows(table: Schema) -> Iterator[tuple[str, str, str, str]]:
    for key, value in table["properties"].items():
        if isinstance(value, dict):
            default = json.dumps(value["default"], ensure_ascii=False) if "default" in value else ""
            yield key, _expects(value), default, value.get("description", "")


def _expects(value: Schema) -> str:
    if "$ref" in value:
        return f"table {_title(value['$ref'].rsplit('/', 1)[-1])}"
    if "const" in value:
        return json.dumps(value["const"])
    if "enum" in value:
        return ", ".join(map(json.dumps, value["enum"]))
    if "anyOf" in value or "oneOf" in value:
        return " or ".join(dict.fromkeys(map(_expects, value.get("anyOf") or value["oneOf"])))
    if value.get("type") == "array" and isinstance(value.get("items"), dict):
        return f"list of {_expects(value['items'])}"
    words = {"object": "table"}
    kind = value.get("type", "value")
    bounds = [
        f"{sign} {value[name]}"
        for name, sign in (
            ("minimum", "≥"),
            ("exclusiveMinimum", ">"),
            ("maximum", "≤"),
            ("exclusiveMaximum", "<"),
        )
        if name in value
    ]
    return " ".join([words.get(kind, str(kind)), *bounds])


def _table(rows: Iterable[tuple[str, ...]]) -> nodes.table:
    group = nodes.tgroup(cols=len(HEADERS))
    group += [nodes.colspec(colwidth=width) for width in (20, 25, 15, 40)]
    group += nodes.thead("", _row(HEADERS, ()))
    group += nodes.tbody("", *(_row(row, (0, 2)) for row in rows))
    return nodes.table("", group)


def _row(cells: Iterable[str], code: tuple[int, ...]) -> nodes.row:
    row = nodes.row()
    for at, text in enumerate(cells):
        inner = [nodes.literal(text, text)] if at in code and text else _words(text)
        row += nodes.entry("", nodes.paragraph("", "", *inner))
    return row


def _words(text: str) -> list[nodes.Node]:
    """Text with its `code`."""
    pieces = enumerate(text.split("`"))
    return [nodes.literal(piece, piece) if at % 2 else nodes.Text(piece) for at, piece in pieces if piece]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_directive("recipe-keys", RecipeKeys)
    return {"parallel_read_safe": True}
