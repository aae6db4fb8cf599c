"""Attention by plain products is torch's own attention, values and gradients, in whatever shapes it is asked for."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fvlm_core.model import attention
from fvlm_core.model.attention import dot_product_attention


@pytest.fixture(autouse=True)
def products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "has_bf16", lambda: True)


def states(rows: int, heads: int, length: int, width: int, dtype: torch.dtype) -> Tensor:
    """As layers give them, [rows, heads, length, width], heads beside each other in memory."""
    drawn = torch.randn(rows, length, heads * width, dtype=torch.float64).to(dtype)
    return drawn.unflatten(-1, (heads, width)).transpose(1, 2).detach().requires_grad_()


def both(query: Tensor, key: Tensor, value: Tensor, causal: bool) -> list[tuple[Tensor, Tensor]]:
    """Output and gradients: of ours, and of torch's attention of the same numbers in float64."""
    found: list[list[Tensor]] = []
    follow = torch.randn(*query.shape[:3], value.shape[-1], dtype=torch.float64)
    for dtype in (query.dtype, torch.float64):
        given = [each.detach().to(dtype).requires_grad_() for each in (query, key, value)]
        if dtype == torch.float64:
            groups = query.shape[1] // key.shape[1]
            asking, keys, values = given[0], *(each.repeat_interleave(groups, 1) for each in given[1:])
            seen = F.scaled_dot_product_attention(asking, keys, values, is_causal=causal)
        else:
            seen = dot_product_attention(given[0], given[1], given[2], causal=causal)
        seen.backward(follow.to(dtype))
        found.append([seen, *(each.grad for each in given if each.grad is not None)])
    return list(zip(*found, strict=True))


@settings(deadline=None, max_examples=40)
@given(
    rows=st.integers(1, 3),
    shared=st.integers(1, 3),
    groups=st.integers(1, 3),
    length=st.integers(1, 40),
    more=st.integers(0, 9),
    width=st.sampled_from([1, 4, 8, 20]),
    causal=st.booleans(),
    at_once=st.sampled_from([1, 500, 2**19]),
)
def test_values_and_gradients_are_those_of_torch_s_attention_in_float64(
    rows: int, shared: int, groups: int, length: int, more: int, width: int, causal: bool, at_once: int
) -> None:
    seen = length if causal else length + more
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "by_products", lambda *_: True)
        patch.setattr(attention, "_SCORES", at_once)
        patch.setattr(attention, "_FEWEST", 1)
        query = states(rows, shared * groups, length, width, torch.float32)
        key, value = (states(rows, shared, seen, width, torch.float32) for _ in range(2))
        for ours, exact in both(query, key, value, causal):
            assert ours.shape == exact.shape
            assert float((ours - exact).detach().abs().max()) <= 1e-5 * max(
                1.0, float(exact.detach().abs().max())
            )


@pytest.mark.parametrize(("shape", "causal"), [((4, 6, 257, 64), False), ((2, 9, 136, 64), True)])
def test_in_bf16_it_is_as_near_to_float64_as_torch_s_kernel(shape: tuple[int, ...], causal: bool) -> None:
    rows, heads, length, width = shape
    query, key, value = (states(rows, heads, length, width, torch.bfloat16) for _ in range(3))
    ours = both(query, key, value, causal)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "by_products", lambda *_: False)
        kernels = both(query, key, value, causal)
    error = lambda pair: float((pair[0].double() - pair[1]).detach().norm() / pair[1].norm())
    for one, other in zip(ours, kernels, strict=True):
        assert error(one) <= 1.5 * error(other) + 1e-3
        assert error(one) < 0.02


def test_autocast_brings_what_rotation_left_in_float32_to_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(F, "scaled_dot_product_attention", None)  # products it is, not the kernel
    query, key, value = (states(2, 3, 33, 8, torch.float32) for _ in range(3))
    with torch.autocast("cpu", torch.bfloat16):
        seen = dot_product_attention(query, key, value, causal=True)
    assert seen.dtype == torch.bfloat16
    seen.sum().backward()
    assert query.grad is not None
    assert query.grad.dtype == torch.float32


@pytest.mark.parametrize(("length", "causal"), [(769, True), (1537, False), (63, False)])
def test_lengths_at_which_torch_s_kernel_is_faster_are_left_to_it(length: int, causal: bool) -> None:
    query, key, value = (states(1, 1, length, 4, torch.bfloat16) for _ in range(3))
    expected = F.scaled_dot_product_attention(query, key, value, is_causal=causal)
    assert torch.equal(dot_product_attention(query, key, value, causal=causal), expected)


def test_float32_is_torch_s_own_to_the_bit() -> None:
    query, key, value = (states(2, 3, 17, 8, torch.float32) for _ in range(3))
    expected = F.scaled_dot_product_attention(query, key, value, is_causal=True)
    assert torch.equal(dot_product_attention(query, key, value, causal=True), expected)
