"""What every connector that comes with fvlm promises, and what each of them computes, against formulas of its own."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from attrs import evolve
from fvlm_frame_connectors.merge import merged
from fvlm_frame_connectors.random import drawn
from small import CONNECTORS, batch, connected, encoder, only
from torch import Tensor

from fvlm_core.data.batch import Batch
from fvlm_core.model.vlm import VLM
from fvlm_core.plugin_api import UsageError

MIX = batch([3, 0, 1, 5, 0, 2], [7, 9, 4, 6, 3, 8], questions=[3, 2, 0, 4, 1, 8])
TOKENS = {
    "foveated": 1,
    "pooled": 4,
    "last-frames": 9,
    "convolutional": 1,
    "foveated, shallow": 2,
} | dict.fromkeys(("merge", "random", "select"), 4)
"""Tokens a frame, 3 of the others."""
everywhere = pytest.mark.parametrize("name", CONNECTORS)
order = pytest.mark.parametrize("question_first", [False, True], ids=["frames first", "question first"])


def features(vlm: VLM, frames: Tensor) -> Tensor:
    """The encoder's tokens [F, N, D]: CLS, then 3 x 3 patches."""
    found = vlm.encoder.encode(vlm.normalise(frames)).tokens
    assert found is not None
    return found


def config(vlm: VLM) -> Any:
    """The connector's settings."""
    return vlm.connector.config


def weight(vlm: VLM, name: str) -> Tensor:
    """A weight of the connector."""
    return vlm.connector.get_parameter(name).detach()


def to_llm(vlm: VLM, reduced: Tensor) -> Tensor:
    """[F, n, C] in the language model's width, as the formula says."""
    mapped = torch.einsum("fnc,wc->fnw", reduced, weight(vlm, "patches_to_llm.weight"))
    return 0.14 * (mapped + weight(vlm, "patches_to_llm.bias"))


