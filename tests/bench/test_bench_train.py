"""`fvlm bench train`: what is compared is the same work, its FLOPs are right, and a profile leaves nothing out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from attrs import evolve
from tiny import RECIPE, run_cli
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from fvlm_core.bench import mix
from fvlm_core.bench.child import measure
from fvlm_core.bench.dense import FRAMES, Step, bare, dense_batch, ours
from fvlm_core.bench.plain import PlainTwoPass, comparable, plain, wasted
from fvlm_core.bench.profile import CONNECTOR, HEAD, PATCHES, READ, VISUAL, profiled
from fvlm_core.bench.setting import Setting
from fvlm_core.bench.stream import parts, video, watching
from fvlm_core.bench.train import NAMES as MEASURED
from fvlm_core.bench.train import bench_train
from fvlm_core.bench.train import flops_of as counted
from fvlm_core.cli.bench_pairs import show_pairs
from fvlm_core.cli.bench_train import NAMES as OFFERED
from fvlm_core.data.planning import Room
from fvlm_core.model.vlm import VLM
from fvlm_core.planning.flop_counter import Flops

KNOWN = ("model.llm.tokenizer=none", "model.llm.vocabulary=512", "model.llm.width=64", "model.llm.mlp=192")


@pytest.fixture
def setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setting:
    monkeypatch.setattr("fvlm_core.bench.setting.THREADS", 1)
    (tmp_path / "tiny.toml").write_text(RECIPE)
    layers = ("model.encoder.depth=2", "model.encoder.width=32", "model.connector.query_dim=32")
    return Setting(recipe=str(tmp_path / "tiny.toml"), overrides=(*KNOWN, *layers))


def flops(step: Step) -> int:
    with sdpa_kernel(SDPBackend.MATH), Flops() as counter:
        step()
    return counter.total


@pytest.mark.parametrize("mode", ["coarse_fine", "coarse_only"])
def test_the_bare_cost_of_a_training_step_is_of_the_same_matrices(setting: Setting, mode: str) -> None:
    own = evolve(setting, overrides=(*setting.overrides, f"model.connector.mode={mode}"))
    whole, matrices = flops(ours(own)), flops(bare(own))
    assert whole == counted(own, "ours")
    # what the bare step leaves out is the connector: the query's way through these narrow layers, and its maps
    assert 0.85 * whole < matrices < whole


PLAIN_NAMES = {
    "encoder.dino.embeddings.patch_embeddings.projection.": "patches.",
    "encoder.dino.embeddings.": "",
    "encoder.dino.encoder.layer.": "encoder_layers.",
    "encoder.dino.layernorm.": "layernorm.",
    "attention.": "",
    "mlp.fc": "fc",
    "layer_scale1.lambda1": "scale1",
    "layer_scale2.lambda1": "scale2",
    "connector.": "",
    "llm.model.embed_tokens.": "embed_tokens.",
    "llm.model.layers.": "llm_layers.",
    "llm.model.norm.": "norm.",
    "self_attn.": "",
    "mlp.": "",
}


def plain_weights(model: VLM) -> dict[str, Tensor]:
    """fvlm's weights under the names of the plain implementation."""
    found: dict[str, Tensor] = {}
    for name, weight in model.state_dict().items():
        for ours_, theirs in PLAIN_NAMES.items():
            name = name.replace(ours_, theirs, 1)
        found[name] = weight
    found.pop("mask_token")
    return found


@pytest.mark.parametrize("everywhere", [False, True])
def test_the_plain_two_passes_give_the_loss_and_gradients_of_fvlm(setting: Setting, everywhere: bool) -> None:
    model = setting.model().double()
    batch = dense_batch(setting, model.encoder.spec.image_size, 0.3)
    eye, speaker = comparable(setting)
    written = PlainTwoPass(eye, speaker, 32, everywhere=everywhere).double()
    written.load_state_dict(plain_weights(model))
    frames = model.normalise(batch.frames).unflatten(0, (setting.samples, FRAMES))
    losses, theirs = model(batch), written(frames, batch.ids, batch.supervised)
    torch.testing.assert_close(losses.loss, theirs, rtol=1e-8, atol=0)  # angles are float32's on one side
    losses.loss.backward()
    theirs.backward()
    for ours_, name in (
        ("connector.q_init", "q_init"),
        ("connector.llm_to_query.weight", "llm_to_query.weight"),
    ):
        expected = model.get_parameter(ours_).grad
        torch.testing.assert_close(written.get_parameter(name).grad, expected, rtol=1e-5, atol=1e-6)


def test_the_plain_flops_are_those_that_torch_counts(setting: Setting) -> None:
    dense = counted(setting, "plain")
    assert dense is not None
    # written plainly, the last frame is read by the visual pass, too
    assert flops(plain(setting)) == pytest.approx(dense, rel=0.01)
    sparse = counted(setting, "plain-sparse")
    assert sparse is not None
    assert flops(plain(setting, 0.3, everywhere=True)) == pytest.approx(sparse, rel=0.01)


def test_the_plain_encoder_wastes_what_is_said(setting: Setting) -> None:
    model = setting.model()
    eye, speaker = comparable(setting)
    written = PlainTwoPass(eye, speaker, 32, everywhere=False)
    frames = torch.randn(3, 3, eye.image_size, eye.image_size)

    def fvlm() -> None:
        kept = model.encoder.encode(frames, tokens=False).layers
        torch.autograd.backward([part.sum() for layer in kept for part in layer])

    def plainly() -> None:
        torch.autograd.backward([part.sum() for layer in written.encode(frames) for part in layer])

    assert flops(plainly) - flops(fvlm) == wasted(eye, len(frames))


