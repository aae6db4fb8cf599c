"""Tab completes what a place on the command line may name, keeps the shell's own files, and never prints an error."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_start_up import HEAVY

from fvlm_core.cli.completion import VARIABLE, Bash
from fvlm_core.cli.main import fvlm
from fvlm_core.cli.path_types import NameOrPath

OWN_PATH = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
OWN = """
extends = "captions_small"
name = "own"
[model.connector]
name = "pooled"
grid = 3
[[runs]]
id = "first"
[[runs]]
id = "second"
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with two runs, a table, and files whose names begin as a recipe's and a law's."""
    for run in ("grid/tiny", "my grid/größe 1", "other/a:b"):
        (tmp_path / "runs" / run).mkdir(parents=True)
        (tmp_path / "runs" / run / "recipe.json").write_text("{}")
    (tmp_path / "runs/_cache/x").mkdir(parents=True)
    (tmp_path / "runs/grid/no-run").mkdir()
    (tmp_path / "own.toml").write_text(OWN)
    (tmp_path / "broken.toml").write_text("model = [")
    (tmp_path / "t.csv").write_text("params,tokens,loss c4\n1,2,3\n")
    (tmp_path / "quick_local.toml").write_text("")
    (tmp_path / "quickdir").mkdir()
    monkeypatch.chdir(tmp_path)
    for name in ("FVLM_RUNS", "COMP_LINE", "COMP_POINT"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def tab(line: str) -> tuple[list[str], bool]:
    """What bash is told at the end of a line: the words, each from the last `=` or `:` on, and whether files go too."""
    os.environ.update(COMP_LINE=line, COMP_POINT=str(len(line)), COMP_WORDBREAKS=" \t\n\"'@><=;|&(:")
    told = [one.partition(",") for one in Bash(fvlm, {}, "fvlm", VARIABLE).complete().splitlines()]
    names = [value for kind, _, value in told if kind == "plain"]
    return names, not names or any(kind in ("file", "dir") for kind, _, _ in told)


@pytest.mark.parametrize(
    ("line", "names", "files"),
    [
        ("fvlm run quickst", ["quickstart"], True),
        ("fvlm recipes show quickst", ["quickstart"], True),
        ("FVLM_DEBUG=1 fvlm run quickst", ["quickstart"], True),
        ("fvlm run captions_small --only 48-", ["48-blind", "48-coarse-only"], False),
        ("fvlm run own.toml --only ", ["first", "second"], False),
        ("fvlm runs show ", ["grid/tiny", "my grid/größe 1", "other/a:b"], True),
        ("fvlm runs show other/a:", ["b"], True),
        ("fvlm runs show ti", ["tiny"], True),
        ('fvlm runs show "my gr', ["my grid/größe 1"], True),
        (r"fvlm runs show my\ gr", ["my grid/größe 1"], True),
        ("fvlm runs show --runs elsewhere ", [], True),
        ("fvlm report gri", ["grid/tiny", "grid"], True),
        ("fvlm caption v.mp4 --run grid", ["grid/tiny"], True),
        ("fvlm run captions_small -o training.prec", ["training.precision="], False),
        ("fvlm run captions_small -o training.precision=", ["float32", "bf16", "auto"], False),
        ("fvlm run captions_small -o in_fits=t", ["true"], False),
        ("fvlm run captions_small -o model.connector.name=", ["foveated", "pooled"], False),
        ("fvlm run captions_small -o model.connector.name=pooled:", ["pooled"], False),
        ("fvlm run own.toml -o model.connector.g", ["model.connector.grid="], False),
        ("fvlm run captions_small -o model.connector.g", [], True),
        (
            "fvlm run captions_small -o model.connector.name=pooled -o model.connector.g",
            ["model.connector.grid="],
            False,
        ),
        ("fvlm run captions_small -o data.sources.shapes.le", ["data.sources.shapes.level="], False),
        ("fvlm run -o data.sources.clips.pa", ["data.sources.clips.path="], False),
        ("fvlm run -o data.sources.clips.path=", [], True),
        ("fvlm run broken.toml -o training.prec", ["training.precision="], False),
        ("fvlm run captions_small --allow-drift training.prec", ["training.precision"], False),
        ("fvlm run captions_small --launcher sl", ["slurm"], False),
        ("fvlm run captions_small --launcher slurm -l part", ["partition="], False),
        ("fvlm run captions_small --device RTX\\ 5", ["RTX 5090"], False),
        ("fvlm verify-resume captions_small --run 9", ["96"], False),
        ("fvlm data describe shap", ["shapes"], False),
        ("fvlm data pack shap", ["shapes"], True),
        ("fvlm data pack shapes -o le", ["level="], False),
        ("fvlm data pack captions_small -o training.prec", ["training.precision="], False),
        ("fvlm eval grid/tiny --data clips -o pa", ["path="], False),
        ("fvlm eval grid/tiny --metric ex", ["exact-match"], False),
        ("fvlm run captions_small -o eval.generation.be", ["eval.generation.beams="], False),
        ("fvlm plugins check fov", ["foveated"], False),
        ("fvlm plugins check pooled -o gr", ["grid="], False),
        ("fvlm fit --model joint-t", ["joint-tied"], False),
        ("fvlm fit --model=joint-t", ["joint-tied"], False),
        ("fvlm fit --figures all,resid", ["all,residuals"], False),
        ("fvlm fit --data t.csv --columns N=params,D=", ["tokens"], False),
        ("fvlm fit --data t.csv --columns loss=lo", ["loss c4"], False),
        ("fvlm fit --data t.csv --where pa", ["params="], False),
        ("fvlm fit --data ", [], True),
        ("fvlm fit --runs=", [], True),
        ("fvlm caption --prompt W", [], True),
        ("fvlm fit --no-such ", [], True),
        ("fvlm run 'it", [], True),
        ("fvlm fi", ["fit"], False),
        ("fvlm fit --stri", ["--strict"], False),
    ],
)
def test_a_place_is_completed_with_what_it_may_name(line: str, names: list[str], files: bool) -> None:
    found, beside = tab(line)
    assert beside == files
    assert set(names) <= set(found) if names else found == []


def _every(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Parameter]]:
    with click.Context(group) as ctx:
        for name in group.list_commands(ctx):
            command = group.get_command(ctx, name)
            assert command is not None
            if isinstance(command, click.Group):
                yield from _every(command, (*path, name))
            for parameter in command.params:
                yield " ".join((*path, name, parameter.opts[-1])), parameter


def test_files_are_offered_wherever_a_path_may_stand() -> None:
    paths = [(at, one) for at, one in _every(fvlm) if isinstance(one.type, click.Path | NameOrPath)]
    assert len(paths) > 50
    for at, parameter in paths:
        command = click.Command("x", params=[parameter])
        items = parameter.shell_complete(click.Context(command), "")
        assert items[-1].type in ("file", "dir"), at


def test_every_key_that_is_offered_can_be_set() -> None:
    """The reader of recipes finds a wrong value at each of them, and no key that it does not know."""
    from fvlm_core.recipes.extends import base_table
    from fvlm_core.recipes.keys import recipe_keys
    from fvlm_core.recipes.read import read_recipe
    from fvlm_core.utils.errors import Problems

    keys = [*recipe_keys(base_table("captions_small")[0])]
    single = [
        key
        for key in keys
        if key.startswith(("training.", "eval.", "checkpoints.", "model.", "data.sources."))
        and not key.endswith(".name")
        and not any(other.startswith(f"{key}.") for other in keys)
    ]
    assert len(single) > 80
    with pytest.raises(Problems) as told:
        read_recipe("captions_small", [f"{key}=[]" for key in single])
    assert "unknown" not in str(told.value)
    assert sum("expected" in str(one) for one in told.value.problems) > 40


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["fvlm ", "fvlm run ", "fvlm run captions_small -o training.", "fvlm runs show "]),
    st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=30),
)
def test_no_line_ends_in_an_error_or_a_control_character(begun: str, text: str) -> None:
    names, _ = tab(begun + text)
    assert all(name.isprintable() for name in names)


def test_what_is_broken_leaves_files(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FVLM_RUNS", str(place / "t.csv"))
    assert tab("fvlm runs show ") == ([], True)
    monkeypatch.setenv("FVLM_RUNS", "~nobody-of-that-name/runs")
    assert tab("fvlm runs show ") == ([], True)
    os.mkfifo(place / "pipe.toml")
    assert tab("fvlm run pipe.toml --only ") == ([], True)
    assert tab("fvlm run broken.toml --only ") == ([], True)
    (place / "runs/bad\x1b[31m").mkdir()
    monkeypatch.delenv("FVLM_RUNS")
    assert tab("fvlm report ")[0] == ["grid/tiny", "my grid/größe 1", "other/a:b", "grid", "my grid", "other"]


def test_a_plugin_that_prints_and_ends_is_not_heard(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def noisy() -> None:
        print("hello")
        print("hello", file=sys.stderr)
        raise SystemExit(3)

    monkeypatch.setattr("fvlm_registry.registry", noisy)
    assert tab("fvlm fit --model ") == ([], True)
    assert capfd.readouterr() == ("", "")


def test_tab_imports_nothing_heavy() -> None:
    program = (
        "import json, os, sys; from fvlm_core.cli.main import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    line = "fvlm run captions_small -o training.precision="
    given = {**os.environ, VARIABLE: "bash_complete", "COMP_LINE": line, "COMP_POINT": str(len(line))}
    done = subprocess.run(
        [sys.executable, "-c", program], env=given, capture_output=True, text=True, check=True
    )
    assert "plain,bf16" in done.stdout
    assert done.stderr == ""
    assert not [name for name in HEAVY if f'"{name}"' in done.stdout]


def shell(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not on this machine")
    return found


def test_bash_replaces_what_follows_the_last_mark_and_adds_files() -> None:
    """Called as readline calls it; every word as bash breaks it."""
    lines = [
        (("run", "quick"), ["quickstart", "quickdir", "quick_local.toml"]),
        (("run", "captions_small", "-o", "training.precision", "=", "b"), ["bf16"]),
        (("runs", "show", "my"), ["my grid/größe 1"]),
        (("fit", "--json", "t"), []),
    ]
    script = 'source <(fvlm completion bash)\ntab() { COMP_WORDS=(fvlm "$@"); COMP_CWORD=$#; _fvlm_completion fvlm; }\n'
    for words, _ in lines:
        script += f"tab {' '.join(f'{word!r}' for word in words)}; printf '%s|' \"${{COMPREPLY[@]}}\"; echo\n"
    done = subprocess.run(
        [shell("bash"), "--norc", "-c", script],
        env={**os.environ, **OWN_PATH},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    found = [sorted(filter(None, line.split("|"))) for line in done.stdout.splitlines()]
    assert found == [sorted(words) for _, words in lines]


TYPED = [("fvlm runs show my\t", r"my\ grid/größe\ 1"), ("fvlm fit --data t\t", "t.csv")]


@pytest.mark.parametrize(
    ("arguments", "begin"),
    [
        (["bash", "--norc", "--noprofile", "-i"], "source <(fvlm completion bash)"),
        (["zsh", "-f", "-i"], "autoload -Uz compinit; compinit -u -D; source <(fvlm completion zsh)"),
    ],
    ids=["bash", "zsh"],
)
def test_names_are_quoted_and_files_completed_at_a_terminal(
    arguments: list[str], begin: str, place: Path
) -> None:
    shell(arguments[0])
    own = {"TERM": "dumb", "HOME": str(place), "INPUTRC": os.devnull, **OWN_PATH}
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update(own)
        os.execvp(arguments[0], arguments)

    def until(text: str, seconds: float = 20) -> str:
        seen, end = b"", time.monotonic() + seconds
        while text.encode() not in seen and time.monotonic() < end:
            if select.select([terminal], [], [], 0.2)[0]:
                seen += os.read(terminal, 65536)
        return seen.decode(errors="replace")

    try:
        os.write(terminal, f"{begin}; echo read''y\n".encode())
        until("ready")
        for typed, completed in TYPED:
            os.write(terminal, typed.encode())
            assert completed in until(completed)
            os.write(terminal, b"\x15")
    finally:
        os.close(terminal)
        os.waitpid(child, 0)


def test_fish_takes_names_and_its_own_files() -> None:
    lines = ["fvlm run quick", "fvlm fit --data t", "fvlm runs show my", "fvlm run x -o training.precision=b"]
    script = "fvlm completion fish | source\n" + "".join(
        f"complete -C '{line}'; echo ====\n" for line in lines
    )
    done = subprocess.run(
        [shell("fish"), "--no-config", "-c", script],
        env={**os.environ, **OWN_PATH},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    found = [
        sorted(line.partition("\t")[0] for line in part.split("\n") if line)
        for part in done.stdout.split("====\n")[:-1]
    ]
    assert found == [
        ["quick_local.toml", "quickdir/", "quickstart"],
        ["t.csv"],
        ["my grid/größe 1"],
        ["training.precision=bf16"],
    ]
