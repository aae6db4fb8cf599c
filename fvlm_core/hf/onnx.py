"""A trained model as ONNX graphs, with a program that captions by them: for where there is no PyTorch."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fvlm_core.hf.onnx_graphs import Embed, Encode, Look, Step
from fvlm_core.hf.standalone.modeling_fvlm import FvlmForConditionalGeneration
from fvlm_core.utils.errors import FvlmError

CODE = ("caption_onnx.py", "inputs_fvlm.py")
"""Files of the folder that are code."""

LIBRARIES = ("onnx", "onnxscript", "onnxruntime")
"""What the export needs beyond fvlm: the extra `onnx`."""

PARITY = 1e-4
"""By which share of its largest value what a float graph gives may differ from PyTorch."""

_ONE_FILE = 1_800_000_000
"""Bytes of weights up to which a graph is one file: protobuf ends at 2 GiB."""


def write_graphs(
    model: FvlmForConditionalGeneration, to: Path, int8: bool, note: Callable[[str], None]
) -> dict[str, Any]:
    """The graphs of a model, and what `settings.json` says of them. note: is told how far each is from PyTorch.

    int8: matrices and embeddings as 8-bit integers with a scale for each column, activations by onnxruntime as they
    come (dynamic quantisation): a quarter of the size. Raises `FvlmError` where a float graph gives something else than
    PyTorch.
    """
    for name, (module, given, names, dynamic) in graphs(model).items():
        file = to / f"{name}.onnx"
        _write(module, given, names, dynamic, file)
        far = distance(module, given, names, file)
        if far > PARITY:
            raise FvlmError(
                f"{file}: differs from PyTorch by {far:.1e} of the largest; expected at most {PARITY:.0e}"
            )
        told = f"{name}: differs from PyTorch by at most {far:.1e}"
        if int8:
            _quantise(file)
            told += f", as int8 by {distance(module, given, names, file):.1e}"
        note(f"{told} of the largest value; {file.stat().st_size / 1e3:,.0f} kB")
    return _settings(model)


Graph = tuple[nn.Module, tuple[Tensor, ...], tuple[list[str], list[str]], tuple[dict[int, Any], ...]]
"""A module, what it is tried with, the names of what goes in and comes out, and which axes vary."""


def graphs(model: FvlmForConditionalGeneration) -> dict[str, Graph]:
    """Every graph that the model needs, by name; see `fvlm_core.hf.onnx_graphs`."""
    config, any_ = model.config, torch.export.Dim.DYNAMIC
    text, foveated = config.text_config, config.connector["type"] == "foveated"
    draw = torch.Generator().manual_seed(0)
    side = config.image_size
    frames = torch.randint(0, 256, (2, 3, side, side), generator=draw, dtype=torch.uint8)
    encode = Encode(model).eval()
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    cache = (text.num_hidden_layers, 2, text.num_key_value_heads, 5, head)
    past = tuple(torch.randn(cache, generator=draw) for _ in range(2))
    embeddings = 0.14 * torch.randn(2, 3, text.hidden_size, generator=draw)
    made: dict[str, Graph] = {}
    seen = ["keys", "values"] if foveated else ["tokens"]
    made["encode"] = (encode, (frames,), (["frames"], seen), ({0: any_},))
    if foveated:
        with torch.no_grad():
            kept = encode(frames)
        queries = torch.randn(2, *model.vlm.connector.q_static.shape, generator=draw)
        names = (["queries", *seen], ["tokens", "gaze"])
        made["look"] = (Look(model).eval(), (queries, *kept), names, ({0: any_}, {1: any_}, {1: any_}))
    ids = torch.randint(0, text.vocab_size, (2, 3), generator=draw)
    made["embed"] = (Embed(model).eval(), (ids,), (["ids"], ["embeddings"]), ({0: any_, 1: any_},))
    out = ["logits", "keys", "values", *(["queries"] if foveated else [])]
    names = (["embeddings", "past_keys", "past_values"], out)
    longer = {1: any_, 3: any_}
    made["step"] = (Step(model).eval(), (embeddings, *past), names, ({0: any_, 1: any_}, longer, longer))
    return made


@torch.no_grad()
def distance(
    module: nn.Module, given: tuple[Tensor, ...], names: tuple[list[str], list[str]], file: Path
) -> float:
    """By how much a file's graph differs from its module: the largest difference over the largest value, of whichever
    output is worst."""
    from onnxruntime import InferenceSession

    session: Any = InferenceSession(file, providers=["CPUExecutionProvider"])
    theirs = session.run(names[1], {name: one.numpy() for name, one in zip(names[0], given, strict=True)})
    ours: Any = module(*given)
    pairs = zip(ours if isinstance(ours, tuple) else (ours,), theirs, strict=True)
    return max(float(np.abs(one.numpy() - other).max() / np.abs(one.numpy()).max()) for one, other in pairs)


@torch.no_grad()
def _write(
    module: nn.Module,
    given: tuple[Tensor, ...],
    names: tuple[list[str], list[str]],
    dynamic: tuple[dict[int, Any], ...],
    file: Path,
) -> None:
    size = sum(weight.numel() * weight.element_size() for weight in module.parameters())
    said = logging.getLogger("torch.onnx"), logging.getLogger("onnxscript")
    levels = [one.level for one in said]
    for one in said:
        one.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter, about its own parts
            torch.onnx.export(
                module,
                given,
                file,
                input_names=names[0],
                output_names=names[1],
                dynamic_shapes=dynamic,
                dynamo=True,
                external_data=size > _ONE_FILE,
                verbose=False,
            )
    finally:
        for one, level in zip(said, levels, strict=True):
            one.setLevel(level)


def _quantise(file: Path) -> None:
    """In place."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    large = file.with_name(f"{file.name}.data").exists()
    whole = file.rename(file.with_name(f"float_{file.name}"))
    logging.getLogger().setLevel(logging.ERROR)  # advice about preparing graphs, which the exporter has done
    quantize_dynamic(
        whole, file, per_channel=True, weight_type=QuantType.QInt8, use_external_data_format=large
    )
    whole.unlink()
    if large:
        whole.with_name(f"{file.name}.data").unlink(missing_ok=True)


def _settings(model: FvlmForConditionalGeneration) -> dict[str, Any]:
    config, connector = model.config, model.vlm.connector
    text = config.text_config
    said: dict[str, Any] = {
        "graphs": [*graphs(model)],
        "layers": text.num_hidden_layers,
        "kv_heads": text.num_key_value_heads,
        "head_width": getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads,
        "mode": config.connector.get("mode", ""),
        "fine_iterations": config.connector.get("fine_iterations", 0),
    }
    if config.connector["type"] == "foveated":
        said |= {name: getattr(connector, name).tolist() for name in ("q_static", "q_init")}
    return said
