"""Samples that share a row attend as they would alone, by every way of computing it; and a batch is packed where that
saves work."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate

import pytest
import torch
import torch.nn.functional as F
from fvlm_smollm2.attention import PackedLengths, attend_causally, jagged
from hypothesis import given, settings
from hypothesis import strategies as st
from small import batch
from torch import Tensor

from fvlm_core.model.sequences import PADDING, plan, positions

HEADS, KV_HEADS, HEAD = 6, 2, 8


def by_calls(query: Tensor, key: Tensor, value: Tensor, lengths: list[int]) -> Tensor:
    """As on a CPU."""
    return PackedLengths.of(lengths, torch.device("cpu")).attend(query, key, value)


def by_nested_tensors(query: Tensor, key: Tensor, value: Tensor, lengths: list[int]) -> Tensor:
    """As on a GPU, with a stand-in for its kernel: torch has none for causal nested tensors on a CPU."""
    offsets = torch.tensor([0, *accumulate(lengths)])

    def kernel(*nested: Tensor, is_causal: bool) -> Tensor:
        assert is_causal
        samples = zip(*(states.transpose(1, 2).unbind() for states in nested), strict=True)
        seen = [attention(*(each.transpose(0, 1) for each in sample), is_causal=True) for sample in samples]
        flat = torch.cat([each.transpose(0, 1) for each in seen])
        return torch.nested.nested_tensor_from_jagged(flat, offsets).transpose(1, 2)

    attention = F.scaled_dot_product_attention
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(F, "scaled_dot_product_attention", kernel)
        return jagged(query, key, value, offsets, lengths)


def alone(query: Tensor, key: Tensor, value: Tensor, lengths: list[int]) -> Tensor:
    """Each sample by itself."""
    split = zip(*(states.split(lengths, 2) for states in (query, key, value)), strict=True)
    return torch.cat([attend_causally(*sample) for sample in split], 2)


@pytest.mark.parametrize("packed", [by_calls, by_nested_tensors])
def test_samples_that_share_a_row_attend_as_if_alone(packed: Callable[..., Tensor]) -> None:
    @settings(max_examples=40, deadline=None, derandomize=True)
    @given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(0, 1000))
    def compare(lengths: list[int], seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        draw = lambda heads: torch.randn(
            1, heads, sum(lengths), HEAD, dtype=torch.float64, generator=generator
        ).requires_grad_()
        given = draw(HEADS), draw(KV_HEADS), draw(KV_HEADS)
        weights = torch.randn(1, HEADS, sum(lengths), HEAD, dtype=torch.float64, generator=generator)
        found = []
        for attend in (packed, alone):
            seen = attend(*given, lengths)
            assert seen.shape == given[0].shape
            found.append((seen, *torch.autograd.grad((seen * weights).sum(), given)))
        for ours, expected in zip(*found, strict=True):
            torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)

    compare()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_samples_that_share_a_row_attend_as_if_alone_on_a_gpu(precision: torch.dtype) -> None:
    lengths = [5, 64, 1, 300, 64]
    given = [
        torch.randn(1, heads, sum(lengths), 64, device="cuda", dtype=precision, requires_grad=True)
        for heads in (HEADS, KV_HEADS, KV_HEADS)
    ]
    packed = PackedLengths.of(lengths, torch.device("cuda")).attend(*given)
    expected = alone(*given, lengths)
    near = {"rtol": 2e-2, "atol": 2e-2} if precision is torch.bfloat16 else {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(packed, expected, **near)
    for ours, theirs in zip(
        *(torch.autograd.grad(s.square().sum(), given) for s in (packed, expected)), strict=True
    ):
        torch.testing.assert_close(ours, theirs, **near)


def test_a_batch_is_packed_where_that_saves_work() -> None:
    even, uneven = batch([1, 1, 1], [200, 200, 198]), batch([1, 1, 1], [200, 10, 10])
    assert plan(even, 1).lengths is None
    assert plan(even, 1).rows * plan(even, 1).width == positions([201, 201, 199]) == 603
    assert plan(uneven, 1).lengths == (201, 11, 11)
    assert plan(uneven, 1).rows * plan(uneven, 1).width == positions([201, 11, 11]) == 223
    assert plan(uneven, 1, pack=False).lengths is None
    edge = [PADDING + 1, 1]
    assert positions(edge) == sum(edge)
    assert positions([PADDING, 1]) == 2 * PADDING
