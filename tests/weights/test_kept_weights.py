"""Weights that callbacks keep beside a run's own are a model: `--weights NAME`, `fvlm.load(run, weights=NAME)`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny import run_cli
from trainer import go, opened, small

import fvlm
from fvlm_core.evaluation.subject import open_subject
from fvlm_core.execution.sequential import run_folder
from fvlm_core.runs.metrics import read_metrics
from fvlm_core.runs.store import open_run
from fvlm_core.utils.errors import UsageError
from fvlm_core.weights.restore import restore

CALLBACKS = (
    '{ name = "ema", decay = 0.8 }',
    '{ name = "mean-of-last", last = 3 }',
    '{ name = "ema", decay = 0.3 }',
)
KEPT = f"training.callbacks=[{', '.join(CALLBACKS)}]"
NAMES = ("ema", "mean_of_last", "ema_2")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The folder of a run of 10 steps whose encoder is frozen; another's that keeps nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FVLM_CACHE", str(tmp_path_factory.mktemp("cache")))
        folders: list[Path] = []
        for callbacks in ([KEPT], []):
            settings = ("training.steps=10", "eval.every=2", "training.lr=0.01", *callbacks)
            recipe = small(tmp_path_factory.mktemp("recipe"), *settings, "training.frozen=['encoder']")
            root = tmp_path_factory.mktemp("root")
            go(recipe, root, opened(recipe, root))
            folders.append(run_folder(root, recipe, recipe.runs[0]))
        yield folders


@pytest.mark.parametrize("name", NAMES)
def test_they_measure_as_they_did_in_the_run(name: str, run: Any) -> None:
    step = open_subject(str(run[0]), Path()).step
    [row] = [
        row
        for row in read_metrics(run[0] / "metrics.jsonl")
        if row["event_type"] == "eval" and row["step"] == step
    ]
    found = fvlm.evaluate(run[0], weights=name, device="cpu").to_dict()
    [mode] = found["modes"].values()
    assert mode["val_loss"] == pytest.approx(row[f"val_loss_{name}"], rel=1e-6)
    assert mode["val_loss"] != pytest.approx(row["val_loss"], rel=1e-6)


def test_the_average_is_that_of_the_file_and_what_was_frozen_stays(run: Any) -> None:
    own, average = restore(open_run(run[0])), restore(open_run(run[0]), weights="ema")
    [file] = run[0].glob(f"checkpoints/step-{own.step:08d}/callbacks.safetensors")
    kept = load_file(file)
    for name, weight in average.model.named_parameters():
        frozen = name.startswith("encoder.")
        assert (f"ema/{name}" in kept) != frozen
        assert torch.equal(weight, own.model.get_parameter(name) if frozen else kept[f"ema/{name}"])


def test_every_door_takes_them(run: Any, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    import numpy as np
    from PIL import Image

    picture = tmp_path / "grey.png"
    Image.fromarray(np.full((42, 42, 3), 90, np.uint8)).save(picture)
    trained = fvlm.load(run[0], weights="ema")
    said = trained.caption(picture, tokens=8)
    assert "ema" in repr(trained)
    options = ["--run", str(run[0]), "--weights", "ema"]
    code, out, _ = run_cli(["caption", str(picture), *options, "--tokens", "8"], monkeypatch, capsys)
    assert (code, json.loads(out)["caption"]) == (0, said)
    for arguments in (
        ["gaze", str(picture), *options, "--out", str(tmp_path / "gaze.png")],
        ["weights", "export", str(run[0]), "--weights", "ema", "--to", str(tmp_path / "out")],
    ):
        assert run_cli(arguments, monkeypatch, capsys)[0] == 0
    assert json.loads((tmp_path / "out" / "config.json").read_text())["run"]["weights"] == "ema"
    assert '"ema"' in (tmp_path / "out" / "README.md").read_text()
    code, out, _ = run_cli(["eval", str(run[0]), "--weights", "ema", "--json"], monkeypatch, capsys)
    exported = run_cli(["eval", str(tmp_path / "out"), "--data", "shapes", "-o", "clips=28",
                        "-o", "validation_clips=6", "-o", "frames=2", "--json"], monkeypatch, capsys)  # fmt: skip
    losses = [next(iter(json.loads(text)["modes"].values()))["val_loss"] for text in (out, exported[1])]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_weights_that_are_none_are_told(run: Any, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    for folder, name, said in (
        (run[0], "emma", 'has none of that name beside its own: did you mean "ema"?'),
        (run[0], "mean-of-last", 'did you mean "mean_of_last"?'),
        (run[1], "ema", "keeps none beside its own"),
    ):
        with pytest.raises(fvlm.FvlmError, match="weights") as error:
            fvlm.load(folder, weights=name).restored  # noqa: B018
        assert said in str(error.value)
        code, _, err = run_cli(["eval", str(folder), "--weights", name], monkeypatch, capsys)
        assert code == 2
        assert " ".join(said.split()) in " ".join(err.split())
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UsageError, match='exported weights, which have no weights "ema"'):
        open_subject(str(tmp_path), tmp_path, weights="ema")
