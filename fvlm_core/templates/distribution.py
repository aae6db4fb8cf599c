"""A distribution with one plugin, from templates: `$name` and its like are filled in by `string.Template`."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from importlib.resources.abc import Traversable
from importlib.util import find_spec
from pathlib import Path
from string import Template

from attrs import frozen

from fvlm_core.utils.errors import UsageError
from fvlm_core.utils.file_names import folder_name_fault
from fvlm_registry import registry

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@frozen(kw_only=True)
class _Sketch:
    """What differs between the kinds.

    target: what builds the component, the class itself when empty. capabilities: of the descriptor. snippet: how a
    recipe names it. change: how the recipe that tries it does.
    """

    summary: str
    hook: str
    module: str
    interface: str
    snippet: str
    change: str = ""
    target: str = ""
    capabilities: str = ""


_SMALLER = "data.sources.0.clips = 32\ndata.sources.0.validation_clips = 8"
"""Of the data of `captions_small`."""

_KINDS = {
    "encoder": _Sketch(
        summary="linear patches that a query can look at",
        hook="fvlm_encoders",
        module="model",
        interface="interfaces/encoder.py",
        capabilities='provides=("patches", "query")',
        snippet='[model.encoder]\nname = "$name"',
        change='model.encoder = { name = "$name" }\n' + _SMALLER,
    ),
    "connector": _Sketch(
        summary="one token a frame, the mean of its patches",
        hook="fvlm_connectors",
        module="model",
        interface="interfaces/connector.py",
        capabilities='needs=("patches",)',
        snippet='[model.connector]\nname = "$name"',
        change='model.connector = { name = "$name" }\n' + _SMALLER,
    ),
    "llm": _Sketch(
        summary="a small language model that reads bytes",
        hook="fvlm_llms",
        module="model",
        interface="interfaces/llm.py",
        snippet='[model.llm]\nname = "$name"',
        change='model.llm = { name = "$name" }\n' + _SMALLER,
    ),
    "data": _Sketch(
        summary="pictures of one colour and its name",
        hook="fvlm_data_sources",
        module="source",
        interface="interfaces/data.py",
        snippet='[[data.sources]]\nname = "$name"',
        change='data.sources = [{ name = "$name" }]',
    ),
    "objective": _Sketch(
        summary="every answer weighs the same, however long it is",
        hook="fvlm_objectives",
        module="objective",
        interface="interfaces/objective.py",
        target="build",
        snippet='[training]\nobjective = "$name"',
        change='training.objective = "$name"\n' + _SMALLER,
    ),
    "optimizer": _Sketch(
        summary="steps of one size along a momentum's sign",
        hook="fvlm_optimizers",
        module="optimizer",
        interface="interfaces/optimizer.py",
        target="build",
        capabilities='provides=("sharded",)',
        snippet='[training]\noptimizer = { name = "$name", momentum = 0.99 }',
        change='training.optimizer = { name = "$name" }\ntraining.lr = 1e-4\n' + _SMALLER,
    ),
    "schedule": _Sketch(
        summary="a learning rate that falls in a straight line",
        hook="fvlm_schedules",
        module="schedule",
        interface="interfaces/schedule.py",
        target="build",
        snippet='[training]\nschedule = { name = "$name", hold = 0.5 }',
        change='training.schedule = { name = "$name", hold = 0.5 }\n' + _SMALLER,
    ),
    "callback": _Sketch(
        summary="ends a run that diverges",
        hook="fvlm_callbacks",
        module="callback",
        interface="training/callbacks.py",
        capabilities='provides=("sharded",)',
        snippet='[[training.callbacks]]\nname = "$name"',
        change='training.callbacks = [{ name = "$name" }]\n' + _SMALLER,
    ),
    "section": _Sketch(
        summary="means of a number of the summaries, by tag",
        hook="fvlm_report_sections",
        module="section",
        interface="interfaces/section.py",
        target="build",
        snippet="# fvlm report --section $name",
        change=_SMALLER,
    ),
    "fit": _Sketch(
        summary="a power of the data over a floor, for each size",
        hook="fvlm_fit_models",
        module="law",
        interface="interfaces/fit.py",
        target="build",
        snippet='[[fits]]\nmodel = "$name"',
        change=_SMALLER,
    ),
    "metric": _Sketch(
        summary="the share of the right answer's words that an answer has",
        hook="fvlm_metrics",
        module="metric",
        interface="interfaces/metric.py",
        snippet='[[eval.metrics]]\nname = "$name"',
        change='eval.metrics = [{ name = "$name" }]\neval.generation = { limit = 8, samples = 4 }\n'
        + _SMALLER,
    ),
}


def write(name: str, kind: str, folder: Path) -> list[Path]:
    """Write the distribution of a new component into a folder that does not exist; returns its files.

    name: of component, plugin and entry point. Raises `UsageError` for a name that cannot be one or is taken, and for
    a folder that is there.
    """
    _check_name(name, kind)
    if folder.exists():
        raise UsageError(f"{folder} exists: nothing in it was changed. Say another folder with --to")
    values = _values(name, kind)
    written: list[Path] = []
    for path, template in _templates(kind, values["package"]):
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(Template(template.read_text(encoding="utf-8")).substitute(values), encoding="utf-8")
        written.append(file)
    return written


def _check_name(name: str, kind: str) -> None:
    """Raises `UsageError` for a name that cannot be one, or that something installed has."""
    if folder_name_fault(name) or not _NAME.fullmatch(name):
        better = "-".join(re.findall(r"[a-z0-9]+", name.lower())).lstrip("0123456789-")
        hint = f': "{better}" would do' if _NAME.fullmatch(better) else ""
        raise UsageError(
            f'"{name}" cannot be a plugin\'s name; expected lower-case letters and digits, with dashes between words'
            f"{hint}"
        )
    if keyword.iskeyword(_class_name(name)):
        raise UsageError(
            f"\"{name}\" cannot be a plugin's name: its class {_class_name(name)} is a word of Python's"
        )
    found = registry()
    for plugin in found.plugins:
        if plugin.name == name:
            raise UsageError(
                f'the plugin name "{name}" is taken by {plugin.origin or "FVLM_PLUGINS"} ({plugin.module})'
            )
    for offer in found.offers:
        if offer.kind == kind and offer.component.name == name:
            raise UsageError(f'{offer.origin} already offers the {kind} "{name}", as "{offer.qualified}"')
    with suppress(PackageNotFoundError):
        installed = version(f"fvlm-{name}")
        raise UsageError(f"a distribution fvlm-{name} {installed} is installed: choose another name")
    package = _package(name)
    if find_spec(package) is not None:
        raise UsageError(f"a package {package} can be imported already: choose another name")


def _values(name: str, kind: str) -> dict[str, str]:
    """What the templates are filled with."""
    sketch = _KINDS[kind]
    class_name, fill = _class_name(name), lambda text: Template(text).substitute(name=name)
    return {
        "name": name,
        "kind": kind,
        "package": _package(name),
        "distribution": f"fvlm-{name}",
        "class_name": class_name,
        "column": name.replace("-", "_"),
        "summary": sketch.summary,
        "hook": sketch.hook,
        "module": sketch.module,
        "interface": sketch.interface,
        "target": sketch.target or class_name,
        "capabilities": f"        {sketch.capabilities},\n" if sketch.capabilities else "",
        "snippet": fill(sketch.snippet),
        "change": fill(sketch.change),
        "law": name if kind == "fit" else "per-size",
    }


def _templates(kind: str, package: str) -> Iterator[tuple[str, Traversable]]:
    """Where each file goes in the distribution, and its template."""
    root = files(__package__ or "fvlm_core.templates")
    common, own = root / "common", root / kind
    for name in ("pyproject.toml", "README.md", "recipe.toml"):
        yield name, common / f"{name}.txt"
    yield f"{package}/__init__.py", common / "init.py.txt"
    yield f"{package}/plugin.py", common / "plugin.py.txt"
    for file in sorted(own.iterdir(), key=lambda file: file.name):
        yield f"{package}/{file.name.removesuffix('.txt')}", file
    yield "tests/test_conformance.py", common / "test_conformance.py.txt"


def _package(name: str) -> str:
    return f"fvlm_{name.replace('-', '_')}"


def _class_name(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("-"))
