"""Weight files made elsewhere: every tensor comes in under its name or is named, and no file runs code."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from small import model
from torch import Tensor

from fvlm_core.utils.errors import Problems, UsageError
from fvlm_core.weights.matching import load_foreign, read_foreign

Tensors = dict[str, Tensor]
OLD = {"q_proj": "attention.query", "k_proj": "attention.key", "v_proj": "attention.value"}


def stored() -> Tensors:
    """Another model's, as its file would hold them: copies, none of which shares memory."""
    return {name: p.detach().clone() for name, p in model(seed=1).named_parameters()}


def load(tensors: Tensors, folder: Path) -> Any:
    vlm = model(seed=0)
    save_file(tensors, folder / "w.safetensors")
    load_foreign(vlm, read_foreign(folder / "w.safetensors"))
    return vlm


def earlier(name: str) -> str:
    """As transformers 4 called the attention of DINOv2."""
    for new, old in OLD.items():
        name = name.replace(f"attention.{new}.", f"attention.{old}.") if "encoder." in name else name
    return (
        name.replace("attention.o_proj.", "attention.output.dense.") if name.startswith("encoder.") else name
    )


@pytest.mark.parametrize(
    "renamed", [str, lambda name: f"module.{name}", lambda name: f"_orig_mod.module.{name}", earlier]
)
def test_every_tensor_comes_in_under_any_name_it_had(renamed: Callable[[str], str], tmp_path: Path) -> None:
    tensors = stored()
    vlm = load({renamed(name): tensor for name, tensor in tensors.items()}, tmp_path)
    assert all(torch.equal(parameter, tensors[name]) for name, parameter in vlm.named_parameters())
    assert any(renamed(name) != name for name in tensors) or renamed is str


def without(tensors: Tensors) -> None:
    del tensors["connector.q_static"]


def beyond(tensors: Tensors) -> None:
    tensors["connector.q_third"] = torch.ones(1, 12)


def cut(tensors: Tensors) -> None:
    tensors["connector.q_init"] = tensors["connector.q_init"][:, :5].contiguous()


def untied(tensors: Tensors) -> None:
    tensors["llm.lm_head.weight"] = tensors["llm.model.embed_tokens.weight"] + 1


def counted(tensors: Tensors) -> None:
    tensors["connector.q_init"] = tensors["connector.q_init"].to(torch.int32)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (without, "connector.q_static: missing"),
        (beyond, "connector.q_third: unexpected"),
        (cut, r"connector.q_init: expected shape \[1, 12\], got \[1, 5\]"),
        (untied, "here both are one weight"),
        (counted, "expected floating point of 16, 32 or 64 bits, got int32"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(
    harm: Callable[[Tensors], None], said: str, tmp_path: Path
) -> None:
    tensors = stored()
    harm(tensors)
    with pytest.raises(Problems, match=said) as caught:
        load(tensors, tmp_path)
    assert len(caught.value.problems) == 1


def test_a_head_that_is_stored_twice_and_equal_is_one_weight(tmp_path: Path) -> None:
    tensors = stored()
    tensors["llm.lm_head.weight"] = tensors["llm.model.embed_tokens.weight"].clone()
    assert torch.equal(load(tensors, tmp_path).llm.model.embed_tokens.weight, tensors["llm.lm_head.weight"])


class Malicious:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def test_a_checkpoint_that_would_run_code_is_refused_unread(tmp_path: Path) -> None:
    torch.save(
        {"model_state_dict": {"a": torch.ones(1)}, "note": Malicious(tmp_path / "ran")}, tmp_path / "w.pt"
    )
    with pytest.raises(UsageError, match="refused: it holds the Python object"):
        read_foreign(tmp_path / "w.pt")
    assert not (tmp_path / "ran").exists()
