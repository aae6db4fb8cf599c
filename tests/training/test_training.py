"""Training: runs resume exactly, are never done twice, stop cleanly, and account for what they could not use."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file
from tiny import RECIPE, StopAfter, fvlm, run_cli, train

from fvlm_core.runs.metrics import deterministic
from fvlm_core.runs.store import StoredRun, list_runs
from fvlm_core.scaling.points.points_from_runs import from_runs

pytestmark = pytest.mark.timeout(280)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rendered clips, made once for this file."""
    return tmp_path_factory.mktemp("cache")


Finish = Callable[..., str]


@pytest.fixture
def finish(cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Finish:
    """`fvlm ARGUMENTS` in this process: what it says."""

    def ended(*arguments: str, cwd: Path, expect: int = 0) -> str:
        monkeypatch.chdir(cwd)
        monkeypatch.setenv("FVLM_CACHE", str(cache))
        monkeypatch.setenv("COLUMNS", "120")
        code, out, err = run_cli([*arguments], monkeypatch, capsys)
        assert code == expect, out + err
        return out + err

    return ended


def start(folder: Path, text: str = RECIPE) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "tiny.toml").write_text(text)
    return folder


def only_run(folder: Path) -> StoredRun:
    (run,) = list_runs(folder / "runs")
    return run


def weights(run: StoredRun) -> dict[str, list[float]]:
    newest = sorted((run.folder / "checkpoints").glob("step-*"))[-1]
    return {
        name: tensor.flatten().tolist() for name, tensor in load_file(newest / "model.safetensors").items()
    }


def numbers(run: StoredRun) -> list[dict[str, object]]:
    """Metrics rows without what the clock decides."""
    return [deterministic(row) for row in run.rows()]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    folder = start(tmp_path_factory.mktemp("uninterrupted"))
    process = fvlm("run", "tiny.toml", cwd=folder, cache=cache)
    out, _ = process.communicate(timeout=240)
    assert process.returncode == 0, out
    return folder


def test_a_run_leaves_a_record_a_person_can_open(uninterrupted: Path) -> None:
    run = only_run(uninterrupted)
    assert run.state == "complete"
    assert [row["step"] for row in run.evaluations()] == [2, 4, 6]
    names = {file.name for file in run.folder.iterdir() if not file.name.startswith(".")}
    assert {
        "recipe.json",
        "environment.json",
        "metrics.jsonl",
        "checkpoints",
        "summary.json",
        "tokenizer.json",
    } <= names
    summary = json.loads((run.folder / "summary.json").read_text())
    assert summary["total_samples"] == 24
    assert summary["best_val_loss"] == min(row["val_loss"] for row in run.evaluations())


def test_a_run_records_four_counts_of_parameters(uninterrupted: Path) -> None:
    run = only_run(uninterrupted)
    newest = sorted((run.folder / "checkpoints").glob("step-*"))[-1]
    sizes = {name: tensor.numel() for name, tensor in load_file(newest / "model.safetensors").items()}
    llm = sum(count for name, count in sizes.items() if name.startswith("llm."))
    tables = sum(
        count for name, count in sizes.items() if name.endswith(("embed_tokens.weight", "lm_head.weight"))
    )
    kinds = ("total", "trainable", "non-embedding", "llm")
    found = [from_runs([run], "runs", kind, "frames").table["n"][0] for kind in kinds]
    assert found == [sum(sizes.values()), sum(sizes.values()), sum(sizes.values()) - tables, llm]


def test_a_second_call_says_already_complete_and_changes_nothing(uninterrupted: Path, finish: Finish) -> None:
    before = (only_run(uninterrupted).folder / "metrics.jsonl").read_bytes()
    out = finish("run", "tiny.toml", cwd=uninterrupted)
    assert "already complete" in out
    assert (only_run(uninterrupted).folder / "metrics.jsonl").read_bytes() == before


def test_a_recipe_whose_fit_is_refused_ends_well(tmp_path: Path, finish: Finish) -> None:
    folder = start(tmp_path, RECIPE + '\n[[fits]]\nmodel = "joint-chinchilla"\n')
    out = finish("run", "tiny.toml", "-o", "training.steps=2", cwd=folder)
    assert "not identifiable" in out
    (file,) = folder.glob("runs/*/scaling_fits.json")
    joint = json.loads(file.read_text())["joint_chinchilla_fit"]
    assert [joint[name] for name in ("E", "A", "B", "alpha", "beta")] == [None] * 5


