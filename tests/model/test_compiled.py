"""Compiled layers compute what they computed before, and a run with them resumes bit for bit."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from small import batch, model
from trainer import go, opened, outcome, small

from fvlm_core.hardware import devices
from fvlm_core.utils import cpu
from fvlm_core.utils.errors import Problems


def test_a_recipe_that_asks_for_it_compiles_the_layers_of_both_components(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[str] = []

    def stand_in(function: object, *_: object, **__: object) -> object:
        compiled.append(getattr(function, "__qualname__", "").partition(".")[0])
        return function

    monkeypatch.setattr(torch, "compile", stand_in)
    monkeypatch.setenv("FVLM_CACHE", str(tmp_path / "cache"))
    for asked in ("false", "true"):
        compiled.clear()
        one = small(tmp_path, "training.steps=1", f"training.compile={asked}")
        go(one, tmp_path / asked, opened(one, tmp_path / "none"))
        assert set(compiled) == ({"DINOv2Encoder", "LlamaBackend"} if asked == "true" else set())


def test_compiled_layers_are_refused_where_weights_are_sharded(tmp_path: Path) -> None:
    with pytest.raises(
        Problems, match=re.escape('compile: sharded weights are not compiled; expected false with "fsdp2"')
    ):
        small(tmp_path, "training.compile=true", 'training.parallel="fsdp2"')


@pytest.mark.soak
@pytest.mark.parametrize("pack", [False, True])
def test_compiled_layers_give_the_same_loss_and_gradients(pack: bool) -> None:
    plain, compiled = (model(whole={"pack": pack}) for _ in range(2))
    compiled.compile_layers()
    given = batch([3, 0, 1, 5], [7, 9, 4, 6])
    losses = [vlm(given).loss for vlm in (plain, compiled)]
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-5, atol=1e-5)
    for loss in losses:
        loss.backward()
    for (name, ours), theirs in zip(compiled.named_parameters(), plain.parameters(), strict=True):
        assert (ours.grad is None) == (theirs.grad is None), name
        if ours.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-4, msg=name)


@pytest.mark.soak
def test_a_compiled_run_resumes_bit_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FVLM_CACHE", str(tmp_path / "cache"))
    one = small(tmp_path, "training.steps=6", "eval.every=3", "training.compile=true")
    data = opened(one, tmp_path / "none")
    go(one, tmp_path / "whole", data)
    go(one, tmp_path / "cut", data, at=2)
    go(one, tmp_path / "cut", data)
    assert outcome(one, tmp_path / "cut") == outcome(one, tmp_path / "whole")


@pytest.mark.parametrize(
    ("flags", "precision", "warned"),
    [
        ("flags\t\t: fpu avx512f", "bf16", True),
        ("flags\t\t: fpu avx512f avx512_bf16", "bf16", False),
        ("Features\t: fp asimd bf16", "bf16", False),
        ("flags\t\t: fpu avx512f", "float32", False),
        ("nothing of it", "bf16", False),
    ],
)
def test_bf16_on_a_cpu_that_has_none_is_told(
    flags: str, precision: str, warned: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: f"processor : 0\n{flags}\n")
    has = cpu.bf16_instructions.__wrapped__() is not False
    monkeypatch.undo()
    monkeypatch.setattr(devices, "has_bf16", lambda: has)
    training = small(tmp_path, f'training.precision="{precision}"').runs[0].config.training
    assert bool(devices.set_up(training, "cpu")) is warned
