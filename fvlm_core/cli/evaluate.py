"""`fvlm eval`: losses of a trained model, by source and mode, on any data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from fvlm_core.cli.choice import NearestChoice
from fvlm_core.cli.generation_options import generation, generation_options
from fvlm_core.cli.offered import completing
from fvlm_core.cli.options import key_option, runs_option
from fvlm_core.cli.path_types import RUN_OR_PATH

if TYPE_CHECKING:
    from fvlm_core.evaluation.subject import EvaluatedModel, EvaluationResult
    from fvlm_core.interfaces.data import Split


@click.command("eval", short_help="Losses of a trained model, by source and mode, on any data.")
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
    """
    from fvlm_core.cli.console import note, stderr
    from fvlm_core.cli.display import Display
    from fvlm_core.evaluation.subject import (
        check_mode,
        choose_metrics,
        how_shown,
        measure,
        open_data,
        open_subject,
    )
    from fvlm_core.recipes.schema import Answering

    how = {"samples": answers, "limit": tokens, "beams": beams, "temperature": temperature, "top_p": top_p}
    if not metrics and (stop or any(value is not None for value in how.values())):
        raise click.UsageError("options of answers: nothing is answered without --metric NAME")
    subject = open_subject(run_name, root)
    if subject.remark:
        note(subject.remark)
    connector = subject.model.connector.spec
    for mode in modes:
        if mode != "all":
            check_mode(subject, mode, "--mode")
    chosen = connector.modes if "all" in modes else tuple(dict.fromkeys(modes)) or (connector.mode,)
    with Display(stderr(), 1) as display:
        sources = open_data(subject, data, settings, cast("Split", split), display.work, max_bad)
    for text in how_shown(subject, sources, named=data is not None):
        stderr().print(f"shown: {text}", soft_wrap=True)
    scored = choose_metrics(subject, metrics)
    answering = generation(subject.eval.generation or Answering(), **how, stop=stop)
    measured = measure(subject, sources, chosen, samples, device, scored, answering)
    for bad in measured.bad:
        stderr().print(f"left out: {bad.sample}: {bad.reason}", soft_wrap=True)
    if as_json:
        _print_json(subject, split, measured)
    else:
        _print_table(subject, split, measured)


def _print_json(subject: EvaluatedModel, split: str, measured: EvaluationResult) -> None:
    import json

    from attrs import asdict

    whole: dict[str, Any] = {
        "model": subject.name,
        "step": subject.step,
        "split": split,
        "samples": measured.samples,
        "bad_samples": [asdict(bad) for bad in measured.bad],
        "modes": measured.rows,
        **({"answers": _plain(measured)} if measured.answers else {}),
    }
    click.echo(json.dumps(whole, indent=2, allow_nan=False))


def _plain(measured: EvaluationResult) -> dict[str, Any]:
    """Every answer, by mode."""
    from attrs import asdict

    return {mode: [asdict(each) for each in answers] for mode, answers in measured.answers.items()}


def _print_table(subject: EvaluatedModel, split: str, measured: EvaluationResult) -> None:
    from fvlm_core.cli.console import new_table, print_table, stdout

    first = next(iter(measured.rows.values()))
    sources = list(first["val_loss_by_source"])
    entropies = [name for name in first if name.startswith("attention_entropy") and first[name] is not None]
    heads = {name: name.replace("attention_entropy", "entropy").replace("_", " ") for name in entropies}
    numbers = ("loss", "words", *sources, *heads.values(), "tokens")
    table = new_table("mode", *numbers, right=numbers)
    for mode, row in measured.rows.items():
        values = [row["val_loss"], row["val_loss_content"], *(row["val_loss_by_source"][s] for s in sources)]
        values += [row[name] for name in entropies]
        cells = ["" if value is None else f"{value:.4f}" for value in values]
        table.add_row(mode, *cells, f"{row['val_tokens']:,}")
    print_table(table)
    if measured.answers:
        _print_metrics(measured)
    step = "" if subject.step is None else f", step {subject.step}"
    stdout().print(f"{subject.name}{step}: {measured.samples} samples, {split}", soft_wrap=True)


def _print_metrics(measured: EvaluationResult) -> None:
    from fvlm_core.cli.console import new_table, print_table
    from fvlm_core.runs.answers import metric_means

    table = new_table(
        "mode", "metric", "mean", "low", "high", "answers", right=("mean", "low", "high", "answers")
    )
    for mode, answers in measured.answers.items():
        for name, found in metric_means(measured.rows[mode]).items():
            ends = ["" if value is None else f"{value:.4g}" for value in (found.mean, found.low, found.high)]
            scored = sum(each.scores[name] is not None for each in answers)
            table.add_row(mode, name, *ends, str(scored))
    print_table(table)
