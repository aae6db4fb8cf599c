"""`fvlm completion SHELL`: the script that makes a shell complete fvlm's commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from fvlm_core.cli.choice import Choice


@click.command(name="completion")
@click.argument("shell", type=Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the script that completes fvlm's commands in SHELL.

    \b
    bash: fvlm completion bash > ~/.local/share/bash-completion/completions/fvlm
    zsh:  fvlm completion zsh > ~/.zfunc/_fvlm     (with ~/.zfunc in fpath)
    fish: fvlm completion fish > ~/.config/fish/completions/fvlm.fish
    """
    completion = get_completion_class(shell)
    assert completion is not None  # click brings these three
    click.echo(completion(ctx.find_root().command, {}, "fvlm", "_FVLM_COMPLETE").source())
