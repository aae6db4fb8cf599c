"""From a recipe's choices to a model: every component built through the registry, weights from the run's seed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from attrs import evolve
from torch import nn

from fvlm_core.interfaces.chat import Chat
from fvlm_core.interfaces.llm import LLMBackend
from fvlm_core.interfaces.specs import EncoderSpec, LLMSpec, ModalitySpec
from fvlm_core.model.vlm import VLM
from fvlm_core.recipes.schema import Chosen, Model
from fvlm_core.utils.errors import UsageError
from fvlm_core.utils.pretrained import known_architectures
from fvlm_core.utils.seeding import derive
from fvlm_registry import Kind, registry

Corpus = Callable[[], Iterable[str]]


def make_chat(model: Model, corpus: Corpus, file: Path | None = None) -> Chat:
    """The chat format and tokenizer that the LLM's config asks for. file: one saved earlier."""
    return model.llm.config.chat(corpus, file=file)


def read_architectures(model: Model) -> dict[str, dict[str, Any]]:
    """What encoder and LLM take from the `config.json` of pretrained weights, by the name the recipe gives them: with
    it (`known_architectures`) the model is described where those files are not."""
    read: dict[str, dict[str, Any]] = {}
    with known_architectures(read):
        specs(model, None)
    return read


def remarks(model: Model) -> list[str]:
    """What its parts have to say of themselves before they are trained: a config's own `remarks()`, if it has them."""
    parts = (model.encoder, model.connector, *(model.modalities or ()), model.llm)
    return [text for part in parts for text in getattr(part.config, "remarks", tuple)()]


def specs(model: Model, vocabulary: int | None) -> tuple[EncoderSpec, LLMSpec]:
    """The sizes of encoder and LLM; vocabulary fills in what waits for a tokenizer."""
    llm: LLMSpec = model.llm.config.spec()
    if llm.vocabulary is None:
        llm = evolve(llm, vocabulary=vocabulary)
    return model.encoder.config.spec(), llm


def modality_specs(model: Model) -> tuple[ModalitySpec, ...]:
    """What the encoders of other modalities than frames take and make, in the recipe's order."""
    return tuple(chosen.config.spec() for chosen in model.modalities or ())


def compose(
    model: Model, vocabulary: int, seed: int, *, weights: bool = True, zero_head: bool = False
) -> VLM:
    """Build the model. Fresh weights are a function of (seed, component) alone; float32.

    vocabulary: of the tokenizer in use. weights: whether to load the pretrained ones that the recipe names; False on
    the meta device, where parameters are counted. zero_head: whether a fresh head that is not the embedding is zero,
    and all logits with it.
    """
    encoder_spec, llm_spec = specs(model, vocabulary)
    rows = llm_spec.vocabulary or vocabulary
    if vocabulary > rows:
        raise UsageError(
            f'llm "{model.llm.name}": its tokenizer has {vocabulary:,} tokens, and the embedding {rows:,} rows; '
            "expected the tokenizer that belongs to it"
        )
    vocabulary = rows
    encoder = _seeded(seed, "encoder", lambda: build_part("encoder", model.encoder))
    llm: LLMBackend = _seeded(seed, "llm", lambda: build_part("llm", model.llm, vocabulary))
    if zero_head and not llm.spec.tied:
        for name in heads(llm):
            nn.init.zeros_(llm.get_parameter(name))
    connector = _seeded(
        seed, "connector", lambda: build_part("connector", model.connector, encoder_spec, llm_spec)
    )
    modalities = {
        spec.modality: _seeded(
            seed, spec.modality, lambda chosen=chosen: build_part("modality", chosen, llm_spec)
        )
        for chosen, spec in zip(model.modalities or (), modality_specs(model), strict=True)
    }
    if weights:
        for part in (encoder, llm, *modalities.values()):
            part.load_weights()
    flags = {
        "blind": model.blind,
        "score_first_token": model.score_first_token,
        "question_first": model.question_first,
    }
    return VLM(encoder, connector, llm, modalities=modalities, **flags)


def heads(llm: LLMBackend) -> set[str]:
    """Names of the weights that hidden states become logits by; of a tied head, the embedding's."""
    trained = {name: weight for name, weight in llm.named_parameters() if weight.requires_grad}
    hidden = torch.zeros(1, llm.spec.width, device=next(llm.parameters()).device)
    with torch.enable_grad():
        found = torch.autograd.grad(llm.logits(hidden).sum(), list(trained.values()), allow_unused=True)
    given = zip(trained, found, strict=True)
    return {name for name, each in given if each is not None}  # pyright: ignore[reportUnnecessaryComparison]


def build_part(kind: Kind, chosen: Chosen, *needs: object) -> Any:
    """A part of the model, with fresh weights. needs: what its target takes beside its config."""
    return part_maker(kind, chosen)(chosen.config, *needs)


def part_maker(kind: Kind, chosen: Chosen) -> Callable[..., Any]:
    """What makes a part of the model, of its config and whatever it needs beside that."""
    found = registry()
    return found.load(found.find(kind, chosen.component).component.target)


def _seeded(seed: int, component: str, build: Callable[[], Any]) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(derive(seed, "weights", component))
        return build()
