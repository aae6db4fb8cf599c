"""Options of `fvlm run` that say where runs run beside each other, as one argument."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click
from attrs import evolve, fields, frozen

from fvlm_core.cli.offered import completing

if TYPE_CHECKING:
    from fvlm_core.recipes.read import Recipe

Command = TypeVar("Command", bound=Callable[..., Any])


@frozen
class LaunchRequest:
    """As the options say it. launcher: a component's name; None: the runs are trained here, one after the other."""

    launcher: str | None
    slots: int | None
    gpus: str | None
    settings: tuple[str, ...]
    retries: int
    detach: bool

    @property
    def jobs(self) -> int:
        """How many jobs at once: as said, else one a GPU, else one."""
        return self.slots or (len(self.gpus.split(",")) if self.gpus else 1)

    def for_recipe(self, recipe: Recipe) -> LaunchRequest:
        """As many local slots as the recipe says, where no launcher is named and there are several runs."""
        slots = min(recipe.slots, len(recipe.runs))
        return self if self.launcher or slots == 1 else evolve(self, launcher="local", slots=slots)


def launch_options(command: Command) -> Command:
    """Add the options; the command receives them as one argument, `request`."""

    @wraps(command)
    def collected(*arguments: Any, **values: Any) -> Any:
        request = LaunchRequest(**{of.name: values.pop(of.name) for of in fields(LaunchRequest)})
        _check(request)
        return command(*arguments, request=request, **values)

    options = (
        click.option(
            "--launcher",
            metavar="NAME",
            shell_complete=completing("launcher"),
            help="Run the runs beside each other, each in a job of its own: local, slurm, or a plugin's.",
        ),
        click.option(
            "--slots", type=click.IntRange(min=1), help="With --launcher: jobs at once.  [default: 1]"
        ),
        click.option("--gpus", metavar="LIST", help="With --launcher local: GPUs for the slots, as in 0,1."),
        click.option(
            "-l",
            "settings",
            multiple=True,
            metavar="KEY=VALUE",
            shell_complete=completing("launcher setting"),
            help="A setting of the launcher: -l partition=gpu.",
        ),
        click.option(
            "--retries",
            type=click.IntRange(min=0),
            default=2,
            show_default=True,
            help="Further starts of an interrupted job that bring no new checkpoint.",
        ),
        click.option(
            "--detach", is_flag=True, help="Submit the jobs and return; the same command shows them."
        ),
    )
    for option in reversed(options):
        collected = option(collected)
    return collected  # type: ignore[return-value]


def _check(request: LaunchRequest) -> None:
    if request.launcher is not None:
        return
    given = {
        "--slots": request.slots is not None,
        "--gpus": request.gpus is not None,
        "-l": bool(request.settings),
        "--detach": request.detach,
    }
    lonely = [name for name, is_given in given.items() if is_given]
    if lonely:
        raise click.UsageError(f"{', '.join(lonely)}: only with --launcher NAME")
