"""Three modes of use, streaming, settings that are ablations, entropy."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from attrs import evolve
from fvlm_foveated.model import FoveatedConnector
from safetensors.torch import load_file
from small import SIDE, batch, encoder, model, only
from torch import Tensor
from transformers import Dinov2Config, Dinov2Model

from fvlm_core.model import gaze
from fvlm_core.model.gaze import attention_entropy
from fvlm_core.model.vlm import VLM
from fvlm_core.utils.errors import UsageError

CLIPS = batch([4, 2, 5, 1], [6, 8, 4, 7])


def connector(vlm: VLM) -> FoveatedConnector:
    assert isinstance(vlm.connector, FoveatedConnector)
    return vlm.connector


def streamed(vlm: VLM, frames: Tensor) -> list[Tensor]:
    """The token of each frame of one video, pushed one at a time."""
    stream = connector(vlm).stream(vlm.encoder, vlm.llm)
    return [stream.push(vlm.normalise(frame[None])).token for frame in frames]


@pytest.mark.parametrize("depth", ["deep", "shallow"])
@pytest.mark.parametrize("gradient", [False, True])
def test_streaming_gives_the_tokens_of_autoregressive(depth: str, gradient: bool) -> None:
    vlm = model(depth=depth)
    with torch.set_grad_enabled(gradient):
        together = vlm.see(CLIPS, "autoregressive").tokens[:, 0].split(CLIPS.counts.tolist())
        for sample, tokens in enumerate(together):
            one_by_one = torch.cat(streamed(vlm, only(CLIPS, sample).frames))
            torch.testing.assert_close(one_by_one, tokens, rtol=0, atol=1e-5)


@pytest.mark.parametrize("depth", ["deep", "shallow"])
def test_autoregressive_is_what_fine_passes_settle_on(depth: str) -> None:
    """A fine pass makes one more frame final, so as many passes as frames give true inference."""
    vlm = model(depth=depth, fine_iterations=5).double()
    settled, stepwise = vlm.see(CLIPS, "coarse_fine").tokens, vlm.see(CLIPS, "autoregressive").tokens
    torch.testing.assert_close(settled, stepwise, rtol=0, atol=1e-12)
    once = model(depth=depth).double().see(CLIPS, "coarse_fine").tokens
    assert not torch.allclose(once, stepwise, atol=1e-3)


def test_deep_and_shallow_differ_in_every_mode() -> None:
    deep, shallow = model(), model(depth="shallow")
    for mode in ("coarse_only", "coarse_fine", "autoregressive"):
        assert not torch.allclose(deep.see(CLIPS, mode).tokens, shallow.see(CLIPS, mode).tokens, atol=1e-2)


def test_gradients_flow_through_autoregressive() -> None:
    vlm = model().double()
    vlm(CLIPS, "autoregressive").loss.backward()
    stepwise = connector(vlm).llm_to_query.weight.grad
    settled = model(fine_iterations=5).double()
    settled(CLIPS, "coarse_fine").loss.backward()
    expected = connector(settled).llm_to_query.weight.grad
    assert stepwise is not None
    assert expected is not None
    torch.testing.assert_close(stepwise, expected, rtol=0, atol=1e-9)


@torch.no_grad()
def test_the_cache_is_not_copied_from_frame_to_frame() -> None:
    vlm = model()
    stream = connector(vlm).stream(vlm.encoder, vlm.llm)
    homes: list[int] = []
    for frame in torch.rand(60, 1, 3, SIDE, SIDE):
        stream.push(frame)
        homes.append(stream.cache._keys[0].data_ptr())
    assert stream.cache.length == 60
    assert len(set(homes)) == 2  # it moved once, when 32 positions were full


@torch.no_grad()
def test_a_cache_that_grew_remembers_what_it_held() -> None:
    """Position by position over 70 of them, through two moves: the states of reading all at once."""
    speaker = model().llm
    read = speaker.embed(torch.randint(0, 50, (1, 70), generator=torch.Generator().manual_seed(0)))
    cache = speaker.new_cache()
    one_by_one = torch.cat([speaker.hidden(read[:, at : at + 1], cache=cache) for at in range(70)], 1)
    torch.testing.assert_close(one_by_one, speaker.hidden(read), rtol=0, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("depth", ["deep", "shallow"])
def test_a_query_is_answered_as_the_equations_say(depth: str) -> None:
    """From the hidden states of transformers' own model: one more token that attends to all and that none attends to.
    A shallow one attends once, unprojected, over the final states as the last layer would key them."""
    torch.manual_seed(0)
    eye = encoder().double()
    for parameter in eye.parameters():
        parameter.normal_(std=0.4)
    frames = torch.randn(3, 3, SIDE, SIDE, dtype=torch.float64)
    theirs = Dinov2Model(Dinov2Config(**eye.config.sizes())).double().eval()
    theirs.load_state_dict(eye.dino.state_dict())
    states = theirs(frames, output_hidden_states=True)

    def look(block: Any, hidden: Tensor, asked: Tensor) -> Tensor:
        normed, attention = block.norm1(hidden), block.attention
        split = lambda x: x.unflatten(-1, (2, 8)).transpose(-2, -3)
        key, value = split(attention.k_proj(normed)), split(attention.v_proj(normed))
        scores = torch.einsum("fhd,fhnd->fhn", asked.unflatten(-1, (2, 8)), key) / 8**0.5
        shares = scores.exp() / scores.exp().sum(-1, keepdim=True)
        return torch.einsum("fhn,fhnd->fhd", shares, value).flatten(1)

    query = torch.randn(3, 16, dtype=torch.float64)
    expected = query
    blocks = list(eye.dino.encoder.layer)
    if depth == "deep":
        for block, hidden in zip(blocks, states.hidden_states, strict=False):
            seen = look(block, hidden, block.attention.q_proj(block.norm1(expected)))
            expected = expected + block.layer_scale1.lambda1 * block.attention.o_proj(seen)
            expected = expected + block.layer_scale2.lambda1 * block.mlp(block.norm2(expected))
    else:
        expected = look(blocks[-1], states.last_hidden_state, query)
    expected = eye.dino.layernorm(expected)
    features = eye.encode(frames)
    torch.testing.assert_close(features.tokens, states.last_hidden_state, rtol=0, atol=1e-9)
    found = eye.attend(query, features, depth=depth)  # type: ignore[arg-type]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


@torch.no_grad()
def test_a_streams_cache_goes_on_with_text() -> None:
    vlm, one = model(), only(CLIPS, 2)
    stream = connector(vlm).stream(vlm.encoder, vlm.llm)
    for frame in one.frames:
        stream.push(vlm.normalise(frame[None]))
    said = vlm.llm.logits(vlm.llm.hidden(vlm.llm.embed(one.ids), cache=stream.cache))[0]
    torch.testing.assert_close(
        said, vlm.logits(one, "autoregressive")[0][len(one.frames) :], rtol=0, atol=1e-5
    )


def test_coarse_only_is_the_coarse_pass_of_coarse_fine() -> None:
    vlm = model(lambda_coarse=1.0)
    both = vlm(CLIPS)
    torch.testing.assert_close(both.auxiliary["coarse"], vlm(CLIPS, "coarse_only").fine)
    torch.testing.assert_close(both.fine, model()(CLIPS).fine)
    assert not model()(CLIPS).auxiliary
    assert vlm.connector.spec.mode == "coarse_fine"
    assert model(mode="coarse_only").see(CLIPS).diagnostics.keys() == {"z_coarse"}


def test_the_query_for_a_frame_comes_from_the_frame_before() -> None:
    vlm, one = model(), only(CLIPS, 2)
    frames = one.frames.clone()
    frames[2] ^= 255
    before, after = (
        vlm.see(one).diagnostics["queries"],
        vlm.see(evolve(one, frames=frames)).diagnostics["queries"],
    )
    assert torch.equal(before[0], connector(vlm).q_init[0])
    assert torch.equal(before[:3], after[:3])
    assert not torch.isclose(before[3:], after[3:]).all(1).any()


@pytest.mark.parametrize("pooled", [0, 2])
def test_blind_ignores_pixels_and_nothing_else(pooled: int) -> None:
    seeing, blind = model(pooled=pooled), model(pooled=pooled, whole={"blind": True})
    inverted = evolve(CLIPS, frames=CLIPS.frames ^ 255)
    assert torch.equal(blind(CLIPS).loss, blind(inverted).loss)
    assert not torch.equal(seeing(CLIPS).loss, seeing(inverted).loss)
    longer = batch([5, 2, 5, 1], [6, 8, 4, 7])
    assert not torch.equal(blind(CLIPS).loss, blind(longer).loss)
    assert not torch.equal(blind(CLIPS).loss, blind(evolve(CLIPS, ids=CLIPS.ids.flip(0))).loss)


def test_frames_are_normalised_with_the_encoders_mean_and_deviation() -> None:
    vlm = model()
    mean, deviation = (
        torch.tensor(values)[:, None, None] for values in (vlm.encoder.spec.mean, vlm.encoder.spec.std)
    )
    expected = (CLIPS.frames.double() / 255 - mean) / deviation
    torch.testing.assert_close(vlm.normalise(CLIPS.frames).double(), expected, rtol=0, atol=2e-6)
    assert vlm.normalise(expected) is expected


def test_pooled_tokens_are_averages_of_patches() -> None:
    vlm = model(pooled=3)
    tokens = vlm.see(CLIPS).tokens
    patches = vlm.encode(CLIPS.frames).tokens
    assert patches is not None
    projection = vlm.connector.get_submodule("dino_to_llm")
    torch.testing.assert_close(tokens, projection(patches[:, 1:]) * 0.14)
    whole = model(pooled=1).see(CLIPS).tokens
    torch.testing.assert_close(whole[:, 0], projection(patches[:, 1:].mean(1)) * 0.14)
    with pytest.raises(UsageError, match="at most 3, got 4"):
        model(pooled=4)


def test_greedy_generation_says_the_likeliest_token_until_the_end() -> None:
    vlm, one = model(), only(CLIPS, 2)
    prompt = one.ids[0].tolist()
    said = vlm.generate(one.frames, prompt, limit=6, end=-1)
    assert len(said) == 6
    for index, token in enumerate(said):
        read = prompt + said[:index]
        whole = evolve(
            one,
            ids=torch.tensor([read]),
            lengths=torch.tensor([len(read)]),
            supervised=torch.zeros(1, len(read), dtype=torch.bool),
            content=torch.zeros(1, len(read), dtype=torch.bool),
        )
        assert int(vlm.logits(whole)[0][-1].argmax()) == token
    assert vlm.generate(one.frames, prompt, limit=6, end=said[0]) == []
    assert len(vlm.generate(one.frames[:0], prompt, limit=2, end=-1)) == 2


def test_entropy_is_the_founding_systems(shared: Path) -> None:
    recorded = load_file(shared / "parity" / "entropy.safetensors")
    facts: dict[str, Any] = json.loads((shared / "parity" / "facts.json").read_text(encoding="utf-8"))[
        "entropy"
    ]
    for case in facts["cases"]:
        layers = [recorded[f"case{case['case']}.layer{layer}"].squeeze(2) for layer in range(case["layers"])]
        entropy = torch.stack([gaze._entropy(layer) for layer in layers]).mean()
        assert float(entropy) == pytest.approx(case["entropy"], abs=1e-5)


@pytest.mark.parametrize("depth", ["deep", "shallow"])
def test_entropy_of_each_pass_is_that_of_its_attention(depth: str) -> None:
    vlm = model(depth=depth, fine_iterations=2)
    looks = vlm.connector.attention(vlm.encode(CLIPS.frames), CLIPS.counts, vlm.encoder, vlm.llm)
    entropy = attention_entropy(vlm, CLIPS)
    assert list(entropy) == ["coarse", "fine"]
    for name, layers in looks.items():
        assert len(layers) == (3 if depth == "deep" else 1)
        assert entropy[name].shape == (12,)
        for layer in layers:
            assert layer.shape == (12, 2, 10)
            torch.testing.assert_close(layer.sum(-1), torch.ones(12, 2))
        shares = torch.stack(layers).double()
        nats = -(shares * shares.log()).sum(-1).mean((0, 2))
        torch.testing.assert_close(entropy[name].double(), nats, rtol=1e-5, atol=1e-6)
    assert attention_entropy(model(mode="coarse_only"), CLIPS).keys() == {"coarse"}
    assert attention_entropy(model(pooled=2), CLIPS) == {}


def test_a_small_query_leaves_attention_uniform() -> None:
    """With a standard deviation of .02, shallow attention is uniform; the default is not."""
    uniform = math.log(10)
    small, default = model(depth="shallow", query_init_std=0.02), model(depth="shallow")
    assert attention_entropy(small, CLIPS)["coarse"].mean().item() == pytest.approx(uniform, abs=1e-3)
    assert attention_entropy(default, CLIPS)["coarse"].mean().item() < uniform - 0.02


def test_attention_weights_do_not_change_what_attend_answers() -> None:
    for depth in ("deep", "shallow"):
        vlm = model(depth=depth)
        features = vlm.encode(CLIPS.frames)
        query = torch.randn(12, 16)
        weights: list[Tensor] = []
        plain = vlm.encoder.attend(query, features, depth=depth)
        torch.testing.assert_close(vlm.encoder.attend(query, features, depth=depth, weights=weights), plain)
        assert weights


def modes_of(vlm: VLM, seeds: range) -> list[list[bool]]:
    """Whether each sample of `CLIPS` has the tokens of the coarse pass in the training step with each seed."""
    coarse, fine = (
        vlm.see(CLIPS, mode).tokens.split(CLIPS.counts.tolist()) for mode in ("coarse_only", "coarse_fine")
    )
    modes: list[list[bool]] = []
    for seed in seeds:
        torch.manual_seed(seed)
        drawn = vlm.see(CLIPS).tokens.split(CLIPS.counts.tolist())
        chosen = [torch.allclose(ours, theirs, atol=1e-6) for ours, theirs in zip(drawn, coarse, strict=True)]
        for sample, is_coarse in enumerate(chosen):
            assert is_coarse or torch.allclose(drawn[sample], fine[sample], atol=1e-6)
        modes.append(chosen)
    return modes


@torch.no_grad()
def test_the_mode_of_a_step_is_drawn_once_or_sample_by_sample() -> None:
    batchwise = model(coarse_share=0.3)
    samplewise = model(coarse_share=0.3, mode_choice="sample")
    whole = modes_of(batchwise, range(60))
    assert all(len(set(modes)) == 1 for modes in whole)
    single = modes_of(samplewise, range(60))
    mixed = sum(len(set(modes)) == 2 for modes in single) / 60
    assert mixed == pytest.approx(1 - 0.3**4 - 0.7**4, abs=0.15)
    for drawn in (whole, single):
        assert sum(map(sum, drawn)) / 240 == pytest.approx(0.3, abs=0.12)
    assert single[:20] == modes_of(samplewise, range(20))
    assert not any(map(any, modes_of(model(), range(10))))


@torch.no_grad()
def test_evaluation_and_an_explicit_mode_draw_nothing() -> None:
    vlm, fine = model(coarse_share=0.9, mode_choice="sample"), model().see(CLIPS).tokens
    torch.testing.assert_close(vlm.see(CLIPS, "coarse_fine").tokens, fine)
    torch.testing.assert_close(vlm.eval().see(CLIPS).tokens, fine)


@pytest.mark.parametrize("choice", ["batch", "sample"])
def test_micro_batches_draw_the_modes_of_the_whole_step(choice: str) -> None:
    vlm = model(coarse_share=0.5, mode_choice=choice).double()
    for seed in range(8):
        torch.manual_seed(seed)
        together = vlm(CLIPS).loss
        torch.manual_seed(seed)
        alone = torch.stack([vlm(only(CLIPS, sample)).loss for sample in range(len(CLIPS.counts))]).sum()
        torch.testing.assert_close(together, alone, rtol=1e-9, atol=1e-9)
