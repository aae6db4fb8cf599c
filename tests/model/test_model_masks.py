"""Padding and packing never leak, and losses are what the samples alone would give."""

from __future__ import annotations

import pytest
import torch
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small import batch, model, only
from torch import Tensor

from fvlm_core.data.batch import Batch
from fvlm_core.model.vlm import VLM
from fvlm_core.plugin_api import Mode

CONNECTORS = {
    "foveated": {"lambda_coarse": 0.5, "fine_iterations": 2},
    "shallow": {"depth": "shallow"},
    "coarse_only": {"mode": "coarse_only"},
    "pooled": {"pooled": 2},
}
MIX = batch([3, 0, 1, 5, 0, 2], [7, 9, 4, 6, 3, 8])


def gradients(vlm: VLM, *batches: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """The summed loss of some batches and the gradient of every parameter."""
    vlm.zero_grad(set_to_none=False)
    losses = [vlm(one).loss for one in batches]
    total = torch.stack(losses).sum()
    total.backward()
    return total.detach(), {
        name: parameter.grad.clone()
        for name, parameter in vlm.named_parameters()
        if parameter.grad is not None
    }


@pytest.mark.parametrize(
    ("pack", "name"),
    [
        pytest.param(pack, name, marks=[pytest.mark.soak] * (at > 0 and pack == at % 2))
        for pack in (False, True)
        for at, name in enumerate(CONNECTORS)
    ],
)
def test_samples_together_give_the_loss_and_gradients_of_the_samples_alone(name: str, pack: bool) -> None:
    mixes = st.lists(
        st.tuples(st.integers(0, 4), st.integers(2, 9)), min_size=1, max_size=5
    )  # frames (0: text only, 1: an image) and text tokens
    vlm = model(**CONNECTORS[name], whole={"pack": pack, "score_first_token": True}).double()

    @settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
    @given(mixes, st.integers(0, 1000))
    def compare(mix: list[tuple[int, int]], seed: int) -> None:
        together = batch([frames for frames, _ in mix], [text for _, text in mix], seed=seed)
        loss, gradient = gradients(vlm, together)
        alone, expected = gradients(vlm, *(only(together, sample) for sample in range(len(mix))))
        torch.testing.assert_close(loss, alone, rtol=1e-9, atol=1e-9)
        assert gradient.keys() == expected.keys()
        for parameter, value in gradient.items():
            scale = float(expected[parameter].abs().max())
            torch.testing.assert_close(
                value, expected[parameter], rtol=0, atol=1e-9 * max(scale, 1.0), msg=parameter
            )

    compare()


@pytest.mark.parametrize("name", CONNECTORS)
def test_packed_rows_give_the_losses_of_padded_ones_in_float32(name: str) -> None:
    padded, packed = (model(**CONNECTORS[name], whole={"pack": pack}) for pack in (False, True))
    assert (packed.plan(MIX).rows, padded.plan(MIX).rows) == (1, len(MIX.counts))
    expected, losses = padded(MIX), packed(MIX)
    torch.testing.assert_close(losses.loss, expected.loss, rtol=1e-4, atol=0)
    torch.testing.assert_close(losses.per_sample, expected.per_sample, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(losses.content, expected.content, rtol=1e-4, atol=1e-4)
    assert (losses.tokens, losses.content_tokens) == (expected.tokens, expected.content_tokens)
    assert losses.per_sample_tokens.tolist() == expected.per_sample_tokens.tolist()
    for ours, theirs in zip(packed.logits(MIX), padded.logits(MIX), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    losses.loss.backward()
    expected.loss.backward()
    gradients = {parameter: theirs.grad for parameter, theirs in padded.named_parameters()}
    for parameter, ours in packed.named_parameters():
        theirs = gradients[parameter]
        assert (ours.grad is None) == (theirs is None)
        if ours.grad is not None and theirs is not None:
            # A softmax does not see what is added to every key: the gradient of a key's bias is rounding alone, of the
            # size of what is summed in its query's.
            seen = gradients[parameter.replace("k_proj.bias", "q_proj.bias")]
            assert seen is not None
            error = (ours.grad - theirs).norm() / seen.norm().clamp(min=1e-3)
            assert float(error) < 1e-4, parameter


@pytest.mark.parametrize("name", CONNECTORS)
@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("what", ["pixels", "text"])
def test_a_changed_sample_changes_no_other_samples_logits_at_all(name: str, pack: bool, what: str) -> None:
    vlm, changed = model(**CONNECTORS[name], whole={"pack": pack}), 3
    first = int(MIX.counts[:changed].sum())
    frames, ids = MIX.frames.clone(), MIX.ids.clone()
    if what == "pixels":
        frames[first : first + int(MIX.counts[changed])] ^= 255
    else:
        ids[changed, : int(MIX.lengths[changed])] = 7
    with torch.no_grad():
        before, after = vlm.logits(MIX), vlm.logits(evolve(MIX, frames=frames, ids=ids))
    for sample, (old, new) in enumerate(zip(before, after, strict=True)):
        assert torch.equal(old, new) == (sample != changed)


def test_pixels_and_text_only_reach_what_comes_after_them() -> None:
    vlm, one = model(), only(MIX, 3)
    frames, ids = one.frames.clone(), one.ids.clone()
    frames[3] ^= 255
    ids[0, 2] = (ids[0, 2] + 1) % 50
    with torch.no_grad():
        before, seen, read = (
            vlm.logits(changed)[0] for changed in (one, evolve(one, frames=frames), evolve(one, ids=ids))
        )
    assert torch.equal(before[:3], seen[:3])
    assert not torch.isclose(before[3:], seen[3:]).all(1).any()
    assert torch.equal(before[:7], read[:7])
    assert not torch.isclose(before[7:], read[7:]).all(1).any()


@pytest.mark.parametrize("pack", [False, True])
def test_what_fills_the_padding_of_text_does_not_matter(pack: bool) -> None:
    vlm = model(whole={"pack": pack})
    real = torch.arange(MIX.ids.shape[1]) < MIX.lengths[:, None]
    filled = evolve(MIX, ids=MIX.ids.masked_fill(~real, 49), supervised=MIX.supervised | ~real)
    before, after = vlm(MIX), vlm(filled)
    assert torch.equal(before.loss, after.loss)
    assert before.tokens == after.tokens


@pytest.mark.parametrize("name", CONNECTORS)
@pytest.mark.parametrize("mode", ["coarse_only", "coarse_fine", "autoregressive"])
def test_text_only_batches_train_the_language_model_and_nothing_else(name: str, mode: Mode) -> None:
    vlm, text = model(**CONNECTORS[name]), batch([0, 0], [5, 8])
    losses = vlm(text, mode)
    losses.loss.backward()
    assert losses.tokens > 0
    for parameter_name, parameter in vlm.named_parameters():
        trained = parameter.grad is not None and bool(parameter.grad.any())
        assert trained == parameter_name.startswith("llm."), parameter_name
    one = only(text, 1)
    hidden = vlm.llm.hidden(vlm.llm.embed(one.ids))
    torch.testing.assert_close(vlm.llm.logits(hidden)[0], vlm.logits(text)[1])


@pytest.mark.parametrize("name", CONNECTORS)
def test_a_batch_without_labels_has_loss_zero_and_gradients_of_zero(name: str) -> None:
    vlm = model(**CONNECTORS[name])
    nothing = torch.zeros_like(MIX.supervised)
    losses = vlm(evolve(MIX, supervised=nothing, content=nothing))
    losses.loss.backward()
    assert (losses.loss.item(), losses.tokens, losses.content_tokens) == (0.0, 0, 0)
    found = [parameter.grad for parameter in vlm.parameters() if parameter.grad is not None]
    assert found
    assert all(torch.equal(gradient, torch.zeros_like(gradient)) for gradient in found)


@pytest.mark.parametrize("mode", ["coarse_only", "coarse_fine", "autoregressive"])
def test_the_first_text_token_is_scored_in_every_mode_or_in_none(mode: Mode) -> None:
    everything = evolve(MIX, supervised=torch.arange(MIX.ids.shape[1]) < MIX.lengths[:, None])
    tokens, samples = int(MIX.lengths.sum()), len(MIX.counts)
    without_frames = int((MIX.counts == 0).sum())
    assert model()(everything, mode).tokens == tokens - samples
    assert model(whole={"score_first_token": True})(everything, mode).tokens == tokens - without_frames


def test_losses_are_those_of_the_logits() -> None:
    vlm = model(lambda_coarse=0.5)
    losses, logits, coarse = vlm(MIX), vlm.logits(MIX), vlm.logits(MIX, "coarse_only")
    sums: list[list[Tensor]] = [[], []]
    content = torch.tensor(0.0)
    for sample, pair in enumerate(zip(logits, coarse, strict=True)):
        one = only(MIX, sample)
        scored = one.supervised[0, 1:]
        for found, values in zip(sums, pair, strict=True):
            text = values[int(one.counts) :]
            nats = torch.nn.functional.cross_entropy(text[:-1], one.ids[0, 1:], reduction="none")
            found.append(nats[scored].sum())
            if values is pair[0]:
                content += nats[one.content[0, 1:]].sum()
    fine, rough = (torch.stack(found) for found in sums)
    torch.testing.assert_close(losses.per_sample, fine)
    torch.testing.assert_close(losses.fine, fine.sum())
    torch.testing.assert_close(losses.content, content)
    assert 0 < losses.content_tokens < losses.tokens
    torch.testing.assert_close(losses.auxiliary["coarse"], rough.sum())
    torch.testing.assert_close(losses.loss, fine.sum() + 0.5 * rough.sum())
