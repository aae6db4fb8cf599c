"""Golden tensors of the founding system: reading a case, and building the same model here."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch
from attrs import frozen
from fvlm_dinov2.config import DINOv2
from fvlm_dinov2.model import build as build_encoder
from fvlm_foveated.config import Foveated
from fvlm_foveated.model import build as build_foveated
from fvlm_pooled.config import Pooled
from fvlm_pooled.model import build as build_pooled
from fvlm_smollm2.config import SmolLM2
from fvlm_smollm2.model import build as build_llm
from safetensors.torch import load_file
from torch import Tensor

from fvlm_core.data.batch import Batch
from fvlm_core.model.vlm import VLM
from fvlm_core.weights.matching import our_name

LOSS, VALUES, ATTENTION, NORM, NORM_FLOOR = 5e-6, 1e-4, 1e-5, 2e-3, 1e-4
"""What holds between library versions: losses, logits and tokens, attention probabilities, gradient norms (relative,
and the floor below which they are noise)."""
PADDING, EXACT = 1e-5, 1e-12
"""What holds between a sample among others and the same sample alone, in float32 and in float64: losses absolutely,
logits relative to the largest, because other batch shapes round otherwise."""


def folder() -> Path:
    """Where the golden tensors are."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "parity"
    return Path(os.environ.get("FVLM_PARITY_DIR", beside))


@frozen
class Case:
    """One recorded case: `about` is its entry in the JSON file of its tag."""

    tag: str
    name: str
    about: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.tag}.{self.name}"

    def recorded(self) -> dict[str, Tensor]:
        """The recorded tensors."""
        return load_file(folder() / f"{self}.safetensors")


def cases() -> list[Case]:
    """Every case of every tag in the folder."""
    found: list[Case] = []
    for file in sorted(folder().glob("*.json")):
        record = json.loads(file.read_text(encoding="utf-8"))
        if "cases" not in record:
            continue
        tag = file.stem
        found += [Case(tag, name, about) for name, about in record["cases"].items()]
        found += [Case(tag, name, record[name]) for name in ("attn_frame0", "dpo") if name in record]
        found += [
            Case(tag, f"multi_token_{name}", about) for name, about in record.get("multi_token", {}).items()
        ]
    return found


@cache
def setting(tag: str) -> dict[str, Any]:
    """The tag's JSON: configurations, key names, sizes."""
    return json.loads((folder() / f"{tag}.json").read_text(encoding="utf-8"))


@cache
def inputs(tag: str) -> dict[str, Tensor]:
    """The tag's recorded inputs."""
    return load_file(folder() / f"{tag}.inputs.safetensors")


@cache
def architectures(tag: str) -> tuple[str, str]:
    """Two folders with the `config.json` of the tag's encoder and LLM, as the Hugging Face hub lays them out."""
    record = setting(tag)
    described = (
        {"model_type": "dinov2", **record["dino_config"]},
        {"model_type": "llama", "tie_word_embeddings": bool(record["tied"]), **record["llm_config"]},
    )
    folders: list[str] = []
    for description in described:
        folders.append(mkdtemp(prefix="fvlm-golden-"))
        (Path(folders[-1]) / "config.json").write_text(json.dumps(description), encoding="utf-8")
    return folders[0], folders[1]


def build(tag: str, *, first: bool = False, pooled_grid: int | None = None, **foveated: Any) -> VLM:
    """The model of a tag with its recorded weights. first: whether the first text token is scored."""
    record = setting(tag)
    encoder_folder, llm_folder = architectures(tag)
    encoder = build_encoder(DINOv2(weights=encoder_folder, image_size=record["input_image_size"]))
    llm = build_llm(SmolLM2(weights=llm_folder), record["llm_config"]["vocab_size"])
    scale = record["visual_scale"]
    if pooled_grid is None:
        config = Foveated(query_dim=record["query_dim"], visual_scale=scale, **foveated)
        connector = build_foveated(config, encoder.spec, llm.spec)
    else:
        connector = build_pooled(Pooled(grid=pooled_grid, visual_scale=scale), encoder.spec, llm.spec)
    vlm = VLM(encoder, connector, llm, score_first_token=first)
    state = {
        our_name(vlm, name): tensor
        for name, tensor in load_file(folder() / f"{tag}.weights.safetensors").items()
    }
    known = vlm.state_dict()
    if pooled_grid is not None:
        state = {name: tensor for name, tensor in state.items() if name in known}
    vlm.load_state_dict(state)
    return vlm


def batch(
    tag: str,
    *,
    supervised: Tensor | None = None,
    ids: Tensor | None = None,
    lengths: Tensor | None = None,
    frame_mask: Tensor | None = None,
    only: int | None = None,
) -> Batch:
    """The tag's recorded inputs as a batch; frames where `frame_mask` [B, T] is False are not there.

    only: that one sample, alone.
    """
    record = inputs(tag)
    frames = record["frames"]
    ids = record["input_ids"] if ids is None else ids
    if frame_mask is None:
        frame_mask = torch.ones(frames.shape[:2], dtype=torch.bool)
    if lengths is None:
        lengths = torch.full((len(ids),), ids.shape[1])
    if supervised is None:
        supervised = torch.ones_like(ids, dtype=torch.bool)
    rows = slice(None) if only is None else slice(only, only + 1)
    chosen = frame_mask[rows].bool()
    return Batch(
        frames=frames[rows][chosen],
        counts=chosen.sum(1),
        ids=ids[rows],
        lengths=lengths[rows],
        supervised=supervised[rows],
        content=supervised[rows],
    )
