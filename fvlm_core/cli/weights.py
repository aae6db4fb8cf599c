"""`fvlm weights`: weights made elsewhere in, trained models out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fvlm_core.cli.choice import NearestChoice
from fvlm_core.cli.help import Group
from fvlm_core.cli.offered import completing
from fvlm_core.cli.options import runs_option, weights_option
from fvlm_core.cli.path_types import ANY_PATH, FOLDER_PATH, RECIPE_OR_PATH, RUN_OR_PATH

FORMS = ("transformers", "onnx", "gguf", "fvlm")


@click.group(name="weights", cls=Group)
def command() -> None:
    """Weights made elsewhere in, trained models out."""


@command.command(name="import", short_help="Make a run of weights made elsewhere.")
@click.argument("file", type=ANY_PATH)
@click.option(
    "--recipe",
    type=RECIPE_OR_PATH,
    required=True,
    help="The recipe that describes the model: a file or a shipped name.",
)
@click.option(
    "--run",
    "run_id",
    metavar="ID",
    shell_complete=completing("own run"),
    help="Which run of the recipe, when it has several.",
)
@click.option(
    "--to",
    type=FOLDER_PATH,
    metavar="DIR",
    help="The run folder to write.  [default: RUNS/imported/ID of the run]",
)
@runs_option
def import_(file: Path, recipe: str, run_id: str | None, to: Path | None, root: Path) -> None:
    """Make a run of FILE, the weights of the founding project or of another fvlm: a .safetensors, or a training .pt.

    Names and shapes must be those of the recipe's model, one by one; what is not is listed.
    """
    from fvlm_core.cli.console import stdout
    from fvlm_core.recipes.read import read_recipe
    from fvlm_core.runs.store import IMPORTED
    from fvlm_core.weights.imported_run import choose_run, import_weights

    run = choose_run(read_recipe(recipe), run_id)
    folder = import_weights(file, run, to or root / IMPORTED / run.id)
    stdout().print(f"imported: {folder}", soft_wrap=True)


@command.command(name="export", short_help="Write a Hugging Face folder with a model card.")
@click.argument("run_name", type=RUN_OR_PATH, metavar="RUN")
@click.option(
    "--to", type=FOLDER_PATH, required=True, metavar="DIR", help="The folder to write; new or empty."
)
@click.option(
    "--format",
    "form",
    type=NearestChoice(FORMS),
    default=FORMS[0],
    show_default=True,
    help="transformers: with its code, for people without fvlm. onnx: graphs, for people without PyTorch. gguf: the "
    "language model alone, for llama.cpp. fvlm: any model, for people with fvlm.",
)
@click.option(
    "--int8", is_flag=True, help="With onnx or gguf: weights as 8-bit integers, a quarter of the size."
)
@click.option(
    "--push",
    "repository",
    metavar="OWNER/NAME",
    help="Then upload the folder to the Hugging Face hub; a repository that is not there is made, private.",
)
@weights_option
@runs_option
def export(
    run_name: str,
    to: Path,
    form: Any,
    int8: bool,
    repository: str | None,
    weights: str | None,
    root: Path,
) -> None:
    """Write the model of RUN (a folder, an id, or "recipe/id") as a folder with a model card.

    transformers and PyTorch alone load it: `AutoModelForImageTextToText.from_pretrained(DIR, trust_remote_code=True)`;
    or, with `--format onnx`, onnxruntime: `python DIR/caption_onnx.py clip.mp4`.
    """
    from fvlm_core.cli.console import note, stdout
    from fvlm_core.hf.export import release
    from fvlm_core.runs.store import find_run

    if int8 and form not in ("onnx", "gguf"):
        raise click.UsageError(f"--int8 is of --format onnx and gguf, and the format is {form}")
    if repository is not None:
        from fvlm_core.hf.push import check_repository

        check_repository(repository)
    for file in release(find_run(run_name, root), to, weights, form, int8=int8, note=note):
        stdout().print(str(file), soft_wrap=True)
    if repository is not None:
        from fvlm_core.hf.push import push

        stdout().print(f"pushed, private unless it was there: {push(to, repository)}", soft_wrap=True)
