"""Real pretrained weights, by hand: `FVLM_REAL_WEIGHTS=DIR pytest -s -m soak tests/weights/test_real_weights.py`.

DIR holds two folders as transformers writes them: `smollm2`, a SmolLM2-135M-Instruct, and `dinov2`, a DINOv2-small.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import run_cli, train
from transformers import AutoModel, AutoModelForCausalLM, AutoProcessor, Dinov2Model
from videos import write_video

from fvlm_core.data.collate import Preparer, collate
from fvlm_core.evaluation.inference import caption, load_frames
from fvlm_core.model.build import compose, make_chat
from fvlm_core.plugin_api import Sample, Turn
from fvlm_core.recipes.read import read_recipe
from fvlm_core.runs.store import find_run
from fvlm_core.weights.restore import restore

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]

TEXTS = (
    ("What is the capital of France?", "The capital of France is Paris."),
    ("How many days are in a week?", "There are seven days in a week: Monday, Tuesday, Wednesday, Thursday, Friday, "
     "Saturday, and Sunday."),
    ("What do plants need to grow?", "Plants need sunlight, water, air, and nutrients from the soil to grow."),
    ("Say something about the sea.", "The sea covers about 71 percent of the Earth's surface, and it is home to a wide "
     "variety of plants and animals."),
)  # fmt: skip
RECIPE = """
name = "real"
[model.encoder]
name = "dinov2-small"
weights = "{folder}/dinov2"
[model.connector]
name = "foveated"
[model.llm]
name = "smollm2-135m"
weights = "{folder}/smollm2"
[[data.sources]]
name = "clips"
path = "clips"
fps = 3.0
max_frames = 4
prompt = "Write one sentence about this clip."
holdout = 0.4
[training]
steps = 4
batch_size = 2
micro_batch_size = 1
frozen = ["encoder", "llm"]
lr = 1e-3
supervise = "answer"
precision = "float32"
workers = 0
[eval]
every = 4
samples = 2
"""


@pytest.fixture(scope="module")
def weights() -> Path:
    """The folder of real weights."""
    named = os.environ.get("FVLM_REAL_WEIGHTS")
    if not named:
        pytest.skip("FVLM_REAL_WEIGHTS names no folder: real weights are no part of this repository")
    folder = Path(named)
    for part in ("smollm2", "dinov2"):
        if not (folder / part / "model.safetensors").is_file():
            pytest.skip(f"FVLM_REAL_WEIGHTS: {folder / part} holds no model.safetensors")
    return folder


@pytest.fixture(scope="module")
def place(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the recipe and its clips, 30 seconds each."""
    folder = tmp_path_factory.mktemp("real")
    (folder / "clips").mkdir()
    for number in range(6):
        write_video(folder / f"clips/{number}.mp4", 300, first=number * 100, fps=10, width=320, height=240)
        (folder / f"clips/{number}.txt").write_text("Black and white bars change places.")
    (folder / "real.toml").write_text(RECIPE.format(folder=weights))
    return folder


@pytest.fixture(scope="module")
def composed(place: Path) -> tuple[Any, Any]:
    """The model of the recipe with its pretrained weights, and its chat."""
    [run] = read_recipe(str(place / "real.toml")).runs
    chat = make_chat(run.config.model, tuple)
    return compose(run.config.model, chat.vocabulary, 0).eval(), chat


@torch.no_grad()
def test_logits_are_those_of_transformers(composed: tuple[Any, Any], weights: Path) -> None:
    model, chat = composed
    theirs = AutoModelForCausalLM.from_pretrained(weights / "smollm2", dtype=torch.float32).eval()
    for question, answer in TEXTS:
        ids = torch.from_numpy(chat.encode([Turn("user", question), Turn("assistant", answer)]).ids)[None]
        ours = model.llm.logits(model.llm.hidden(model.llm.embed(ids)))
        difference = float((ours - theirs(ids).logits).abs().max())
        print(f"\nlogits of {ids.shape[1]} tokens: largest difference {difference:.1e}")
        assert difference <= 1e-5


@torch.no_grad()
def test_encoder_tokens_are_those_of_transformers(composed: tuple[Any, Any], weights: Path) -> None:
    model, _ = composed
    theirs = Dinov2Model.from_pretrained(weights / "dinov2", dtype=torch.float32).eval()
    frames = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 224, 224)).astype(np.float32))
    ours = model.encoder.encode(frames).tokens
    expected = theirs(frames).last_hidden_state
    difference = float((ours - expected).abs().max() / expected.abs().max())
    print(f"\nencoder tokens {list(expected.shape)}: largest difference {difference:.1e} of the largest")
    assert difference <= 1e-5


@torch.no_grad()
def test_losses_on_text_make_sense(composed: tuple[Any, Any], weights: Path) -> None:
    model, chat = composed
    theirs = AutoModelForCausalLM.from_pretrained(weights / "smollm2", dtype=torch.float32).eval()
    preparer = Preparer(chat, 224, "content", 512)
    for number, (question, answer) in enumerate(TEXTS):
        turns = (Turn("user", question), Turn("assistant", answer))
        batch = collate([preparer.example(Sample(str(number), "text", turns))])
        losses = model(batch)
        ours = float(losses.loss) / losses.tokens
        labels = batch.ids.masked_fill(~batch.supervised, -100)
        expected = float(theirs(batch.ids, labels=labels).loss)
        print(f"\n{ours:.3f} nats a token: {answer[:40]}...")
        assert ours == pytest.approx(expected, abs=1e-4)
        assert ours < 4.0


def test_captions_of_a_run_at_three_frames_a_second_are_the_same_everywhere(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cli: Callable[..., tuple[int, str, str]] = lambda *arguments: run_cli([*arguments], monkeypatch, capsys)
    monkeypatch.chdir(place)
    train(Path("real.toml"), Path("runs"))
    clip = Path("clips/0.mp4")
    code, out, err = cli("caption", str(clip), "--run", "real", "--tokens", "32")
    assert code == 0, err
    said = json.loads(out)
    assert said["frames"] == 4
    assert "as in training on clips:clips: 3 frames a second, at most 4" in err
    assert said["caption"].strip()

    restored = restore(find_run("real", place / "runs"))
    assert caption(restored, load_frames(restored, clip), limit=32) == said["caption"]

    assert cli("weights", "export", "real", "--to", "exported")[0] == 0
    model = AutoModel.from_pretrained("exported").eval()
    processor: Any = AutoProcessor.from_pretrained("exported")
    inputs = processor(clip)
    assert len(inputs["pixel_values"]) == 4
    assert processor.decode(model.generate(**inputs, max_new_tokens=32)[0]) == said["caption"]

    code, out, _ = cli("caption", str(clip), "--run", "real")
    card = (place / "exported/README.md").read_text().split("```python\n")[1].split("```")[0]
    monkeypatch.setattr(sys, "argv", ["card", "exported", str(clip)])
    exec(compile(card, "README.md", "exec"), {})
    assert capsys.readouterr().out == json.loads(out)["caption"] + "\n"
    print(f"\nsaid of 4 frames: {said['caption']!r}")
