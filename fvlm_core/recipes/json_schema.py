"""The JSON Schema of recipes with the installed plugins: what editors complete, explain and underline.

It is made of the classes that recipes are read into (`fvlm_core.recipes.schema` and every component's config class):
types, bounds, choices, defaults, and the sentences of their docstrings. It accepts whatever `fvlm run` accepts; checks
across fields are left to `fvlm run`.

Every table has two forms. In the loose one nothing is required, because `extends`, `[[runs]]`, `[grid]` and `[ablate]`
may hold the rest; in the complete one everything is that has no default. A recipe that uses none of the four must be
complete.
"""

from __future__ import annotations

import inspect
import json
import re
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import attrs
from attrs import define, field

from fvlm_core.recipes import schema
from fvlm_core.recipes.choose import ALONE
from fvlm_core.recipes.expand import EXPANSIONS
from fvlm_core.recipes.resolved import plain
from fvlm_core.utils.address import Address
from fvlm_registry import Kind, Offer, registry

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_SCALARS: dict[Any, str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    Path: "string",
    Address: "string",
}
_BOUNDS = {">=": "minimum", ">": "exclusiveMinimum", "<=": "maximum", "<": "exclusiveMaximum"}
_INHERITING = ("extends", *EXPANSIONS)

_COUNT: Schema = {"type": "integer", "minimum": 1, "default": 1}
COUNTED: Schema = {
    "seeds": {**_COUNT, "description": "Repeats every run with seed, seed + 1, ..."},
    "slots": {
        **_COUNT,
        "description": "How many runs are trained beside each other where no --launcher is named.",
    },
}


def recipe_schema() -> Schema:
    """The schema of recipe files, as JSON values. Imports the config modules of all components, and nothing heavy."""
    made = _Definitions()
    loose, complete = made.table(schema.RunRecipe, False), made.table(schema.RunRecipe, True)
    changes = made.named("changes", loose)
    expansions = _expansions(changes)
    own: Schema = {
        "extends": {
            "type": "string",
            "description": "Another recipe that this one changes: a file beside it, or a shipped one.",
        },
        **COUNTED,
        **expansions,
    }
    # A recipe without a name is called as its file is.
    required = [name for name in complete["required"] if name != "name"]
    whole = {
        **complete,
        "properties": {**complete["properties"], **dict.fromkeys(own, True)},
        "required": required,
    }
    return {
        "$schema": DIALECT,
        "title": "fvlm recipe",
        "description": "Runs of fvlm, with the plugins installed where this was written.",
        "type": "object",
        "properties": {**loose["properties"], **own},
        "additionalProperties": False,
        "if": {"not": {"anyOf": [{"required": [name]} for name in _INHERITING]}},
        "then": made.named("complete", whole),
        "allOf": [{"not": {"required": ["ablate", other]}} for other in EXPANSIONS if other != "ablate"],
        "$defs": made.found,
    }


def changes_schema() -> Schema:
    """What `-o` may change of a recipe: the loose table of a run, `seeds` and `slots`, with their `$defs`."""
    made = _Definitions()
    loose = made.table(schema.RunRecipe, False)
    return {**loose, "properties": {**loose["properties"], **COUNTED}, "$defs": made.found}


def settings_schema(offer: Offer) -> Schema:
    """The table of a component's own settings, with its `$defs`. Raises `LookupFailure` where it cannot be imported."""
    made = _Definitions()
    return {**made.own(offer, False), "$defs": made.found}


def _expansions(changes: Schema) -> Schema:
    """`[[runs]]`, `[grid]` and `[ablate]`. changes: the reference to what each may change."""
    labels = {"type": "object", "additionalProperties": changes}
    return {
        "runs": {
            "type": "array",
            "minItems": 1,
            "description": "One table a run: its id, and what it changes.",
            "items": {"$ref": "#/$defs/run"},
        },
        "grid": {
            "type": "object",
            "description": "Every combination of the values of its axes.",
            "properties": {
                "id": {"type": "string", "description": 'How a run is called: "{size}-{budget}".'},
                "axes": {"type": "object", "additionalProperties": labels},
            },
            "required": ["axes"],
            "additionalProperties": False,
        },
        "ablate": {**labels, "description": "A baseline, and one run for each of these changes to it."},
    }


