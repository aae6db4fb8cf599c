"""Start-up: what fvlm says about itself imports nothing heavy, and comes at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from imported import modules_of

FVLM = Path(sys.executable).with_name("fvlm")
HEAVY = ("torch", "timm", "transformers", "lmfit", "pandas", "matplotlib", "numpy")


def fvlm(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [FVLM, *arguments], capture_output=True, text=True, env=os.environ | environment, check=False
    )


@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("--version",), ("plugins", "list"), ("plugins", "list", "--json"), ("recipes", "list")],
    ids=str,
)
def test_what_fvlm_says_of_itself_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    assert modules_of(*arguments).isdisjoint(HEAVY)


def test_help_imports_click_and_no_registry() -> None:
    loaded = modules_of("--help")
    assert "click" in loaded
    assert loaded.isdisjoint({"attr", "pluggy", "rich", "fvlm_registry", "importlib.metadata"})


def test_reading_every_config_class_imports_nothing_heavy() -> None:
    program = (
        "import json, sys; from fvlm_registry import registry; found = registry()\n"
        "for offer in found.offers: found.load(offer.component.config)\n"
        "print(json.dumps([len(found.offers), sorted(sys.modules)]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    offers, modules = json.loads(done.stdout)
    assert offers > 0
    assert set(modules).isdisjoint(HEAVY)


@pytest.mark.parametrize(("arguments", "limit"), [(("--help",), 107), (("plugins", "list"), 317)], ids=str)
def test_start_up_imports_few_modules(arguments: tuple[str, ...], limit: int) -> None:
    """93 and 294 beyond the 33 of the bare interpreter; what they cost in time is `fvlm bench start`."""
    bare = subprocess.run(
        [sys.executable, "-c", "import sys; print(len(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(modules_of(*arguments)) - int(bare.stdout) <= limit


def test_a_mistyped_command_suggests_the_nearest() -> None:
    done = fvlm("plugin", "list")
    assert (done.returncode, done.stdout) == (2, "")
    assert 'no command is called "plugin": did you mean "plugins"?' in done.stderr
    assert fvlm("plugins", "lits").returncode == 2


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("train",), 'no command is called "train": did you mean "run"?'),
        (("compare", "a", "b"), 'no command is called "compare": did you mean "runs compare"?'),
        (("list",), 'did you mean "runs list" or "recipes list" or "plugins list"?'),
        (("run",), "a recipe that comes with fvlm: `fvlm recipes list` shows them"),
        (("caption", "a.mp4"), "Missing option '--run'. A run's name or folder: `fvlm runs list`"),
    ],
    ids=str,
)
def test_what_other_tools_take_is_told_what_it_is_here(given: tuple[str, ...], said: str) -> None:
    done = fvlm(*given)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_an_unknown_option_is_misuse() -> None:
    done = fvlm("plugins", "list", "--jsn")
    assert done.returncode == 2
    assert "--json" in done.stderr


def test_a_file_in_passing_is_told_the_option_that_it_belongs_to(tmp_path: Path) -> None:
    (tmp_path / "points.csv").touch()
    for given, said in (
        (("fit", f"{tmp_path}/points.csv"), f"did you mean --data {tmp_path}/points.csv?"),
        (("fit", str(tmp_path)), f"did you mean --runs {tmp_path} or --data {tmp_path}?"),
        (("recipes", "list", "x", "y"), '2 arguments too many: "x", "y"'),
    ):
        done = fvlm(*given)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr


def test_help_names_every_command() -> None:
    from fvlm_core.cli.main import COMMANDS

    help_text = fvlm("--help").stdout
    for name, (_, line) in COMMANDS.items():
        assert f"  {name} " in help_text
        assert line in help_text


def test_version_is_the_distribution_s() -> None:
    from importlib.metadata import version

    assert fvlm("--version").stdout == f"fvlm {version('fvlm')}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_completes_commands(shell: str) -> None:
    script = fvlm("completion", shell)
    assert script.returncode == 0
    assert f"_FVLM_COMPLETE={shell}_complete" in script.stdout
    words = {
        "COMP_WORDS": "fvlm plug",
        "COMP_CWORD": "plug" if shell == "fish" else "1",
        "COMP_POINT": "9",
        "COMP_LINE": "fvlm plug",
    }
    done = fvlm(_FVLM_COMPLETE=f"{shell}_complete", **words)
    assert "plugins" in done.stdout
    assert "export" not in done.stdout


def run_main(body: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`fvlm` with one more command, `try`, whose body is given."""
    program = (
        "import os, sys, types, click\n"
        "from fvlm_core.cli import main\n"
        "from fvlm_core.utils.errors import *\n"
        "@click.command()\n"
        f"def command():\n    {body}\n"
        "sys.modules['trial'] = types.SimpleNamespace(command=command)\n"
        "main.COMMANDS['try'] = ('trial', '')\n"
        "sys.argv = ['fvlm', 'try']\n"
        "sys.exit(main.main())"
    )
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        check=False,
    )


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ("raise FvlmError('the disk is full')", 1, "the disk is full\n"),
        ("raise UsageError('no such recipe')", 2, "no such recipe\n"),
        (
            "raise Problems([Problem('expected int', 'a.toml', 3, 'seeds')])",
            2,
            "a.toml:3: seeds: expected int\n",
        ),
        ("from fvlm_registry import registry; registry().load('os:nothing')", 2, 'os has no "nothing"'),
        ("raise KeyboardInterrupt", 130, "\n"),
        ("return 75", 75, ""),
        (
            "{}['x']",
            1,
            "unexpected KeyError: 'x'\nThis is a defect of fvlm or of a plugin; FVLM_DEBUG=1 shows where it "
            "happened.\n",
        ),
    ],
)
def test_an_error_is_a_message_and_an_exit_code(body: str, code: int, message: str) -> None:
    done = run_main(body)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(message)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("body", "code"), [("raise UsageError('wrong')", 2), ("{}['x']", 1)])
def test_fvlm_debug_shows_the_traceback(body: str, code: int) -> None:
    done = run_main(body, FVLM_DEBUG="1")
    assert done.returncode == code
    assert "Traceback (most recent call last)" in done.stderr


def test_a_reader_that_goes_away_is_no_error() -> None:
    program = f"{FVLM} plugins list --json | true; {FVLM} plugins list | true"
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    done = run_main("reader, writer = os.pipe(); os.close(reader); os.dup2(writer, 1); print('x')")
    assert (done.returncode, done.stderr) == (1, "")
