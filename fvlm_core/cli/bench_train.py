"""`fvlm bench train`: a training step beside the bare cost of its matrices."""

from __future__ import annotations

import click


@click.command("train")
@click.argument("recipe", default="phase1b_135m")
@click.option("-o", "overrides", multiple=True, metavar="KEY=VALUE", help="Change one key of the recipe.")
@click.option(
    "--rounds", type=click.IntRange(1), default=5, show_default=True, help="Pairs of processes, in turn."
)
@click.option("--json", "as_json", is_flag=True, help="The figures as JSON.")
def command(recipe: str, overrides: tuple[str, ...], rounds: int, as_json: bool) -> None:
    """Time a training step of RECIPE's first run, weights drawn at random, float32 on the CPU.

    Its bare cost: the same encoder, language model and head, called directly on tensors of the same shapes.
    """
    from fvlm_core.bench.pairs import machine
    from fvlm_core.bench.train import THREADS, bench_train
    from fvlm_core.cli.bench_pairs import show_pairs
    from fvlm_core.cli.console import stderr
    from fvlm_core.cli.display import Display

    with Display(stderr(), 0) as display:
        found = bench_train(recipe, rounds, overrides, display.work)
    show_pairs([found], {**machine(("torch", "transformers")), "threads": THREADS}, as_json)
