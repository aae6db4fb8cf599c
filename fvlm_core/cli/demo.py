"""`fvlm demo`: a page on which a trained model watches a video, on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from fvlm_core.cli.help import Command
from fvlm_core.cli.options import runs_option, weights_option
from fvlm_core.cli.path_types import FOLDER_PATH, RUN_OR_PATH

PORT = 8438


@click.command("demo", cls=Command)
@click.argument("run_name", type=RUN_OR_PATH, metavar="RUN")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="0 takes a free one."
)
@click.option("--open", "then_open", is_flag=True, help="Show it in the web browser.")
@click.option(
    "--tokens", type=click.IntRange(min=1), default=48, show_default=True, help="Longest answer, in tokens."
)
@click.option(
    "--max-mb",
    type=click.IntRange(1, 4096),
    default=200,
    show_default=True,
    help="Largest file that is taken.",
)
@click.option(
    "--export-space",
    type=FOLDER_PATH,
    metavar="DIR",
    help="Write a Hugging Face Space that shows the model, into a new or empty folder, and serve nothing.",
)
@weights_option
@runs_option
def command(
    run_name: str,
    port: int,
    then_open: bool,
    tokens: int,
    max_mb: int,
    export_space: Path | None,
    weights: str | None,
    root: Path,
) -> None:
    """Serve a page on which the model of RUN (a folder, an id, or "recipe/id") watches videos, until Ctrl-C.

    Drop a video, or record one: text and gaze appear frame by frame, the coarse pass beside the fine one. Only this
    machine reaches the page.
    """
    from fvlm_core.cli.console import note, stdout
    from fvlm_core.runs.store import find_run

    run = find_run(run_name, root)
    if export_space is not None:
        from fvlm_core.hf.space import write_space

        for file in write_space(run, export_space, weights):
            stdout().print(str(file), soft_wrap=True)
        return
    from fvlm_core.api.trained import Trained
    from fvlm_core.report.demo.server import DemoServer
    from fvlm_core.report.demo.watching import Watcher

    trained = Trained(run, note, weights=weights)
    watcher = Watcher(trained.restored, trained.name, tokens)
    with DemoServer(port, watcher, max_mb * 1_000_000) as server:
        click.echo(f"{server.url}  (Ctrl-C ends it)")
        if then_open:
            import webbrowser

            webbrowser.open(server.url)
        server.serve_forever(poll_interval=0.2)
