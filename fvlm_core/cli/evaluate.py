"""`fvlm eval`: losses of a trained model, by source and mode, on any data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from fvlm_core.cli.choice import NearestChoice
from fvlm_core.cli.generation_options import generation, generation_options
from fvlm_core.cli.help import Command
from fvlm_core.cli.offered import completing
from fvlm_core.cli.options import key_option, runs_option, weights_option
from fvlm_core.cli.path_types import RUN_OR_PATH, NameOrPath

if TYPE_CHECKING:
    from fvlm_core.interfaces.data import Split


@click.command("eval", cls=Command, short_help="Losses of a trained model, by source and mode, on any data.")
@click.argument("run_name", type=RUN_OR_PATH, metavar="RUN")
@click.option(
    "--data",
    metavar="NAME",
    shell_complete=completing("data"),
    help="A source of the run's recipe, or any installed data source.  [default: the run's own validation]",
)
@key_option("settings", "data setting", "A setting of that source: -o path=clips.")
@click.option(
    "--mode",
    "modes",
    multiple=True,
    metavar="NAME",
    shell_complete=completing("mode"),
    help="A mode of the model's connector, how visual tokens are made, or all of them; may be given several times.  "
    "[default: the mode the model trained in]",
)
@click.option("--split", type=NearestChoice(["validation", "train"]), default="validation", show_default=True)
@click.option(
    "--samples", type=click.IntRange(min=1), metavar="N", help="At most so many.  [default: the recipe's]"
)
@click.option(
    "--max-bad",
    type=click.FloatRange(0, 1),
    metavar="X",
    help="How large a share of the samples may be without what they show.  [default: data.max_bad of the recipe]",
)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME",
    shell_complete=completing("metric"),
    help="Score the model's answers by this metric; may be given several times.",
)
@click.option(
    "--answers",
    type=click.IntRange(min=1),
    metavar="N",
    help="With --metric: answer at most so many samples.  [default: the recipe's, or 64]",
)
@click.option(
    "--tokens",
    type=click.IntRange(min=1),
    metavar="N",
    help="With --metric: longest answer, in tokens.  [default: the recipe's, or 64]",
)
@generation_options
@weights_option
@click.option(
    "--suite",
    type=NameOrPath(),
    metavar="NAME",
    help="In place of losses: published benchmarks by lmms-eval, of a list that comes with fvlm (video), or a .toml.",
)
@click.option(
    "--task",
    "tasks",
    multiple=True,
    metavar="NAME",
    help="With --suite: this benchmark of it alone; may be given several times.",
)
@click.option("--device", type=NearestChoice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
@runs_option
def command(
    run_name: str,
    data: str | None,
    settings: tuple[str, ...],
    modes: tuple[str, ...],
    split: str,
    samples: int | None,
    max_bad: float | None,
    metrics: tuple[str, ...],
    answers: int | None,
    tokens: int | None,
    beams: int | None,
    temperature: float | None,
    top_p: float | None,
    stop: tuple[str, ...],
    weights: str | None,
    suite: str | None,
    tasks: tuple[str, ...],
    device: str,
    as_json: bool,
    root: Path,
) -> None:
    """Measure the model of RUN: a run (its folder, its id, or "recipe/id"), or a folder of exported weights.

    Losses are nats a supervised token, over all tokens of all samples and of each source. "words" counts the
    assistant's own words alone; entropies are nats of attention, of each pass of the connector (foveated: of the
    learned and of the dynamic queries), the same ones whatever --mode says. A source that the run does not know is
    shown as its training data were, where its settings (fps, max_frames, fit, prompt) can say so and no -o says
    otherwise.

    With --metric the model answers samples, too: a metric is the mean of its answers' scores, between the ends of the
    mean's interval at 95 % (Student's, over the samples). --answers, --tokens, --beams, --temperature, --top-p and
    --stop say how it answers; what they leave open is as [eval.generation] of its recipe says.

    With --suite the model is scored on published benchmarks, where lmms-eval is installed: the share of the questions
    that it answers right, with its interval. The scores are kept with the run, unless --samples says to ask fewer.
    """
    from fvlm_core.api.evaluate import evaluated
    from fvlm_core.cli.console import note, stderr, stdout

    if suite is not None or tasks:
        others = {
            "--data": data, "-o": settings, "--max-bad": max_bad, "--metric": metrics, "--answers": answers,
            "--tokens": tokens, "--beams": beams, "--temperature": temperature, "--top-p": top_p, "--stop": stop,
            "--weights": weights, "--split train": split != "validation", "several --mode": len(modes) > 1,
        }  # fmt: skip
        _suite(run_name, root, suite, tasks, others, modes, samples, device, as_json)
        return
    how = {"samples": answers, "limit": tokens, "beams": beams, "temperature": temperature, "top_p": top_p}
    if not metrics and (stop or any(value is not None for value in how.values())):
        raise click.UsageError("options of answers: nothing is answered without --metric NAME")
    found = evaluated(
        run_name,
        root,
        data=data,
        settings=settings,
        modes=modes,
        split=cast("Split", split),
        samples=samples,
        max_bad=max_bad,
        device=device,
        metrics=metrics,
        answering=lambda recipe: generation(recipe, **how, stop=stop),
        weights=weights,
        console=stderr(),
        note=note,
    )
    if as_json:
        click.echo(json.dumps(found.to_dict(), indent=2, allow_nan=False))
    else:
        found.show(stdout())


def _suite(
    run: str,
    root: Path,
    suite: str | None,
    tasks: tuple[str, ...],
    others: Mapping[str, object],
    modes: tuple[str, ...],
    samples: int | None,
    device: str,
    as_json: bool,
) -> None:
    """Published benchmarks. others: options that do not go with them, and what was said. Exits with 1 where one of them
    gave no score."""
    from fvlm_core.api.suite import run_benchmarks
    from fvlm_core.api.views.display import Display
    from fvlm_core.cli.console import stderr, stdout

    if suite is None:
        raise click.UsageError(
            "--task: chooses among the benchmarks of a suite; expected --suite NAME with it"
        )
    if said := [name for name, value in others.items() if value not in (None, (), False)]:
        raise click.UsageError(
            f"--suite: its list says what is asked and how; expected no {', '.join(said)} with it"
        )
    if "all" in modes:
        raise click.UsageError('--suite: benchmarks are run in one mode; expected its name, got "all"')
    with Display(stderr(), 0) as display:
        found = run_benchmarks(
            run,
            root,
            suite,
            tasks=tasks,
            samples=samples,
            mode=modes[0] if modes else None,
            device=device,
            progress=display.work,
        )
    if as_json:
        click.echo(json.dumps(found.to_dict(), indent=2, allow_nan=False))
    else:
        found.show(stdout())
    if found.failed:
        click.get_current_context().exit(1)
