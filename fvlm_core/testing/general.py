"""What every component promises, whatever its kind: a light listing, and a config that survives being written down."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache

import attrs

from fvlm_core.recipes.resolved import plain
from fvlm_core.testing.finding import Promise, expect, promises
from fvlm_core.testing.subject import ComponentUnderTest
from fvlm_registry import Component, registry

PROMISES: list[Promise] = []

HEAVY = (
    *("torch", "torchvision", "transformers", "timm", "tensorflow", "jax"),
    *("pandas", "scipy", "sklearn", "lmfit", "matplotlib", "datasets", "av", "cv2"),
)
"""Packages that cost a tenth of a second and more."""

_RECORD = """
import importlib, json, sys
before = set(sys.modules)
found = {}
for module in sys.argv[1:]:
    importlib.import_module(module)
    found[module] = sorted({name.partition(".")[0] for name in set(sys.modules) - before})
print("\\n" + json.dumps(found))
"""


@promises(PROMISES, "listing it imports nothing heavy", Component, "must import nothing heavy")
def _light(subject: ComponentUnderTest) -> None:
    for module in (*_listed_by(subject), subject.component.config.partition(":")[0]):
        got = _imported(module) & set(HEAVY)
        expect(not got, f"importing {module} imports {', '.join(sorted(got))}")


@promises(PROMISES, "its config class is a frozen attrs class", Component, 'config: "module:Class"')
def _frozen(subject: ComponentUnderTest) -> None:
    cls = type(subject.config)
    expect(attrs.has(cls), f"{cls.__name__} is no attrs class")
    names = [attribute.name for attribute in attrs.fields(cls)]
    if not names:
        return
    try:
        setattr(subject.config, names[0], getattr(subject.config, names[0]))
    except attrs.exceptions.FrozenInstanceError:
        return
    expect(False, f"{cls.__name__} lets its fields be set: use attrs.frozen")


@promises(
    PROMISES, "its config written into a run and read again is the same", Component, 'config: "module:Class"'
)
def _round_trip(subject: ComponentUnderTest) -> None:
    written = plain(subject.config)
    try:
        stored = json.loads(json.dumps(written))
    except TypeError as error:
        expect(False, f"its fields are no JSON values: {error}")
        return
    again = subject.again(stored)
    expect(again == subject.config, f"{subject.config!r} is read again as {again!r}")


@promises(PROMISES, "its target can be imported", Component, 'target: "module:function"')
def _target(subject: ComponentUnderTest) -> None:
    target = subject.load()
    expect(callable(target), f"{subject.component.target} is {target!r}, which cannot be called")


def _listed_by(subject: ComponentUnderTest) -> list[str]:
    """The module whose hook lists the component, which every command imports; none for a descriptor by itself."""
    found = registry()
    homes = {
        offer.plugin
        for offer in found.offered(subject.kind)
        if subject.name in (offer.qualified, offer.component.name) and offer.component == subject.component
    }
    return sorted(plugin.module.partition(":")[0] for plugin in found.plugins if plugin.name in homes)


@cache
def _imported(module: str) -> set[str]:
    """Top-level packages that importing a module brings into a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", _RECORD, module],
        capture_output=True,
        encoding="utf-8",
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["it ended without a word"]
        raise ImportError(f"importing {module} fails in a fresh interpreter: {last[0]}")
    return set(json.loads(done.stdout.splitlines()[-1])[module])
