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
        found: list[nodes.Node] = [_section("The recipe itself", "whole", schema)]
        for title, name, table in headings(schema):
            found.append(_section(title, name, table))
        return found


def headings(schema: Schema) -> Iterator[tuple[str, str, Schema]]:
    """Every table with keys of its own: its heading as it is written in a recipe, its name in the schema, and itself.

    Components of one table whose keys are the same stand under one heading. What the schema has for itself is left out:
    tables before they are complete, and all components of a kind together.
    """
    places = _places(schema)
    components: dict[str, list[str]] = {}
    for name, table in schema["$defs"].items():
        own = table.get("properties")
        if not own or name.endswith("!"):
            continue
        kind, _, component = name.partition(" ")
        if component:
            rows = json.dumps([kind, list(_rows(table))])
            components.setdefault(rows, []).append(name)
        elif name in places and not any(
            other.startswith(f"{name.partition('-')[0]} ") for other in schema["$defs"]
        ):
            yield places[name], name, table
    for names in components.values():
        kind = names[0].partition(" ")[0]
        known = [name.rpartition(":")[2] for name in names]
        wrapped = [
            name for name in places if name.startswith(f"{kind}-")
        ]  # a source with its weight, a fit with its runs
        place = places[(wrapped or [kind])[0]]
        key = "model" if kind == "fit" else "name"
        yield f"{place} {key} = {', '.join(known)}", names[0], schema["$defs"][names[0]]


def _places(schema: Schema) -> dict[str, str]:
    """Where a recipe has each table of the schema, as its header: "[model.encoder]", "[[data.sources]]"."""
    found: dict[str, str] = {}
    waiting: list[tuple[str, Any, bool]] = [
        (key, value, False) for key, value in schema["properties"].items()
    ]
    while waiting:
        path, value, several = waiting.pop(0)
        if not isinstance(value, dict):
            continue
        if "$ref" in value:
            name = value["$ref"].rsplit("/", 1)[-1].removesuffix("!")
            if name in found or path.count(".") > 3:
                continue
            found[name] = f"[[{path}]]" if several else f"[{path}]"
            below = schema["$defs"].get(name, {})
            waiting += [(f"{path}.{key}", inner, False) for key, inner in below.get("properties", {}).items()]
            waiting += [
                (path, inner, several)
                for word in ("anyOf", "oneOf", "allOf")
                for inner in below.get(word, ())
            ]
        waiting += [
            (path, inner, several) for word in ("anyOf", "oneOf", "allOf") for inner in value.get(word, ())
        ]
        if isinstance(value.get("items"), dict):
            waiting.append((path, value["items"], True))
    return found


def _title(name: str) -> str:
    return name.removesuffix("!").replace("-", " ", 1)


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
