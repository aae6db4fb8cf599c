"""Recipes of strangers: names stay inside the store, what has no end is refused, each error has its file and line."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tiny import RECIPE

from fvlm_core.execution.sequential import run_folder
from fvlm_core.recipes.expand import MOST_RUNS
from fvlm_core.recipes.read import read_recipe
from fvlm_core.utils.errors import Problems
from fvlm_core.utils.file_names import LONGEST, file_stem, folder_name_fault

NAMES = [
    *(
        "../x",
        "/abs",
        ".",
        "..",
        "",
        " ",
        "a\0b",
        "a\nb",
        "x" * 300,
        "é" * 150,
        ".removed",
        ".cache",
        "-rf",
        " a",
    ),
    *(
        "a/b",
        "a\u202eb",
        "\u200b",
        "a\x1b[31m",
        "a\rb",
        "a\u2028b",
        "a\u1680b",
        "a\u00a0b",
        "\ufeffa",
        "a\x85",
    ),
]


@example("ok é")
@given(st.text(max_size=30) | st.sampled_from(NAMES))
def test_a_name_that_passes_is_one_folder_of_the_store(name: str) -> None:
    if folder_name_fault(name):
        return
    root = Path("/store/runs")
    assert (root / name).parent == root
    assert name not in (".", "..")
    assert not name.startswith(".")
    assert "\0" not in name
    assert len(name.encode()) <= LONGEST
    assert name.isprintable()


@given(st.text(max_size=400))
def test_a_component_s_name_in_a_file_s_name_leads_nowhere_else(name: str) -> None:
    assert Path("/out", f"{file_stem(name)}.png").parent == Path("/out")


@pytest.mark.parametrize("name", NAMES, ids=ascii)
@pytest.mark.parametrize("where", ["name", "-o", "runs", "id", "seeds"])
def test_such_a_name_is_refused_when_it_is_read(where: str, name: str, tmp_path: Path) -> None:
    file, quoted, overrides = tmp_path / "r.toml", json.dumps(name), []
    text = RECIPE
    if where == "name":
        text = RECIPE.replace('name = "tiny"', f"name = {quoted}") + '[[runs]]\nid = "a"\n'
    elif where == "seeds":  # a run without an id of its own
        text = RECIPE.replace('name = "tiny"', f"name = {quoted}\nseeds = 2")
    elif where == "-o":
        overrides = [f"name={quoted}"]
    elif where == "runs":
        text += f'[[runs]]\nid = "a"\nname = {quoted}\n'
    else:
        text += f"[[runs]]\nid = {quoted}\n"
    file.write_text(text)
    with pytest.raises(Problems, match=r"cannot name a folder") as caught:
        read_recipe(str(file), overrides)
    (problem,) = caught.value.problems
    assert problem.key.rpartition(".")[2] == ("id" if where == "id" else "name")
    assert problem.file == str(file) if where != "-o" else problem.file.startswith("-o name=")
    assert (problem.line is None) == (where == "-o")
    assert "use letters" in problem.text
    assert len(problem.text) < 300


def test_every_run_of_a_recipe_that_is_read_is_below_its_store(tmp_path: Path) -> None:
    (tmp_path / "my recipe.toml").write_text(RECIPE.replace('name = "tiny"\n', "") + '[[runs]]\nid = "a"\n')
    recipe = read_recipe(str(tmp_path / "my recipe.toml"))
    assert run_folder(tmp_path, recipe, recipe.runs[0]) == tmp_path / "my recipe" / "a"


def grid(axes: int, labels: int) -> str:
    each = "".join(f"x{label} = {{}}\n" for label in range(labels))
    return "[grid]\n" + "".join(f"[grid.axes.a{axis}]\n{each}" for axis in range(axes))


def deep(text: str) -> str:
    return f"[x]\ny = {text}\n"


ENDLESS = {
    "seeds": (RECIPE.replace('"tiny"', '"tiny"\nseeds = 1_000_000_000'), r":2: seeds: 1,000,000,000 runs = "),
    "grid": (RECIPE + grid(9, 10), r":\d+: grid.axes: 1,000,000,000 runs = 10 \(axis a0\) x 10"),
    "both": (RECIPE.replace('"tiny"', '"tiny"\nseeds = 101') + grid(2, 10), r": 10,100 runs = .*101 \(seeds\)"),
    "list": (RECIPE.replace("steps = 6", f"steps = 6\nbetas = [{'0.5,' * 200_000}]"), r":31: lists of 200,001 values"),
    "long": (RECIPE + deep(f"[{'1,' * 10_000_000}]"), r": cannot be read: 20,000,\d+ bytes; at most 1,048,576"),
    "arrays": (RECIPE + deep("[" * 1000 + "]" * 1000), r":42: nested deeper than 32"),
    "open": (RECIPE + deep("[" * 100_000), r":42: "),
    "tables": (RECIPE + deep("{a = " * 1000 + "1" + "}" * 1000), r":42: nested deeper than 32"),
    "dotted": (RECIPE + f"[x]\n{'.'.join('a' * 1000)} = 1\n", r":42: nested deeper than 32"),
    "header": (RECIPE + f"[{'.'.join('a' * 1000)}]\nb = 1\n", r":41: nested deeper than 32"),
    "digits": (RECIPE.replace("steps = 6", f"steps = {'9' * 5000}"), r":30: a whole number of more than 64 bits"),
    "hex": (RECIPE.replace("steps = 6", f"steps = 0x{'f' * 500}"), r":30: a whole number of more than 64 bits"),
    "float": (RECIPE.replace("steps = 6", f"steps = 6\nlr = {'9' * 5000}.0"), r":31: training.lr: must be .* finite"),
    "date": (RECIPE.replace("steps = 6", "steps = 1979-05-27"), r":30: training.steps: expected int, got 1979-05-27"),
    "table": (RECIPE.replace('"tiny"', '"tiny"\ngrid = [1]'), r":2: grid: expected a table of changes, got an array"),
    "base": (f'extends = "{"x" * 5000}"\n' + RECIPE, r":1: extends: no such file"),
    "device": ('extends = "/dev/zero"\n' + RECIPE, r":1: extends: no such file"),
    "loop": ('extends = "r.toml"\n' + RECIPE, r":1: extends: r.toml extends this file in turn"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ENDLESS)
def test_what_has_no_end_is_refused_with_its_place_and_in_a_moment(kind: str, tmp_path: Path) -> None:
    text, expected = ENDLESS[kind]
    (tmp_path / "r.toml").write_text(text)
    begun = time.process_time()
    with pytest.raises(Problems, match=expected) as caught:
        read_recipe(str(tmp_path / "r.toml"))
    assert "Located(" not in str(caught.value)
    assert time.process_time() - begun < 5


def test_as_many_runs_as_are_allowed_are_counted_as_such(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(RECIPE.replace('"tiny"', f'"tiny"\nseeds = {MOST_RUNS + 1}'))
    with pytest.raises(Problems, match=rf"{MOST_RUNS + 1:,} runs"):
        read_recipe(str(tmp_path / "r.toml"))


def test_a_thousand_recipes_that_extend_each_other_are_refused(tmp_path: Path) -> None:
    for number in range(1000):
        (tmp_path / f"{number}.toml").write_text(f'extends = "{number + 1}.toml"\n')
    with pytest.raises(Problems, match=r"32\.toml:1: extends: .*32 recipes"):
        read_recipe(str(tmp_path / "0.toml"))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("9" * 5000, "a whole number of more than 64 bits"),
        ("[" * 1000, "nested deeper than 32"),
        ("[" * 1000 + "]" * 1000, "nested deeper than 32"),
        ("1\nx = 2", "expected one value"),
        ("1979-05-27", "expected int, got 1979-05-27"),
    ],
)
def test_an_option_s_value_is_one_value_with_an_end(value: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(RECIPE)
    with pytest.raises(Problems, match=expected) as caught:
        read_recipe(str(tmp_path / "r.toml"), [f"training.steps={value}"])
    assert len(str(caught.value)) < 400


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    value=st.text(max_size=40),
    key=st.sampled_from(["training.steps", "name", "model.size", "grid", "runs", "seeds"]),
)
def test_any_text_for_a_key_is_a_recipe_or_problems(key: str, value: str, tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(RECIPE)
    try:
        recipe = read_recipe(str(tmp_path / "r.toml"), [f"{key}={value}"])
    except Problems as problems:
        told = str(problems)
        assert re.match(r"-o |.*r\.toml", told)
        return
    assert all(run_folder(tmp_path, recipe, run).parent.parent == tmp_path for run in recipe.runs)
