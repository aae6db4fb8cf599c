"""Options that choose points, shared by the commands that fit: from runs or files, which columns, which of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click
from attrs import fields
from click.core import ParameterSource

from fvlm_core.cli.choice import NearestChoice
from fvlm_core.cli.offered import completing
from fvlm_core.cli.options import decimal_option, runs_option
from fvlm_core.cli.path_types import ANY_PATH

if TYPE_CHECKING:
    from fvlm_core.api.points import PointsRequest

Command = TypeVar("Command", bound=Callable[..., Any])


def points_options(command: Command) -> Command:
    """Add the options; the command receives them as one argument, `request`, which `load_points` answers."""
    return _with_options(command, (), ())


def fit_points_options(command: Command) -> Command:
    """`points_options` with the short names --n and --d, which other commands give to numbers, and with --holdout."""
    return _holdout_option(_with_options(command, ("--n",), ("--d",)))


_holdout_option = click.option(
    "--holdout",
    multiple=True,
    metavar="'KEY OP VALUE'",
    shell_complete=completing("condition"),
    help="Keep the points that meet this out of the fit, and say how well it predicts them: size=1.7B, or "
    '"run = wsd*". May be repeated: points that meet any.',
)


def _with_options(command: Command, n: tuple[str, ...], d: tuple[str, ...]) -> Command:
    @wraps(command)
    def collected(*arguments: Any, **values: Any) -> Any:
        from fvlm_core.api.points import PointsRequest

        asked = {of.name: values.pop(of.name) for of in fields(PointsRequest) if of.name in values}
        request = PointsRequest(**asked)
        _check(request)
        return command(*arguments, request=request, **values)

    wrapped: Any = collected
    for option in reversed(_options(n, d)):
        wrapped = option(wrapped)
    return wrapped


def _options(n: tuple[str, ...], d: tuple[str, ...]) -> tuple[Any, ...]:
    return (
        click.option(
            "--data",
            "files",
            multiple=True,
            type=ANY_PATH,
            metavar="FILE",
            help="Points of this table instead of runs: CSV, JSON or Parquet; the folder of an export, or "
            "columns N, D, loss (run, size, step, lr, schedule, C optional). May be repeated.",
        ),
        click.option(
            "--columns",
            metavar="NAME=HEADER,...",
            shell_complete=completing("column"),
            help="Where the columns of --data are: N=params,D=tokens,loss=loss_c4_val (also run, size, schedule, step, "
            "lr, compute, and whatever a law declares: V=visual_tokens). Others are found by their usual names.",
        ),
        click.option(
            "--sigma",
            metavar="COLUMN",
            help="The column of --data with the standard error of what was measured: a less sure row counts less.",
        ),
        click.option(
            "--weight", metavar="COLUMN", help="The column of --data that says how often each row counts."
        ),
        click.option(
            "--outputs",
            metavar="LABEL=HEADER,...",
            help="Columns of --data with an output each, which are rows with a label: domain=loss_web,loss_code or "
            "domain=loss_*, for laws with parameters of each.",
        ),
        click.option(
            *n,
            "--n-kind",
            "n_kind",
            type=NearestChoice(["total", "trainable", "non-embedding", "llm"]),
            help="What N counts. Of runs: total parameters by default. Of tables: what the column says.",
        ),
        click.option(
            *d,
            "--d-kind",
            "d_kind",
            type=NearestChoice(["samples", "tokens", "frames", "flops"]),
            help="What D counts. Of runs: samples by default. Of tables: what the column says.",
        ),
        click.option(
            "--points",
            "selection",
            default="all",
            show_default=True,
            metavar="final|all|tail:F|best",
            help="The final point of each run, all, or the last fraction F of each run's points; or the best point of "
            "each setting that --per names.",
        ),
        click.option(
            "--per",
            default="",
            metavar="COLUMN,...",
            help="With --points best: the columns of a setting, such as N,D for the best of the rates tried at each.",
        ),
        click.option(
            "--warmup-cut",
            metavar="CUT",
            help="Leave out the points of a run before a fraction of its D (0.05), or before a count of D (20k).",
        ),
        click.option(
            "--drop-run",
            "drop_runs",
            multiple=True,
            metavar="RUN",
            shell_complete=completing("id"),
            help="Leave out a run. May be repeated.",
        ),
        click.option(
            "--where",
            multiple=True,
            metavar="'KEY OP VALUE'",
            shell_complete=completing("condition"),
            help='Only points that meet this, such as size=135M or "lr >= 1e-3": any column of the table '
            "(= or ==, !=, <, <=, >, >=; run=wsd* or run~wsd*, run!~wsd* for patterns). May be repeated.",
        ),
        click.option(
            "--warmup-steps",
            type=click.IntRange(min=0),
            metavar="STEPS",
            help="Steps of a linear warm-up before the first step of each run of --data, for laws that read the "
            "learning rate. Runs recorded theirs.",
        ),
        decimal_option,
        runs_option,
    )


def _check(request: PointsRequest) -> None:
    """Raise `click.UsageError` for options that exclude each other."""
    of_pool = click.get_current_context().params.get("pool") is not None
    given = click.get_current_context().get_parameter_source("root") == ParameterSource.COMMANDLINE
    if request.files and given:
        raise click.UsageError("--data and --runs exclude each other: fit points of files or of runs")
    for option, value in (
        ("--columns", request.columns),
        ("--sigma", request.sigma),
        ("--weight", request.weight),
        ("--outputs", request.outputs),
        ("--warmup-steps", request.warmup_steps),
        ("--decimal", request.decimal),
    ):
        if value is not None and not request.files and not (of_pool and option == "--columns"):
            raise click.UsageError(f"{option} is for points of files: it goes with --data")
