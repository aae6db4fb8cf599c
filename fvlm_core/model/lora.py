"""Low-rank adaptation (Hu et al. 2021, arXiv:2106.09685): W x becomes W x + alpha / rank · B A x, and W stays.

A is Kaiming-uniform and B zero, so that training starts from the model as it was. The factors are modules of the layer
that they stand beside, `...q_proj.lora_a` and `...q_proj.lora_b`, and so are their names in checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvlm_core.model.vlm import VLM
from fvlm_core.recipes.parametrisation import LoRA
from fvlm_core.utils.errors import UsageError
from fvlm_core.utils.listing import listed
from fvlm_core.utils.seeding import derive
from fvlm_registry.nearest import did_you_mean

_A, _B = ".lora_a.weight", ".lora_b.weight"
_SUFFIX = "_proj"


class LoRALinear(nn.Linear):
    """A linear layer with low-rank factors beside it: A [rank, in] and B [out, rank].

    Who calls it pays rank x (in + out) multiply-adds a row beside the layer's own, and no gradient of W. Who reads
    `weight` instead gets the merged W + scaling · B A, through which gradients reach the factors.
    """

    lora_a: nn.Linear
    lora_b: nn.Linear
    scaling: float

    def forward(self, input: Tensor) -> Tensor:
        """[..., in] to [..., out]."""
        plain = F.linear(input, self._parameters["weight"], self.bias)  # pyright: ignore[reportArgumentType]
        return plain + self.scaling * self.lora_b(self.lora_a(input))

    @property
    def weight(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The merged weight [out, in]."""
        own = self._parameters["weight"]
        assert own is not None
        return own + self.scaling * self.lora_b.weight @ self.lora_a.weight


def adapt(model: VLM, settings: LoRA | None, seed: int) -> None:
    """Put factors beside the layers that a recipe names, in place, and hold everything else of their components still.

    To be called when the weights that a model starts from are in it. The factors are a function of (seed, component)
    alone. Nothing is done without settings. Raises `UsageError` for a pattern, or a component, without a layer.
    """
    if settings is None:
        return
    parts: dict[str, nn.Module] = {name: getattr(model, name) for name in settings.components}
    chosen = {name: _matching(part, settings.targets) for name, part in parts.items()}
    _check(settings, parts, chosen)
    for name, part in parts.items():
        part.requires_grad_(False)
        with torch.random.fork_rng():
            torch.manual_seed(derive(seed, "weights", "lora", name))
            for layer in chosen[name].values():
                _put_beside(layer, settings)


@contextmanager
def unmerged(model: nn.Module) -> Generator[None]:
    """Meanwhile `weight` of an adapted layer is its own parameter, as of any layer: for code of torch that moves
    parameters about and would take the merged weight for one."""
    layers = [layer for _, layer in _adapted(model)]
    for layer in layers:
        layer.__class__ = nn.Linear  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        for layer in layers:
            layer.__class__ = LoRALinear


def trained_alone(model: nn.Module) -> set[str]:
    """Full names of all factors; empty without `adapt`."""
    return {name for name, _ in model.named_parameters() if name.endswith((_A, _B))}


@torch.no_grad()
def merge(model: nn.Module) -> None:
    """Make plain layers of adapted ones, in place: W + scaling · B A under the name of W."""
    for _, layer in _adapted(model):
        merged = layer.weight
        del layer.lora_a, layer.lora_b, layer.scaling
        layer.__class__ = nn.Linear  # pyright: ignore[reportAttributeAccessIssue]
        layer.weight.copy_(merged)


def merged(tensors: Mapping[str, Tensor], settings: LoRA | None) -> dict[str, Tensor]:
    """The same of a weight file's tensors by name, whose run's recipe has these settings; float32.

    Raises `UsageError` for factors without settings: how strongly they weigh is not in the file.
    """
    plain = {name: tensor for name, tensor in tensors.items() if not name.endswith((_A, _B))}
    for name in tensors:
        if not name.endswith(_B):
            continue
        if settings is None:
            raise UsageError(
                f"{name}: the file holds LoRA's factors, and not how strongly they weigh: their run's recipe says it; "
                'expected the run itself ("recipe/id", or its folder), or what `fvlm weights export` writes of it'
            )
        layer = name.removesuffix(_B)
        scaling = settings.alpha / settings.rank
        low = tensors[name].float() @ tensors[layer + _A].float()
        plain[f"{layer}.weight"] = plain[f"{layer}.weight"].float() + scaling * low
    return plain


def _put_beside(layer: nn.Linear, settings: LoRA) -> None:
    """In place: whoever holds the layer, under however many names, holds the adapted one."""
    weight, rank = layer.weight, settings.rank
    layer.lora_a = nn.Linear(layer.in_features, rank, bias=False, device=weight.device, dtype=weight.dtype)
    layer.lora_b = nn.Linear(rank, layer.out_features, bias=False, device=weight.device, dtype=weight.dtype)
    nn.init.kaiming_uniform_(layer.lora_a.weight, a=math.sqrt(5))
    nn.init.zeros_(layer.lora_b.weight)
    layer.scaling = settings.alpha / settings.rank  # pyright: ignore[reportArgumentType]
    layer.__class__ = LoRALinear


def _adapted(model: nn.Module) -> Iterator[tuple[str, LoRALinear]]:
    return ((name, layer) for name, layer in model.named_modules() if isinstance(layer, LoRALinear))


def _layers(part: nn.Module) -> dict[str, nn.Linear]:
    """Linear layers by name; not those that another class computes in its own way."""
    return {
        name: layer
        for name, layer in part.named_modules()
        if isinstance(layer, nn.Linear) and type(layer).forward is nn.Linear.forward
    }


def _matching(part: nn.Module, patterns: Collection[str]) -> dict[str, nn.Linear]:
    return {
        name: layer
        for name, layer in _layers(part).items()
        if any(_matches(name, pattern) for pattern in patterns)
    }


def _matches(name: str, pattern: str) -> bool:
    """Of the whole name inside the component, or its last part; "_proj" at the end may be left out."""
    last = name.rpartition(".")[2]
    return any(fnmatchcase(each, pattern) for each in (name, last, last.removesuffix(_SUFFIX)))


def _check(settings: LoRA, parts: Mapping[str, nn.Module], chosen: Mapping[str, Collection[str]]) -> None:
    short = {
        name: list(dict.fromkeys(each.rpartition(".")[2] for each in _layers(parts[name]))) for name in parts
    }
    there = "; ".join(f"{name}: {listed(layers)}" for name, layers in short.items())
    every = [layer for layers in short.values() for layer in layers]
    for pattern in settings.targets:
        if not any(_matches(name, pattern) for names in chosen.values() for name in names):
            raise UsageError(
                f'training.lora.targets: no linear layer is called like "{pattern}"{did_you_mean(pattern, every)}. '
                f'The layers there are ("*" is all of them): {there}'
            )
    for name, layers in chosen.items():
        if not layers:
            raise UsageError(
                f"training.lora: {listed(settings.targets)} match no linear layer of the {name}, which would not train "
                f'at all. The layers there are: {there}; or leave "{name}" out of components'
            )
