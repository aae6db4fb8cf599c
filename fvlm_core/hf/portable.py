"""A model folder that needs no fvlm: what goes into its `config.json`, the files of code it takes along, and what it
cannot carry.

The code is `fvlm_core/hf/standalone`, as it is. It knows kinds of components, not plugins: a component whose config
object has a method `portable()` says which kind it is, as a table with "type" and the settings of that type:

- encoder: {"type": "dinov2", "config": arguments of transformers' `Dinov2Config`}
- connector: {"type": "foveated", "query_dim", "queries", "depth", "query_bias", "mode", "fine_iterations",
  "visual_scale"} or {"type": "pooled", "grid", "visual_scale"}
- LLM: {"type": "llama", "config": arguments of transformers' `LlamaConfig`, "chat": "chatml", "system"}

Weights have the names that they have in fvlm.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from fvlm_core.data.batch import Batch
from fvlm_core.hf.standalone.modeling_fvlm import FvlmConfig, FvlmForConditionalGeneration
from fvlm_core.media.viewing import Viewing
from fvlm_core.recipes.schema import Model
from fvlm_core.utils.atomic_files import write_json
from fvlm_core.utils.errors import FvlmError, UsageError
from fvlm_core.utils.listing import lines, listed
from fvlm_core.weights.restore import Restored

CARRIED = {"encoder": ("dinov2",), "connector": ("foveated", "pooled"), "llm": ("llama",)}
"""Types of components that the code of the folder knows."""

CODE = ("modeling_fvlm.py", "processing_fvlm.py", "inputs_fvlm.py")
"""Files of the folder that are code."""

_AUTO_MAP = {
    "AutoConfig": "modeling_fvlm.FvlmConfig",
    "AutoModel": "modeling_fvlm.FvlmForConditionalGeneration",
    "AutoModelForImageTextToText": "modeling_fvlm.FvlmForConditionalGeneration",
    "AutoProcessor": "processing_fvlm.FvlmProcessor",
}
_TOLERANCE = 1e-4
"""Of logits, as a share of the largest: what float32 sums in another order give is a hundredth of it."""


def portable(model: Model, form: str) -> dict[str, dict[str, Any]]:
    """What encoder, connector and LLM say of themselves. form: that is asked for, for the message. Raises `UsageError`
    that names everything that the folder cannot carry."""
    parts = {"encoder": model.encoder, "connector": model.connector, "llm": model.llm}
    if form == "gguf":  # the language model alone
        parts = {"llm": model.llm}
    said: dict[str, dict[str, Any]] = {
        kind: getattr(part.config, "portable", dict[str, Any])() for kind, part in parts.items()
    }
    wrong = [
        f'model.{kind}: "{part.name}" is not carried; expected one of the type {listed(list(CARRIED[kind]))}'
        for kind, part in parts.items()
        if said[kind].get("type") not in CARRIED[kind]
    ]
    wrong += [
        f"model.{name}: not carried; expected {expected}"
        for name, expected, there in (
            ("modalities", "none", bool(model.modalities)),
            ("question_first", "false", model.question_first),
            ("blind", "false", model.blind),
        )
        if there and form != "gguf"
    ]
    if wrong:
        raise UsageError(
            lines([f"--format {form} writes a model that needs no fvlm, and cannot carry this one", *wrong])
            + "\n--format fvlm writes any model, as a folder that is loaded with fvlm installed"
        )
    return said


def config_fields(said: dict[str, dict[str, Any]], restored: Restored) -> dict[str, Any]:
    """The fields of the standalone `FvlmConfig`. said: see `portable`."""
    model, spec = restored.model, restored.model.encoder.spec
    text: dict[str, Any] = {**said["llm"]["config"], "vocab_size": model.llm.spec.vocabulary}
    return {
        "vision_config": said["encoder"]["config"],
        "text_config": {key: value for key, value in text.items() if value is not None},
        "connector": said["connector"],
        "image_size": spec.image_size,
        "image_mean": spec.mean,
        "image_std": spec.std,
        "tie_word_embeddings": model.llm.spec.tied,
        "auto_map": _AUTO_MAP,
    }


def standalone(config: FvlmConfig, restored: Restored) -> FvlmForConditionalGeneration:
    """The model of the folder with a run's weights, shared with it. Raises `FvlmError` where it is another one: a
    weight too many or too few, or other logits for random frames."""
    model = FvlmForConditionalGeneration(config).eval()
    state = {f"vlm.{name}": weight for name, weight in restored.model.state_dict().items()}
    missing, unexpected = model.load_state_dict(state, strict=False, assign=True)
    model.tie_weights()
    tied = {"vlm.llm.lm_head.weight"} if restored.model.llm.spec.tied else set[str]()
    if strange := sorted({*missing} - tied | {*unexpected}):
        raise FvlmError(f"the folder's code has other weights than this model: {listed(strange)}")
    ours, theirs = _logits(restored, model)
    if (difference := float((ours - theirs).abs().max() / ours.abs().max())) > _TOLERANCE:
        raise FvlmError(
            f"the folder's code gives other logits than this model, by {difference:.1e} of the largest; expected at "
            f"most {_TOLERANCE:.0e}. What its components' portable() says is not what they compute"
        )
    return model


def write_code(to: Path, files: tuple[str, ...] = CODE) -> None:
    """The files of code, as they are."""
    for name in files:
        text = (Path(__file__).with_name("standalone") / name).read_text(encoding="utf-8")
        (to / name).write_text(text, encoding="utf-8")


def write_processor(to: Path, viewing: Viewing, llm: dict[str, Any]) -> None:
    """`processor_config.json`: how the processor shows and asks things."""
    write_json(
        to / "processor_config.json",
        {
            "processor_class": "FvlmProcessor",
            "auto_map": {"AutoProcessor": _AUTO_MAP["AutoProcessor"]},
            **shown(viewing, llm),
        },
    )


def shown(viewing: Viewing, llm: dict[str, Any]) -> dict[str, Any]:
    """How things are shown and asked, in plain numbers and texts. llm: see `portable`."""
    names = ("fps", "max_frames", "fit", "repeats", "prompt", "picture_prompt")
    return {
        "image_size": viewing.size,
        **{name: getattr(viewing, name) for name in names},
        "system": viewing.system or llm["system"],
    }


@torch.no_grad()
def _logits(restored: Restored, model: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the run's model and of the folder's, for three random frames in two clips: the text's logits."""
    side, rows = restored.model.encoder.spec.image_size, restored.model.llm.spec.vocabulary or 2
    draw = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (3, 3, side, side), generator=draw, dtype=torch.uint8)
    ids = torch.randint(0, rows, (2, 4), generator=draw)
    counts, lengths = torch.tensor([1, 2]), torch.tensor([4, 4])
    nothing = torch.zeros_like(ids, dtype=torch.bool)
    ours = restored.model.logits(Batch(frames, counts, ids, lengths, nothing, nothing))
    theirs = model(ids, frames, counts).logits
    return torch.stack([row[-4:] for row in ours]), theirs
