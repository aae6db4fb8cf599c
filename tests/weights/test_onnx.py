"""ONNX graphs of a trained model give what PyTorch gives, and caption where there is neither PyTorch nor fvlm."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bare
import pytest
from tiny import RECIPE, run_cli, train
from videos import write_video

from fvlm_core.runs.store import open_run

onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")
pytest.importorskip("onnxscript", reason="needs the extra onnx")

from fvlm_core.hf import onnx  # noqa: E402
from fvlm_core.hf.export import release  # noqa: E402
from fvlm_core.utils.errors import FvlmError  # noqa: E402

pytestmark = pytest.mark.timeout(290)
Cli = Callable[..., tuple[int, str, str]]

CONNECTORS = {
    "foveated": 'name = "foveated"\nquery_dim = 8',
    "shallow": 'name = "foveated"\nquery_dim = 8\nqueries = 2\ndepth = "shallow"\nfine_iterations = 2',
    "pooled": 'name = "pooled"\ngrid = 2',
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trained run for each connector, and each as ONNX graphs."""
    folder = tmp_path_factory.mktemp("onnx")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FVLM_CACHE", str(folder / "cache"))
        for name, settings in CONNECTORS.items():
            recipe = RECIPE.replace('name = "foveated"\nquery_dim = 8', settings)
            recipe = recipe.replace('name = "tiny"', f'name = "{name}"').replace("steps = 6", "steps = 24")
            recipe = recipe.replace("every = 2", "every = 24").replace(
                "kv_heads = 1", "kv_heads = 1\nposition = 64"[:12]
            )
            (folder / f"{name}.toml").write_text(recipe)
            train(folder / f"{name}.toml", folder / "runs")
            told: list[str] = []
            run = open_run(folder / "runs" / name / name)
            release(run, folder / f"{name}-onnx", form="onnx", note=told.append)
            (folder / f"{name}-onnx.txt").write_text("\n".join(told))
    return folder


@pytest.fixture(scope="module")
def clips(place: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clips")
    made = sorted(place.glob("cache/**/*.mp4"))[:18]
    return [
        *made,
        write_video(folder / "a.avi", 60, codec="mpeg4"),
        write_video(folder / "long.mkv", 300, fps=10),
    ]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that has onnxruntime, tokenizers and PyAV."""
    made = bare.environment(tmp_path_factory.mktemp("bare") / "venv", "onnxruntime", "tokenizers", "av")
    bare.run(made, "-c", "import importlib.util as u; assert not u.find_spec('torch')", cwd=made.parent)
    return made


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return lambda *arguments: run_cli([str(argument) for argument in arguments], monkeypatch, capsys)


@pytest.mark.parametrize("name", CONNECTORS)
def test_graphs_caption_without_pytorch_as_fvlm_does(
    name: str, place: Path, clips: list[Path], python: Path, cli: Cli
) -> None:
    folder = place / f"{name}-onnx"
    out = bare.run(python, folder / "caption_onnx.py", *clips, cwd=place)
    there = [json.loads(line)["caption"] for line in out.splitlines()]
    code, out, err = cli("caption", *clips, "--run", place / "runs" / name / name)
    assert code == 0, err
    here = [json.loads(line)["caption"] for line in out.splitlines()]
    assert len(here) == 20
    assert len(set(here)) > 1
    assert there == here


def test_frames_that_come_one_by_one_are_captioned_as_by_the_run(
    place: Path, clips: list[Path], python: Path
) -> None:
    from fvlm_core.api.trained import Trained

    for name in ("foveated", "shallow"):
        program = place / f"{name}-onnx" / "caption_onnx.py"
        given = (*clips[:4], "--mode", "autoregressive", "--question", "What moves?")
        out = bare.run(python, program, *given, cwd=place)
        trained = Trained(open_run(place / "runs" / name / name), lambda text: None)
        here = [trained.generate(clip, "What moves?", mode="autoregressive") for clip in clips[:4]]
        assert [json.loads(line)["caption"] for line in out.splitlines()] == here


def test_a_file_that_is_no_video_gets_a_line_of_its_own(place: Path, clips: list[Path], python: Path) -> None:
    (place / "none.mp4").write_bytes(b"<html>")
    command = [
        str(python),
        str(place / "pooled-onnx" / "caption_onnx.py"),
        str(place / "none.mp4"),
        str(clips[0]),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    first, second = map(json.loads, done.stdout.splitlines())
    assert "none.mp4" in first["error"]
    assert second["caption"]


def test_every_graph_is_compared_with_pytorch_and_how_near_it_is_is_told(place: Path) -> None:
    for name in CONNECTORS:
        told = (place / f"{name}-onnx.txt").read_text().splitlines()
        names = ["encode", *([] if name == "pooled" else ["look"]), "embed", "step"]
        assert [line.partition(":")[0] for line in told] == names
        assert all(float(line.split("at most ")[1].split(" ")[0]) <= onnx.PARITY for line in told)


def test_a_graph_that_gives_something_else_is_not_left_as_if_it_were_right(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx, "_write", lambda *given: None)
    monkeypatch.setattr(onnx, "distance", lambda *given: 0.01)
    with pytest.raises(FvlmError, match=r"encode\.onnx: differs from PyTorch by 1\.0e-02 of the largest"):
        release(open_run(place / "runs" / "pooled" / "pooled"), tmp_path / "out", form="onnx")


def test_int8_is_a_quarter_of_the_size_and_says_how_far_it_is(place: Path, tmp_path: Path) -> None:
    from fvlm_core.hf.standalone.modeling_fvlm import FvlmForConditionalGeneration

    release(open_run(place / "runs" / "pooled" / "pooled"), tmp_path / "model")
    model: Any = FvlmForConditionalGeneration.from_pretrained(tmp_path / "model")
    module, given, names, dynamic = onnx.graphs(model)["embed"]
    file = tmp_path / "embed.onnx"
    onnx._write(module, given, names, dynamic, file)  # pyright: ignore[reportPrivateUsage]
    onnx._quantise(file)  # pyright: ignore[reportPrivateUsage]
    assert [path.name for path in tmp_path.glob("*.onnx")] == ["embed.onnx"]
    assert 0 < onnx.distance(module, given, names, file) < 0.02


def test_int8_of_another_format_is_misuse(place: Path, cli: Cli, tmp_path: Path) -> None:
    run = place / "runs" / "pooled" / "pooled"
    code, _, err = cli("weights", "export", run, "--to", tmp_path / "out", "--int8")
    assert code == 2
    assert "--int8 is of --format onnx and gguf, and the format is transformers" in err
