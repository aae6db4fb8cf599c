"""Rehearsals: the same graph of runs, small, on stand-in data, apart, and never taken for the real thing."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from tiny import RECIPE, run_cli

from fvlm_core.planning.plan import plan
from fvlm_core.planning.rehearsal import Rehearsal, rehearsed
from fvlm_core.recipes.read import Recipe, read_recipe
from fvlm_core.report.figures import scaling_law_plot
from fvlm_core.runs.store import list_runs

pytestmark = pytest.mark.usefixtures("quick_fits")

PUBLISHED = """
name = "big"
[model.encoder]
name = "dinov2-small"
[model.connector]
name = "foveated"
[model.llm]
name = "smollm2-135m"
[[data.sources]]
name = "openvid"
path = "nowhere/openvid"
weight = 0.6
[[data.sources]]
name = "vript"
path = "nowhere/vript"
weight = 0.2
[data.text]
name = "smoltalk"
path = "nowhere/smoltalk"
share = 0.25
[training]
steps = 6
batch_size = 4
micro_batch_size = 2
precision = "float32"
lr = { rule = "inverse-sqrt-params", base = 1e-3, at = 157_310_976 }
[eval]
every = 2
samples = 8
"""
RUNS = """
[[runs]]
id = "F"
[[runs]]
id = "B"
model.connector = { name = "pooled", grid = 7 }
[[fits]]
model = "per-size"
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clips of this file's tests, drawn once."""
    monkeypatch.setenv("FVLM_CACHE", str(tmp_path_factory.getbasetemp() / "rehearsal-cache"))


def recipe(folder: Path, text: str) -> Recipe:
    file = folder / "recipe.toml"
    file.write_text(text)
    return read_recipe(str(file))


def rehearsal(folder: Path, text: str) -> Rehearsal:
    read = recipe(folder, text)
    return rehearsed(read, plan(read))


def test_rehearsal_runs_to_its_end_apart_and_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "big.toml").write_text(PUBLISHED + RUNS)
    root = tmp_path / "runs"
    arguments = ["run", str(tmp_path / "big.toml"), "--runs", str(root), "--rehearse"]

    code, out, err = run_cli(arguments, monkeypatch, capsys)
    assert (code, err) == (0, "")
    assert out.startswith("REHEARSAL of big")
    assert out.count("REHEARSAL of big") == 2  # before and after

    assert list_runs(root) == []  # no command on runs sees it
    runs = list_runs(root / "rehearsals")
    assert [run.id for run in runs] == ["F", "B"]
    for run in runs:
        assert run.record["rehearsal"] is run.summary["rehearsal"] is True
        assert run.size == "135M rehearsal"
        assert run.state == "complete"
        assert len(run.evaluations()) == 3  # as many as the real run has
        assert run.summary["mixture"].keys() == {"shapes"} or run.summary["mixture"]

    export = root / "rehearsals" / "big" / "export"
    assert {file.name for file in export.iterdir()} == {
        "all_eval_points.csv", "run_summaries.csv", "scaling_fits.json", "scaling_law_plot.png"
    }  # fmt: skip
    for table in ("all_eval_points.csv", "run_summaries.csv"):
        with (export / table).open() as file:
            assert {row["model_size"] for row in csv.DictReader(file)} == {"135M rehearsal"}
    assert "REHEARSAL" in json.loads((export / "scaling_fits.json").read_text())["note"]

    code, out, _ = run_cli(arguments, monkeypatch, capsys)
    assert code == 0
    assert "already complete (2 runs)" in out


def test_plan_of_a_rehearsal_says_what_it_changes_and_trains_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "big.toml").write_text(PUBLISHED + RUNS)
    arguments = [
        "run",
        str(tmp_path / "big.toml"),
        "--runs",
        str(tmp_path / "runs"),
        "--rehearse",
        "--dry-run",
    ]
    code, out, _ = run_cli(arguments, monkeypatch, capsys)
    assert code == 0
    assert "model.connector.grid: 7 -> 3" in out  # never finer than the patches
    assert '"shapes" stands in for "smoltalk": text alone' in out
    assert not (tmp_path / "runs").exists()
    code, out, _ = run_cli([*arguments, "--json"], monkeypatch, capsys)
    shown = json.loads(out)
    assert shown["rehearsal"] is True
    assert shown["runs"][1]["resolved"]["model"]["connector"]["grid"] == 3


