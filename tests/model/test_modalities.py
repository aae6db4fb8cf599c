"""A modality beside frames is a plugin: a source gives sounds, an encoder makes tokens of them, a recipe trains."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from attrs import evolve
from kit import write_plugin
from PIL import Image
from small import VOCABULARY, batch, model, only
from tiny import ENCODER, LLM, run_cli, train
from torch import Tensor, nn

from fvlm_core.data.batch import Batch, Items
from fvlm_core.plugin_api import ModalityEncoder, ModalitySpec
from fvlm_core.runs.checkpoint import latest_checkpoint
from fvlm_core.runs.metrics import deterministic
from fvlm_core.runs.store import find_run
from fvlm_core.testing import check
from fvlm_core.utils.atomic_files import sha256
from fvlm_registry import registry

PLUGIN = """
from attrs import frozen
from fvlm_core.plugin_api import Component, ModalitySpec, hookimpl


@frozen(kw_only=True)
class Tones:
    clips: int = 64
    silent: bool = False


@frozen(kw_only=True)
class Sound:
    window: int = 64
    width: int = 16

    def spec(self):
        return ModalitySpec(modality="audio", item=(self.window,), tokens_per_item=1)


@hookimpl
def fvlm_data_sources():
    names = {"target": "fvlm_acme_tones.source:Tones", "config": "fvlm_acme_tones.plugin:Tones"}
    yield Component("tones", **names, summary="pictures that are all alike, with a low or a high tone")


@hookimpl
def fvlm_modality_encoders():
    names = {"target": "fvlm_acme_tones.model:Sound", "config": "fvlm_acme_tones.plugin:Sound"}
    yield Component("sound", **names, summary="a window of a waveform, one token each")
"""
SOURCE = '''
from io import BytesIO
from pathlib import Path

import numpy as np
from attrs import frozen
from fvlm_core.plugin_api import DataSource, ImageFile, Sample, Signal, Turn
from PIL import Image

LEVELS = {"low": 0.02, "high": 0.11}  # cycles a sample


@frozen
class Tone(Signal):
    level: str
    length: int
    modality = "audio"

    def count(self, item):
        return -(-self.length // item[0])

    def read(self, item):
        wave = np.zeros(self.count(item) * item[0], np.float32)
        wave[: self.length] = np.sin(2 * np.pi * LEVELS[self.level] * np.arange(self.length))
        return wave.reshape(-1, *item)


def grey():
    out = BytesIO()
    Image.new("RGB", (8, 8), (128, 128, 128)).save(out, "PNG")
    return out.getvalue()


class Tones(DataSource):
    """Every fifth sample has no picture, every seventh no sound and says so."""

    name = "tones"

    def __init__(self, config, split):
        self.start, self.count = (0, config.clips) if split == "train" else (10**6, 16)
        self.silent = config.silent
        self.modalities = () if config.silent else ("audio",)

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        at = self.start + index
        heard = at % 7 != 0 and not self.silent
        level = ("low", "high")[at % 2]
        turns = (Turn("user", "What?"), Turn("assistant", f"{level if heard else 'no'} tone"))
        image = ImageFile(Path("grey"), data=grey())
        return Sample(
            id=str(at),
            source=self.name,
            turns=turns,
            images=(image,) if at % 5 else (),
            signals=(Tone(level, 100 + at % 90),) if heard else (),
        )
'''
MODEL = """
from fvlm_core.plugin_api import ModalityEncoder
from torch import nn


class Sound(ModalityEncoder):
    def __init__(self, config, llm):
        super().__init__()
        self.spec = config.spec()
        self.layers = nn.Sequential(
            nn.Linear(config.window, config.width), nn.GELU(), nn.Linear(config.width, llm.width)
        )

    def encode(self, items):
        return self.layers(items)[:, None]
