"""A group of commands that are imported one by one, when they run."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from fvlm_core.cli.help import Group

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

Table = dict[str, tuple[str, str]]
"""Every command: its module, which holds a click command named `command`, and its line in the group's help."""

_ELSEWHERE = {
    **dict.fromkeys(("train", "sweep"), "run"),
    **dict.fromkeys(("evaluate", "test", "validate"), "eval"),
    **dict.fromkeys(("generate", "infer", "inference", "chat"), "caption"),
    **dict.fromkeys(("plot", "dashboard"), "report"),
}
"""What other tools call a command of fvlm."""


class LazyGroup(Group):
    """A group that knows its commands' names and help lines without importing them."""

    def __init__(self, *arguments: Any, table: Table, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the table."""
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command."""
        if cmd_name not in self.table:
            return None
        command = import_module(self.table[cmd_name][0]).command
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """As click's, which takes the end of any pipe for that of stdout or stdin, and leaves without a word."""
        try:
            return super().invoke(ctx)
        except (BrokenPipeError, EOFError) as error:
            raise RuntimeError(f"a pipe to another process has ended ({type(error).__name__})") from error

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, but an unknown name suggests the nearest, or what it is called here."""
        if args[0] not in self.table and not args[0].startswith("-") and not ctx.resilient_parsing:
            meant = " or ".join(f'"{name}"' for name in self._meant(ctx, args[0]))
            ctx.fail(f'no command is called "{args[0]}"' + (f": did you mean {meant}?" if meant else "."))
        return super().resolve_command(ctx, args)

    def _meant(self, ctx: click.Context, name: str) -> list[str]:
        from difflib import get_close_matches

        if near := get_close_matches(name, self.table, n=1):
            return near
        if (here := _ELSEWHERE.get(name)) in self.table:
            return [here]
        groups = {group: self.get_command(ctx, group) for group in self.table}
        return [
            f"{group} {name}"
            for group, one in groups.items()
            if isinstance(one, click.Group) and name in one.list_commands(ctx)
        ]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table as it stands, below the titles that the page has for its parts."""
        rows = {name: (name, text) for name, (_, text) in self.table.items()}
        titles = self.page(ctx).commands
        widest = max(map(len, rows))
        for title, names in titles.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(widest), rows.pop(name)[1]) for name in names.split()])
        if rows:
            with formatter.section("Others" if titles else "Commands"):
                formatter.write_dl(list(rows.values()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Names from the table, so that pressing Tab imports no command."""
        from click.shell_completion import CompletionItem

        named = [(name, text) for name, (_, text) in self.table.items() if name.startswith(incomplete)]
        options = click.Command.shell_complete(self, ctx, incomplete)
        return [*(CompletionItem(name, help=text) for name, text in named), *options]
