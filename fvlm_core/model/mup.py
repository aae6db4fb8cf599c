"""Maximal update parametrisation (Yang et al. 2022, arXiv:2203.03466, table 8, Adam): one learning rate for all widths.

A recipe says what the model is at its base width; parameter by parameter the shapes tell what has grown since. Then

- matrices whose inputs have grown learn at the base's rate x (base inputs / inputs), and decay by as much as there;
- logits are scaled by base width / width of the language model (its head may be its embedding);
- a fresh head of its own begins at zero (appendix D.2), as the logits of infinite width do: those of a random one are
  ~ 1 / sqrt(width). A head that is the embedding cannot;
- embeddings, norms, biases, learned queries, and matrices whose inputs have not grown stay as they are.

Fresh weights must have a variance of 1 / inputs, as those of the components here have; heads must grow in number and
not in width, for which attention's 1 / sqrt(head width) is right.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import torch
from torch import Tensor, nn

from fvlm_core.interfaces.specs import EncoderSpec, LLMSpec
from fvlm_core.model.build import compose, heads
from fvlm_core.model.vlm import VLM
from fvlm_core.recipes.parametrisation import MuP
from fvlm_core.recipes.read import settings_from
from fvlm_core.recipes.resolved import plain
from fvlm_core.recipes.schema import Model
from fvlm_core.utils.errors import UsageError
from fvlm_core.utils.listing import listed

_SHOWN = "training.mup"


def base_model(model: Model, mup: MuP) -> Model:
    """The same model at its base width. Raises `Problems` for settings that its components do not have."""
    table = plain(model)
    for part in ("encoder", "connector", "llm"):
        table[part] = {**table[part], **(getattr(mup, part) or {})}
    return settings_from(table, Model, _SHOWN)


def parametrise(vlm: VLM, model: Model, mup: MuP | None) -> None:
    """Have a model scale its logits by how much its language model has grown; nothing without settings."""
    if mup is not None:
        vlm.logit_scale = base_model(model, mup).llm.config.spec().width / vlm.llm.spec.width


def rate_factors(vlm: VLM, model: Model, mup: MuP | None) -> dict[str, float]:
    """The factor on the learning rate of every matrix whose inputs have grown, by full name; 1 where none is named.

    Raises `UsageError` where the base differs in more than width.
    """
    if mup is None:
        return {}
    vocabulary = vlm.llm.spec.vocabulary
    assert vocabulary is not None
    with torch.device("meta"):
        base = compose(base_model(model, mup), vocabulary, 0, weights=False)
    _check_heads("encoder", base.encoder.spec, vlm.encoder.spec)
    _check_heads("llm", base.llm.spec, vlm.llm.spec)
    before = {name: parameter.shape for name, parameter in base.named_parameters()}
    now = dict(vlm.named_parameters())
    other = [
        name
        for name in {**before, **now}
        if name not in now or name not in before or len(now[name].shape) != len(before[name])
    ]
    if other:
        raise UsageError(
            f"{_SHOWN}: the base differs in more than width: {listed(other)} are not in both; expected the depth and "
            "the kinds of the model itself"
        )
    return {
        name: before[name][1:].numel() / weight[0].numel()
        for name, weight in _hidden(vlm, {f"llm.{name}" for name in heads(base.llm)})
        if before[name][1:] != weight.shape[1:]
    }


def _hidden(vlm: VLM, head: Collection[str]) -> Iterator[tuple[str, Tensor]]:
    """Matrices and kernels that map activations; not the head's, by name, which the logits' scale is there for."""
    for path, module in vlm.named_modules():
        for name, weight in module.named_parameters(recurse=False):
            matrix = weight.ndim >= 2 and "weight" in name and not isinstance(module, nn.Embedding)
            if matrix and f"{path}.{name}" not in head:
                yield f"{path}.{name}", weight


def _check_heads(part: str, base: EncoderSpec | LLMSpec, now: EncoderSpec | LLMSpec) -> None:
    before, after = _head_width(base), _head_width(now)
    if before != after:
        raise UsageError(
            f"{_SHOWN}: the {part}'s heads have {before:g} channels at the base width and {after:g} in the model: "
            f"attention would need another scale; expected as many, with {now.width / before:g} heads in the model"
        )


def _head_width(spec: EncoderSpec | LLMSpec) -> float:
    stated = spec.head_width if isinstance(spec, LLMSpec) else None
    return stated or spec.width / spec.heads
