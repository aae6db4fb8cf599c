"""`~` is a home in every path: of the command line, of recipes and of the environment."""

from __future__ import annotations

import re
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import attrs
import click
import pytest
from fvlm_lmms_eval.settings import read_settings
from tiny import RECIPE, run_cli

from fvlm_core.cli.main import fvlm
from fvlm_core.cli.path_types import NameOrPath, UserPath
from fvlm_core.evaluation.subject import open_subject
from fvlm_core.plugin_api import cache_folder
from fvlm_core.recipes import schema
from fvlm_core.recipes.located import Located, from_plain
from fvlm_core.recipes.read import read_recipe
from fvlm_core.recipes.structure import structure
from fvlm_core.runs.select import select_runs
from fvlm_core.runs.store import find_run
from fvlm_core.utils.errors import Problems, UsageError
from fvlm_core.utils.paths import NO_HOME, environment_path, user_path
from fvlm_core.utils.pretrained import pretrained_folder
from fvlm_core.weights.init_from import find_initial
from fvlm_registry import Offer, registry


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


def parameters() -> list[Any]:
    """Every parameter of every command."""

    def walk(command: click.Command, name: str) -> Iterator[Any]:
        if isinstance(command, click.Group):
            context = click.Context(command)
            for child in command.list_commands(context):
                found = command.get_command(context, child)
                assert found is not None
                yield from walk(found, f"{name} {child}")
        for parameter in command.params:
            yield pytest.param(command, parameter, id=f"{name} {parameter.opts[-1]}")

    return list(walk(fvlm, "fvlm"))


TEXTS = {
    # A key and a value: the value is read as the recipe's key of that name is.
    *("-o", "-l", "--allow-drift"),
    # Names, patterns and conditions.
    *("--only", "--launcher", "--gpus", "--device", "--name", "--size", "--schedule", "--baseline", "--metric"),
    *("--factors", "--tag", "tags", "patterns", "--drop-run", "--where", "--points", "--warmup-cut", "--columns"),
    *("--model", "--fix", "--bounds", "--figures", "--sizes", "--total-params", "--host", "--prompt", "--system"),
    *("--n", "--samples-per-step", "--mode", "--stop", "--section", "-s", "--weights", "--push"),
    *("--at", "--holdout", "--roll-out", "--per", "--sigma", "--weight", "--outputs", "--grid", "--inference"),
    "fvlm suggest --cost",
    *("fvlm campaign --target", "--within", "--law"),
    "--decay-from",  # RUN@STEP: the run is found as every run is, below
    # Names that are none of a file: of a data source, a plugin, a run of the recipe that is given.
    *("fvlm eval --task", "fvlm needle --data"),
    *("fvlm eval --data", "fvlm data describe name", "fvlm data fetch name", "fvlm plugins new name"),
    *("fvlm plugins check names", "fvlm verify-resume --run", "fvlm weights import --run", "fvlm runs list --recipe"),
}  # fmt: skip
"""Parameters that are text and can be no path. One that may be a path takes a type of `fvlm_core.cli.path_types`."""


@pytest.mark.parametrize(("command", "parameter"), parameters())
def test_every_parameter_that_may_be_a_path_takes_a_home(
    command: click.Command, parameter: click.Parameter, home: Path, request: pytest.FixtureRequest
) -> None:
    name = request.node.callspec.id
    if isinstance(parameter.type, click.Path | NameOrPath):
        assert isinstance(parameter.type, NameOrPath | UserPath)
        context = click.Context(command)
        several = parameter.multiple if isinstance(parameter, click.Option) else parameter.nargs != 1
        given = ("~/x", "./~/x", "x/~") if several else "~/x"
        read = parameter.type_cast_value(context, given)
        for found, expected in zip(
            read if several else [read], (home / "x", Path.cwd() / "~/x", "x/~"), strict=False
        ):
            assert str(found) == str(expected)
    elif parameter.type is click.STRING:
        assert {name, parameter.opts[-1]} & TEXTS, f"{name}: text; can it be a path?"


def holds_path(hint: Any) -> bool:
    """Whether a field's type has a path in it."""
    return hint is Path or any(holds_path(inner) for inner in get_args(hint))


def components() -> list[Any]:
    return [pytest.param(offer, id=f"{offer.kind} {offer.component.name}") for offer in registry().offers]


NO_PATHS = {
    *("video_column", "caption_column", "prompt", "system", "hub", "subset", "subsets", "parts", "exclude"),
    *("size", "model", "project", "entity", "mode", "gpus", "partition", "account", "qos", "constraint"),
    *("setup", "sbatch"),  # of a shell, which knows `~` itself
    *("column", "proportions", "adamw"),  # of a table, and names of weights
    *("uri", "experiment"),  # of MLflow: an address, and a name
}  # fmt: skip
HUB_ID_OR_FOLDER = {"weights", "tokenizer", "teacher"}
"""Read by `pretrained_folder`, of timm by `weights_file`, and of distillation by `find_run`."""


