"""Help begins with examples that work, and shows every option in a named group; in colour on a terminal."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from fvlm_core.cli.help import Command, Group
from fvlm_core.cli.help_pages import _PAGES
from fvlm_core.cli.main import COMMANDS, fvlm

sys.path.append(str(Path(__file__).resolve().parents[2] / "docs" / "_ext"))

FVLM = Path(sys.executable).with_name("fvlm")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def every(
    command: click.Command, context: click.Context
) -> Iterator[tuple[str, click.Command, click.Context]]:
    yield context.command_path.partition(" ")[2], command, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from every(below, below.context_class(below, info_name=name, parent=context))


ALL = {
    path: (command, context)
    for path, command, context in every(fvlm, fvlm.context_class(fvlm, info_name="fvlm"))
}


def test_every_command_has_a_page_and_every_page_a_command() -> None:
    assert set(_PAGES) == set(ALL)
    assert not [path for path, (command, _) in ALL.items() if not isinstance(command, Command | Group)]
    assert not [path for path, page in _PAGES.items() if not page.examples]


@pytest.mark.parametrize("path", ALL)
def test_every_option_is_in_one_group_and_every_group_names_options(path: str) -> None:
    command, context = ALL[path]
    named = " ".join(_PAGES[path].groups.values()).split()
    options = [one for one in command.params if isinstance(one, click.Option) and "--version" not in one.opts]
    found = [name for one in options for name in one.opts if name in named]
    assert len(set(named)) == len(named)
    assert sorted(found) == sorted(named)
    assert len(found) == len(options)
    shown = [one for _, group in command.grouped(context) for one in group]  # type: ignore[attr-defined]
    assert len(shown) == len(options) + (2 if path == "" else 1)  # --help; of fvlm itself --version too


def test_every_command_of_fvlm_is_below_a_title() -> None:
    assert sorted(" ".join(_PAGES[""].commands.values()).split()) == sorted(COMMANDS)


@pytest.mark.parametrize("path", ALL)
def test_every_example_is_read_as_it_would_be(path: str) -> None:
    from blocks import Block
    from rehearse import problems

    for command, _ in _PAGES[path].examples:
        assert command.startswith(f"fvlm {path}".rstrip())
        assert not list(problems(Block(Path("help"), 1, "parse", "", command, None)))


def test_examples_stand_before_options() -> None:
    text = subprocess.run([FVLM, "fit", "--help"], capture_output=True, text=True, check=True).stdout
    assert (
        text.index("Usage:") < text.index("Examples:") < text.index("The law:") < text.index("--model NAME")
    )
    assert text.index("Figures:") < text.index("--figures NAME")
    assert "\x1b" not in text


def on_a_terminal(**environment: str) -> str:
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [FVLM, "run", "--help"], stdout=follower, stderr=follower, env=os.environ | environment
    )
    os.close(follower)
    text = b""
    while True:
        try:
            part = os.read(leader, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        text += part
    os.close(leader)
    assert process.wait() == 0
    return text.decode()


def test_a_terminal_gets_colours_and_the_same_words() -> None:
    coloured = on_a_terminal(TERM="xterm")
    assert COLOUR.search(coloured)
    assert COLOUR.sub("", coloured) == on_a_terminal(TERM="dumb") == on_a_terminal(NO_COLOR="1")


def test_a_remark_stands_beside_its_command_where_all_fit_and_above_it_elsewhere() -> None:
    from fvlm_core.cli.help import Formatter

    def written(width: int) -> str:
        formatter = Formatter(width=width)
        formatter.write_examples([("fvlm run a", "one"), ("fvlm run a --dry-run", "two")])
        return formatter.getvalue()

    assert written(40) == "fvlm run a            # one\nfvlm run a --dry-run  # two\n"
    assert written(20) == "# one\nfvlm run a\n# two\nfvlm run a --dry-run\n"
