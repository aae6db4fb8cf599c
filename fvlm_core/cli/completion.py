"""`fvlm completion SHELL`: the script that makes a shell complete fvlm's commands, options and what they name."""

from __future__ import annotations

import click

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
    from fvlm_core.cli.shells import SHELLS, VARIABLE

    click.echo(SHELLS[shell](ctx.find_root().command, {}, "fvlm", VARIABLE).source())
