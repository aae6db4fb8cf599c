"""Types of options and arguments that are paths, or may be: `~` is a home in all of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fvlm_core.cli.offered import Place, offered
from fvlm_core.utils.hindrance import given
from fvlm_core.utils.paths import user_path

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class UserPath(click.Path):
    """As click's, as a `pathlib.Path`; see `fvlm_core.utils.paths.user_path`.

    stdout: whether `-` may be given, for standard output: it is `STDOUT` then. Elsewhere it is refused, and no file of
    that name is made.
    """

    def __init__(self, *, file_okay: bool = True, dir_okay: bool = True, stdout: bool = False) -> None:
        super().__init__(file_okay=file_okay, dir_okay=dir_okay, path_type=Path)
        self.stdout = stdout

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> Any:
        """Text to a path."""
        if os.fspath(value) == "-":
            if self.stdout:
                return STDOUT
            self.fail(
                '"-", standard input or output, is not taken here: name a path (./- for one of that name)',
                param,
                ctx,
            )
        path = _read(self, os.fspath(value), param, ctx)
        if path == STDOUT:  # as ./- is called
            path = path.absolute()
        if param is not None:
            given[path] = _words(param, ctx)
        return super().convert(path, param, ctx)


_NAMED: dict[Place, str] = {
    "recipe": "A .toml file, or a recipe that comes with fvlm: `fvlm recipes list` shows them",
    "run": "A run's name or folder: `fvlm runs list` shows those that are kept",
    "data": "A data source, or a recipe that has some: `fvlm plugins list` shows the sources",
}
"""What to give where nothing was given."""


class NameOrPath(click.ParamType[str]):
    """A name (of a run, a recipe, a data source), or the path of one: text."""

    name = "text"

    def __init__(self, *places: Place) -> None:
        """places: what is named, for shells to complete."""
        self.places = places

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Names as they are."""
        return str(_read(self, value, param, ctx)) if value.startswith(("~", "./~")) else value

    def get_missing_message(self, param: click.Parameter, ctx: click.Context | None) -> str | None:
        """Where the names are."""
        return _NAMED.get(self.places[0]) if self.places else None

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        """Names, and files beside them."""
        from click.shell_completion import CompletionItem

        return [*offered(self.places, ctx, incomplete), CompletionItem(incomplete, type="file")]


STDOUT = Path("-")
"""Where `-` was given for a file to write."""

FILE_OR_STDOUT = UserPath(dir_okay=False, stdout=True)
FILE_PATH = UserPath(dir_okay=False)
FOLDER_PATH = UserPath(file_okay=False)
ANY_PATH = UserPath()
RECIPE_OR_PATH = NameOrPath("recipe")
RUN_OR_PATH = NameOrPath("run")
RUNS_OR_PATH = NameOrPath("run", "group")
LAW_OR_PATH = NameOrPath()


def _read(
    kind: click.ParamType[Any], text: str, param: click.Parameter | None, ctx: click.Context | None
) -> Path:
    from fvlm_core.utils.errors import UsageError

    try:
        return user_path(text)
    except UsageError as error:
        kind.fail(str(error), param, ctx)


def _words(param: click.Parameter, ctx: click.Context | None) -> str:
    if isinstance(param, click.Option):
        variable = f" (or {param.envvar})" if param.envvar else ""
        return f"{param.opts[-1]} {param.make_metavar(ctx or click.get_current_context())}{variable}"
    return param.make_metavar(ctx or click.get_current_context())
