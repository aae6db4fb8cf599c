"""`init_from`: weights start from a run, a folder or a file; what is missing is told before anything is trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny import RECIPE, run_cli, train, trained

from fvlm_core.runs.store import find_run
from fvlm_core.training import loop
from fvlm_core.utils.atomic_files import sha256

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a complete run "tiny/tiny"."""
    return trained(tmp_path_factory.mktemp("first"))


@pytest.fixture
def place(first: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a recipe for a second stage, which is the current folder; its runs are beside the first one.

    Each has a name of its own, for the run's sake: the name of a passed test's `tmp_path` comes again.
    """
    folder = tmp_path_factory.mktemp("second")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("FVLM_CACHE", str(first / "cache"))
    monkeypatch.setenv("FVLM_RUNS", str(first / "runs"))
    (folder / "second.toml").write_text(RECIPE.replace('"tiny"', f'"{folder.name}"'))
    return folder


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return lambda *arguments: run_cli(list(arguments), monkeypatch, capsys)


def best(first: Path) -> Path:
    run = find_run("tiny/tiny", first / "runs")
    return run.folder / "checkpoints" / f"step-{run.summary['best_val_step']:08d}"


def spied(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, torch.Tensor]]:
    """The weights that training begins with."""
    seen: list[dict[str, torch.Tensor]] = []
    real = loop.train

    def spy(ready: loop.ReadyRun, *others: Any) -> object:
        seen.append({name: p.detach().clone() for name, p in ready.model.named_parameters()})
        return real(ready, *others)

    monkeypatch.setattr("fvlm_core.execution.attempt.train", spy)
    return seen


@pytest.mark.parametrize("kind", ["name", "run folder", "checkpoint folder", "file", "relative file"])
def test_a_run_starts_from_the_weights_it_names_and_its_record_says_so(
    kind: str, first: Path, place: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = best(first) / "model.safetensors"
    (place / "mine.safetensors").write_bytes(weights.read_bytes())
    start = {
        "name": "tiny/tiny",
        "run folder": str(first / "runs/tiny/tiny"),
        "checkpoint folder": str(best(first)),
        "file": str(weights),
        "relative file": "./mine.safetensors",
    }[kind]
    text = (place / "second.toml").read_text().replace("[training]", f'[training]\ninit_from = "{start}"')
    (place / "second.toml").write_text(text)
    begun = spied(monkeypatch)
    code, _, err = cli("run", str(place / "second.toml"))
    assert code == 0, err
    stored = load_file(weights)
    assert all(torch.equal(tensor, stored[name]) for name, tensor in begun[0].items())
    record = json.loads((first / "runs" / place.name / place.name / "recipe.json").read_text())
    assert list(record["init_from"]["sha256"].values()) == [sha256(weights)]


def test_what_is_missing_is_told_with_the_way_out_before_anything_is_trained(
    first: Path, place: Path, cli: Cli
) -> None:
    for start, said in (
        ("tiny/tinny", 'did you mean "tiny/tiny"?'),
        ("./gone.safetensors", "there is no such file or folder"),
        (str(place), "holds no model*.safetensors"),
    ):
        code, out, err = cli("run", "second.toml", "-o", f"training.init_from={start}")
        assert code == 2
        assert f'training.init_from = "{start}"' in err or "gone.safetensors" in err
        assert said in err
        assert "steps" not in out
        assert not (first / "runs" / place.name).exists()
        code, out, _ = cli("run", "second.toml", "-o", f"training.init_from={start}", "--dry-run")
        assert (code, said in " ".join(out.split())) == (0, True)


def test_a_damaged_summary_is_named_and_written_again_once_it_is_removed(place: Path, cli: Cli) -> None:
    command = ["run", "second.toml", "--runs", str(place / "own")]
    assert cli(*command)[0] == 0
    summary = place / "own" / place.name / place.name / "summary.json"
    before = json.loads(summary.read_text())["best_val_loss"]
    summary.write_text("[]")
    code, _, err = cli(*command)
    assert (code, f"{summary}: damaged" in err) == (2, True)
    summary.unlink()
    assert cli(*command)[0] == 0
    assert json.loads(summary.read_text())["best_val_loss"] == before


def test_weights_that_do_not_fit_are_listed_by_name_and_shape(place: Path, cli: Cli) -> None:
    wider = ("-o", "training.init_from=tiny/tiny", "-o", "model.connector.query_dim=4")
    code, _, err = cli("run", "second.toml", *wider)
    assert code == 2
    assert "connector.query_input_proj.weight: expected shape [16, 4], got [16, 8]" in err
    assert len(err.splitlines()) > 2
    assert "Traceback" not in err


def test_a_later_run_of_a_recipe_starts_from_an_earlier_one(
    first: Path, place: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = place.name
    stages = (
        f'[[runs]]\nid = "one"\n[[runs]]\nid = "two"\ntraining.init_from = "{name}/one"\ntraining.seed = 1\n'
    )
    (place / "second.toml").write_text((place / "second.toml").read_text() + stages)
    begun = spied(monkeypatch)
    assert cli("run", "second.toml")[0] == 0
    run = find_run(f"{name}/one", first / "runs")
    stored = load_file(
        run.folder / "checkpoints" / f"step-{run.summary['best_val_step']:08d}" / "model.safetensors"
    )
    assert all(torch.equal(tensor, stored[key]) for key, tensor in begun[1].items())


def test_a_run_that_has_begun_needs_its_start_no_more(first: Path, place: Path, cli: Cli) -> None:
    weights = place / "start.safetensors"
    weights.write_bytes((best(first) / "model.safetensors").read_bytes())
    overrides = ("training.init_from=./start.safetensors",)
    train(place / "second.toml", first / "runs", *overrides, until=2)
    weights.unlink()
    code, out, err = cli("run", "second.toml", "-o", *overrides)
    assert code == 0, err
    assert "continues at step 2 of 6" in out
