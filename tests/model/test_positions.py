"""Positions are computed in float32, whatever the weights and the activations are."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from fvlm_dinov2.blocks import Embeddings
from fvlm_smollm2.rotary import rotary_table

ROUNDED = 2**-8
"""What rounding to bfloat16 changes at most, of the number itself."""


@pytest.mark.parametrize("base", [10_000.0, 100_000.0])
def test_rotary_angles_of_far_positions_are_exact_in_bfloat16(base: float) -> None:
    """Su et al. 2021: pair i of d / 2 turns by base^(-2 i / d) a position."""
    sizes = {"hidden_size": 32, "num_attention_heads": 2, "rope_theta": base}
    cosine, sine = rotary_table(sizes, 2000, torch.empty(0, dtype=torch.bfloat16))
    turns = base ** (-torch.arange(0, 16, 2, dtype=torch.float64) / 16)
    angles = torch.cat((turns, turns)) * torch.arange(2000)[:, None]
    for got, wanted in ((cosine, angles.cos()), (sine, angles.sin())):
        assert got.dtype == torch.bfloat16
        assert (got[:, 0].double() - wanted).abs().max() < ROUNDED + 5e-4


def test_a_table_of_positions_in_bfloat16_is_resized_before_it_is_rounded() -> None:
    torch.manual_seed(0)
    made = Embeddings({"hidden_size": 8, "patch_size": 2, "image_size": 12}).requires_grad_(False)
    for parameter in made.patch_embeddings.parameters():
        parameter.zero_()  # what is left of a token is its position
    table = made.to(torch.bfloat16).position_embeddings
    got = made(torch.zeros(1, 3, 18, 18))
    square = table.double()[:, 1:].unflatten(1, (6, 6)).permute(0, 3, 1, 2)
    wanted = F.interpolate(square, (9, 9), mode="bicubic", align_corners=False).flatten(2).transpose(1, 2)
    assert got.dtype == torch.bfloat16
    assert torch.equal(got[:, :1], table[:, :1])
    assert ((got[:, 1:].double() - wanted).abs() <= ROUNDED * wanted.abs() + 1e-6).all()
