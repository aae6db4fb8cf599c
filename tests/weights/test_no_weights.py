"""Weights that no model can start from are refused with file and tensor; a damaged checkpoint is named wherever it is
read, with what can be done."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from fvlm_dinov2.config import DINOv2
from fvlm_dinov2.model import build as build_eye
from fvlm_smollm2.config import SmolLM2
from fvlm_smollm2.model import build as build_llm
from fvlm_timm.weights import load as load_timm
from safetensors.torch import load_file, save_file
from tiny import run_cli, train, trained
from transformers import Dinov2Config, Dinov2Model, LlamaConfig, LlamaForCausalLM

from fvlm_core.utils.errors import FvlmError, Problem, Problems
from fvlm_core.utils.listing import lines, listed

LLAMA: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 31,
    "max_position_embeddings": 32,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    trained(folder)
    return folder


@pytest.fixture
def cli(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Commands in a copy of the folder with the trained run."""
    shutil.copytree(place, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    monkeypatch.setenv("FVLM_CACHE", str(place / "cache"))
    return lambda *arguments: run_cli([str(argument) for argument in arguments], monkeypatch, capsys)


SPOILT: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], str]] = {
    "NaN everywhere": (lambda t: torch.full_like(t, torch.nan), "are NaN: these weights are damaged"),
    "one NaN": (lambda t: t.index_fill(0, torch.tensor([0]), torch.nan), "are NaN"),
    "infinite": (lambda t: torch.full_like(t, -torch.inf), "are infinite"),
    "both": (
        lambda t: torch.cat([torch.full_like(t[:1], torch.nan), torch.full_like(t[1:], torch.inf)]),
        "NaN or infinite",
    ),
    "whole numbers": (lambda t: t.to(torch.int8), "expected floating point of 16, 32 or 64 bits, got int8"),
    "truth values": (lambda t: t > 0, "got bool"),
    "8 bits": (lambda t: t.to(torch.float8_e4m3fn), "got float8_e4m3fn"),
}


def spoil(file: Path, what: str, name: str) -> None:
    tensors = load_file(file)
    save_file({**tensors, name: SPOILT[what][0](tensors[name]).contiguous()}, file, {"format": "pt"})


def llama(folder: Path) -> tuple[str, Callable[[], object]]:
    LlamaForCausalLM(LlamaConfig(**LLAMA)).save_pretrained(folder)
    return "model.layers.0.mlp.up_proj.weight", lambda: build_llm(
        SmolLM2(weights=str(folder)), 31
    ).load_weights()


