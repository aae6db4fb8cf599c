"""A broken recipe gives one readable message with file and line and exit code 2, never a traceback."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
from attrs import field, frozen
from hypothesis import given
from hypothesis import strategies as st
from tiny import CONNECTOR, ENCODER, LLM, RECIPE, TRAINING, run_cli

from fvlm_core.recipes.excerpt import WIDEST, excerpt
from fvlm_core.recipes.files import find_recipe
from fvlm_core.recipes.located import Located
from fvlm_core.recipes.structure import Invalid, structure
from fvlm_core.utils.errors import Problem

BROKEN: dict[str, tuple[str, str]] = {
    "misspelt_key": (
        RECIPE.replace("query_dim = 8", "qurey_dim = 8"),
        'broken.toml:13: model.connector.qurey_dim: unknown key; did you mean "query_dim"?',
    ),
    "wrong_type": (
        RECIPE.replace("steps = 6", 'steps = "six"'),
        'broken.toml:30: training.steps: expected int, got "six"',
    ),
    "no_coercion": (
        RECIPE.replace("steps = 6", "steps = 6.9").replace(
            'name = "tiny"', 'name = "tiny"\nin_fits = "false"'
        ),
        'broken.toml:2: in_fits: expected true or false, got "false"\n'
        "broken.toml:31: training.steps: expected int, got 6.9",
    ),
    "negative_steps": (
        RECIPE.replace("steps = 6", "steps = -6"),
        "broken.toml:30: training.steps: must be >= 1, got -6",
    ),
    "bad_toml": (
        RECIPE.replace("steps = 6", "steps = "),
        "broken.toml:30: not valid TOML: Invalid value (column 9)",
    ),
    "unknown_component": (
        RECIPE.replace('"foveated"', '"foveted"'),
        'broken.toml:12: model.connector.name: none of the connectors is called "foveted": did you mean "foveated"?\n'
        "  connectors: convolutional, foveated, last-frames, merge, perceiver, pooled, random, select",
    ),
    "component_of_another_kind": (
        RECIPE.replace('name = "shapes"', 'name = "smollm2"'),
        'broken.toml:25: data.sources[0].name: none of the data sources is called "smollm2": '
        'did you mean "smoltalk"?\n'
        '  "smollm2" is among the LLMs\n'
        "  data sources: cauldron, clips, llava-video, needles, openvid, rlaif-v, shapes, shards, sharegpt4video, "
        "smol-smoltalk, smoltalk, vript, webvid",
    ),
    "missing_base": (
        'extends = "_bse.toml"\n' + RECIPE,
        'broken.toml:1: extends: no such file "_bse.toml"; did you mean "_base.toml"?',
    ),
    "cycle_of_bases": (
        'extends = "broken.toml"\n' + RECIPE,
        "broken.toml:1: extends: broken.toml extends this file in turn",
    ),
    "two_lengths": (
        RECIPE.replace("steps = 6", "steps = 6\nsamples = 100"),
        "broken.toml:29: training: expected exactly one of steps, samples, budget, got steps and samples",
    ),
    "impossible_grid": (
        RECIPE.replace('name = "foveated"\nquery_dim = 8', 'name = "pooled"\ngrid = 7'),
        "broken.toml:13: model.connector.grid: expected at most 3, got 7: the encoder sees 3 x 3 patches",
    ),
    "impossible_width": (
        RECIPE.replace(ENCODER, ENCODER.replace("width = 16", "width = 15")),
        "broken.toml:7: model.encoder.width: expected a multiple of heads = 2, got 15",
    ),
    "missing_table": (
        'name = "tiny"\n' + ENCODER + CONNECTOR + LLM + TRAINING,
        "broken.toml:1: data: missing; expected a table",
    ),
    "missing_choice": (
        RECIPE.replace('name = "foveated"\n', ""),
        "broken.toml:11: model.connector.name: missing; expected the name of a connector",
    ),
    "two_runs_of_one_id": (
        RECIPE + '[[runs]]\nid = "a"\n[[runs]]\nid = "a"\n',
        'broken.toml:44: runs[1].id: two runs have the id "a"',
    ),
    "run_without_id": (
        RECIPE + "[[runs]]\nmodel.blind = true\n",
        'broken.toml:41: runs[0]: expected an id, as in id = "360M-scaling"',
    ),
    "runs_and_grid": (
        RECIPE + '[[runs]]\nid = "a"\n[ablate.A1]\nmodel.blind = true\n',
        "broken.toml:43: ablate: changes one model, and stands alone; this recipe has runs and ablate",
    ),
    "unknown_grid_axis": (
        RECIPE + '[grid]\nid = "{sise}"\n[grid.axes.size]\nsmall = { model.blind = true }\n',
        "broken.toml:42: grid.id: {sise} is no axis of this grid; its axes are size",
    ),
    "run_that_leaves_the_store": (
        RECIPE + '[[runs]]\nid = "../../etc"\n',
        'broken.toml:42: runs[0].id: "../../etc" cannot name a folder: use letters, digits, ".", "_", "+" and "-"',
    ),
    "error_inside_a_run": (
        RECIPE + '[[runs]]\nid = "a"\n[[runs]]\nid = "b"\ntraining.schedule = "cosin"\n',
        'broken.toml:45: training.schedule: none of the learning-rate schedules is called "cosin": did you mean '
        '"cosine"?\n  learning-rate schedules: constant, converging, cosine, wsd',
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_recipe_is_explained(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text, expected = BROKEN[case]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.toml").write_text(text)
    (tmp_path / "_base.toml").write_text("")
    code, out, err = run_cli(["run", "broken.toml"], monkeypatch, capsys)
    assert code == 2
    assert out == ""
    assert "Traceback" not in err
    assert messages(err) == expected + "\n"
    marked = re.findall(r"^ +(\d+) \| (.*)\n +\| ( *)(\^+)$", err, re.MULTILINE)
    assert len(marked) == len(re.findall(r"^broken.toml:\d+: ", expected, re.MULTILINE))
    for number, line, _, _ in marked:  # short lines, as they stand in the file
        assert line == text.splitlines()[int(number) - 1]


def messages(err: str) -> str:
    """What is said, without the excerpts."""
    return re.sub(r"^ +\d* *\| .*\n", "", err, flags=re.MULTILINE)


MARKED = {
    "a key": (
        "misspelt_key",
        "  13 | qurey_dim = 8\n"
        "     | ^^^^^^^^^\n",
    ),
    "a value": (
        "wrong_type",
        "  30 | steps = \"six\"\n"
        "     |         ^^^^^\n",
    ),
    "a column": (
        "bad_toml",
        "  30 | steps = \n"
        "     |         ^\n",
    ),
    "a name": (
        "unknown_component",
        "  12 | name = \"foveted\"\n"
        "     |        ^^^^^^^^^\n",
    ),
    "a header": (
        "two_lengths",
        "  29 | [training]\n"
        "     | ^^^^^^^^^^\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MARKED)
def test_the_line_is_shown_and_what_is_wrong_in_it_marked(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken, expected = MARKED[case]
    text, _ = BROKEN[broken]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.toml").write_text(text)
    _, _, err = run_cli(["run", "broken.toml"], monkeypatch, capsys)
    assert expected in err


@given(
    line=st.text(st.characters(exclude_characters="\n\r", exclude_categories=("Cs",)), max_size=300),
    key=st.sampled_from(["a", "training.steps", "data.sources[0].name", "runs[2]", ""]),
    text=st.one_of(st.text(max_size=30), st.builds("not valid TOML (column {})".format, st.integers(1, 400))),
)
def test_an_excerpt_of_any_line_marks_within_it_and_is_no_longer_than_a_terminal(
    line: str, key: str, text: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "any.toml")
        file.write_bytes(line.encode())
        found = excerpt(Problem(text, str(file), 1, key))
    if found is not None:
        assert 0 <= found.start < found.end <= len(found.line) + 1
        assert len(found.line) <= WIDEST + 2
        assert found.line.strip("…") in line.removeprefix("\ufeff").expandtabs(1)


def test_a_recipe_that_is_gone_or_cut_has_no_excerpt(tmp_path: Path) -> None:
    assert excerpt(Problem("expected int", str(tmp_path / "gone.toml"), 3, "seeds")) is None
    (tmp_path / "cut.toml").write_text("name = 1\n")
    assert excerpt(Problem("expected int", str(tmp_path / "cut.toml"), 9, "seeds")) is None
    assert excerpt(Problem("expected int", str(tmp_path / "points.csv"), 1, "seeds")) is None


def test_every_problem_is_reported_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = RECIPE.replace("query_dim = 8", "qurey_dim = 8").replace("steps = 6", 'steps = "x"')
    (tmp_path / "broken.toml").write_text(text.replace('"shapes"', '"shape"'))
    code, _, err = run_cli(["run", "broken.toml"], monkeypatch, capsys)
    assert code == 2
    places = [line.split(": ")[0] for line in err.splitlines() if line.startswith("broken.toml")]
    assert places == ["broken.toml:13", "broken.toml:25", "broken.toml:30"]


def test_a_mistyped_file_or_shipped_name_suggests_the_nearest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(RECIPE)
    assert run_cli(["run", "mien.toml"], monkeypatch, capsys) == (
        2,
        "",
        'mien.toml: no such recipe file; did you mean "mine.toml"?\n',
    )
    code, _, err = run_cli(["run", "quikstart"], monkeypatch, capsys)
    assert code == 2
    assert err == 'no recipe file and no shipped recipe "quikstart"; did you mean "quickstart"?\n'


def test_a_folder_instead_of_a_recipe_is_told_what_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("mine", "empty", "quickstart"):
        (tmp_path / folder).mkdir()
    for file in ("a.toml", "b.toml", "_base.toml"):
        (tmp_path / "mine" / file).touch()
    expected = "a folder; expected a recipe, which is a TOML file or the name of a shipped one"
    told = f"mine: {expected}; in it: mine/a.toml, mine/b.toml\n"
    assert run_cli(["run", "mine"], monkeypatch, capsys) == (2, "", told)
    code, _, err = run_cli(["run", str(tmp_path / "empty")], monkeypatch, capsys)
    assert (code, "Traceback" in err) == (2, False)
    assert err.startswith(f"{tmp_path / 'empty'}: {expected}; shipped recipes: ")
    assert find_recipe("quickstart")[0].is_file()  # a folder of that name does not hide it


def test_a_base_is_not_run_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "_base.toml").write_text(RECIPE)
    code, _, err = run_cli(["run", "_base.toml"], monkeypatch, capsys)
    assert code == 2
    assert err.startswith("_base.toml: a recipe whose name begins with _ is a base for others (extends)")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("training.stps=3", '-o training.stps=3: training.stps: unknown key; did you mean "steps"?'),
        ("training.steps=three", '-o training.steps=three: training.steps: expected int, got "three"'),
        ("training.steps", "-o training.steps: expected key=value, as in -o training.steps=10"),
    ],
)
def test_broken_override_is_explained(
    override: str,
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(RECIPE)
    code, _, err = run_cli(["run", "mine.toml", "-o", override], monkeypatch, capsys)
    assert (code, err) == (2, expected + "\n")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ('fits=[{ model = "per-size", objectve = "mse" }]', 'fits[0].objectve: unknown key; did you mean "objective"?'),
        ('fits=[{ model = "per-size", rums = "*" }]', 'fits[0].rums: unknown key; did you mean "runs"?'),
        (
            'fits=[{ model = "per-size", x = 1 }]',
            "fits[0].x: unknown key; expected one of holdout, model, objective, runs",
        ),
        ('fits=[{ modl = "per-size" }]', 'fits[0].model: missing; expected the name of a fit; is it what "modl" says?'),
        ("data.sources.0.wieght=2", 'data.sources[0].wieght: unknown key; did you mean "weight"?'),
        ("data.sources.0.x=2", "name, pairs, "),
        ('data.validation={ name = "shapes", wieght = 2 }', 'wieght: unknown key; did you mean "weight"?'),
        ('data.text={ name = "shapes", shaer = 0.2 }', 'data.text.shaer: unknown key; did you mean "share"?'),
        ('data.text={ nam = "shapes" }', 'expected the name of a data source; is it what "nam" says?'),
        ('data.decoder={ name = "pyav", nmae = "x" }', 'data.decoder.nmae: unknown key; did you mean "name"?'),
        ('trackers=[{ name = "tensorboard", nmae = "x" }]', 'trackers[0].nmae: unknown key; did you mean "name"?'),
        ('model.encoder.nmae="x"', 'model.encoder.nmae: unknown key; did you mean "name"?'),
    ],
)  # fmt: skip
def test_a_recipes_own_keys_in_a_components_table_are_suggested_too(
    override: str,
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(RECIPE)
    code, _, err = run_cli(["run", "mine.toml", "-o", override], monkeypatch, capsys)
    assert code == 2
    assert expected in err


@frozen(kw_only=True)
class Tiled:
    """A config whose fields must go together, told by the usual attrs validator."""

    stages: int = 3
    side: int = field(default=48)

    @side.validator  # pyright: ignore
    def _divides(self, attribute: Any, value: int) -> None:
        if value % 2**self.stages:
            raise ValueError(f"side: expected a multiple of {2**self.stages}, got {value}")


def test_a_validator_may_look_at_other_fields() -> None:
    def problems(**table: Any) -> list[Any]:
        with pytest.raises(Invalid) as invalid:
            structure(Located({name: Located(value) for name, value in table.items()}), Tiled)
        return invalid.value.problems

    assert structure(Located({name: Located(value) for name, value in {"side": 40}.items()}), Tiled) == Tiled(
        side=40
    )
    assert problems(side=50) == [(("side",), "expected a multiple of 8, got 50")]
    assert problems(side=50, stages="x") == [(("stages",), 'expected int, got "x"')]


OVER_A_BASE: dict[str, tuple[str, list[str], list[str]]] = {
    "a check of two keys, told at their table": (
        "[training]\nbatch_size = 5\n",
        [],
        [
            "mine.toml:3: training.batch_size: batch_size must be a multiple of micro_batch_size, got 5 and 2 "
            "(training.micro_batch_size: _base.toml:32)"
        ],
    ),
    "a check of two keys, told at the other": (
        "[model.encoder]\nheads = 3\n",
        [],
        [
            "mine.toml:3: model.encoder.heads: width: expected a multiple of heads = 3, got 16 "
            "(model.encoder.width: _base.toml:7)"
        ],
    ),
    "a value that the message quotes": (
        '[training]\nparallel = "fsdp2"\n',
        [],
        [
            'mine.toml:3: training.parallel: compile: sharded weights are not compiled; expected false with "fsdp2" '
            "(training.compile: _base.toml:38)"
        ],
    ),
    "what the message does not name": (
        "[model.encoder]\nimage_size = 14\n",
        ["model.connector={ name = 'pooled', grid = 2 }"],
        [
            "-o model.connector={ name = 'pooled', grid = 2 }: model.connector.grid: expected at most 1, got 2: the "
            "encoder sees 1 x 1 patches"
        ],
    ),
    "a base's key that another component has not": (
        '[model.connector]\nname = "pooled"\ngrid = 1\n'
        '[[runs]]\nid = "a"\n[[runs]]\nid = "b"\nmodel.connector.query_dim = 4\n',
        [],
        ["mine.toml:9: model.connector.query_dim: unknown key; expected one of grid, name, visual_scale"],
    ),
    "an option": (
        "",
        ["training.batch_size=5"],
        [
            "-o training.batch_size=5: training.batch_size: batch_size must be a multiple of micro_batch_size, got "
            "5 and 2 (training.micro_batch_size: _base.toml:32)"
        ],
    ),
    "what each run changes": (
        "[ablate.A]\ntraining.batch_size = 7\n[ablate.B]\ntraining.batch_size = 5\n",
        [],
        [
            f"mine.toml:{line}: training.batch_size: batch_size must be a multiple of micro_batch_size, got {size} "
            "and 2 (training.micro_batch_size: _base.toml:32)"
            for line, size in ((3, 7), (5, 5))
        ],
    ),
    "an entry that is not there": (
        "[data.sources]\nshapes.clips = 9\nclips.path = 'x'\n",
        [],
        ['mine.toml:4: data.sources: of its entries, none is called "clips"; they are 0 shapes'],
    ),
    "fits of runs that were replaced": (
        '[[runs]]\nid = "b"\n',
        [],
        [
            '_base.toml:42: fits[0].runs: no run is called like "a*"; the runs are those of mine.toml:2; '
            "fits = [] in mine.toml leaves out those of its base"
        ],
    ),
}


@pytest.mark.parametrize("case", OVER_A_BASE)
def test_what_is_wrong_is_told_at_the_users_own_key_and_the_bases_beside_it(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own, options, expected = OVER_A_BASE[case]
    monkeypatch.chdir(tmp_path)
    base = RECIPE.replace("[eval]", "compile = true\n[eval]", 1)
    if case.startswith("fits"):
        base = RECIPE + '[[fits]]\nruns = "a*"\nmodel = "per-size"\n'
    (tmp_path / "_base.toml").write_text(base)
    (tmp_path / "mine.toml").write_text(f'extends = "_base.toml"\n{own}')
    overrides = [word for option in options for word in ("-o", option)]
    code, _, err = run_cli(["run", "mine.toml", *overrides, "--dry-run"], monkeypatch, capsys)
    assert (code, messages(err).splitlines()) == (2, expected)


def test_a_key_of_a_bases_own_run_is_told_with_what_the_user_changed_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "_base.toml").write_text(RECIPE + '[[runs]]\nid = "a"\nmodel.connector.query_dim = 4\n')
    (tmp_path / "mine.toml").write_text(
        'extends = "_base.toml"\n[model.connector]\ngrid = 1\nname = "pooled"\n'
    )
    code, _, err = run_cli(["run", "mine.toml", "--dry-run"], monkeypatch, capsys)
    told = "unknown key; expected one of grid, name, visual_scale"
    beside = "(beside model.connector.name: mine.toml:4, model.connector.grid: mine.toml:3)"
    assert (code, messages(err)) == (2, f"_base.toml:43: model.connector.query_dim: {told} {beside}\n")
