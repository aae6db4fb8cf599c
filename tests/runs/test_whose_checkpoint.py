"""A checkpoint is read as the run's whose it is: another run's is named and refused by every reader."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from tiny import run_cli, train, trained

from fvlm_core.runs.belonging import configs, owner
from fvlm_core.runs.checkpoint import Checkpoint, damage, is_identified, latest_checkpoint, save_checkpoint
from fvlm_core.runs.store import find_run, open_run
from fvlm_core.utils.atomic_files import read_json, write_json
from fvlm_core.utils.errors import UsageError
from fvlm_core.weights.init_from import find_initial
from fvlm_core.weights.restore import best_checkpoint, restore


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ "tiny/tiny", and beside it another run of the same shapes, whose checkpoints fit."""
    folder = trained(tmp_path_factory.mktemp("made"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FVLM_CACHE", str(folder / "cache"))
        train(folder / "tiny.toml", folder / "runs", "name=other", "training.seed=7")
    return folder


@pytest.fixture
def store(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(made / "runs", tmp_path / "runs")
    monkeypatch.setenv("FVLM_CACHE", str(made / "cache"))
    monkeypatch.chdir(tmp_path)
    shutil.copy(made / "tiny.toml", tmp_path)
    return tmp_path / "runs"


def swap(store: Path) -> Path:
    """The other run's checkpoints in the place of this one's."""
    run = store / "tiny" / "tiny"
    shutil.rmtree(run / "checkpoints")
    shutil.copytree(store / "other" / "other" / "checkpoints", run / "checkpoints")
    return run


READERS = {
    "eval": ["eval", "tiny/tiny"],
    "caption": ["caption", "v.mp4", "--run", "tiny/tiny"],
    "gaze": ["gaze", "v.mp4", "--run", "tiny/tiny", "--out", "gaze.png"],
    "export": ["weights", "export", "tiny/tiny", "--to", "exported"],
}


def test_every_reader_refuses_another_run_s(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = swap(store)
    (store.parent / "v.mp4").write_bytes(b"")
    for name, command in READERS.items():
        code, out, err = run_cli([*command, "--runs", str(store)], monkeypatch, capsys)
        assert (code, "is of another run, other/other, and not of tiny/tiny" in err, out) == (2, True, ""), (
            name
        )
    with pytest.raises(UsageError, match="of another run, other/other"):
        restore(open_run(run), checkpoint="last")
    with pytest.raises(UsageError, match="of another run, other/other"):
        find_initial("tiny/tiny", store)
    newest, damaged = latest_checkpoint(run / "checkpoints")  # what a run continues from
    assert newest is None
    assert all("is of another run" in text for text in damaged)


def test_another_run_of_the_same_name_is_told_by_its_recipe_and_seed(store: Path) -> None:
    run = store / "tiny" / "tiny"
    record = read_json(run / "recipe.json")
    for change in ({"seed": 43}, {"resolved": {**record["resolved"], "eval": {"every": 3}}}):
        changed = {**record, **change}
        write_json(run / "recipe.json", {**changed, "configs": configs(changed)})
        assert "another run that was called tiny/tiny" in (damage(best_of(run)) or "")
        write_json(
            run / "recipe.json", {**changed, "configs": configs(changed, record)}
        )  # as an accepted change
        assert damage(best_of(run)) is None


def best_of(run: Path) -> Path:
    return sorted((run / "checkpoints").glob("step-*"))[-1]


def test_a_folder_that_was_moved_or_copied_as_a_whole_is_the_same_run(store: Path, tmp_path: Path) -> None:
    shutil.copytree(store / "tiny" / "tiny", tmp_path / "elsewhere" / "of-another-name")
    (store / "tiny").rename(store / "renamed")
    for place in (tmp_path / "elsewhere" / "of-another-name", store / "renamed" / "tiny"):
        assert best_checkpoint(open_run(place)).parent.parent == place
    assert find_run("tiny/tiny", store).folder == store / "renamed" / "tiny"


def test_one_from_before_is_read_and_says_so(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = store / "tiny" / "tiny"
    for manifest in run.glob("checkpoints/*/manifest.json"):
        write_json(manifest, {"sha256": read_json(manifest)["sha256"]})
    assert not is_identified(best_of(run))
    code, out, err = run_cli(
        ["eval", "tiny/tiny", "--samples", "2", "--runs", str(store)], monkeypatch, capsys
    )
    assert (code, "does not say which run it is of" in err, "tiny/tiny" in out) == (0, True, True)


def test_a_run_goes_on_from_its_own_under_an_accepted_change_and_knows_both(store: Path) -> None:
    run = store / "tiny" / "tiny"
    assert is_identified(best_of(run))
    train(store.parent / "tiny.toml", store, "training.steps=8", allow=("training",))
    assert len(read_json(run / "recipe.json")["configs"]) == 2
    assert [damage(folder) for folder in (run / "checkpoints").glob("step-*")] == [None, None]


@pytest.mark.parametrize(
    "manifest", [[], None, {}, {"sha256": []}, {"sha256": {"a": 1}}, {"sha256": {}, "run": []}]
)
def test_a_manifest_of_another_shape_is_damage(manifest: object, tmp_path: Path) -> None:
    record = {"id": "r", "recipe": "p", "order": 0, "seed": 1, "resolved": {}}
    write_json(tmp_path / "recipe.json", record)
    step = save_checkpoint(tmp_path / "checkpoints", Checkpoint({"w": torch.ones(1)}, {}, {"step": 1}))
    assert read_json(step / "manifest.json")["run"] == owner(record)
    assert damage(step) is None
    write_json(step / "manifest.json", manifest)
    assert "manifest" in (damage(step) or "")


def test_a_damaged_best_checkpoint_is_named_and_no_other_is_measured_in_its_place(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = store / "tiny" / "tiny"
    best = store / best_checkpoint(open_run(run))
    (best / "model.safetensors").write_bytes(b"x")
    code, out, err = run_cli(["eval", "tiny/tiny", "--runs", str(store)], monkeypatch, capsys)
    assert (code, out) == (2, "")
    assert f"{best.name}/model.safetensors is not as it was written" in err
