"""Small real models and random batches for tests of the model."""

from __future__ import annotations

from typing import Any

import torch
from fvlm_dinov2.config import DINOv2
from fvlm_dinov2.model import DINOv2Encoder
from fvlm_dinov2.model import build as build_encoder
from fvlm_foveated.config import Foveated
from fvlm_foveated.model import build as build_foveated
from fvlm_pooled.config import Pooled
from fvlm_pooled.model import build as build_pooled
from fvlm_smollm2.config import SmolLM2
from fvlm_smollm2.model import LlamaBackend
from fvlm_smollm2.model import build as build_llm

from fvlm_core.data.batch import Batch
from fvlm_core.model.build import build_part
from fvlm_core.model.vlm import VLM
from fvlm_core.recipes.choose import choose
from fvlm_core.recipes.located import Located

SIDE, VOCABULARY = 42, 50
CONNECTORS: dict[str, dict[str, Any]] = {
    "foveated": {"name": "foveated", "query_dim": 12},
    "foveated, 3 queries": {"name": "foveated", "query_dim": 12, "queries": 3},
    "foveated, shallow": {"name": "foveated", "query_dim": 12, "queries": 2, "depth": "shallow"},
    "pooled": {"name": "pooled", "grid": 2},
    "perceiver": {"name": "perceiver", "tokens": 3},
    "merge": {"name": "merge", "tokens": 4},
    "random": {"name": "random", "tokens": 4},
    "select": {"name": "select", "tokens": 4},
    "last-frames": {"name": "last-frames", "frames": 2},
    "convolutional": {"name": "convolutional", "stride": 3},
}
"""One of each that comes with fvlm, for the 3 x 3 patches of `encoder`."""


def encoder(**changes: Any) -> DINOv2Encoder:
    """Three layers of width 16 over 3 x 3 patches, random weights."""
    settings = {"weights": "seeded", "width": 16, "depth": 3, "heads": 2, "image_size": SIDE, **changes}
    return build_encoder(DINOv2(**settings))


def llm(**changes: Any) -> LlamaBackend:
    """Two layers of width 16, two query heads to a key/value head, random weights."""
    settings = {
        "weights": "seeded", "width": 16, "mlp": 32, "depth": 2, "heads": 4, "kv_heads": 2, **changes
    }  # fmt: skip
    return build_llm(SmolLM2(**settings), VOCABULARY)


def model(
    *,
    seed: int = 0,
    pooled: int = 0,
    encoder_changes: dict[str, Any] | None = None,
    llm_changes: dict[str, Any] | None = None,
    whole: dict[str, Any] | None = None,
    **foveated: Any,
) -> VLM:
    """A small VLM. pooled: the pooled connector's grid, 0 for the foveated one. whole: arguments of `VLM`."""
    torch.manual_seed(seed)
    eye, speaker = encoder(**(encoder_changes or {})), llm(**(llm_changes or {}))
    if pooled:
        connector = build_pooled(Pooled(grid=pooled), eye.spec, speaker.spec)
    else:
        connector = build_foveated(Foveated(**{"query_dim": 12, **foveated}), eye.spec, speaker.spec)
    return VLM(eye, connector, speaker, **(whole or {}))


def connected(
    connector: str,
    *,
    seed: int = 0,
    whole: dict[str, Any] | None = None,
    encoder_changes: dict[str, Any] | None = None,
    llm_changes: dict[str, Any] | None = None,
    **changes: Any,
) -> VLM:
    """A small VLM with one of `CONNECTORS`. changes: of its settings. whole: arguments of `VLM`."""
    torch.manual_seed(seed)
    eye, speaker = encoder(**(encoder_changes or {})), llm(**(llm_changes or {}))
    table = {key: Located(value, "") for key, value in {**CONNECTORS[connector], **changes}.items()}
    made = build_part("connector", choose(Located(table, ""), "connector"), eye.spec, speaker.spec)
    return VLM(eye, made, speaker, **(whole or {}))


def batch(
    counts: list[int],
    lengths: list[int],
    *,
    seed: int = 0,
    supervise: float = 0.6,
    questions: list[int] | None = None,
) -> Batch:
    """Random frames and text; each real token is supervised with probability `supervise`. questions: text tokens of
    each sample before its first answer."""
    generator = torch.Generator().manual_seed(seed)
    wide = max(lengths)
    size = torch.tensor(lengths)
    real = torch.arange(wide) < size[:, None]
    supervised = real & (torch.rand(len(lengths), wide, generator=generator) < supervise)
    return Batch(
        frames=torch.randint(0, 256, (sum(counts), 3, SIDE, SIDE), generator=generator, dtype=torch.uint8),
        counts=torch.tensor(counts),
        ids=torch.randint(0, VOCABULARY, (len(lengths), wide), generator=generator) * real,
        lengths=size,
        supervised=supervised,
        content=supervised & (torch.rand(len(lengths), wide, generator=generator) < 0.5),
        sample_ids=tuple(f"small/{sample}" for sample in range(len(counts))),
        questions=torch.tensor(questions or [0] * len(lengths)),
    )


def only(whole: Batch, sample: int) -> Batch:
    """One sample of a batch, alone and unpadded."""
    first = int(whole.counts[:sample].sum())
    text = slice(int(whole.lengths[sample]))
    row = slice(sample, sample + 1)
    return Batch(
        frames=whole.frames[first : first + int(whole.counts[sample])],
        counts=whole.counts[row],
        ids=whole.ids[row, text],
        lengths=whole.lengths[row],
        supervised=whole.supervised[row, text],
        content=whole.content[row, text],
        sample_ids=whole.sample_ids[row],
        questions=whole.questions[row],
    )
