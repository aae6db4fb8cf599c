"""`fvlm bench train`: training and watching beside other ways of doing the same, or component by component."""

from __future__ import annotations

from pathlib import Path

import click

from fvlm_core.cli.choice import NearestChoice
from fvlm_core.cli.help import Command
from fvlm_core.cli.options import key_option
from fvlm_core.cli.path_types import FILE_PATH, RECIPE_OR_PATH

NAMES = ("bare", "plain", "compile", "precision", "mix", "stream", "growth")


@click.command("train", cls=Command)
@click.argument("recipe", type=RECIPE_OR_PATH, default="phase1b_135m")
@key_option("overrides", "key", "Change one key of the recipe.")
@click.option(
    "--only",
    "names",
    multiple=True,
    type=NearestChoice(NAMES),
    help="Measure this alone; may be repeated. Without it, everything.",
)
@click.option(
    "--rounds", type=click.IntRange(1), default=5, show_default=True, help="Pairs of processes, in turn."
)
@click.option("--device", type=NearestChoice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option(
    "--precision",
    type=NearestChoice(["float32", "bf16", "auto"]),
    help="Of matrix products, over float32 weights: float32 on a CPU and bf16 on a GPU unless you say; auto: what the "
    "device is faster in.",
)
@click.option("--compile", "compiled", is_flag=True, help="Compile fvlm's layers.")
@click.option(
    "--samples", type=click.IntRange(1), default=2, show_default=True, help="Samples of the dense batch."
)
@click.option(
    "--profile",
    is_flag=True,
    help="In place of the pairs: where a step's time goes, component by component, beside its FLOPs.",
)
@click.option(
    "--trace",
    type=FILE_PATH,
    help="With --profile: a trace for chrome://tracing or ui.perfetto.dev.",
)
@click.option("--json", "as_json", is_flag=True, help="The figures as JSON.")
def command(
    recipe: str,
    overrides: tuple[str, ...],
    names: tuple[str, ...],
    rounds: int,
    device: str,
    precision: str | None,
    compiled: bool,
    samples: int,
    profile: bool,
    trace: Path | None,
    as_json: bool,
) -> None:
    """Time the first run of RECIPE (phase1b_135m unless you say) with weights drawn at random, beside other ways of
    doing the same.

    \b
    bare      a training step, against the same encoder, language model and head called directly
    plain     against the same two passes written plainly, all tokens supervised and 30 % of them
    compile   a training step with fvlm's layers compiled, against as they are
    precision a step in bf16, against float32, and against two passes written plainly in float32
    mix       192 samples of many lengths, packed, against padded batches of eight
    stream    64 frames one by one, against the encoder, the language model's matrices and the queries
    growth    how the time of frames one by one grows from 8 to 512
    """
    from fvlm_core.api.views.display import Display
    from fvlm_core.bench.pairs import machine
    from fvlm_core.bench.setting import THREADS, Setting, precision_of
    from fvlm_core.bench.train import bench_train, measurable
    from fvlm_core.cli.bench_pairs import show_pairs
    from fvlm_core.cli.bench_profile import show_profile
    from fvlm_core.cli.console import stderr
    from fvlm_core.utils.errors import UsageError

    if trace is not None and not profile:
        raise UsageError("--trace: is of a profile; expected --profile beside it")
    if profile and names:
        raise UsageError("--only: chooses among comparisons; expected none with --profile")
    setting = Setting(
        recipe=recipe,
        overrides=overrides,
        device=device,
        precision=precision_of(device, precision),
        compiled=compiled,
        samples=samples,
    )
    about = {
        **machine(("torch", "transformers")),
        "device": setting.device_name,
        "precision": setting.precision,
    }
    if device == "cpu":
        about["threads"] = THREADS
    if profile:
        show_profile(setting, trace, about, as_json)
        return
    with Display(stderr(), 0) as display:
        found = bench_train(setting, names or measurable(setting), rounds, display.work)
    show_pairs(found, about, as_json, peak=setting.peak)