@pytest.mark.parametrize("offer", components())
def test_every_path_of_every_component_takes_a_home(offer: Offer, home: Path) -> None:
    cls: Any = registry().load(offer.component.config)
    hints = get_type_hints(cls)
    for field in attrs.fields(cls):
        hint = hints[field.name]
        if holds_path(hint):
            for written, read in {"~/x": home / "x", "x": Path.cwd() / "x", "./~": Path.cwd() / "~"}.items():
                only = attrs.make_class("Only", {field.name: attrs.field(type=hint)})
                found = getattr(structure(from_plain({field.name: written}, "r"), only), field.name)
                assert found == read, field.name
        elif "str" in str(hint) and get_origin(hint) is not types.GenericAlias:
            known = NO_PATHS | HUB_ID_OR_FOLDER | {"folder"}  # of tensorboard, tried below
            literal = "Literal" in str(hint)
            assert literal or field.name in known, f"{field.name}: text; can it be a path?"


@pytest.mark.parametrize(
    "table", [cls for cls in vars(schema).values() if isinstance(cls, type) and attrs.has(cls)]
)
def test_the_recipe_s_own_texts_are_known(table: type) -> None:
    texts = {
        "name",
        "description",
        "component",
        "rule",
        "model",
        "runs",
        "holdout",
        "size",
        "sizes",
        "law",
    }  # names, patterns
    texts |= {
        "stop",
        "targets",
        "after",
        "schedule",
        "encoder",
        "connector",
        "llm",
    }  # the last three: tables of muP
    read_as_path = {"init_from", "continue_from"}
    for field in attrs.fields(table):
        if "str" in str(get_type_hints(table)[field.name]) and "Literal" not in str(field.type):
            assert field.name in texts | read_as_path | {"budget", "rules"}, field.name


def test_text_that_may_be_a_folder_takes_a_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "w").mkdir()
    for file in ("config.json", "model.safetensors"):
        (home / "w" / file).write_text("{}", encoding="utf-8")
    assert pretrained_folder("~/w") == home / "w"
    timm: Any = registry().load("fvlm_timm.config:Timm")
    assert timm(model="vit_tiny_patch16_224", weights="~/w").weights_file() == home / "w/model.safetensors"
    assert find_initial("~/w", Path("runs")).files == (home / "w/model.safetensors",)
    assert find_initial("~/w/model.safetensors", Path("runs")).files == (home / "w/model.safetensors",)
    tracker: Any = registry().load("fvlm_tensorboard.tracker:build")
    config: Any = registry().load("fvlm_tensorboard.config:TensorBoard")
    run = types.SimpleNamespace(folder=Path("run"), from_step=0)
    tracker(config(folder="~/events"), run).close()
    assert any((home / "events").iterdir())


def test_a_folder_beside_the_recipe_is_found_from_anywhere(tmp_path: Path) -> None:
    """Of weights and of a tokenizer alike."""
    file = tmp_path / "tiny.toml"
    file.write_text(RECIPE.replace('name = "smollm2"\n', 'name = "smollm2"\ntokenizer = "./w"\n'))
    (run,) = read_recipe(str(file)).runs
    assert Path(run.config.model.llm.config.tokenizer) == tmp_path / "w"
    file.write_text(RECIPE.replace('weights = "seeded"\nwidth = 16\nmlp = 32\ndepth = 1', 'weights = "./w"'))
    with pytest.raises(Problems, match=f"the folder {tmp_path / 'w'} does not exist"):
        read_recipe(str(file))


def test_a_recipe_takes_a_home_wherever_it_has_a_path(home: Path) -> None:
    (home / "base.toml").write_text(RECIPE.replace("clips = 32", 'cache = "~/clips"\nclips = 32'))
    Path("child.toml").write_text(
        'extends = "~/base.toml"\nname = "child"\n[training]\ninit_from = "~/w.safetensors"\n'
        '[data.validation]\nname = "clips"\npath = "~/val"\nvideos = \'~/videos\'\n'
    )
    (run,) = read_recipe("child.toml", ["training.seed=1"]).runs
    (source,) = run.config.data.sources
    assert source.source.config.cache == home / "clips"
    assert run.config.data.validation is not None
    assert run.config.data.validation.source.config.path == home / "val"
    assert run.config.data.validation.source.config.videos == home / "videos"
    assert run.config.training.init_from == "~/w.safetensors"  # below the home, and not beside the recipe
    (run,) = read_recipe("~/base.toml", ["data.sources=[{name='clips', path='~/x'}]"]).runs
    assert run.config.data.sources[0].source.config.path == home / "x"
    (run,) = read_recipe("~/base.toml", ['data.validation={name="clips", path="./~/x"}']).runs
    assert run.config.data.validation is not None
    assert run.config.data.validation.source.config.path == Path.cwd() / "~/x"


