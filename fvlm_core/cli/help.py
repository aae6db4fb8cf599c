"""What `--help` shows: examples first, options in named groups, colours on a terminal.

The words stand in `help_pages`, which is imported when somebody asks. By hand, in place of rich-click: rich alone makes
`fvlm --help` take 1.6 times as long (docs/decisions/0021-the-face.md).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from inspect import cleandoc
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from fvlm_core.cli.help_pages import Page

_BOLD, _NAME, _DIM, _PLAIN = "\x1b[1m", "\x1b[36m", "\x1b[2m", "\x1b[0m"

_REST = "Other options"
"""The group of what no other one names."""


class Formatter(click.HelpFormatter):
    """click's, with headings, names and remarks in styles of a terminal. colour: whether there are any."""

    colour = False

    def styled(self, text: str, style: str) -> str:
        """The text in a style, if there are any."""
        return f"{style}{text}{_PLAIN}" if self.colour and text else text

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        """As click's, the command in bold."""
        super().write_usage(self.styled(prog, _BOLD), args, prefix)

    def write_heading(self, heading: str) -> None:
        """As click's, in bold."""
        super().write_heading(self.styled(heading, _BOLD))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """As click's, the names in colour and what follows them as it is."""
        super().write_dl([(self._named(first), second) for first, second in rows], col_max, col_spacing)

    def write_examples(self, examples: Sequence[tuple[str, str]]) -> None:
        """Commands with a remark each: beside them where all of them fit the width, else above."""
        indent = " " * self.current_indent
        longest = max(len(command) for command, _ in examples)
        room = self.width - len(indent) - longest - 4
        beside = all(len(remark) <= room for _, remark in examples)
        for command, remark in examples:
            if not beside and remark:
                self.write(f"{indent}{self.styled(f'# {remark}', _DIM)}\n")
            gap = " " * (longest - len(command) + 2) if beside and remark else ""
            shown = self.styled(command, _NAME)
            self.write(f"{indent}{shown}{gap}{self.styled(f'# {remark}', _DIM) if gap else ''}\n")

    def _named(self, text: str) -> str:
        """ "-o, --out FILE": the names in colour, FILE as it is."""
        words = text.split(" ")
        named = [self.styled(word, _NAME) if not at or word.startswith("-") else word
                 for at, word in enumerate(words)]  # fmt: skip
        return " ".join(named)


class _Context(click.Context):
    formatter_class = Formatter


def _write_paragraphs(formatter: click.HelpFormatter, text: str) -> None:
    if text:
        formatter.write_paragraph()
        indent = " " * (formatter.current_indent + formatter.indent_increment)
        formatter.write(
            click.wrap_text(text, formatter.width, indent, indent, preserve_paragraphs=True) + "\n"
        )


class _Helpful(click.Command):
    """What commands and groups of them share. Their page is that of their path, "fvlm runs list"."""

    context_class = _Context

    def page(self, ctx: click.Context) -> Page:
        """Its examples and groups."""
        from fvlm_core.cli.help_pages import page

        return page(ctx.command_path.partition(" ")[2])

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """As click's, but that it prints in colour on a terminal."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.callback = _show
        return option

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The first paragraph, the examples, the rest."""
        first, _, rest = cleandoc(self.help or self.short_help or "").partition("\n\n")
        _write_paragraphs(formatter, first)
        examples = self.page(ctx).examples
        if examples and isinstance(formatter, Formatter):
            with formatter.section("Examples"):
                formatter.write_examples(examples)
        _write_paragraphs(formatter, rest)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Options below the names of their groups; --help ends the last one."""
        for title, options in self.grouped(ctx):
            records = [record for one in options if (record := one.get_help_record(ctx)) is not None]
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)

    def grouped(self, ctx: click.Context) -> list[tuple[str, list[click.Parameter]]]:
        """Titles, and the options below them, in the order of the page."""
        options = {
            name: one
            for one in self.get_params(ctx)
            if not isinstance(one, click.Argument)
            for name in one.opts
        }
        groups: list[tuple[str, list[click.Parameter]]] = []
        seen: set[int] = set()
        for title, names in self.page(ctx).groups.items():
            found = [options[name] for name in names.split() if name in options]
            seen |= set(map(id, found))
            groups.append((title, found))
        rest = [one for one in dict.fromkeys(options.values()) if id(one) not in seen]
        help_option = self.get_help_option(ctx)
        if groups and rest == [help_option]:
            groups[-1][1].extend(rest)
        else:
            groups.append((_REST if groups else "Options", rest))
        return groups


class Command(_Helpful):
    """A command whose help has examples and groups, and which says where to put a file that it is given in passing."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click's, but what it has no place for comes with the option that has one."""
        ctx.allow_extra_args = True
        left = super().parse_args(ctx, args)
        if left and not ctx.resilient_parsing:
            options = {name: one for one in self.get_params(ctx) for name in one.opts}
            places: list[str] = []
            if "--runs" in options and os.path.isdir(left[0]):
                places.append("--runs")
            if (
                "--data" in options
                and options["--data"].make_metavar(ctx) == "FILE"
                and os.path.exists(left[0])
            ):
                places.append("--data")
            meant = " or ".join(f"{option} {left[0]}" for option in places)
            named = ", ".join(f'"{one}"' for one in left)
            what = "an argument" if len(left) == 1 else f"{len(left)} arguments"
            ctx.fail(f"{what} too many: {named}{f'; did you mean {meant}?' if meant else ''}")
        return left


class Group(_Helpful, click.Group):
    """A group of commands whose help has examples, and so have its commands."""

    command_class = Command

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands first: they are what is looked for."""
        self.format_commands(ctx, formatter)
        super().format_options(ctx, formatter)


def _show(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Print the help and end, as click's callback; past the door that lets no colour through."""
    if not value or ctx.resilient_parsing:
        return
    from fvlm_core.cli.streams import Styled

    formatter = Formatter(width=ctx.terminal_width, max_width=ctx.max_content_width)
    formatter.colour = (
        sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    )
    ctx.command.format_help(ctx, formatter)
    Styled(error=False).write(formatter.getvalue().rstrip("\n") + "\n")
    ctx.exit()