def test_another_recipe_of_the_same_name_is_refused_naming_the_keys(
    uninterrupted: Path, finish: Finish
) -> None:
    out = finish("run", "tiny.toml", "-o", "training.lr=0.5", cwd=uninterrupted, expect=2)
    assert "training.lr: 0.001 -> 0.5" in out
    assert "Traceback" not in out


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.soak), signal.SIGUSR1]
)
def test_a_signal_saves_and_the_same_command_continues_bit_for_bit(
    number: signal.Signals, tmp_path: Path, uninterrupted: Path, cache: Path, finish: Finish
) -> None:
    folder = start(tmp_path)
    process = fvlm("run", "tiny.toml", cwd=folder, cache=cache, PYTHONUNBUFFERED="1")
    assert process.stdout is not None
    for line in process.stdout:
        if "6 steps" in line:  # training begins; the step under way is finished and saved
            process.send_signal(number)
            break
    process.communicate(timeout=120)
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 75}[number]
    assert only_run(folder).state == "interrupted"
    finish("run", "tiny.toml", cwd=folder)
    assert weights(only_run(folder)) == weights(only_run(uninterrupted))
    assert numbers(only_run(folder)) == numbers(only_run(uninterrupted))


def test_a_kill_leaves_no_hole_and_no_double_row(
    tmp_path: Path, uninterrupted: Path, cache: Path, finish: Finish
) -> None:
    """Before the first checkpoint and after it; `kills.py` has other moments."""
    folder = start(tmp_path)
    run = folder / "runs" / "tiny" / "tiny"
    for there in ("metrics.jsonl", "checkpoints/step-00000002"):
        process = fvlm("run", "tiny.toml", cwd=folder, cache=cache, PYTHONUNBUFFERED="1")
        while not (run / there).exists() and process.poll() is None:
            time.sleep(0.001)
        process.kill()
        out, _ = process.communicate(timeout=120)
        assert process.returncode == -signal.SIGKILL, out
        assert only_run(folder).state == "interrupted"
    finish("run", "tiny.toml", cwd=folder)
    assert numbers(only_run(folder)) == numbers(only_run(uninterrupted))
    assert weights(only_run(folder)) == weights(only_run(uninterrupted))


def test_workers_and_micro_batches_only_split_the_work(
    tmp_path: Path, uninterrupted: Path, finish: Finish
) -> None:
    folder = start(tmp_path)
    finish("run", "tiny.toml", "-o", "training.workers=2", cwd=folder)
    assert numbers(only_run(folder)) == numbers(only_run(uninterrupted))
    split = start(tmp_path / "split")
    finish("run", "tiny.toml", "-o", "training.micro_batch_size=4", cwd=split)
    for ours, theirs in zip(
        only_run(split).evaluations(), only_run(uninterrupted).evaluations(), strict=True
    ):
        assert ours["val_loss"] == pytest.approx(theirs["val_loss"], rel=1e-5)


def test_a_moved_run_folder_continues(tmp_path: Path, finish: Finish) -> None:
    folder = start(tmp_path / "here")
    finish("run", "tiny.toml", "-o", "training.steps=6", cwd=folder)
    moved = folder.rename(tmp_path / "there")
    assert "already complete" in finish("run", "tiny.toml", cwd=moved)


def test_a_run_computes_with_its_own_threads_and_not_with_those_of_the_one_before(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sums differ by them: a run of a grid is what it is alone. So is what a notebook computes after it."""
    import torch

    monkeypatch.setenv("FVLM_CACHE", str(cache))
    runs = '[[runs]]\nid = "a"\ntraining.threads = 1\ntraining.deterministic = true\n[[runs]]\nid = "b"\n'
    (tmp_path / "tiny.toml").write_text(RECIPE.replace("threads = 1\n", "") + runs)
    seen: list[int] = []
    monkeypatch.setattr(StopAfter, "started", lambda *told: seen.append(torch.get_num_threads()))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        train(tmp_path / "tiny.toml", tmp_path / "runs")
        assert seen == [1, 2]
        assert torch.get_num_threads() == 2
        assert not torch.are_deterministic_algorithms_enabled()
    finally:
        torch.set_num_threads(before)
