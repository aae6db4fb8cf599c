"""The head's gradients are made with its losses, in chunks: the same numbers, and no logits that wait."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from small import VOCABULARY, batch, model
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from trainer import go, opened, outcome, small

from fvlm_core.model import head
from fvlm_core.model import vlm as composed
from fvlm_core.model.head import head_losses


def given_(labels: int, vocabulary: int, width: int, dtype: torch.dtype, seed: int = 0) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(labels, width, generator=generator, dtype=dtype, requires_grad=True)
    weight = torch.randn(vocabulary, width, generator=generator, dtype=dtype, requires_grad=True)
    return hidden, weight, torch.randint(vocabulary, (labels,), generator=generator)


def plain(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    logits = F.linear(hidden, weight)
    return F.cross_entropy(
        logits.to(torch.promote_types(logits.dtype, torch.float32)), labels, reduction="none"
    )


def relative(ours: Tensor, theirs: Tensor) -> float:
    return ((ours - theirs).norm() / theirs.norm()).item()


@settings(deadline=None, max_examples=40)
@given(
    labels=st.integers(1, 40), vocabulary=st.integers(2, 60), width=st.integers(1, 9), chunk=st.integers(1, 4096),
    cache=st.integers(1, 512), scale=st.floats(-3, 3), of_each=st.booleans(),
)  # fmt: skip
def test_losses_and_gradients_are_those_of_all_logits_at_once_in_any_chunks(
    labels: int, vocabulary: int, width: int, chunk: int, cache: int, scale: float, of_each: bool
) -> None:
    hidden, weight, right = given_(labels, vocabulary, width, torch.float32)
    factor = torch.linspace(-1, 1, labels) if of_each else torch.zeros(labels)
    wanted = plain(hidden, weight, right)
    theirs = torch.autograd.grad((wanted * (scale + factor)).sum(), (hidden, weight))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(head, "CHUNK_BYTES", chunk)
        patch.setattr(head, "_IN_CACHE", cache)
        total, each = head_losses(hidden, weight, right)
        lowered = scale * total + ((factor * each).sum() if of_each else 0)
        ours = torch.autograd.grad(lowered, (hidden, weight))
    torch.testing.assert_close(each, wanted, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(total, wanted.sum(), rtol=1e-6, atol=1e-6)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-5)


def test_float32_is_exact_to_a_millionth(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, weight, labels = given_(300, 2000, 64, torch.float32)
    monkeypatch.setattr(head, "CHUNK_BYTES", 70 * 2000 * 4)
    wanted = plain(hidden, weight, labels).sum()
    theirs = torch.autograd.grad(wanted, (hidden, weight))
    total = head_losses(hidden, weight, labels)[0]
    ours = torch.autograd.grad(total, (hidden, weight))
    assert total.item() == pytest.approx(wanted.item(), rel=1e-6)
    assert max(map(relative, ours, theirs)) < 1e-6


def test_gradients_in_float64_are_those_of_finite_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "CHUNK_BYTES", 3 * 7 * 8)
    hidden, weight, labels = given_(8, 7, 4, torch.float64)
    assert torch.autograd.gradcheck(
        lambda states, table: head_losses(states, table, labels), (hidden, weight)
    )
    assert torch.autograd.gradcheck(
        lambda states, table: head_losses(states, table, labels)[0], (hidden, weight)
    )


def test_under_autocast_it_is_as_near_to_float32_as_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, weight, labels = given_(300, 2000, 64, torch.float32)
    exact = torch.autograd.grad(plain(hidden, weight, labels).sum(), (hidden, weight))
    monkeypatch.setattr(head, "CHUNK_BYTES", 70 * 2000 * 2)
    with torch.autocast("cpu", torch.bfloat16):
        wanted = plain(hidden, weight, labels).sum()
        total, each = head_losses(hidden, weight, labels)
    assert total.dtype == each.dtype == torch.float32
    assert total.item() == pytest.approx(wanted.item(), rel=1e-5)
    theirs = torch.autograd.grad(wanted, (hidden, weight))
    ours = torch.autograd.grad(total, (hidden, weight))
    for mine, other, right in zip(ours, theirs, exact, strict=True):
        assert mine.dtype == torch.float32
        assert relative(mine, right) < 1.1 * relative(other, right)


def test_what_needs_no_gradient_gets_none_and_costs_none() -> None:
    for frozen in (0, 1):
        given = given_(20, 30, 4, torch.float32)
        given[frozen].requires_grad_(False)
        wanted = plain(*given).sum()
        wanted.backward()
        theirs, given[1 - frozen].grad = given[1 - frozen].grad, None
        products = Products()
        with products:
            head_losses(*given)[0].backward()
        assert products.count == 2  # logits, and one gradient
        assert given[frozen].grad is None
        torch.testing.assert_close(given[1 - frozen].grad, theirs)


def test_a_second_backward_pass_gives_the_same_gradients() -> None:
    hidden, weight, labels = given_(20, 30, 4, torch.float32)
    total = 2 * head_losses(hidden, weight, labels)[0]
    once = torch.autograd.grad(total, (hidden, weight), retain_graph=True)
    kept = [each.clone() for each in once]
    for each in once:
        each.zero_()
    again = torch.autograd.grad(total, (hidden, weight))
    for mine, other in zip(again, kept, strict=True):
        torch.testing.assert_close(mine, other)


class Products(TorchDispatchMode):
    """Counts matrix products, and the most numbers of a tensor that outlives them."""

    def __init__(self) -> None:
        super().__init__()
        self.count, self.largest = 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm)
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor):
            self.largest = max(self.largest, out.numel())
        return out


def test_no_logits_wait_and_none_are_made_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, weight, labels = given_(64, 5000, 8, torch.float32)
    monkeypatch.setattr(head, "CHUNK_BYTES", 16 * 5000 * 4)
    products = Products()
    with products:
        total = head_losses(hidden, weight, labels)[0]
    assert products.count == 3 * 4
    assert products.largest == 16 * 5000  # a quarter of all logits
    with products:
        total.backward()
    assert products.count == 3 * 4


@pytest.mark.parametrize("lambda_coarse", [0.0, 0.5])
def test_a_model_has_the_losses_and_gradients_of_the_plain_way(
    lambda_coarse: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = batch([2, 0, 1], [9, 5, 7])
    whole, chunked = model(lambda_coarse=lambda_coarse), model(lambda_coarse=lambda_coarse)
    for each in (whole, chunked):
        each.logit_scale = 0.5
    wanted = whole(given)
    wanted.loss.backward()
    monkeypatch.setattr(composed, "PLAIN_LOGITS", 0)
    monkeypatch.setattr(head, "CHUNK_BYTES", 5 * VOCABULARY * 4)
    monkeypatch.setattr(chunked, "predict", None)  # no logits of it
    losses = chunked(given)
    losses.loss.backward()
    for name in ("loss", "fine", "content", "per_sample"):
        torch.testing.assert_close(getattr(losses, name), getattr(wanted, name))
    assert losses.auxiliary.keys() == wanted.auxiliary.keys() == ({"coarse"} if lambda_coarse else set())
    grads = {name: each.grad for name, each in whole.named_parameters() if each.grad is not None}
    assert grads.keys() == {name for name, each in chunked.named_parameters() if each.grad is not None}
    for name, gradient in grads.items():
        torch.testing.assert_close(chunked.get_parameter(name).grad, gradient, msg=name)


def test_losses_of_single_samples_can_be_lowered_too(monkeypatch: pytest.MonkeyPatch) -> None:
    given, share = batch([2, 0, 1], [9, 5, 7]), torch.tensor([1.0, -2.0, 0.5])
    whole, chunked = model(), model()
    (whole(given).per_sample * share).sum().backward()
    monkeypatch.setattr(composed, "PLAIN_LOGITS", 0)
    (chunked(given).per_sample * share).sum().backward()
    for ours, theirs in zip(chunked.parameters(), whole.parameters(), strict=True):
        if theirs.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad)


def test_few_logits_an_evaluation_and_a_head_that_says_nothing_are_as_they_were(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(*_: Any) -> Any:
        raise AssertionError("made with its gradients")

    monkeypatch.setattr(composed, "head_losses", refused)
    given, vlm = batch([2, 0, 1], [9, 5, 7]), model()
    vlm(given).loss.backward()
    monkeypatch.setattr(composed, "PLAIN_LOGITS", 0)
    with torch.no_grad():
        vlm(given)
    with pytest.raises(AssertionError, match="made with its gradients"):
        vlm(given)
    monkeypatch.setattr(vlm.llm, "head_weight", lambda: None)
    vlm(given).loss.backward()


def test_a_run_resumes_bit_exactly(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FVLM_CACHE", str(tmp_path / "cache"))
    recipe = small(tmp_path, "training.steps=6", "eval.every=3", "training.micro_batch_size=1")
    data = opened(recipe, tmp_path / "none")
    go(recipe, tmp_path / "plain", data)
    used: list[int] = []
    monkeypatch.setattr(composed, "PLAIN_LOGITS", 0)
    monkeypatch.setattr(
        composed, "head_losses", lambda *given: used.append(len(given[2])) or head_losses(*given)
    )
    monkeypatch.setattr(head, "CHUNK_BYTES", 2000)
    go(recipe, tmp_path / "whole", data)
    go(recipe, tmp_path / "cut", data, at=2)
    go(recipe, tmp_path / "cut", data)
    assert outcome(recipe, tmp_path / "cut") == outcome(recipe, tmp_path / "whole")
    near, far = (
        [row.get("train_loss") for row in outcome(recipe, tmp_path / name)["rows"]]
        for name in ("whole", "plain")
    )
    assert [each for each in near if each] == pytest.approx([each for each in far if each], rel=1e-5)
    assert len(used) == 6 * 4 * 2  # steps, samples, and both texts of coarse and fine
