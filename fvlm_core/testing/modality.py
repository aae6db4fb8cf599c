"""What an encoder of another modality promises; see `ModalityEncoder`."""

from __future__ import annotations

from copy import deepcopy
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from fvlm_core.interfaces.modality import ModalityEncoder
from fvlm_core.interfaces.specs import ModalitySpec
from fvlm_core.testing.encoder import noise
from fvlm_core.testing.finding import Promise, expect, promises
from fvlm_core.testing.modules import (
    check_apart,
    check_close,
    check_gradients,
    check_meta,
    check_seeds,
    check_shape,
    seeded,
)
from fvlm_core.testing.partners import ear_spec
from fvlm_core.testing.subject import ComponentUnderTest

PROMISES: list[Promise] = []
ITEMS = 3


class Listener:
    """The encoder under test, and a few items of noise."""

    def __init__(self, subject: ComponentUnderTest) -> None:
        self.component = subject.component
        self.config = subject.config
        self.target = subject.load()

    def build(self) -> Any:
        """Another one, with weights from the generator as it stands."""
        return self.target(self.config, ear_spec())

    @cached_property
    def module(self) -> Any:
        """With the weights of seed 1."""
        return seeded(self.build, 1)

    @property
    def items(self) -> Tensor:
        """Float32 [ITEMS, *item]."""
        return noise(ITEMS, *self.config.spec().item)


def prepare(subject: ComponentUnderTest) -> Listener:
    """The encoder under test."""
    return Listener(subject)


@promises(PROMISES, "its config states what it takes and makes", ModalityEncoder, "`spec() -> ModalitySpec`")
def _spec(listener: Listener) -> None:
    found = listener.config.spec()
    expect(isinstance(found, ModalitySpec), f"config.spec() gives {found!r}")


@promises(PROMISES, "build(config, llm) makes an encoder", ModalityEncoder, "The component's target is")
def _build(listener: Listener) -> None:
    made = listener.module
    expect(isinstance(made, ModalityEncoder), f"{listener.component.target} makes a {type(made).__name__}")
    stated = listener.config.spec()
    expect(made.spec == stated, f"its spec is {made.spec}; config.spec() says {stated}")


@promises(PROMISES, "the seed decides the weights", ModalityEncoder, "It makes its weights as")
def _seeds(listener: Listener) -> None:
    check_seeds(listener.build)


@promises(PROMISES, "it can be made without memory", ModalityEncoder, "It makes its weights as")
def _meta(listener: Listener) -> None:
    check_meta(listener.build)


@promises(PROMISES, "its FLOPs can be counted", ModalityEncoder.encode, "done on the meta device")
def _counted(listener: Listener) -> None:
    with torch.device("meta"):
        tokens = listener.build().encode(torch.empty(1, *listener.module.spec.item))
    expect(tokens.device.type == "meta", f"its tokens are on the device {tokens.device}")


@promises(PROMISES, "tokens have the stated shape", ModalityEncoder.encode, "The tokens of I items")
def _tokens(listener: Listener) -> None:
    for count in (ITEMS, 0):
        with torch.no_grad():
            found = listener.module.encode(listener.items[:count])
        wanted = (count, listener.module.spec.tokens_per_item, ear_spec().width)
        check_shape(found, wanted, f"tokens of {count} items", "[I, k, W]")


@promises(PROMISES, "items do not see each other", ModalityEncoder.encode, "Items do not see each other")
def _alone(listener: Listener) -> None:
    with torch.no_grad():
        together = listener.module.encode(listener.items)
        for at in range(ITEMS):
            alone = listener.module.encode(listener.items[at : at + 1])
            check_close(alone, together[at : at + 1], f"tokens of item {at} alone and beside others")
    items = listener.items.requires_grad_()
    with torch.enable_grad():
        tokens = deepcopy(listener.module).train().encode(items)
        check_apart(tokens[:1], items, slice(1, None), "tokens of an item depend on the items beside it")


@promises(PROMISES, "its tokens depend on the items", ModalityEncoder.encode, "The tokens of I items")
def _hears(listener: Listener) -> None:
    with torch.no_grad():
        first, second, *_ = listener.module.encode(listener.items)
    expect(not torch.equal(first, second), "different items get the same tokens")


@promises(PROMISES, "gradients reach every weight", ModalityEncoder, "Gradients reach every weight")
def _gradients(listener: Listener) -> None:
    def loss() -> Tensor:
        tokens = listener.module.encode(listener.items)
        return (tokens * noise(*tokens.shape, seed=5)).sum()

    check_gradients(listener.module, loss)