@pytest.mark.parametrize(
    "read",
    [find_run, open_subject, lambda name, root: select_runs([name], root)[0]],
    ids=["find_run", "open_subject", "select_runs"],
)
def test_a_run_s_folder_is_found_below_the_home(read: Any, home: Path) -> None:
    (home / "r").mkdir()
    (home / "r/recipe.json").write_text("{}")
    with pytest.raises(UsageError, match=r"home/r/recipe\.json: damaged"):
        read("~/r", Path("runs"))


def test_every_variable_that_is_a_path_takes_a_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("FVLM_CACHE", "FVLM_RUNS", "FVLM_FROZEN"):
        monkeypatch.setenv(variable, f"~/{variable}")
    assert cache_folder("x") == home / "FVLM_CACHE/x"
    assert registry().load("fvlm_shapes.config:Shapes")().cache == home / "FVLM_CACHE/shapes"  # type: ignore[operator]
    assert registry().load("fvlm_shards.config:Shards")(path=Path()).cache == home / "FVLM_CACHE/shards"  # type: ignore[operator]
    assert read_settings({"run": "r"}).runs == home / "FVLM_RUNS"
    assert environment_path("FVLM_FROZEN", "frozen") == home / "FVLM_FROZEN"
    monkeypatch.setenv("FVLM_FROZEN", "")
    assert environment_path("FVLM_FROZEN", "frozen") == Path("frozen")


def test_no_code_reads_a_path_from_the_environment_by_itself(root: Path) -> None:
    """`environment_path` is where `~` is read."""
    for room in ("fvlm_core", "plugins", "registry"):
        for file in (root / room).rglob("*.py"):
            text = file.read_text(encoding="utf-8")
            assert "Path(os.environ" not in text, file
            assert not re.search(r"(?<!os\.path)\.expanduser\(", text), file
            assert file.name == "path_types.py" or "click.Path(" not in text, file


def test_fvlm_runs_and_frozen_sets_lie_below_the_home(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "f/mine").mkdir(parents=True)
    (home / "f/mine/frozen.json").write_text("{}")
    done = subprocess.run(
        [Path(sys.executable).with_name("fvlm"), "plugins", "list", "--json"],
        env={"PATH": "/bin:/usr/bin", "HOME": str(home), "FVLM_FROZEN": "~/f"},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert f"frozen validation set in {home / 'f/mine'}" in done.stdout
    monkeypatch.setenv("FVLM_RUNS", "~/r")
    assert run_cli(["runs", "list"], monkeypatch, capsys)[2].startswith(f"{home / 'r'}: no runs are kept")


def test_what_is_really_called_tilde_is_written_with_a_dot(home: Path) -> None:
    """It is absolute from then on: whoever reads the path again does not take it for a home."""
    here = Path.cwd()
    for written in ("./~", "./~/x", ".//~x", "././~root"):
        read = user_path(written)
        assert read == here / written
        assert user_path(str(read)) == user_path(read) == read
    assert user_path("a/~/b") == Path("a/~/b")
    assert user_path("a~") == Path("a~")
    assert user_path("~") == home
    assert user_path("~/") == home
    assert user_path("~root/x") == Path("/root/x")


def test_no_such_user_and_no_home_are_told(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for written in ("~nobody-is-called-so", "~nobody-is-called-so/x"):
        with pytest.raises(UsageError, match=rf'no user is called "nobody-is-called-so".* \./{written}'):
            user_path(written)
    code, _, error = run_cli(["runs", "list", "--runs", "~nobody-is-called-so/x"], monkeypatch, capsys)
    assert code == 2
    assert "'--runs': ~nobody-is-called-so/x: no user is called" in error
    Path("r.toml").write_text(RECIPE.replace("clips = 32", 'clips = 32\ncache = "~nobody-is-called-so"'))
    with pytest.raises(Problems, match=r"r\.toml:\d+: data\.sources\[0\]\.cache: .*no user is called"):
        read_recipe("r.toml")
    Path("r.toml").write_text('extends = "~nobody-is-called-so/x.toml"')
    with pytest.raises(Problems, match=r"r\.toml:1: extends: .*no user is called"):
        read_recipe("r.toml")
    monkeypatch.setenv("FVLM_CACHE", "~nobody-is-called-so")
    with pytest.raises(UsageError, match=r"^FVLM_CACHE: ~nobody-is-called-so: no user"):
        cache_folder("x")
    monkeypatch.delenv("FVLM_CACHE")
    monkeypatch.setenv("HOME", NO_HOME)
    with pytest.raises(UsageError, match="no home: set HOME, or write the path in full"):
        user_path("~/x")
    assert cache_folder("x") == Path(NO_HOME, ".cache/fvlm/x")  # an error for those alone who write there


def test_a_located_path_starts_where_its_file_lies(tmp_path: Path) -> None:
    table = Located({"path": Located("x", base=tmp_path)})
    only = attrs.make_class("Only", {"path": attrs.field(type=Path)})
    assert structure(table, only).path == tmp_path / "x"  # type: ignore[attr-defined]
