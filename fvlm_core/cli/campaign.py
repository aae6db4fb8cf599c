"""`fvlm campaign`: buy, train and fit runs, round after round, until a prediction is sure enough."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fvlm_core.cli.console import stderr, stdout
from fvlm_core.cli.counts import COUNT
from fvlm_core.cli.help import Command
from fvlm_core.cli.launch_options import LaunchRequest, launch_options
from fvlm_core.cli.offered import completing
from fvlm_core.cli.options import key_option, runs_option
from fvlm_core.cli.path_types import LAW_OR_PATH, RECIPE_OR_PATH

if TYPE_CHECKING:
    from fvlm_core.execution.campaign import Train
    from fvlm_core.recipes.read import Recipe


@click.command("campaign", cls=Command)
@click.argument("recipe", type=RECIPE_OR_PATH)
@click.option(
    "--target",
    metavar="N=N,D=D",
    help="The run whose loss is to be predicted: N=20M,D=200k, or size=RUN,D=200k with a run of the recipe.",
)
@click.option(
    "--budget",
    type=COUNT,
    metavar="FLOPS",
    help="Training FLOPs that all runs may take together, by the ledger.",
)
@click.option(
    "--within",
    metavar="PART",
    help="End when half of the 95 % interval in which one run of the target would fall is at most this part of the "
    "predicted loss.  [default: 2%]",
)
@click.option(
    "--law",
    metavar="NAME",
    shell_complete=completing("fit"),
    help="The law: a fit component of N and D.  [default: joint-chinchilla]",
)
@key_option("overrides", "key", "Change one key of the recipe: -o campaign.seeds=2.")
@runs_option
@launch_options
@click.option("--force", is_flag=True, help="Train what the estimate of memory says cannot fit.")
@click.option(
    "--dry-run", is_flag=True, help="Show the pilot and the first choice, with costs; train nothing."
)
@click.option(
    "--simulate",
    type=LAW_OR_PATH,
    metavar="LAW",
    help="Play against a known truth, in seconds: a law with values, or a file of fvlm fit --json.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the campaign as JSON.")
def command(
    recipe: str,
    target: str | None,
    budget: float | None,
    within: str | None,
    law: str | None,
    overrides: tuple[str, ...],
    root: Path,
    request: LaunchRequest,
    force: bool,
    dry_run: bool,
    simulate: str | None,
    as_json: bool,
) -> None:
    """Predict the loss of a run that is not made, from cheaper ones: a pilot, a fit, the runs that help most for their
    cost, another fit, until the prediction is as sure as asked, the budget is spent, or nothing helps.

    RECIPE (a file, or the name of a shipped recipe) has the sizes; its table [campaign] may say all that the options
    say. A campaign is the folder of the recipe's runs and `campaign.json` in it: what was bought, what it told, and the
    verdict. The same command goes on with one that was interrupted.
    """
    from fvlm_core.api.campaign import asked_settings, foreseen, run_campaign, simulated
    from fvlm_core.api.views.campaign import print_campaign, say_progress
    from fvlm_core.recipes.read import read_recipe
    from fvlm_core.scaling.campaign.truth import read_truth

    if dry_run and simulate is not None:
        raise click.UsageError("--dry-run and --simulate exclude each other")
    if request.detach:
        raise click.UsageError(
            "--detach: a campaign waits for the runs of a round before it decides the next"
        )
    if request.launcher is not None and as_json:
        raise click.UsageError(
            "--json: with --launcher, what the jobs say stands there too; campaign.json has it all"
        )
    read = read_recipe(recipe, overrides)
    settings = asked_settings(read, target, budget, within, law)
    if simulate is not None:
        result = simulated(read, settings, read_truth(simulate))
    elif dry_run:
        result = foreseen(read, settings, root)
    else:
        console = stderr() if as_json else stdout()
        request = request if as_json else request.for_recipe(read)
        train = _through(request, root, force) if request.launcher else _here(root, force, as_json)
        result = run_campaign(read, settings, root, train, say_progress(console))
    if as_json:
        click.echo(json.dumps(result.to_json(), indent=2))
    else:
        print_campaign(stdout(), result)


def _here(root: Path, force: bool, as_json: bool) -> Train:
    from fvlm_core.api.campaign import training_here

    return training_here(root, stderr() if as_json else stdout(), force=force)


def _through(request: LaunchRequest, root: Path, force: bool) -> Train:
    """Train runs as jobs of a launcher, and wait for all of them."""

    def train(recipe: Recipe, file: Path) -> None:
        from fvlm_core.cli.launch import launch
        from fvlm_core.execution.jobs import CommandLine

        _, failure = launch(recipe, CommandLine(str(file.absolute()), root, force=force), request)
        if failure is not None:
            raise failure

    return train
