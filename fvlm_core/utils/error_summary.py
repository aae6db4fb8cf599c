"""Errors that nobody foresaw, told in two lines: what went wrong, and in which plugin, file and line."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

from fvlm_registry.discovery import Plugin
from fvlm_registry.lookup import registry

_FRAME = re.compile(r'^ *File "(.+?)", line (\d+), in .*$', re.MULTILINE)
"""A frame of another process's traceback: those of workers arrive as text."""


def debugging() -> bool:
    """Whether whole tracebacks are asked for: `FVLM_DEBUG=1`."""
    return os.environ.get("FVLM_DEBUG") == "1"


def described(error: BaseException) -> str:
    """Type and message, and on a second line the plugin that it happened in, if it was one."""
    told = f"{type(error).__name__}: {error}"
    frames = list(_FRAME.finditer(told))
    if frames:  # a worker's: what follows its traceback is the error itself
        after = told[frames[-1].end() :].splitlines()
        told = "\n".join(line for line in after if line and not line.startswith(" ")) or type(error).__name__
    return told + place(error)


def place(error: BaseException) -> str:
    """A line that says which plugin's code was the last on the way to an error, and where; else nothing."""
    plugins = _plugins()
    for file, line in reversed(list(_frames(error))):
        for folder, plugin in plugins:
            if Path(file).is_relative_to(folder):
                way = "" if debugging() else "; FVLM_DEBUG=1 shows the whole traceback"
                return f'\n  at {file}:{line}, in plugin "{plugin.name}" ({plugin.origin}){way}'
    return ""


def _frames(error: BaseException) -> Iterator[tuple[str, int]]:
    """File and line of every frame, the innermost last: those of a cause lie deeper than those of the error."""
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in seen:  # an error can be its own cause
        seen.append(cause)
        for frame, line in traceback.walk_tb(cause.__traceback__):
            yield frame.f_code.co_filename, line
        for found in _FRAME.finditer(str(cause)):
            yield found[1], int(found[2])
        cause = cause.__cause__


def _plugins() -> list[tuple[Path, Plugin]]:
    """The code of each plugin that is loaded, a folder or a file. No plugin is loaded for the sake of an error."""
    if not registry.cache_info().currsize:
        return []
    homes = [(_home(plugin.module), plugin) for plugin in registry().plugins if plugin.status == "ok"]
    return [(home, plugin) for home, plugin in homes if home is not None]


def _home(module: str) -> Path | None:
    """The folder of the outermost package that is the plugin's own (a namespace has no file), or its only file."""
    names = module.split(".")
    for end in range(1, len(names) + 1):
        file = getattr(sys.modules.get(".".join(names[:end])), "__file__", None)
        if file:
            return Path(file).parent if Path(file).stem == "__init__" else Path(file)
    return None