@define
class _Definitions:
    """Makes the schemas of classes and components; what is used more than once is found under `$defs`."""

    found: dict[str, Schema] = field(factory=dict[str, Schema])

    def named(self, name: str, made: Schema) -> Schema:
        """Keep a schema under a name; the reference to it."""
        self.found[name] = made
        if name == "changes":
            run = {"id": {"type": "string", "description": "Names the run's folder."}}
            self.found["run"] = {**made, "properties": {**run, **made["properties"]}, "required": ["id"]}
        return _reference(name)

    def table(self, cls: type, complete: bool, preset: Mapping[str, Any] | None = None) -> Schema:
        """A class as a table. preset: defaults in place of the class's own."""
        preset = preset or {}
        hints = get_type_hints(cls, include_extras=True)
        said = descriptions(cls)
        properties: dict[str, Schema] = {}
        required: list[str] = []
        for attribute in attrs.fields(cls):
            if not attribute.init:
                continue
            name = attribute.name
            kind = _taken(attribute) or hints[name]
            properties[name] = one = {**self.type(kind, complete), **_limits(attribute.validator)}
            if name in said:
                one["description"] = said[name]
            default = preset.get(name, _default(attribute))
            if default is not attrs.NOTHING:
                one["default"] = default
            if complete and name not in preset and attribute.default is attrs.NOTHING:
                required.append(name)
        made: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
        return {**made, "required": required} if required else made

    def type(self, kind: Any, complete: bool) -> Schema:
        """The schema of an annotation."""
        if kind in _SCALARS:
            return {"type": _SCALARS[kind]}
        origin = get_origin(kind)
        if origin is Literal:
            return {"enum": list(get_args(kind))}
        if origin is Annotated:
            return self.component(kind.__metadata__[0], complete)
        if origin in (types.UnionType, Union):
            every = [self.type(one, complete) for one in get_args(kind) if one is not types.NoneType]
            return every[0] if all(one == every[0] for one in every) else {"anyOf": every}
        if origin is tuple:
            return self.array(get_args(kind), complete)
        if kind is schema.Source:
            return self.component("data", complete, extra=schema.SourceShare)
        if kind is schema.TextMixture:
            return self.component("data", complete, extra=schema.TextShare)
        if kind is schema.FitSettings:
            return self.component("fit", complete, key="model", extra=_Objective)
        if attrs.has(kind):
            name = f"{kind.__name__}{'!' if complete else ''}"
            if name not in self.found:
                self.found[name] = self.table(kind, complete)
            return _reference(name)
        return {}

    def array(self, inner: tuple[Any, ...], complete: bool) -> Schema:
        """A tuple. A table may stand in for an array of tables where a recipe changes another: its keys are the names
        of the elements, or their places."""
        if inner[-1] is not Ellipsis:
            items = [self.type(one, complete) for one in inner]
            return {"type": "array", "prefixItems": items, "items": False, "minItems": len(items)}
        made: Schema = {"type": "array", "items": self.type(inner[0], complete)}
        if complete or not (get_origin(inner[0]) is Annotated or attrs.has(inner[0])):
            return made
        return {"anyOf": [made, {"type": "object", "additionalProperties": made["items"]}]}

    def component(self, kind: Kind, complete: bool, key: str = "name", extra: type | None = None) -> Schema:
        """A table that names a component; the rest of its keys are that component's."""
        name = "-".join([kind, *([extra.__name__.strip("_")] if extra else [])]) + ("!" if complete else "")
        if name not in self.found:
            self.found[name] = {}  # its place in the order of the file
            self.found[name] = self._choice(kind, complete, key, extra)
        reference = _reference(name)
        return {"anyOf": [_names(registry().offered(kind)), reference]} if kind in ALONE else reference

    def _choice(self, kind: Kind, complete: bool, key: str, extra: type | None) -> Schema:
        """The names of a kind, every key of any of its components, and by name which of them go together."""
        offers = registry().offered(kind)
        shared = self.table(extra, complete)["properties"] if extra else {}
        shared = {
            key: {**_names(offers), "description": f"Which {kind}; the other keys are its own."},
            **shared,
        }
        keys: dict[str, list[Schema]] = {}
        cases: list[Schema] = []
        for offer in offers:
            own = self.own(offer, complete)
            for name, one in own["properties"].items():
                keys.setdefault(name, [])
                if one not in keys[name]:
                    keys[name].append(one)
            name = f"{kind} {offer.qualified}{'!' if complete else ''}"
            self.found[name] = {key: one for key, one in own.items() if key in ("properties", "required")}
            own_keys = {"enum": [*shared, *own["properties"]]}
            named = {"properties": {key: _names([offer])}, "required": [key]}
            cases.append({"if": named, "then": {**_reference(name), "propertyNames": own_keys}})
        every = {name: ones[0] if len(ones) == 1 else _any(ones) for name, ones in keys.items()}
        made: Schema = {
            "type": "object",
            "properties": {**every, **shared},
            "additionalProperties": False,
            **({"allOf": cases} if cases else {}),
        }
        return {**made, "required": [key]} if complete else made

    def own(self, offer: Offer, complete: bool) -> Schema:
        """The table of a component's own settings."""
        component = offer.component
        made = self.table(registry().load(component.config), complete, component.preset)
        if "required" in made and component.rest:  # "timm:NAME" holds it
            made["required"] = [name for name in made["required"] if name != component.rest]
        return made


