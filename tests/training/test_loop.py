"""The loop's parts: rates, groups, gradients, numbers that go wrong, signals, and what a row says."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from attrs import evolve
from trainer import Watch, go, opened, outcome, small

from fvlm_core.data import loader
from fvlm_core.data.loader import BadReport, Reading
from fvlm_core.data.planning import RankShare
from fvlm_core.hardware.devices import peak_flops
from fvlm_core.model.build import compose
from fvlm_core.model.vlm import VLM
from fvlm_core.recipes.read import read_recipe
from fvlm_core.recipes.schema import Training
from fvlm_core.runs.checkpoint import Checkpoint, damage, latest_checkpoint, save_checkpoint
from fvlm_core.runs.metrics import MetricsWriter
from fvlm_core.training import metrics_log as journal
from fvlm_core.training.bad import note_bad
from fvlm_core.training.length import Spent
from fvlm_core.training.metrics_log import Clock, training_row
from fvlm_core.training.objective import TokenLoss
from fvlm_core.training.optimizer import make_optimizer, named
from fvlm_core.training.process_group import Ranks
from fvlm_core.training.schedule import RateSchedule, own
from fvlm_core.training.signals import StopRequest
from fvlm_core.training.spikes import ENOUGH, WINDOW, SpikeWindow
from fvlm_core.training.state import Progress
from fvlm_core.utils.errors import FvlmError, Problems


def test_schedules_are_the_published_tables(shared: Path) -> None:
    tables = json.loads((shared / "parity" / "facts.json").read_text())["schedules"]
    assert {table["kind"] for table in tables} == {"cosine", "constant", "converging"}
    for table in tables:
        args = table["args"]
        for column, group in enumerate(table["groups"], start=1):
            peak = group["base_lr"]
            end = args["target_lr"] / peak if "target_lr" in args else args.get("min_lr_ratio", 0.1)
            steps = args.get("num_training_steps", 1)
            schedule = RateSchedule(own(table["kind"], {"llm": end}), "llm", steps, args["num_warmup_steps"])
            for row in table["table"]:
                assert peak * schedule.factor(row[0]) == pytest.approx(row[column], rel=1e-12, abs=1e-18)
            if schedule.warmup:
                assert schedule.factor(0) == 0.0  # the first update of a warm-up is made with rate 0


@pytest.mark.parametrize(
    ("name", "connector", "llm"),
    [("smollm2-135m", 739_392, 134_515_008), ("smollm2-360m", 1_034_688, 361_821_120)],
)
def test_every_new_projection_learns_at_the_connectors_rate(
    name: str, connector: int, llm: int, root: Path
) -> None:
    recipe = read_recipe(str(root / "recipes" / "phase1b_360m.toml"), [f"model.llm.name={name}"])
    with torch.device("meta"):
        model = compose(recipe.runs[0].config.model, 49_152, 0, weights=False)
    rates = {"connector": 1e-3, "encoder": 1e-5, "llm": 1e-5}
    optimizer = make_optimizer(model.parameter_groups(), rates, (0.9, 0.999), 0.01, model.decayed())
    counts: dict[str, int] = {}
    for group in optimizer.param_groups:
        assert group["peak"] == rates[group["component"]]
        counts[group["component"]] = counts.get(group["component"], 0) + sum(
            p.numel() for p in group["params"]
        )
    assert counts == {"connector": connector, "encoder": 22_056_576, "llm": llm}
    assert len(named(optimizer)) == len(list(model.parameters()))
    undecayed = [n for g in optimizer.param_groups if g["weight_decay"] == 0 for n in g["names"]]
    assert all(
        "bias" in n or "norm" in n or "q_" in n or "scale" in n or "embed" in n or "token" in n
        for n in undecayed
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FVLM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield opened(small(tmp_path_factory.mktemp("recipe")), tmp_path_factory.mktemp("none"))


def gradients(
    data: Any, folder: Path, micro: int, monkeypatch: pytest.MonkeyPatch
) -> dict[str, torch.Tensor]:
    """Of the first step of 32 samples, unclipped, as the optimizer gets them."""
    found: dict[str, torch.Tensor] = {}

    def step(self: torch.optim.Optimizer) -> None:
        found.update({n: p.grad.double().clone() for n, p in named(self).items() if p.grad is not None})

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", step)
        size = ["training.batch_size=32", f"training.micro_batch_size={micro}", "training.clip=1e9"]
        go(small(folder, "training.steps=1", *size), folder / str(micro), data)
    return found


def test_micro_batches_only_split_the_gradient(
    data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = gradients(data, tmp_path, 32, monkeypatch)
    assert len(whole) > 20
    total = torch.stack([gradient.norm() for gradient in whole.values()]).norm()
    for micro in (1, 4):
        cut = gradients(data, tmp_path, micro, monkeypatch)
        assert whole.keys() == cut.keys()
        for name, gradient in whole.items():
            # A bias of keys has gradient 0 but for rounding: no softmax notices it.
            scale = max(gradient.norm(), 1e-3 * total)
            assert (gradient - cut[name]).norm() <= 1e-5 * scale, (micro, name)


@pytest.mark.parametrize("workers", [0, 2])
def test_ranks_and_workers_only_split_a_step(workers: int, data: Any, tmp_path: Path) -> None:
    from fvlm_core.data.collate import Preparer
    from fvlm_core.data.mixture import Mixture
    from fvlm_core.model.build import make_chat

    (run,) = small(tmp_path).runs
    sources = data[run.id]
    preparer = Preparer(make_chat(run.config.model, sources.texts), 42, "answer", 512)
    training = loader.TrainingData(sources.train, Mixture([len(sources.train[0])], [1.0], 1), preparer)
    steps: dict[int, list[list[str]]] = {}
    for ranks in (1, 2, 3):
        streams = [
            loader.micro_batches(training, RankShare(6, 1, rank, ranks), 4, workers, False)
            for rank in range(ranks)
        ]
        steps[ranks] = []
        for _ in range(2):
            mine = [[next(s).batch.sample_ids[0] for _ in range(6 // ranks)] for s in streams]
            assert len({name for share in mine for name in share}) == 6  # no sample is read twice
            steps[ranks].append([mine[place % ranks][place // ranks] for place in range(6)])
    assert steps[1] == steps[2] == steps[3]


def test_a_step_without_supervised_tokens_is_no_nan_and_changes_no_weight(
    data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = small(tmp_path, "training.steps=3", "training.batch_size=2")
    go(recipe, tmp_path, data, at=2)
    before = outcome(recipe, tmp_path)
    plain = loader.collate
    monkeypatch.setattr(
        loader, "collate", lambda examples: evolve(b := plain(examples), supervised=torch.zeros_like(b.supervised))
        if len(examples) == 2 else plain(examples),
    )  # fmt: skip
    go(recipe, tmp_path, data)
    after = outcome(recipe, tmp_path)
    assert (after["model"], after["optimizer"]) == (before["model"], before["optimizer"])
    assert [row["step"] for row in after["rows"] if row["event_type"] == "skipped"] == [3]
    newest = tmp_path / "small" / "small" / "checkpoints" / "step-00000003" / "state.json"
    assert len(json.loads(newest.read_text())["spikes"]["losses"]) == 2  # the window of spikes resumes, too
    last = after["rows"][-1]
    assert last["unchanged_steps"] == 1
    assert math.isfinite(last["val_loss"])


@pytest.mark.parametrize(("samples", "allowed"), [(100, 10), (1000, 20)])
def test_more_bad_samples_than_the_recipe_allows_stop_a_run(
    samples: int, allowed: int, tmp_path: Path
) -> None:
    """2 % of what was seen, and 10 in any case; one that is met again is the same one."""
    progress, watch = Progress(samples=samples), Watch(StopRequest())

    def meet(name: str) -> None:
        reading = Reading((), {}, 0, (BadReport(f"clips/{name}", "cut short"),))
        note_bad([reading], progress, 0.02, tmp_path, watch, Ranks())

    for number in [*range(allowed), 0, 1]:
        meet(str(number))
    assert len(watch.said) == allowed
    with pytest.raises(
        FvlmError, match=rf"{allowed + 1} bad samples in {samples} \(data.max_bad allows {allowed}\)"
    ):
        meet("one more")


def test_memory_that_runs_out_once_changes_no_gradient(
    data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = gradients(data, tmp_path / "whole", 8, monkeypatch)
    plain, asked = TokenLoss.contribution, [0]

    def hungry(self: TokenLoss, model: VLM, batch: Any) -> Any:
        asked[0] += 1
        if asked[0] == 3:  # after the backward passes of two micro-batches
            raise torch.OutOfMemoryError("out of memory")
        return plain(self, model, batch)

    monkeypatch.setattr(TokenLoss, "contribution", hungry)
    cut = gradients(data, tmp_path / "cut", 8, monkeypatch)
    assert asked[0] == 3 + 2 * 4  # two halves of each of four
    total = torch.stack([gradient.norm() for gradient in whole.values()]).norm()
    assert whole.keys() == cut.keys()
    for name, gradient in whole.items():
        assert (gradient - cut[name]).norm() <= 1e-5 * max(gradient.norm(), 1e-3 * total), name


def test_memory_that_does_not_suffice_for_one_sample_stops_the_run(
    data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hungry(self: VLM, batch: Any, mode: Any = None) -> Any:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(VLM, "forward", hungry)
    with pytest.raises(FvlmError, match="out of memory at step 1, with one sample at a time"):
        go(small(tmp_path, "training.micro_batch_size=4"), tmp_path, data)


def test_frozen_components_and_rates_of_zero_do_not_move(data: Any, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    keys = ["training.steps=2", 'training.frozen=["encoder"]', "training.lr_ratio={encoder=1.0, llm=0.0}"]
    recipe = small(tmp_path, *keys, "training.warmup=0.0", "checkpoints.every=1", "checkpoints.keep_last=2")
    go(recipe, tmp_path, data)
    steps = sorted((tmp_path / "small" / "small" / "checkpoints").glob("step-*"))
    first, second = (load_file(step / "model.safetensors") for step in steps[-2:])
    moved = {name.partition(".")[0] for name in first if not torch.equal(first[name], second[name])}
    assert moved == {"connector"}


def test_a_spike_is_flagged_and_no_bad_number_enters_the_window() -> None:
    window = SpikeWindow()
    noise = torch.Generator().manual_seed(0)
    usual = (2.0 + 0.01 * torch.randn(2 * WINDOW, generator=noise)).tolist()
    assert [window.spike(loss) for loss in usual[:ENOUGH]] == [None] * ENOUGH
    assert not any(window.spike(loss) for loss in usual[ENOUGH:])
    for bad in (math.nan, math.inf, -math.inf):
        assert window.spike(bad) is None
    assert len(window.losses) == WINDOW
    said = window.spike(4.0)
    assert said is not None
    assert said.startswith("loss 4.0000")
    assert window.count == 1


def test_a_spike_is_over_six_standard_deviations_above_the_mean() -> None:
    """Of losses 1 and 3 by turns, the mean is 2 and the standard deviation 1 to the last bit."""
    usual = [1.0, 3.0] * (WINDOW // 2)
    for loss, spike in ((7.99, False), (8.01, True), (-100.0, False)):
        assert (SpikeWindow(list(usual)).spike(loss) is not None) == spike
    assert SpikeWindow(usual[: ENOUGH - 1]).spike(100.0) is None
    window = SpikeWindow([50.0] * WINDOW)  # what lies further back than the window has no say
    for loss in usual:
        window.spike(loss)
    assert window.spike(8.01) is not None


def test_throughput_after_a_resume_counts_only_what_was_done_since(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [5000.0]
    monkeypatch.setattr(journal.time, "monotonic", lambda: now[0])
    progress = Progress(step=1000, samples=32_000, wall_time=3600.0, tokens=10**6, frames=10**5)
    clock = Clock.start(progress)
    now[0] += 2.0
    progress.step, progress.samples = 1001, 32_032
    progress.tokens, progress.frames = 10**6 + 300, 10**5 + 64
    with clock.paused(progress):
        now[0] += 100.0  # an evaluation
    assert clock.rates(progress) == {
        "throughput_samples_sec": 16.0, "throughput_frames_sec": 32.0, "throughput_tokens_sec": 150.0
    }  # fmt: skip
    assert progress.wall_time == 3702.0


def test_a_row_is_one_write(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path / "m.jsonl", "r", 0) as metrics:
        written: list[bytes] = []
        plain = metrics._out
        metrics._out = type(
            "Out", (), {"write": lambda _, b: written.append(b) or plain.write(b), "close": plain.close}
        )()
        metrics.write("train", step=1, text="x" * 100_000)
    assert len(written) == 1


def test_a_budget_is_a_number_or_text(tmp_path: Path) -> None:
    for value in ('"1.6e17"', "1.6e17", "160_000_000_000_000_000"):
        recipe = small(tmp_path, "training.steps=3", f"training.budget={value}")
        assert recipe.runs[0].config.training.budget == 1.6e17
    for value, got in (
        ('"lots"', 'got "lots"'),
        ("true", "got true"),
        ("0", "must be > 0"),
        ('"-1"', "must be > 0"),
    ):
        with pytest.raises(Problems, match=got):
            small(tmp_path, f"training.budget={value}")


def _saving(folder: Path, then: Any) -> int | None:
    """The exit code of a process that has saved step 1 and gets SIGTERM while it saves step 2."""

    def child() -> None:
        import fvlm_core.runs.checkpoint as module

        with StopRequest(grace=0.4):
            save_checkpoint(folder, Checkpoint({"w": torch.ones(3)}, {}, {"step": 1}))
            os.kill(os.getpid(), signal.SIGTERM)
            module.sha256 = then
            save_checkpoint(folder, Checkpoint({"w": torch.ones(3)}, {}, {"step": 2}))

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(20)
    return process.exitcode


def test_a_save_that_takes_too_long_is_abandoned_and_the_one_before_it_kept(tmp_path: Path) -> None:
    assert _saving(tmp_path, lambda file: time.sleep(30)) == 143
    newest, damaged = latest_checkpoint(tmp_path)
    assert (newest, damaged) == (tmp_path / "step-00000001", [])
    assert damage(tmp_path / "step-00000001") is None


def test_a_second_signal_leaves_at_once(tmp_path: Path) -> None:
    begun = time.monotonic()
    assert _saving(tmp_path, lambda file: os.kill(os.getpid(), signal.SIGINT)) == 130
    assert time.monotonic() - begun < 15
    assert latest_checkpoint(tmp_path)[0] == tmp_path / "step-00000001"


def test_under_torchrun_an_echo_of_the_signal_is_no_second_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    stop = StopRequest()
    with stop:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)
        assert stop.number == signal.SIGINT


def test_a_parent_s_death_that_is_told_once_for_each_of_its_threads_is_one_signal() -> None:
    stop = StopRequest()
    with stop:
        for _ in range(5):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.02)
        assert stop.number == signal.SIGTERM


def test_no_signal_ends_the_process_once_nothing_listens_any_more() -> None:
    """One that comes as training ends is answered before it is left, and its deadline goes with it."""
    for _ in range(50):
        stop = StopRequest(grace=0.2)
        with stop:
            os.kill(os.getpid(), signal.SIGTERM)
        assert stop.number == signal.SIGTERM
    time.sleep(0.5)  # a timer that was left would have ended this process by now


def test_precision_and_memory_order_change_how_and_not_what_is_computed(data: Any, tmp_path: Path) -> None:
    def losses(*keys: str) -> list[float]:
        recipe = small(tmp_path, "training.steps=3", *keys)
        root = tmp_path / "-".join(["runs", *keys])
        go(recipe, root, data)
        return [row["train_loss"] for row in outcome(recipe, root)["rows"] if row["event_type"] == "train"]

    plain = losses()
    try:
        assert losses("training.deterministic=true") == plain
    finally:
        torch.use_deterministic_algorithms(False)
    ordered = losses("training.channels_last=true")
    assert ordered == pytest.approx(plain, rel=1e-5)
    recipe = small(tmp_path, "training.steps=3", "training.channels_last=true")
    go(recipe, tmp_path / "cut", data, at=2)
    go(recipe, tmp_path / "cut", data)
    last = [
        row["train_loss"] for row in outcome(recipe, tmp_path / "cut")["rows"] if row["event_type"] == "train"
    ]
    assert last == ordered
    half = losses("training.precision=bf16")
    assert half != plain
    assert half == pytest.approx(plain, rel=0.02)


def test_a_row_that_waits_for_a_tracker_keeps_its_numbers() -> None:
    progress = Progress(step=1)
    progress.note([Reading(("a/1",), {"a": {"samples": 1, "tokens": 9, "frames": 4}}, 0, ())])
    row = training_row(
        progress, Clock.start(progress), losses={}, spent=Spent(1.0), norm=0.0, rates={}, peak=None,
        device="cpu",
    )  # fmt: skip
    before = json.dumps(row)
    progress.note([Reading(("b/1",), {"b": {"samples": 1, "tokens": 9, "frames": 4}}, 0, ())])
    progress.note([Reading(("a/2",), {"a": {"samples": 1, "tokens": 9, "frames": 4}}, 0, ())])
    assert json.dumps(row) == before


@pytest.mark.parametrize(
    ("name", "bf16"),
    [
        ("NVIDIA H100 80GB HBM3", 9.89e14),
        ("NVIDIA H100 PCIe", 7.56e14),
        ("NVIDIA H100 NVL", 8.35e14),
        ("NVIDIA GB200", 2.5e15),
        ("NVIDIA A100-SXM4-80GB", 3.12e14),
        ("NVIDIA L40", 1.81e14),
        ("NVIDIA L4", 1.21e14),
        ("NVIDIA GeForce RTX 4090", 1.652e14),
        ("NVIDIA RTX A1000 Laptop GPU", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
    ],
)
def test_a_peak_is_that_of_the_whole_gpu_of_that_name(
    name: str, bf16: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: name)
    assert peak_flops(Training(steps=1, precision="bf16"), "cuda") == bf16


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("training.lr=-1e-3", "lr must be > 0"),
        ("training.lr=inf", "lr must be > 0"),
        ("training.betas=[1.5, 0.9]", "betas must be < 1"),
        ("training.budget=inf", "budget must be < inf"),
        ("training.weight_decay=inf", "weight_decay must be < inf"),
        ("training.weight_decay=nan", "weight_decay must be >= 0"),
    ],
)
def test_settings_that_no_run_can_train_with_are_refused(override: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(Problems) as problems:
        small(tmp_path, override)
    assert said.split(" ", 1)[1] in str(problems.value)
    assert f"training.{said.split()[0]}" in str(problems.value)
