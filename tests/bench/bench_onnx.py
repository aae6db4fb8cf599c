"""Sizes, parity and speed of a model's ONNX graphs, float32 and int8, beside PyTorch, on one thread.

`python tests/bench/bench_onnx.py` prints the tables of `docs/measurements/onnx.md` for DINOv2-small + foveated +
SmolLM2-135M (seeded weights, nothing to download; some minutes). `--weights FOLDER` takes the weights of a folder that
`fvlm weights export` wrote.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from transformers import Dinov2Config, LlamaConfig

from fvlm_core.hf import onnx
from fvlm_core.hf.standalone.modeling_fvlm import FvlmConfig, FvlmForConditionalGeneration

VISION = {
    "hidden_size": 384,
    "num_hidden_layers": 12,
    "num_attention_heads": 6,
    "image_size": 518,
    "patch_size": 14,
}
TEXT = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49_152,
    "tie_word_embeddings": True,
}
FOVEATED = {
    "type": "foveated",
    "query_dim": 384,
    "queries": 1,
    "depth": "deep",
    "query_bias": False,
    "mode": "coarse_fine",
    "fine_iterations": 1,
    "visual_scale": 0.14,
}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--only", help="one of the graphs: encode, look, embed, step")
    parser.add_argument("--repeats", type=int, default=9)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.weights:
        model = FvlmForConditionalGeneration.from_pretrained(given.weights).eval()
    else:
        torch.manual_seed(0)
        sizes = {"vision_config": Dinov2Config(**VISION), "text_config": LlamaConfig(**TEXT)}
        model = FvlmForConditionalGeneration(
            FvlmConfig(**sizes, connector=FOVEATED, tie_word_embeddings=True)
        ).eval()
        for name in ("q_static", "q_init"):
            torch.nn.init.normal_(getattr(model.vlm.connector, name))
    print("| graph | MB | MB, int8 | from PyTorch | int8 | PyTorch, ms | onnxruntime | int8 |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        for name, (module, tried, names, dynamic) in onnx.graphs(model).items():
            if given.only not in (None, name):
                continue
            one = _one(name, tried)
            file = Path(place) / f"{name}.onnx"
            onnx._write(module, tried, names, dynamic, file)  # pyright: ignore[reportPrivateUsage]
            floats = file.stat().st_size / 1e6, onnx.distance(module, tried, names, file)
            with torch.inference_mode():
                pytorch = _milliseconds(lambda module=module, one=one: module(*one), given.repeats)
            plain = _session_time(file, names[0], one, given.repeats)
            onnx._quantise(file)  # pyright: ignore[reportPrivateUsage]
            small = file.stat().st_size / 1e6, onnx.distance(module, tried, names, file)
            quick = _session_time(file, names[0], one, given.repeats)
            cells = [f"{floats[0]:.1f}", f"{small[0]:.1f}", f"{floats[1]:.1e}", f"{small[1]:.1e}"]
            cells += [f"{ms:.1f}" for ms in (pytorch, plain, quick)]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


def _one(name: str, tried: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """One frame, or one position after 100 others."""
    if name in ("encode", "embed"):
        return tuple(one[:1, ...] if name == "encode" else one[:1, :1] for one in tried)
    if name == "look":
        return tried[0][:1], *(one[:, :1] for one in tried[1:])
    cache = [torch.randn(one.shape[0], 1, one.shape[2], 100, one.shape[4]) for one in tried[1:]]
    return tried[0][:1, :1], *cache


def _session_time(file: Path, names: list[str], one: tuple[torch.Tensor, ...], repeats: int) -> float:
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = 1
    session: Any = InferenceSession(file, options, ["CPUExecutionProvider"])
    given = {name: tensor.contiguous().numpy() for name, tensor in zip(names, one, strict=True)}
    return _milliseconds(lambda: session.run(None, given), repeats)


def _milliseconds(work: Callable[[], object], repeats: int) -> float:
    """CPU time of this thread's process, the median: other processes on the machine do not count."""
    work()
    times: list[float] = []
    for _ in range(repeats):
        begin = time.process_time()
        work()
        times.append(1000 * (time.process_time() - begin))
    return median(times)


if __name__ == "__main__":
    main()
