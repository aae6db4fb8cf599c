"""Weight files made elsewhere: read without running what they hold, and matched to a model by name and shape."""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Collection, Mapping
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, cast
from zipfile import is_zipfile

import torch
from attrs import field, frozen
from safetensors.torch import load_file
from torch import Tensor

from fvlm_core.model.vlm import VLM
from fvlm_core.utils.errors import Problem, Problems, UsageError
from fvlm_core.utils.listing import MOST, listed
from fvlm_core.utils.pretrained import check_whole, no_weight, of_gguf

_WRAPPERS = ("module.", "_orig_mod.", "vlm.")
"""What DistributedDataParallel, torch.compile and an exported folder put before every name."""

_TRAINING = "model_state_dict"


@frozen(eq=False)
class Foreign:
    """A weight file's content. layout: "safetensors" or "training checkpoint".

    about: what a training checkpoint says of itself: `step`, `metric_value`, as far as it has them.
    """

    file: Path
    layout: str
    tensors: dict[str, Tensor]
    about: dict[str, Any] = field(factory=dict[str, Any])


def read_foreign(file: Path) -> Foreign:
    """Read a `.safetensors`, or a training checkpoint `.pt` with `torch.load(weights_only=True)`.

    A `.pt` is a pickle, and a pickle can run code when it is read; what that mode refuses stays unread: there is no
    fallback. Raises `UsageError`.
    """
    if not file.is_file():
        raise UsageError(f"{file}: no such file")
    if file.suffix == ".safetensors":
        check_whole(file)
        return Foreign(file, "safetensors", load_file(file))
    if file.suffix != ".pt":
        raise UsageError(
            f"{file}: expected a .safetensors or a training checkpoint .pt, got {file.name}{of_gguf(file)}"
        )
    content = _unpickled(file)
    tensors = content.get(_TRAINING) if isinstance(content, dict) else None
    if not isinstance(tensors, dict) or not all(isinstance(t, Tensor) for t in tensors.values()):
        got = listed(content) if isinstance(content, dict) else type(content).__name__
        raise UsageError(
            f'{file}: expected a training checkpoint with "{_TRAINING}" (names to tensors), got {got}'
        )
    said = {key: value for key in ("step", "metric_value") if _is_number(value := content.get(key))}
    return Foreign(file, "training checkpoint", cast(dict[str, Tensor], tensors), said)


def our_name(vlm: VLM, name: str) -> str:
    """The name in a model of a tensor called `name` in a file made elsewhere; each component knows its own."""
    while name.startswith(_WRAPPERS):
        name = name.partition(".")[2]
    for part in (vlm.encoder, vlm.connector, vlm.llm, *vlm.signal_encoders):
        name = part.our_name(name)
    return name


@torch.no_grad()
def load_foreign(vlm: VLM, foreign: Foreign) -> None:
    """Put the tensors of a file, whatever their precision, into a model: every parameter, and nothing else.

    Raises `Problems` that name every tensor that is missing, unexpected, of another shape, no weights (see
    `no_weight`), or stored twice (a tied head) with two values, each with the nearest name on the other side.
    """
    wanted = dict(vlm.named_parameters())
    stored: dict[str, str] = {}
    problems: list[Problem] = []
    unexpected: dict[str, str] = {}

    def wrong(name: str, text: str) -> None:
        problems.append(Problem(text, str(foreign.file), key=name))

    def nearest(
        name: str, names: Collection[str]
    ) -> str | None:  # of those that are told: it is a search each
        return _nearest(name, names) if len(problems) < MOST and len(names) < 10_000 else None

    for there, tensor in foreign.tensors.items():
        name = our_name(vlm, there)
        if name not in wanted:
            unexpected[name] = there
        elif name in stored:
            if not torch.equal(tensor, foreign.tensors[stored[name]]):
                wrong(there, f'differs from "{stored[name]}", and here both are one weight (tied)')
        else:
            stored[name] = there
            if tensor.shape != wanted[name].shape:
                wrong(there, f"expected shape {list(wanted[name].shape)}, got {list(tensor.shape)}")
            elif fault := no_weight(tensor):
                wrong(there, fault)
    missing = [name for name in wanted if name not in stored]
    for name in missing:
        near = nearest(name, unexpected)
        wrong(name, "missing" + (f'; the nearest in the file is "{unexpected[near]}"' if near else ""))
    for name, there in unexpected.items():
        near = nearest(name, missing)
        wrong(there, "unexpected" + (f'; did you mean "{near}"?' if near else ""))
    if problems:
        raise Problems(problems)
    for name, there in stored.items():
        wanted[name].copy_(foreign.tensors[there])


def _unpickled(file: Path) -> Any:
    if not is_zipfile(file):
        raise UsageError(
            f"{file}: not a checkpoint as torch writes them (a zip file); nothing of it was read"
        )
    try:
        # Mapped, so that the optimizer's state, twice the weights, is not read.
        return torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        what = f"the Python object {named[1]}" if named else "Python objects"
        raise UsageError(
            f"{file}: refused: it holds {what}, not only tensors and plain values, and reading it could run code. "
            "Ask its author for a .safetensors file"
        ) from None
    except (RuntimeError, EOFError) as error:
        raise UsageError(f"{file}: damaged: {str(error).splitlines()[0]}") from None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _nearest(name: str, names: Collection[str] | Mapping[str, str]) -> str | None:
    """The most similar of `names`; those that share the most parts between dots are looked at more closely."""
    parts = set(name.split("."))
    closest = sorted(names, key=lambda other: -len(parts & set(other.split("."))))[:8]
    scored = [(SequenceMatcher(None, name, other).ratio(), other) for other in closest]
    score, best = max(scored, default=(0.0, ""))
    return best if score > 0.5 else None
