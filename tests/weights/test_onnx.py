"""ONNX graphs of a trained model give what PyTorch gives, and caption where there is neither PyTorch nor fvlm."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bare
import pytest
from tiny import RECIPE, run_cli, train
from videos import write_video

from fvlm_core.runs.store import StoredRun, open_run

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


EACH = ["foveated", *(pytest.param(name, marks=pytest.mark.soak) for name in ("shallow", "pooled"))]
"""Eight seconds of writing graphs each."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where runs are, and their graphs."""
    return tmp_path_factory.mktemp("onnx")


def run_of(place: Path, name: str) -> StoredRun:
    """A trained run with this connector."""
    if not (place / f"{name}.toml").exists():
        recipe = RECIPE.replace('name = "foveated"\nquery_dim = 8', CONNECTORS[name])
        recipe = recipe.replace('name = "tiny"', f'name = "{name}"').replace("steps = 6", "steps = 24")
        (place / f"{name}.toml").write_text(recipe.replace("every = 2", "every = 24"))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FVLM_CACHE", str(place / "cache"))
            train(place / f"{name}.toml", place / "runs")
    return open_run(place / "runs" / name / name)


def graphs_of(place: Path, name: str) -> Path:
    """It as ONNX graphs; what was told of them stands beside."""
    folder = place / f"{name}-onnx"
    if not folder.exists():
        told: list[str] = []
        release(run_of(place, name), folder, form="onnx", note=told.append)
        (place / f"{name}-onnx.txt").write_text("\n".join(told))
    return folder


@pytest.fixture(scope="module")
def clips(place: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clips")
    run_of(place, "foveated")
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


@pytest.mark.parametrize("name", EACH)
def test_graphs_caption_without_pytorch_as_fvlm_does(
    name: str, place: Path, clips: list[Path], python: Path, cli: Cli
) -> None:
    folder = graphs_of(place, name)
    out = bare.run(python, folder / "caption_onnx.py", *clips, cwd=place)
    there = [json.loads(line)["caption"] for line in out.splitlines()]
    code, out, err = cli("caption", *clips, "--run", place / "runs" / name / name)
    assert code == 0, err
    here = [json.loads(line)["caption"] for line in out.splitlines()]
    assert len(here) == 20
    assert len(set(here)) > 1
    assert there == here


@pytest.mark.parametrize("name", EACH[:2])
def test_frames_that_come_one_by_one_are_captioned_as_by_the_run(
    name: str, place: Path, clips: list[Path], python: Path
) -> None:
    from fvlm_core.api.trained import Trained

    program = graphs_of(place, name) / "caption_onnx.py"
    given = (*clips[:4], "--mode", "autoregressive", "--question", "What moves?")
    out = bare.run(python, program, *given, cwd=place)
    trained = Trained(run_of(place, name), lambda text: None)
    here = [trained.generate(clip, "What moves?", mode="autoregressive") for clip in clips[:4]]
    assert [json.loads(line)["caption"] for line in out.splitlines()] == here


def test_a_file_that_is_no_video_gets_a_line_of_its_own(place: Path, clips: list[Path], python: Path) -> None:
    (place / "none.mp4").write_bytes(b"<html>")
    command = [
        str(python),
        str(graphs_of(place, "foveated") / "caption_onnx.py"),
        str(place / "none.mp4"),
        str(clips[0]),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    first, second = map(json.loads, done.stdout.splitlines())
    assert "none.mp4" in first["error"]
    assert second["caption"]


@pytest.mark.parametrize("name", EACH)
def test_every_graph_is_compared_with_pytorch_and_how_near_it_is_is_told(name: str, place: Path) -> None:
    told = graphs_of(place, name).with_suffix(".txt").read_text().splitlines()
    names = ["encode", *([] if name == "pooled" else ["look"]), "embed", "step"]
    assert [line.partition(":")[0] for line in told] == names
    assert all(float(line.split("at most ")[1].split(" ")[0]) <= onnx.PARITY for line in told)


def test_a_graph_that_gives_something_else_is_not_left_as_if_it_were_right(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx, "_write", lambda *given: None)
    monkeypatch.setattr(onnx, "distance", lambda *given: 0.01)
    with pytest.raises(FvlmError, match=r"encode\.onnx: differs from PyTorch by 1\.0e-02 of the largest"):
        release(run_of(place, "foveated"), tmp_path / "out", form="onnx")


def test_int8_is_a_quarter_of_the_size_and_says_how_far_it_is(place: Path, tmp_path: Path) -> None:
    from fvlm_core.hf.standalone.modeling_fvlm import FvlmForConditionalGeneration

    release(run_of(place, "foveated"), tmp_path / "model")
    model: Any = FvlmForConditionalGeneration.from_pretrained(tmp_path / "model")
    module, given, names, _ = onnx.graphs(model)["embed"]
    file = Path(shutil.copy(graphs_of(place, "foveated") / "embed.onnx", tmp_path))
    onnx._quantise(file)  # pyright: ignore[reportPrivateUsage]
    assert [path.name for path in tmp_path.glob("*.onnx")] == ["embed.onnx"]
    assert 0 < onnx.distance(module, given, names, file) < 0.02


def test_the_card_of_an_int8_export_says_so(place: Path) -> None:
    from fvlm_core.hf.export import _numbers
    from fvlm_core.hf.model_card import model_card
    from fvlm_core.weights.restore import restore

    run = run_of(place, "foveated")
    restored = restore(run)
    for int8, said in ((True, "matrices as 8-bit integers"), (False, "float32. Made")):
        card = model_card(run, restored, restored.viewing, form="onnx", numbers=_numbers(int8))
        assert said in str(card)


def test_int8_of_another_format_is_misuse(place: Path, cli: Cli, tmp_path: Path) -> None:
    run = run_of(place, "foveated").folder
    code, _, err = cli("weights", "export", run, "--to", tmp_path / "out", "--int8")
    assert code == 2
    assert "--int8 is of --format onnx and gguf, and the format is transformers" in err