def test_the_mix_is_as_described_and_the_same_every_time() -> None:
    lengths = mix.rooms()
    seen = [room.frames for room in lengths if room.frames]
    assert lengths == mix.rooms()
    assert len(lengths) == 192
    assert len(lengths) - len(seen) == round(0.14 * 192)
    assert sum(seen) / len(seen) == pytest.approx(5.7, abs=0.1)
    assert min(seen) == 1
    assert 32 < max(seen) <= 64  # videos as long as ten ordinary ones are what padding suffers from
    assert all(40 <= room.tokens <= 512 for room in lengths)
    for kind in ("packed", "filled", "rows", "padded"):
        steps = mix.plan(kind, lengths)
        assert sorted(place for step in steps for group in step for place in group) == list(range(192))
        assert [sorted(p for group in step for p in group) for step in steps] == [
            list(range(begin, begin + 64)) for begin in (0, 64, 128)
        ]


def test_packed_and_rows_of_the_mix_learn_the_same(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = [Room(frames, tokens) for frames, tokens in ((3, 40), (0, 70), (9, 44), (1, 120), (2, 41))]
    monkeypatch.setattr(mix, "rooms", lambda: lengths)
    updated: list[dict[str, Tensor]] = []

    def updating(groups: dict[str, dict[str, torch.nn.Parameter]]) -> object:
        def update(tokens: int) -> None:
            every = {name: p for group in groups.values() for name, p in group.items() if p.grad is not None}
            updated.append({name: p.grad.clone() / tokens for name, p in every.items() if p.grad is not None})
            for parameter in every.values():
                parameter.grad = None

        return update

    monkeypatch.setattr(mix, "updating", updating)
    for kind in ("packed", "filled", "rows"):
        mix.mixed(setting, kind)()
    packed, *others = updated
    for other in others:
        for name, gradient in packed.items():
            torch.testing.assert_close(other[name], gradient, rtol=1e-3, atol=1e-6, msg=name)


def test_the_parts_of_watching_are_what_watching_does(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fvlm_core.bench.stream.WATCHED", 12)
    whole, bare_parts = flops(watching(setting, 12)), flops(parts(setting))
    assert 0.9 * whole < bare_parts < whole  # the connector's own maps, and attention over the frames before
    model = setting.model().eval()
    with torch.no_grad():
        assert model.see(video(setting, model, 5), "autoregressive").tokens.shape[0] == 5


def test_a_profile_accounts_for_the_step_and_its_flops(setting: Setting, tmp_path: Path) -> None:
    found = profiled(setting, tmp_path / "trace.json")
    assert sum(part.flops for part in found.parts) == counted(setting, "ours")
    by_name = {part.name: part for part in found.parts}
    for name in (PATCHES, VISUAL, READ, HEAD, CONNECTOR):
        assert by_name[name].forward > 0, name
        assert by_name[name].backward > 0, name
    accounted = sum(part.seconds for part in found.parts)
    assert 0.5 * found.whole < accounted <= 1.05 * found.whole
    assert json.loads((tmp_path / "trace.json").read_text())["traceEvents"]


def test_the_command_offers_what_can_be_measured() -> None:
    assert OFFERED == MEASURED


def test_a_model_whose_vocabulary_waits_for_its_data_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tiny.toml").write_text(RECIPE)
    code, _, err = run_cli(["bench", "train", str(tmp_path / "tiny.toml")], monkeypatch, capsys)
    assert code == 2
    assert "its tokenizer is made from the data" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--trace", "x.json"], "--trace: is of a profile; expected --profile"),
        (["--profile", "--only", "mix"], "--only: chooses among comparisons; expected none with --profile"),
        (["--device", "cuda"], "torch sees no GPU"),
        (["-o", "model.connector.mode=coarse_only", "--only", "plain"], "two deep looks"),
    ],
)
def test_misuse_is_told_before_anything_is_measured(
    arguments: list[str],
    said: str,
    setting: Setting,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    known = [part for override in setting.overrides for part in ("-o", override)]
    code, _, err = run_cli(["bench", "train", setting.recipe, *known, *arguments], monkeypatch, capsys)
    assert code == 2
    assert said in " ".join(err.split())


def test_a_step_is_shown_as_a_share_of_the_machine_s_limit_at_each_precision(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str, str]] = []

    def seconds_of(kind: str, own: Setting) -> tuple[float, float]:
        asked.append((kind, own.precision))
        return (2.0, 1e12) if own.precision == "bf16" else (8.0, 2e11)

    monkeypatch.setattr("fvlm_core.bench.train.seconds_of", seconds_of)
    found = bench_train(setting, ["precision"], 2, lambda *_: None)
    assert {*asked} == {("ours", "bf16"), ("ours", "float32"), ("plain", "float32")}
    assert [pair.ratio for pair in found] == [0.25, 4.0]
    assert all(pair.holds and pair.peak == 1e12 for pair in found)
    show_pairs(found, {}, as_json=False)
    flops = counted(setting, "ours")
    assert flops is not None
    shown = capsys.readouterr().out
    assert "of the limit" in shown
    assert f"{flops / 2.0 / 1e12:.0%}" in shown


def test_the_limit_is_measured_in_the_step_s_own_process(setting: Setting) -> None:
    found = measure("ours", evolve(setting, precision="bf16"))
    assert found["seconds"] > 0
    assert found["peak"] > 1e8
