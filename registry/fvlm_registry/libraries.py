"""Libraries that a plugin needs and this machine lacks, told with the command that installs them."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, entry_points

from fvlm_registry.discovery import GROUP

_OF_DEVELOPERS = ("dev", "docs", "test")
"""Extras that hold what other extras hold, too."""


def missing_library(error: BaseException) -> str | None:
    """What to say of an import that failed for want of a library: "wandb is not installed: pip install 'fvlm[wandb]'".

    None for any other error, and for a module that no distribution with plugins asks for.
    """
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return None
    module = error.name.partition(".")[0]
    if sys.modules.get(module) is not None:
        return None  # it is there; what is missing is a part of it
    found = sorted(_ways(module))
    return f"{module} is not installed: pip install '{found[0][1]}'" if found else None


def _ways(module: str) -> Iterator[tuple[bool, str]]:
    """What pip may be asked for; the extras of developers come last."""
    for distribution in _with_plugins():
        for requirement in distribution.requires or ():
            name = re.match(r"[\w.-]+", requirement)
            extra = re.search(r"""extra == ['"]([\w.-]+)""", requirement)
            # An extra may be called as the module where the distribution is not: mlflow is in mlflow-skinny.
            if _normal(module) not in [_normal(found[at]) for found, at in ((name, 0), (extra, 1)) if found]:
                continue
            asked = f"{distribution.name}[{extra[1]}]" if extra else requirement.partition(";")[0].strip()
            yield extra is not None and extra[1] in _OF_DEVELOPERS, asked


def _with_plugins() -> list[Distribution]:
    distributions = {entry.dist.name: entry.dist for entry in entry_points(group=GROUP) if entry.dist}
    return list(distributions.values())


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
