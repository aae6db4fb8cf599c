"""The keys that recipes and components have, dotted as `-o` takes them, and what may be written after each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from fvlm_core.recipes.json_schema import Schema, changes_schema, settings_schema
from fvlm_registry import Offer

Table = Mapping[str, Any]


def recipe_keys(table: Table | None = None) -> dict[str, tuple[str, ...]]:
    """Every key that `-o` may set, and the choices after it: components, literals, `true` and `false`; () where
    anything may be written.

    table: the recipe's own, as plain values: of the components that it names only their own keys are told, and of its
    arrays only the elements there are. Without one, those of every component. Raises `LookupFailure` where the config
    of a component cannot be imported.
    """
    return _keys(changes_schema(), table)


def component_keys(offer: Offer) -> dict[str, tuple[str, ...]]:
    """As `recipe_keys`, of one component's own settings."""
    return _keys(settings_schema(offer), None)


def _keys(schema: Schema, table: Table | None) -> dict[str, tuple[str, ...]]:
    walk = _Walk(schema["$defs"], table is not None)
    return {".".join(path): choices for path, choices in walk.tables(schema, table, ())}


class _Walk:
    """known: whether values are those of a recipe, so that what it does not name is not offered."""

    def __init__(self, definitions: Schema, known: bool) -> None:
        self.definitions = definitions
        self.known = known

    def tables(
        self, node: Schema, value: Any, path: tuple[str, ...]
    ) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
        """The keys of what may stand at `path`: its own if more than a table may, then those below."""
        forms = list(self.forms(node))
        array = next((form for form in forms if form.get("items")), None)
        tables = [form for form in forms if "properties" in form]
        if path and (array or any("properties" not in form for form in forms)):
            yield path, tuple(dict.fromkeys(word for form in forms for word in _choices(form)))
        for form in tables:
            for name, inner in self.properties(form, value).items():
                below = value.get(name) if isinstance(value, Mapping) else None
                yield from self.tables(inner, below, (*path, name))
        if array:
            for name, element in self.elements(array["items"], value):
                # What is an array has no name to be reached by, and what is a scalar is written in the array.
                keys = self.tables(array["items"], element, (*path, name))
                yield from (found for found in keys if found[0] != (*path, name))

    def forms(self, node: Schema) -> Iterator[Schema]:
        """What a schema allows, references and alternatives followed."""
        if "$ref" in node:
            name = node["$ref"].removeprefix("#/$defs/")
            node = self.definitions[name.replace("%20", " ").replace("~1", "/").replace("~0", "~")]
        if "anyOf" in node:
            for form in node["anyOf"]:
                yield from self.forms(form)
        else:
            yield node

    def properties(self, form: Schema, value: Any) -> Schema:
        """A table's keys; of a component's, those that go with the name that it has."""
        for case in form.get("allOf", ()):
            (key, names), *_ = case["if"]["properties"].items()
            named = value.get(key) if isinstance(value, Mapping) else None
            if isinstance(named, str) and any(_means(one, named) for one in self.forms(names)):
                own = next(self.forms({"$ref": case["then"]["$ref"]}))["properties"]
                allowed = case["then"]["propertyNames"]["enum"]
                return {name: own.get(name, form["properties"].get(name, {})) for name in allowed}
        return form["properties"]

    def elements(self, items: Schema, value: Any) -> Iterator[tuple[str, Any]]:
        """The names of an array's elements, or their places: those of the recipe, else of all components."""
        if isinstance(value, list):
            tables = cast("list[Any]", value)
            names = [str(one.get("name", "")) if isinstance(one, Mapping) else "" for one in tables]
            for place, (name, element) in enumerate(zip(names, tables, strict=True)):
                yield name if name and names.count(name) == 1 else str(place), element
        elif not self.known:
            for form in self.forms(items):
                for case in form.get("allOf", ()):
                    names = case["if"]["properties"].get("name")  # nothing else names an element
                    if names is not None:
                        word = next(word for one in self.forms(names) for word in one.get("enum", ()))
                        yield word, {"name": word}


def _choices(form: Schema) -> Iterator[str]:
    if form.get("type") == "boolean":
        yield from ("true", "false")
    yield from (str(word) for word in form.get("enum", ()))


def _means(names: Schema, name: str) -> bool:
    return name in names.get("enum", ()) or bool("pattern" in names and re.match(names["pattern"], name))