"""
HEAD = 'name = "heard"\n' + ENCODER + '[model.connector]\nname = "foveated"\nquery_dim = 8\n' + LLM
SOUND = '[[model.modalities]]\nname = "sound"\n'
REST = """
[[data.sources]]
name = "tones"
[training]
steps = 60
batch_size = 8
micro_batch_size = 4
lr = 0.01
lr_ratio = { encoder = 1.0, llm = 1.0 }
supervise = "content"
precision = "float32"
threads = 1
workers = 0
[eval]
every = 30
samples = 16
[[runs]]
id = "audio"
[[runs]]
id = "blind"
model.blind = true
"""
RECIPE = HEAD + SOUND + REST


Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the runs "heard/audio" and "heard/blind" of the recipe; the plugin is installed."""
    folder = tmp_path_factory.mktemp("tones")
    site = write_plugin(
        folder, "fvlm_acme_tones", {"plugin.py": PLUGIN, "source.py": SOURCE, "model.py": MODEL}
    )
    (folder / "heard.toml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        patch.setenv("FVLM_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        registry.cache_clear()
        train(folder / "heard.toml", folder / "runs")
        yield folder
    registry.cache_clear()


@pytest.fixture
def cli(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return lambda *arguments: run_cli(list(arguments), monkeypatch, capsys)


def best(folder: Path, run: str) -> float:
    return json.loads((folder / f"runs/heard/{run}/summary.json").read_text())["best_val_loss"]


@pytest.mark.parametrize("component", ["sound", "tones"])
def test_both_components_keep_the_contract(component: str, place: Path) -> None:
    assert check(component)


def test_the_loss_falls_by_what_is_heard(place: Path) -> None:
    """The pictures are alike, so that a blind run can only learn how often each answer comes."""
    assert best(place, "audio") < 0.5 * best(place, "blind")


def test_an_evaluation_of_the_trained_model_hears_too(place: Path, cli: Cli) -> None:
    def loss(*more: str) -> float:
        code, out, err = cli("eval", "heard/audio", "--json", *more)
        assert code == 0, err
        return json.loads(out)["modes"]["coarse_fine"]["val_loss"]

    assert loss() == pytest.approx(best(place, "audio"), rel=1e-5)
    assert loss("--data", "tones") == pytest.approx(best(place, "audio"), rel=1e-5)
    assert loss("--data", "tones", "-o", "silent=true") != pytest.approx(best(place, "audio"), rel=0.1)


def test_a_stopped_run_continues_to_the_same_weights(place: Path) -> None:
    """With a data worker."""
    recipe, short = place / "one.toml", ("training.steps=8", "eval.every=4", "training.workers=1")
    recipe.write_text(RECIPE.partition('[[runs]]\nid = "blind"')[0])
    train(recipe, place / "whole", *short)
    train(recipe, place / "parts", *short, until=3)
    train(recipe, place / "parts", *short)
    runs = [find_run("heard/audio", place / root) for root in ("whole", "parts")]
    weights = [latest_checkpoint(run.folder / "checkpoints")[0] for run in runs]
    assert [folder and folder.name[-1] for folder in weights] == ["8", "8"]
    assert len({sha256(folder / "model.safetensors") for folder in weights if folder}) == 1
    rows = [[deterministic(row) for row in run.rows()] for run in runs]
    assert rows[0] == rows[1]


def test_a_file_is_captioned_by_its_frames_alone_and_that_is_said(place: Path, cli: Cli) -> None:
    Image.new("RGB", (8, 8), (128, 128, 128)).save(place / "grey.png")
    code, out, err = cli("caption", "grey.png", "--run", "heard/audio")
    assert code == 0
    assert json.loads(out)["caption"]
    assert "the model reads audio too, and a file is shown by its frames alone: none is given" in err


def test_a_plan_counts_the_encoder_and_its_tokens(place: Path, cli: Cli) -> None:
    def planned(recipe: str) -> dict[str, Any]:
        (place / "planned.toml").write_text(recipe)
        code, out, err = cli("run", "planned.toml", "--dry-run", "--json")
        assert code == 0, err
        return json.loads(out)["runs"][0]["plan"]

    heard, deaf = planned(RECIPE), planned(HEAD + REST)
    sounds = [100 + at % 90 for at in range(64) if at % 7]
    items = sum(-(-length // 64) for length in sounds) / 64
    assert heard["text_tokens"] - deaf["text_tokens"] == pytest.approx(items)
    rows = {row["stage"]: row for row in heard["ledger"]}
    maps = (64 * 16, 16 * 16)
    assert rows["audio"]["forward"] == pytest.approx(items * 2 * sum(maps))
    assert rows["audio"]["backward"] == pytest.approx(
        items * 2 * (maps[0] + 2 * maps[1])
    )  # items need no gradient
    parameters = sum(maps) + 16 + 16
    assert heard["parameters"]["total"] - deaf["parameters"]["total"] == parameters
    assert 'tones gives "audio", which no encoder of the recipe reads' in " ".join(deaf["notes"])


@pytest.mark.parametrize(
    ("recipe", "changes", "said"),
    [
        (
            RECIPE,
            ["data.sources.tones.silent=true"],
            'an encoder reads "audio", which no data source of the recipe',
        ),
        (
            RECIPE,
            ["training.micro_batch_frames=8", "training.micro_batch_tokens=600"],
            "items of other modalities are not planned; expected micro_batch_size",
        ),
        (HEAD + SOUND + SOUND + REST, [], 'reads "audio", which modalities[0] reads already'),
        (
            HEAD + SOUND.replace("sound", "tones") + REST,
            [],
            'none of the encoders of modalities is called "tones"',
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_trained(
    recipe: str, changes: list[str], said: str, place: Path, cli: Cli
) -> None:
    (place / "refused.toml").write_text(recipe)
    code, _, err = cli(
        "run", "refused.toml", "--runs", "none", *(word for one in changes for word in ("-o", one))
    )
    assert (code, said in err) == (2, True), err


def test_a_source_with_sounds_is_not_packed_without_them(cli: Cli) -> None:
    code, _, err = cli("data", "pack", "tones", "--to", "packed")
    assert code == 2
    assert "tones gives audio beside frames and text, which a shard has no place for" in err


class Ear(ModalityEncoder):
    """Two tokens of the LLM's width for three numbers."""

    spec = ModalitySpec(modality="audio", item=(3,), tokens_per_item=2)

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(3, 32)

    def encode(self, items: Tensor) -> Tensor:
        return self.map(items).unflatten(1, (2, 16))


def heard(counts: list[int], lengths: list[int], sounds: list[int]) -> Batch:
    """Random frames and text, and random sounds."""
    data = torch.randn(sum(sounds), 3, generator=torch.Generator().manual_seed(2))
    return evolve(batch(counts, lengths), signals={"audio": Items(data, torch.tensor(sounds))})


def alone(whole: Batch, sample: int) -> Batch:
    return evolve(
        only(whole, sample), signals={"audio": whole.signals["audio"].rows(slice(sample, sample + 1))}
    )


MIX = heard([2, 0, 3, 1], [6, 8, 4, 7], [1, 3, 0, 2])


@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("first", [False, True])
def test_samples_with_sounds_are_the_same_alone_packed_and_padded(pack: bool, first: bool) -> None:
    torch.manual_seed(5)
    own = {"modalities": {"audio": Ear()}, "pack": pack, "score_first_token": first}
    vlm = model(whole=own).double()
    mix = evolve(
        MIX, signals={"audio": evolve(MIX.signals["audio"], data=MIX.signals["audio"].data.double())}
    )
    together, losses = vlm.logits(mix), vlm(mix)
    for sample in range(4):
        one = alone(mix, sample)
        torch.testing.assert_close(together[sample], vlm.logits(one)[0])
        torch.testing.assert_close(losses.per_sample[sample], vlm(one).per_sample[0])
        parts = [vlm.see(one).tokens.flatten(0, 1), vlm.hear(one)[0].flatten(0, 1), vlm.llm.embed(one.ids[0])]
        torch.testing.assert_close(
            together[sample], vlm.llm.logits(vlm.llm.hidden(torch.cat(parts)[None]))[0]
        )
        before = int(one.counts) + 2 * int(one.signals["audio"].counts)
        assert len(together[sample]) == before + int(one.lengths)
        # By hand: each label is predicted by the token before it; the first one only where there is such a token.
        scored = one.supervised[0].clone()
        scored[0] &= first and before > 0
        logits = torch.cat([together[sample][:1], together[sample]])[
            before:-1
        ]  # a place that is not scored, if none
        nats = nn.functional.cross_entropy(logits, one.ids[0], reduction="none")
        torch.testing.assert_close(losses.per_sample[sample], nats[scored].sum())
    pieces = [vlm(part) for _, part in mix.cut(2)]
    torch.testing.assert_close(torch.cat([part.per_sample for part in pieces]), losses.per_sample)


def test_a_sound_changes_its_own_sample_alone_and_text_before_it_not_at_all() -> None:
    torch.manual_seed(5)
    vlm = model(whole={"modalities": {"audio": Ear()}})
    other = MIX.signals["audio"].data.clone()
    other[1] += 1  # the first of sample 1
    changed = evolve(MIX, signals={"audio": evolve(MIX.signals["audio"], data=other)})
    before, after = vlm(MIX).per_sample, vlm(changed).per_sample
    assert [bool(same) for same in before == after] == [True, False, True, True]
    vlm(MIX).loss.backward()
    assert vlm.modalities["audio"].map.weight.grad.abs().sum() > 0
    assert {"modalities.audio.map.weight", "modalities.audio.map.bias"} <= set(
        vlm.parameter_groups()["connector"]
    )
    assert "modalities.audio.map.weight" in vlm.decayed()
    assert "modalities.audio.map.bias" not in vlm.decayed()


def test_an_answer_is_written_of_frames_and_sounds() -> None:
    torch.manual_seed(5)
    vlm = model(whole={"modalities": {"audio": Ear()}})
    one = alone(MIX, 3)
    prompt = one.ids[0].tolist()
    [token] = vlm.generate(
        one.frames, prompt, limit=1, end=VOCABULARY, signals={"audio": one.signals["audio"].data}
    )
    assert token == int(vlm.logits(one)[0][-1].argmax())
    [deaf] = vlm.generate(one.frames, prompt, limit=1, end=VOCABULARY)
    assert deaf == int(vlm.logits(evolve(one, signals={}))[0][-1].argmax())