def dino(folder: Path) -> tuple[str, Callable[[], object]]:
    sizes = {
        "hidden_size": 12,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    Dinov2Model(Dinov2Config(**sizes)).save_pretrained(folder)
    return "encoder.layer.0.mlp.fc1.weight", lambda: build_eye(DINOv2(weights=str(folder))).load_weights()


def of_timm(folder: Path) -> tuple[str, Callable[[], object]]:
    model = timm.create_model("vit_tiny_patch16_224", depth=1, embed_dim=12, num_heads=2, num_classes=0)
    save_file(model.state_dict(), folder / "model.safetensors")
    return "blocks.0.mlp.fc1.weight", lambda: load_timm(
        model, "vit_tiny_patch16_224", folder / "model.safetensors"
    )


@pytest.mark.parametrize("what", SPOILT)
@pytest.mark.parametrize("kind", [llama, dino, of_timm])
def test_a_folder_of_weights_that_are_none_is_refused(
    what: str, kind: Callable[[Path], tuple[str, Callable[[], object]]], tmp_path: Path
) -> None:
    name, load = kind(tmp_path)
    load()
    spoil(tmp_path / "model.safetensors", what, name)
    with pytest.raises(Problems) as caught:
        load()
    text = str(caught.value)
    assert text.startswith(f"{tmp_path / 'model.safetensors'}: {name}: "), text
    assert SPOILT[what][1] in text


@pytest.mark.parametrize("what", SPOILT)
def test_weights_that_are_none_are_not_imported_nor_started_from(
    what: str, cli: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    best = sorted(Path("runs/tiny/tiny/checkpoints").glob("step-*"))[-1] / "model.safetensors"
    file = tmp_path / "w.safetensors"
    shutil.copy(best, file)
    name = sorted(load_file(file))[3]
    spoil(file, what, name)
    code, _, err = cli("weights", "import", file, "--recipe", "tiny.toml", "--to", "in")
    assert (code, Path("in").exists()) == (2, False)
    assert str(file) in err.replace("\n", "")
    assert name in err
    assert SPOILT[what][1] in err
    with pytest.raises(FvlmError, match=SPOILT[what][1]):
        train(Path("tiny.toml"), tmp_path / "other", f'training.init_from="{file}"')


def test_tens_of_thousands_of_foreign_tensors_are_ten_lines(
    cli: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    file = tmp_path / "w.safetensors"
    about = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    header = json.dumps({f"decoder.block.{n}.weight": about for n in range(30_000)}).encode()
    file.write_bytes(len(header).to_bytes(8, "little") + header)
    code, _, err = cli("weights", "import", file, "--recipe", "tiny.toml", "--to", "in")
    assert code == 2
    assert len(err.splitlines()) < 30
    assert len(err) < 10_000
    assert "more" in err.splitlines()[-1]


def damage(folder: Path, how: str) -> Path:
    file = folder / "model.safetensors"
    if how == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    elif how == "altered":
        content = bytearray(file.read_bytes())
        content[-50] ^= 1
        file.write_bytes(content)
    elif how == "gone":
        file.unlink()
    elif how == "empty":
        file.write_bytes(b"")
    else:
        (file := folder / "manifest.json").write_text("{")
    return file


COMMANDS: dict[str, tuple[str, ...]] = {
    "eval": ("eval", "tiny", "--samples", "1", "--device", "cpu"),
    "caption": ("caption", "a.png", "--run", "tiny", "--tokens", "1"),
    "gaze": ("gaze", "a.png", "--run", "tiny", "--out", "gaze.png"),
    "export": ("weights", "export", "tiny", "--to", "out"),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("how", ["cut", "altered", "gone", "empty", "manifest"])
def test_a_damaged_checkpoint_is_named_by_whatever_reads_it(
    how: str, command: str, cli: Callable[..., tuple[int, str, str]]
) -> None:
    from PIL import Image

    Image.new("RGB", (42, 42)).save("a.png")
    best = json.loads(Path("runs/tiny/tiny/summary.json").read_text())["best_val_step"]
    folders = sorted(Path("runs/tiny/tiny/checkpoints").glob("step-*"))
    file = damage(next(one for one in folders if int(one.name[5:]) == best), how)
    code, _, err = cli(*COMMANDS[command])
    said = err.replace("\n", "")
    assert str(file) in said
    others = [one.name for one in folders if int(one.name[5:]) != best]
    assert code == 2, err
    way_out = (
        f"{others[-1]}, the newest one that is complete" if others else "no other checkpoint is complete"
    )
    assert way_out in said
    if others:
        shutil.rmtree(file.parent)
        code, _, err = cli(*COMMANDS[command])
        assert code == 0, err


def test_long_lists_are_ten_and_a_count() -> None:
    assert listed("abc") == "a, b, c"
    assert listed([]) == "none"
    assert listed(range(12)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more"
    assert listed(["x" * 1000]) == "x" * 299 + "…"
    assert lines(range(3), indent="  ") == "  0\n  1\n  2"
    assert lines(range(1_234), 2) == "0\n1\nand 1,232 more"
    problems = Problems([Problem(str(n), "f", n) for n in range(50)])
    assert len(problems.problems) == 50
    assert str(problems).splitlines()[-2:] == ["f:9: 9", "and 40 more"]