@pytest.mark.parametrize("option", [["--device", "H100"], ["--mfu", "0.2"]])
def test_options_of_another_machine_are_refused(
    option: list[str], root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = str(root / "recipes" / "captions_small.toml")
    code, _, err = run_cli(["run", recipe, "--rehearse", "--dry-run", *option], monkeypatch, capsys)
    assert (code, f"{option[0]}: a rehearsal is planned for this machine" in " ".join(err.split())) == (
        2,
        True,
    )


def test_mixture_schedule_and_rates_keep_their_shape(tmp_path: Path) -> None:
    read = recipe(
        tmp_path,
        PUBLISHED.replace("batch_size = 4\nmicro_batch_size = 2", "batch_size = 32\nmicro_batch_size = 8"),
    )
    plans = plan(read)
    (small,) = rehearsed(read, plans).recipe.runs
    before, after = read.runs[0].config, small.config
    assert [share for _, share in after.data.mixed] == [share for _, share in before.data.mixed]
    seeds = [chosen.config.seed for chosen, _ in after.data.mixed]
    assert len(set(seeds)) == 3  # each source its own samples
    assert [chosen.config.text_only for chosen, _ in after.data.mixed] == [False, False, True]
    assert after.data.sources[0].source.config.prompt == before.data.sources[0].source.config.prompt
    assert after.training.batch_size // after.training.micro_batch_size == 4
    assert after.training.lr == plans[0].rates["connector"]
    assert (after.training.schedule, after.training.warmup) == (
        before.training.schedule,
        before.training.warmup,
    )


def test_sizes_stay_different_and_longer_runs_longer(tmp_path: Path) -> None:
    sizes = "\n".join(
        f'[[runs]]\nid = "{size}"\nmodel.llm.name = "smollm2-{size.lower()}"\ntraining.steps = {steps}'
        for size, steps in (("135M", 2020), ("360M", 7070), ("1.7B", 39100))
    )
    small = rehearsal(tmp_path, PUBLISHED + sizes).recipe.runs
    assert len({run.config.model.llm.config.width for run in small}) == 3
    steps = [run.config.training.steps or 0 for run in small]
    assert (steps[0], steps[-1]) == (12, 30)
    assert steps == sorted(set(steps))
    assert [run.config.model.size for run in small] == [
        f"{size} rehearsal" for size in ("135M", "360M", "1.7B")
    ]


def test_runs_start_from_earlier_runs_of_the_recipe_and_from_no_others(tmp_path: Path) -> None:
    chain = '[[runs]]\nid = "one"\ntraining.init_from = "elsewhere/run"\n'
    chain += '[[runs]]\nid = "two"\ntraining.init_from = "big/one"\n'
    made = rehearsal(tmp_path, PUBLISHED + chain)
    assert [run.config.training.init_from for run in made.recipe.runs] == [None, "big/one"]
    assert any("elsewhere/run" in note for note in made.notes)


def test_component_without_a_rehearsal_is_used_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("fvlm_foveated.config.Foveated.rehearsal")
    made = rehearsal(tmp_path, PUBLISHED)
    assert made.recipe.runs[0].config.model.connector.config.query_dim == 384
    assert any('"foveated" offers no rehearsal' in note for note in made.notes)


def test_small_models_on_drawn_clips_rehearse_with_few_clips_as_they_are(tmp_path: Path) -> None:
    made = rehearsal(tmp_path, RECIPE.replace("clips = 32", "clips = 5000", 1))
    (run,) = made.recipe.runs
    assert run.config.model.encoder.config.width == 16
    assert run.config.data.sources[0].source.config.clips < 100
    assert run.config.data.sources[0].source.config.seed == 0


def test_heading_is_in_the_picture(tmp_path: Path) -> None:
    for name, heading in (("plain", ""), ("marked", "REHEARSAL")):
        scaling_law_plot([], tmp_path / f"{name}.svg", "nothing", heading)
    assert (tmp_path / "plain.svg").read_bytes() != (tmp_path / "marked.svg").read_bytes()