@attrs.frozen(kw_only=True)
class _Objective:
    """objective: what the fit minimises. runs: which runs it is made of, as a pattern of their ids. holdout: which runs
    are left out and predicted, as such a pattern."""

    objective: Literal["log-huber", "log-lad", "log-mse", "mse"] = "log-huber"
    runs: str | None = None
    holdout: str | None = None


def descriptions(cls: type) -> dict[str, str]:
    """What the docstring of a class says of each field: "width, depth: channels and layers." says it of both."""
    text = " ".join((inspect.getdoc(cls) or "").split())
    names = {attribute.name for attribute in attrs.fields(cls)}
    places: list[tuple[int, int, list[str]]] = []
    for match in re.finditer(r"(?:^|(?<=[.!?:] )|(?<=\. ))(\w+(?:, \w+)*): ", text):
        said = match[1].split(", ")
        if set(said) <= names:
            places.append((match.start(), match.end(), said))
    ends = [*(start for start, _, _ in places[1:]), len(text)]
    found: dict[str, str] = {}
    for (_, start, said), end in zip(places, ends, strict=False):
        sentence = text[start:end].strip()
        for name in said:
            found[name] = sentence[:1].upper() + sentence[1:]
    return found


def _names(offers: Iterable[Offer]) -> Schema:
    """How a recipe may call components: by the bare name, by plugin and name, or as "plugin:ANYTHING"."""
    clashes = registry().clashes()
    bare: list[str] = []
    qualified: list[str] = []
    open_ended: list[str] = []
    for offer in offers:
        if (offer.kind, offer.component.name) not in clashes:
            bare.append(offer.component.name)
        qualified.append(offer.qualified)
        if offer.component.rest:
            open_ended.append(f"^{re.escape(offer.plugin)}:.+")
    known: Schema = {"type": "string", "enum": [*bare, *qualified]}
    if not open_ended:
        return known
    return {"anyOf": [known, *({"type": "string", "pattern": pattern} for pattern in open_ended)]}


def _any(ones: list[Schema]) -> Schema:
    """One key of several components: what any of them says. Its description stays where they agree."""
    said = {one.get("description") for one in ones}
    made: Schema = {"anyOf": ones}
    if len(said) == 1 and None not in said:
        made["description"] = ones[0]["description"]
    return made


def _reference(name: str) -> Schema:
    return {"$ref": "#/$defs/" + name.replace("~", "~0").replace("/", "~1").replace(" ", "%20")}


def _taken(attribute: Any) -> Any:
    """The annotation of what a field's converter takes, or None without one."""
    said = get_type_hints(attribute.converter) if callable(attribute.converter) else {}
    return next((hint for name, hint in said.items() if name != "return"), None)


def _default(attribute: Any) -> Any:
    """As a JSON value; NOTHING where there is none to show (None, or made on the spot)."""
    default = attribute.default
    if default is None or isinstance(default, attrs.Factory):  # pyright: ignore[reportArgumentType]
        return attrs.NOTHING
    if default is attrs.NOTHING:
        return default
    value = plain(default)
    try:
        json.dumps(value)
    except TypeError:
        return attrs.NOTHING
    return value


def _limits(validator: Any) -> Schema:
    """Bounds and choices of attrs' own validators; others are left to `fvlm run`."""
    if validator is None:
        return {}
    parts = getattr(validator, "_validators", None)
    if parts is not None:
        return {key: value for part in parts for key, value in _limits(part).items()}
    if type(validator).__name__ == "_OptionalValidator":
        return _limits(validator.validator)
    if hasattr(validator, "compare_op") and isinstance(validator.bound, int | float):
        bound = validator.bound
        finite = bound == bound and abs(bound) != float("inf")
        return {_BOUNDS[validator.compare_op]: bound} if finite and validator.compare_op in _BOUNDS else {}
    if type(validator).__name__ == "_MinLengthValidator":
        return {"minLength": validator.min_length, "minItems": validator.min_length}  # of texts, of arrays
    if type(validator).__name__ == "_InValidator":
        return {"enum": list(validator.options)}
    return {}