def gradients(vlm: VLM, *batches: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """The summed loss of some batches and the gradient of every parameter that has one."""
    vlm.zero_grad(set_to_none=True)
    total = torch.stack([vlm(one).loss for one in batches]).sum()
    total.backward()
    named = vlm.named_parameters()
    return total.detach(), {name: each.grad.clone() for name, each in named if each.grad is not None}


@everywhere
@order
def test_samples_together_give_the_loss_and_gradients_of_the_samples_alone(
    name: str, question_first: bool
) -> None:
    vlm = connected(name, whole={"pack": True, "question_first": question_first}).double()
    loss, gradient = gradients(vlm, MIX)
    alone, expected = gradients(vlm, *(only(MIX, sample) for sample in range(len(MIX.counts))))
    torch.testing.assert_close(loss, alone, rtol=1e-9, atol=1e-9)
    assert gradient.keys() == expected.keys()
    for parameter, value in gradient.items():
        scale = max(1.0, float(expected[parameter].abs().max()))
        torch.testing.assert_close(value, expected[parameter], rtol=0, atol=1e-9 * scale, msg=parameter)


@everywhere
@order
@pytest.mark.parametrize("what", ["pixels", "text"])
def test_a_changed_sample_changes_no_other_samples_logits_at_all(
    name: str, question_first: bool, what: str
) -> None:
    changed = 3
    first = int(MIX.counts[:changed].sum())
    frames, ids = MIX.frames.clone(), MIX.ids.clone()
    if what == "pixels":
        frames[first : first + int(MIX.counts[changed])] ^= 255
    else:
        ids[changed, : int(MIX.lengths[changed])] = 7
    for pack in (False, True):
        vlm = connected(name, whole={"pack": pack, "question_first": question_first})
        with torch.no_grad():
            before, after = vlm.logits(MIX), vlm.logits(evolve(MIX, frames=frames, ids=ids))
        for sample, (old, new) in enumerate(zip(before, after, strict=True)):
            assert torch.equal(old, new) == (sample != changed)


@everywhere
def test_gradients_reach_every_weight_of_the_connector_and_the_encoder(name: str) -> None:
    vlm = connected(name).double()
    _, found = gradients(vlm, MIX)
    # A key's bias moves all scores alike; the last layer is not run to its end where only keys and values are read.
    unread = {"k_proj.bias", *(("layer.2.", "dino.layernorm") if name.startswith("foveated") else ())}
    for parameter, value in vlm.named_parameters():
        part = parameter.partition(".")[0]
        if part == "llm" or "mask_token" in parameter or any(each in parameter for each in unread):
            continue
        assert parameter in found, parameter
        assert float(found[parameter].abs().max()) > 1e-12 or value.numel() == 0, parameter


@pytest.mark.parametrize("name", ["random", "select"])
def test_patches_that_are_not_taken_get_no_gradient(name: str) -> None:
    vlm = connected(name)
    tokens = features(vlm, MIX.frames).detach().requires_grad_()
    vlm.connector.reduced(tokens).sum().backward()  # type: ignore[operator]
    assert tokens.grad is not None
    reached = tokens.grad.abs().sum(-1) > 0
    assert not reached[:, 0].any()  # nor does CLS
    assert reached.sum(1).tolist() == [4] * len(tokens)


@everywhere
@order
@torch.no_grad()
def test_frame_by_frame_gives_the_tokens_of_all_frames_at_once(name: str, question_first: bool) -> None:
    vlm, one = connected(name, whole={"question_first": question_first}), only(MIX, 3)
    one = evolve(one, sample_ids=("",))
    mode = "autoregressive" if name.startswith("foveated") else None
    stream = vlm.stream(one.ids[0, : int(one.questions[0])].tolist())
    assert stream is not None
    found = torch.cat([stream.next_tokens(vlm.normalise(frame[None])) for frame in one.frames])
    last = vlm.connector.spec.last_frames
    torch.testing.assert_close(found[-last:] if last else found, vlm.see(one, mode).tokens, rtol=0, atol=1e-5)


@everywhere
@torch.no_grad()
def test_it_makes_as_many_tokens_a_frame_as_it_says(name: str) -> None:
    vlm = connected(name)
    frames = sum(map(vlm.connector.spec.shown, MIX.counts.tolist()))
    assert vlm.see(MIX).tokens.shape == (frames, TOKENS.get(name, 3), 16)
    seen = frames * TOKENS.get(name, 3)
    assert len(vlm.plan(MIX).visual) == seen
    assert sum(map(len, vlm.logits(MIX))) == seen + int(MIX.lengths.sum())


@torch.no_grad()
def test_one_pooled_token_is_the_mean_of_the_patches() -> None:
    vlm = connected("pooled", grid=1).double()
    mean = features(vlm, MIX.frames)[:, 1:].mean(1)
    expected = 0.14 * (mean @ weight(vlm, "dino_to_llm.weight").T + weight(vlm, "dino_to_llm.bias"))
    torch.testing.assert_close(vlm.see(MIX).tokens[:, 0], expected, rtol=0, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("heads", [2, 4])
def test_perceiver_is_what_the_formulas_say(depth: int, heads: int) -> None:
    vlm = connected("perceiver", depth=depth, heads=heads).double()
    torch.manual_seed(1)
    for each in vlm.connector.parameters():
        each.normal_(std=0.5)

    def norm(x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        unit = centred / ((centred**2).mean(-1, keepdim=True) + 1e-5).sqrt()
        return unit * weight(vlm, f"{name}.weight") + weight(vlm, f"{name}.bias")

    rows: list[Tensor] = []
    for x in features(vlm, MIX.frames):
        y = weight(vlm, "latents")
        for layer in (f"layers.{at}" for at in range(depth)):
            asking = norm(y, f"{layer}.norm_latents")
            seen = torch.cat([norm(x, f"{layer}.norm_tokens"), asking])
            keys, values = (seen @ weight(vlm, f"{layer}.key_value.weight").T).split(16, 1)
            queries = asking @ weight(vlm, f"{layer}.query.weight").T
            heard = torch.zeros_like(y)
            for own in torch.arange(16).split(16 // heads):
                scores = (queries[:, own] @ keys[:, own].T / math.sqrt(16 // heads)).exp()
                heard[:, own] = scores / scores.sum(1, keepdim=True) @ values[:, own]
            y = y + heard @ weight(vlm, f"{layer}.out.weight").T
            inner = norm(y, f"{layer}.norm_mlp") @ weight(vlm, f"{layer}.up.weight").T
            inner = inner + weight(vlm, f"{layer}.up.bias")
            inner = inner * 0.5 * (1 + torch.erf(inner / math.sqrt(2)))
            y = y + inner @ weight(vlm, f"{layer}.down.weight").T + weight(vlm, f"{layer}.down.bias")
        rows.append(norm(y, "norm"))
    torch.testing.assert_close(vlm.see(MIX).tokens, to_llm(vlm, torch.stack(rows)), rtol=0, atol=1e-9)
    single = vlm.float().see(MIX).tokens
    torch.testing.assert_close(single.double(), to_llm(vlm.double(), torch.stack(rows)), rtol=0, atol=1e-5)


def merging(patches: list[np.ndarray[Any, Any]], wanted: int) -> list[list[int]]:
    """Bipartite soft matching with sets of patches: which patches end up together."""
    groups = [[at] for at in range(len(patches))]
    while len(groups) > wanted:
        means = [np.mean([patches[at] for at in group], 0) for group in groups]
        cosine = lambda a, b: float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
        found: list[tuple[float, int, int]] = []
        for a in range(0, len(groups), 2):
            score, to = max((cosine(means[a], means[b]), b) for b in range(1, len(groups), 2))
            found.append((score, a, to))
        found.sort(reverse=True)
        leaving = found[: min(len(groups) - wanted, len(groups) // 2)]
        joined = {to: [at for _, a, b in leaving if b == to for at in groups[a]] for _, _, to in leaving}
        gone = {a for _, a, _ in leaving}
        groups = [own + joined.get(at, []) for at, own in enumerate(groups) if at not in gone]
    return groups


@torch.no_grad()
@pytest.mark.parametrize("tokens", [1, 2, 4, 7, 9])
def test_merge_is_bipartite_soft_matching(tokens: int) -> None:
    vlm = connected("merge", tokens=tokens).double()
    expected: list[Tensor] = []
    for frame in features(vlm, MIX.frames)[:, 1:]:
        groups = merging(list(frame.numpy()), tokens)
        assert sorted(at for group in groups for at in group) == list(range(9))
        expected.append(torch.stack([frame[group].mean(0) for group in groups]))
    torch.testing.assert_close(vlm.see(MIX).tokens, to_llm(vlm, torch.stack(expected)), rtol=0, atol=1e-9)


def test_merging_keeps_the_sum_of_all_patches() -> None:
    tokens = torch.randn(5, 16, 8, dtype=torch.float64)
    sizes = torch.ones(5, 16, 1, dtype=torch.float64)
    for count in (3, 6, 3):
        before = (tokens * sizes).sum(1)
        tokens, sizes = merged(tokens, sizes, count)
        torch.testing.assert_close((tokens * sizes).sum(1), before)
        assert sizes.sum(1).flatten().tolist() == [16] * 5
    assert tokens.shape[1] == 4


@torch.no_grad()
def test_select_takes_the_patches_most_like_cls_in_the_order_of_the_grid() -> None:
    vlm = connected("select").double()
    expected: list[Tensor] = []
    for cls, *patches in features(vlm, MIX.frames):
        alike = [float(cls @ one / cls.norm() / one.norm()) for one in patches]
        best = sorted(sorted(range(9), key=lambda at: -alike[at])[:4])
        expected.append(torch.stack([patches[at] for at in best]))
    torch.testing.assert_close(vlm.see(MIX).tokens, to_llm(vlm, torch.stack(expected)), rtol=0, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize("stride", [1, 3])
def test_convolutional_is_a_strided_convolution(stride: int) -> None:
    vlm = connected("convolutional", stride=stride).double()
    image = features(vlm, MIX.frames)[:, 1:].mT.unflatten(2, (3, 3))
    kernel = weight(vlm, "patches_to_llm.weight").unflatten(1, (stride, stride, 16)).permute(0, 3, 1, 2)
    found = F.conv2d(image, kernel, weight(vlm, "patches_to_llm.bias"), stride=stride).flatten(2).mT
    torch.testing.assert_close(vlm.see(MIX).tokens, 0.14 * found, rtol=0, atol=1e-12)


@torch.no_grad()
def test_last_frames_are_all_that_is_encoded_and_read(monkeypatch: pytest.MonkeyPatch) -> None:
    vlm, looked = connected("last-frames", frames=2), list[int]()
    encode = vlm.encoder.encode
    monkeypatch.setattr(
        vlm.encoder, "encode", lambda frames, **how: looked.append(len(frames)) or encode(frames, **how)
    )
    before = vlm.logits(MIX)
    assert looked == [2 + 1 + 2 + 2]
    early = MIX.frames.clone()
    for frame in (0, *range(4, 7)):  # of 3, 1, 5 and 2 frames those before the last two
        early[frame] ^= 255
    assert all(map(torch.equal, before, vlm.logits(evolve(MIX, frames=early))))
    patches = features(vlm, MIX.frames[[1, 2, 3, 7, 8, 9, 10]])[:, 1:]
    torch.testing.assert_close(vlm.see(MIX).tokens, to_llm(vlm, patches), rtol=0, atol=1e-6)


def test_random_patches_are_of_the_sample_and_the_frame_and_of_nothing_else() -> None:
    vlm = connected("random")
    torch.manual_seed(1)
    one = vlm.train().see(MIX).tokens
    torch.manual_seed(2)
    assert torch.equal(one, vlm.eval().see(MIX).tokens)
    other = evolve(MIX, sample_ids=tuple(f"{name}'" for name in MIX.sample_ids))
    assert not torch.isclose(one, vlm.see(other).tokens).all()
    with torch.no_grad():
        alone = connected("random").see(only(MIX, 3)).tokens
    torch.testing.assert_close(one[4:9].detach(), alone, rtol=0, atol=1e-6)


def test_random_patches_are_drawn_evenly_and_apart() -> None:
    """Of 5 patches 2 have 10 choices; in 20,000 frames each is drawn 2,000 times, give or take 42."""
    keys, places = np.divmod(np.arange(20_000), 100)
    found = drawn(7, keys * 2**40, places, 5, 2)
    pairs, counts = np.unique(found, axis=0, return_counts=True)
    assert [tuple(pair) for pair in pairs.tolist()] == list(combinations(range(5), 2))
    chi = float(((counts - 2000) ** 2 / 2000).sum())
    assert chi < 27.9  # 0.999 of chi-squared with 9 degrees of freedom
    again = drawn(8, keys * 2**40, places, 5, 2)
    assert (found == again).all(1).mean() == pytest.approx(0.1, abs=0.01)  # another seed: independent
    assert (found[1:] == found[:-1]).all(1).mean() == pytest.approx(0.1, abs=0.01)  # the next frame: too


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("merge", {"tokens": 10}, "tokens: expected at most 9, got 10: the encoder sees 3 x 3 patches"),
        ("random", {"tokens": 10}, "tokens: expected at most 9, got 10: the encoder sees 3 x 3 patches"),
        ("select", {"tokens": 10}, "tokens: expected at most 9, got 10: the encoder sees 3 x 3 patches"),
        ("perceiver", {"heads": 3}, "heads: expected a divisor of the encoder's width, 16, got 3"),
        (
            "convolutional",
            {"stride": 2},
            "stride: expected one of 1, 3, got 2: the encoder sees 3 x 3 patches, and",
        ),
    ],
)
def test_settings_that_do_not_fit_the_encoder_are_refused(
    name: str, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=f"^{said}"):
        connected(name, **changes)


def test_select_needs_a_cls_token() -> None:
    spec = evolve(encoder().spec, prefix_tokens=0)
    with pytest.raises(UsageError, match="and this encoder has none; expected an encoder with one"):
        config(connected("select")).spec(spec)


def test_each_query_of_a_frame_asks_for_one_of_the_next() -> None:
    """One of several queries, alone: what it sees is what it would see as the only one, in the coarse pass."""
    several, single = connected("foveated, 3 queries"), connected("foveated")
    state = several.state_dict()
    for which in range(3):
        own = {name: each[which : which + 1] for name, each in state.items() if "connector.q_" in name}
        single.load_state_dict({**state, **own})
        alone, among = (vlm.see(MIX, "coarse_only").tokens for vlm in (single, several))
        torch.testing.assert_close(among[:, which], alone[:, 0], rtol=0, atol=1e-6)
    with torch.no_grad():
        several.connector.get_parameter("q_static")[2] += 1
    found = (vlm.see(MIX).diagnostics["queries"] for vlm in (connected("foveated, 3 queries"), several))
    before, after = (queries.unflatten(0, (-1, 3)) for queries in found)
    second = torch.tensor([1, 2, 5, 6, 7, 8, 10])  # frames that have one before them
    assert not torch.isclose(before[second, 2], after[second, 2]).all(1).any()
    assert torch.equal(
        before[1, :2], after[1, :2]
    )  # tokens 0 and 1 of a sample's first frame stand before token 2
