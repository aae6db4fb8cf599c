"""`precision = "auto"` is what the device is faster in; a run keeps what it began in, and a stated one is as it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny import RECIPE, run_cli
from trainer import go, opened, outcome, small

from fvlm_core.bench.setting import precision_of
from fvlm_core.execution.begun import as_begun, run_folder
from fvlm_core.execution.decay import decaying
from fvlm_core.execution.sequential import check_drift
from fvlm_core.hardware import precision
from fvlm_core.hardware.devices import set_up
from fvlm_core.hardware.precision import faster_precision
from fvlm_core.recipes.schema import Training
from fvlm_core.runs.fingerprint import identity
from fvlm_core.utils.errors import FvlmError, UsageError

AUTO = "training.precision=auto"

Has = Callable[[bool | None], None]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FVLM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield opened(small(tmp_path_factory.mktemp("recipe")), tmp_path_factory.mktemp("none"))


@pytest.fixture
def has(monkeypatch: pytest.MonkeyPatch) -> Iterator[Has]:
    """Sets what Linux says of this CPU, as another machine would have it."""

    def say(able: bool | None) -> None:
        faster_precision.cache_clear()
        monkeypatch.setattr(precision, "bf16_instructions", lambda: able)
        monkeypatch.setattr("fvlm_core.hardware.devices.has_bf16", lambda: able is not False)

    yield say
    faster_precision.cache_clear()


def record(recipe: Any, root: Path) -> dict[str, Any]:
    return json.loads((run_folder(root, recipe, recipe.runs[0]) / "recipe.json").read_text())


def summary(recipe: Any, root: Path) -> dict[str, Any]:
    return json.loads((run_folder(root, recipe, recipe.runs[0]) / "summary.json").read_text())


@pytest.mark.parametrize(("able", "faster"), [(True, "bf16"), (False, "float32")])
def test_a_cpu_is_chosen_for_by_its_instructions(able: bool, faster: str, has: Has) -> None:
    has(able)
    assert faster_precision("cpu").precision == faster
    assert precision_of("cpu", "auto") == faster
    assert precision_of("cpu", None) == "float32"


@pytest.mark.parametrize(("rate", "faster"), [(3e11, "bf16"), (5e10, "float32")])
def test_a_cpu_of_which_nothing_is_said_multiplies_two_matrices_once(
    rate: float, faster: str, has: Has, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []

    def measure(device: str, dtype: str, threads: int) -> Any:
        measured.append(dtype)
        return SimpleNamespace(flops=rate if dtype == "bf16" else 1e11)

    has(None)
    monkeypatch.setattr(precision, "measure_speed", measure)
    chosen = [faster_precision("cpu") for _ in range(3)]
    assert {one.precision for one in chosen} == {faster}
    assert f"{rate / 1e9:,.0f} GFLOP/s in bf16 and 100 in float32" in str(chosen[0])
    assert sorted(measured) == ["bf16", "float32"]


def test_the_measured_product_is_a_real_one(has: Has) -> None:
    has(None)
    assert faster_precision("cpu").precision in ("bf16", "float32")
    assert "measured: " in faster_precision("cpu").why


@pytest.mark.parametrize(
    ("itself", "imitated", "faster", "told"),
    [
        (True, True, "bf16", ""),
        (False, True, "float32", "has no instructions"),
        (False, False, "float32", "cannot"),
    ],
)
def test_a_gpu_is_chosen_for_by_its_instructions(
    itself: bool, imitated: bool, faster: str, told: str, has: Has, monkeypatch: pytest.MonkeyPatch
) -> None:
    has(True)
    monkeypatch.setattr(
        torch.cuda,
        "is_bf16_supported",
        lambda including_emulation=True: imitated if including_emulation else itself,
    )
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "a GPU")
    assert faster_precision("cuda").precision == faster
    assert set_up(Training(steps=1, precision="auto"), "cuda") == []
    kept = Training(steps=1, precision="bf16")  # as a run that began elsewhere has it
    if imitated:
        assert told in " ".join(set_up(kept, "cuda"))
    else:
        with pytest.raises(FvlmError, match="computes in bf16, and a GPU cannot; run it on another device"):
            set_up(kept, "cuda")


def test_a_run_keeps_the_precision_it_began_in_on_a_machine_that_is_faster_in_another(
    data: Any, tmp_path: Path, has: Has
) -> None:
    auto, stated = small(tmp_path, AUTO), small(tmp_path / "stated", "training.precision=bf16")
    has(True)
    go(auto, tmp_path / "runs", data, at=6)
    assert record(auto, tmp_path / "runs")["resolved"]["training"]["precision"] == "bf16"
    chosen = "auto: bf16, this CPU has instructions for bf16"
    assert record(auto, tmp_path / "runs")["precision"] == chosen
    has(False)
    watch = go(auto, tmp_path / "runs", data)
    assert "goes on in bf16, in which it began, though this CPU has no instructions for bf16" in watch.said
    assert record(auto, tmp_path / "runs")["precision"] == chosen
    assert summary(auto, tmp_path / "runs")["precision"] == chosen
    go(stated, tmp_path / "stated/runs", data)
    assert outcome(auto, tmp_path / "runs") == outcome(stated, tmp_path / "stated/runs")
    float32 = small(tmp_path / "float32", AUTO)
    go(float32, tmp_path / "float32/runs", data, at=3)
    assert record(float32, tmp_path / "float32/runs")["resolved"]["training"]["precision"] == "float32"
    assert as_begun(float32, tmp_path / "float32/runs").runs[0].config.training.precision == "float32"
    assert as_begun(float32, tmp_path / "nothing").runs[0].config.training.precision == "auto"


def test_what_was_chosen_may_be_stated_and_nothing_else(data: Any, tmp_path: Path, has: Has) -> None:
    root = tmp_path / "runs"
    has(True)
    go(small(tmp_path, AUTO), root, data, at=3)
    check_drift(small(tmp_path, "training.precision=bf16"), root, ())
    with pytest.raises(UsageError, match=r"training\.precision: bf16 -> float32"):
        check_drift(small(tmp_path, "training.precision=float32"), root, ())
    go(small(tmp_path, "training.precision=bf16"), root, data, at=6)
    assert record(small(tmp_path), root)["precision"].startswith("auto: bf16")


def test_a_run_of_a_stated_precision_goes_on_in_it_when_its_recipe_says_auto(
    data: Any, tmp_path: Path, has: Has
) -> None:
    root = tmp_path / "runs"
    has(True)
    go(small(tmp_path), root, data, at=3)
    assert "precision" not in record(small(tmp_path), root)
    assert "precision" not in identity(small(tmp_path).runs[0])
    go(small(tmp_path, AUTO), root, data)
    went = record(small(tmp_path), root)
    assert (went["resolved"]["training"]["precision"], went["precision"]) == (
        "float32",
        "auto: float32, in which it began",
    )
    go(whole := small(tmp_path / "whole"), tmp_path / "whole/runs", data)
    assert outcome(small(tmp_path), root) == outcome(whole, tmp_path / "whole/runs")


def test_a_decay_is_in_the_precision_of_the_run_it_decays_from(data: Any, tmp_path: Path, has: Has) -> None:
    steps = ("training.steps=6", "eval.every=3", "checkpoints.keep_last=9", AUTO)
    long = small(tmp_path, *steps, "training.schedule={ name = 'wsd', decay = 0.25 }")
    has(True)
    go(long, tmp_path / "runs", data)
    has(False)
    decay = decaying(long, "small/small@3", tmp_path / "runs")
    go(decay, tmp_path / "runs", {decay.runs[0].id: data["small"]})
    assert record(decay, tmp_path / "runs")["resolved"]["training"]["precision"] == "bf16"


def test_the_dry_run_and_the_results_tell_what_was_chosen(
    tmp_path: Path, has: Has, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FVLM_CACHE", str(tmp_path / "cache"))
    (tmp_path / "tiny.toml").write_text(RECIPE)

    def cli(*arguments: str) -> str:
        code, out, err = run_cli([*arguments], monkeypatch, capsys)
        assert code == 0, err
        return " ".join(out.split())

    has(True)
    planned = cli("run", "tiny.toml", "-o", AUTO, "--dry-run")
    assert "training.precision is auto: bf16, this CPU has instructions for bf16" in planned
    assert "(CPU threads: 1, bf16)" in planned
    foreseen = cli("run", "tiny.toml", "-o", AUTO, "--dry-run", "--device", "H100")
    assert "training.precision is auto: bf16, on the H100" in foreseen
    trained = cli("run", "tiny.toml", "-o", AUTO)
    assert "tiny: precision auto: bf16, this CPU has instructions for bf16" in trained
    assert "precision auto: bf16, this CPU has instructions for bf16" in cli("runs", "show", "tiny/tiny")
    has(False)
    again = cli("run", "tiny.toml", "-o", AUTO, "--dry-run")
    assert "training.precision is auto: bf16, in which it began" in again
    assert "already complete" in cli("run", "tiny.toml", "-o", AUTO)
