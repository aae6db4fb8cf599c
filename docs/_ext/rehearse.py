"""Rehearsing a command: it is read as it would be, and nothing of it is done."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from unittest.mock import patch

import click
from attrs import fields
from blocks import Block
from fvlm_lmms_eval.settings import Settings

from fvlm_core.cli.main import fvlm

ROOT = Path(__file__).resolve().parents[2]
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_PLACEHOLDER = re.compile(r"[A-Z][A-Z_]*")
_ARGUMENTS = {"recipe", "recipes", "source"}  # those that hold recipes, where a shipped one has the name


def problems(block: Block) -> Iterator[str]:
    """What is wrong with the commands of a block, one sentence each."""
    if block.mark == "file":
        return
    for line in block.code.replace("\\\n", " ").splitlines():
        for words in _commands(line):
            for problem in _problems(words):
                yield f"{block.place}: {shlex.join(words)}: {problem}"


def _commands(line: str) -> Iterator[list[str]]:
    reader = shlex.shlex(line, posix=True, punctuation_chars=";&|>")
    reader.whitespace_split = True
    words: list[str] = []
    every = iter([*reader, ";"])
    for word in every:
        if word == ">":
            next(every)  # the file that the output goes to
            continue
        if not set(word) <= set(";&|"):
            words.append(word)
            continue
        while words and (words[0] == "export" or _ASSIGNMENT.match(words[0])):
            words = words[1:]
        if words:
            yield words
        words = []


def _problems(words: Sequence[str]) -> Iterator[str]:
    program, rest = words[0], list(words[1:])
    if program == "fvlm":
        yield from parsed(rest)
    elif program == "torchrun":
        yield from parsed(rest[rest.index("fvlm_core") + 1 :])
    elif program == "python":
        if rest[0].endswith(".py") and not (ROOT / rest[0]).is_file():
            yield f"there is no {rest[0]}"
    elif program == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        for word in rest:
            named = re.fullmatch(r"(?:\.|fvlm)\[(.*)\]", word)
            for extra in named.group(1).split(",") if named else ():
                if extra not in extras:
                    yield f'there is no extra "{extra}"'
    elif "--model_args" in rest:
        given = {pair.partition("=")[0] for pair in rest[rest.index("--model_args") + 1].split(",")}
        if unknown := given - {field.name for field in fields(Settings)}:
            yield f"--model_args: unknown: {', '.join(sorted(unknown))}"
    elif program not in (
        ".",
        "pytest",
        "cp",
        "cat",
        "cd",
        "git",
        "sphinx-build",
        "head",
        "grep",
        "ssh",
        "uv",
    ):
        yield f'"{program}" is no program that the documentation uses'


def parsed(arguments: Sequence[str]) -> list[str]:
    """What the command line says of arguments of `fvlm`, and of recipes that are not there. Nothing is run."""
    found: list[str] = []

    def instead(self: click.Command, ctx: click.Context) -> None:
        if not isinstance(self, click.Group):
            found.extend(_missing_recipes(ctx))

    try:
        with _files_need_not_exist(), patch.object(click.Command, "invoke", instead):
            fvlm.main(list(arguments), prog_name="fvlm", standalone_mode=False)
    except click.ClickException as error:
        found.append(error.format_message())
    return found


@contextmanager
def _files_need_not_exist() -> Generator[None]:
    convert = click.Path.convert
    click.Path.convert = lambda self, value, param, ctx: self.coerce_path_result(value)
    try:
        yield
    finally:
        click.Path.convert = convert


def _missing_recipes(context: click.Context) -> Iterator[str]:
    for parameter, value in context.params.items():
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, str) and parameter in _ARGUMENTS:
                yield from _missing_recipe(one)
            elif isinstance(one, str) and (run := re.fullmatch(r"(\w+)/([\w-]+)", one)):
                yield from _missing_run(*run.groups())


def _missing_recipe(name: str) -> Iterator[str]:
    if name.startswith("recipes/"):
        if not (ROOT / name).is_file():
            yield f"there is no {name}"
    elif (
        not name.endswith(".toml")
        and not _PLACEHOLDER.fullmatch(name)
        and "/" not in name
        and name not in recipes()
    ):
        yield f'no recipe that comes with fvlm is called "{name}"'


def _missing_run(recipe: str, run: str) -> Iterator[str]:
    if recipe in recipes() and run not in runs(recipe):
        yield f'the recipe "{recipe}" has no run "{run}"'


@cache
def recipes() -> frozenset[str]:
    """Names of the recipes that come with fvlm."""
    return frozenset(path.stem for path in (ROOT / "recipes").glob("[!_]*.toml"))


@cache
def runs(recipe: str) -> frozenset[str]:
    """The ids of a shipped recipe's runs."""
    from fvlm_core.recipes.read import read_recipe

    return frozenset(run.id for run in read_recipe(recipe).runs)


def known(command: str) -> Iterator[str]:
    """What is wrong with a command within a sentence: it may be a beginning, but commands and options must exist."""
    words = shlex.split(command)[1:]
    here: click.Command = fvlm
    context = click.Context(fvlm, info_name="fvlm")
    while words and isinstance(here, click.Group) and not words[0].startswith("-"):
        if _PLACEHOLDER.fullmatch(words[0]):
            return
        below = here.get_command(context, words[0])
        if below is None:
            yield f'`{command}`: there is no command "{words[0]}"'
            return
        here, context, words = below, click.Context(below, parent=context, info_name=words[0]), words[1:]
    options = {
        name
        for parameter in here.get_params(context)
        for name in (*parameter.opts, *parameter.secondary_opts)
    }
    for word in words:
        if word.startswith("-") and word.split("=")[0] not in options:
            yield f'`{command}`: there is no option "{word}"'
