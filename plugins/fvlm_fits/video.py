"""How a video model's loss falls with its size, frames, tokens a frame and training samples: powers of each, and a term
of their product, the "add-interact" kind of Wang et al. (2025), "Inference Compute-Optimal Video Vision Language
Models", arXiv 2505.18855.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fvlm_core.plugin_api import FitModel, Parameter, Serving, Variable
from fvlm_fits.config import NoSettings

FRAMES = Variable("T", "frames", "frames a video", headers=("frames", "num_frames", "n_frames"))
TOKENS = Variable(
    "V", "tokens", "visual tokens a frame", headers=("tokens_per_frame", "visual_tokens_per_frame")
)


def video(
    n: Any,
    T: Any,
    V: Any,
    d: Any,
    *,
    E: Any,
    A: Any,
    a: Any,
    F: Any,
    f: Any,
    K: Any,
    k: Any,
    B: Any,
    b: Any,
    X: Any,
) -> Any:
    """L = E + A/N^a + F/T^f + K/V^k + B/D^b + X/(N^a*T^f*V^k*D^b)

    N: parameters of the language model. T: frames. V: visual tokens a frame. D: samples of the finetuning. X tells how
    much more each is worth where the others are small.
    """
    size, frames, tokens, data = (np.exp(-p * np.log(x)) for p, x in ((a, n), (f, T), (k, V), (b, d)))
    return E + A * size + F * frames + K * tokens + B * data + X * size * frames * tokens * data


def gradient(
    n: Any,
    T: Any,
    V: Any,
    d: Any,
    *,
    E: Any,
    A: Any,
    a: Any,
    F: Any,
    f: Any,
    K: Any,
    k: Any,
    B: Any,
    b: Any,
    X: Any,
) -> dict[str, Any]:
    """dL/dA = N^-a, dL/da = -(A N^-a + X product) ln N, and the same of the others; dL/dX = the product."""
    logs = (np.log(n), np.log(T), np.log(V), np.log(d))
    size, frames, tokens, data = (np.exp(-p * x) for p, x in zip((a, f, k, b), logs, strict=True))
    product = size * frames * tokens * data
    return {
        "E": np.ones_like(product), "A": size, "F": frames, "K": tokens, "B": data, "X": product,
        "a": -(A * size + X * product) * logs[0], "f": -(F * frames + X * product) * logs[1],
        "k": -(K * tokens + X * product) * logs[2], "b": -(B * data + X * product) * logs[3],
    }  # fmt: skip


def build(config: NoSettings) -> FitModel:
    """The law with ten parameters."""

    def scale(name: str, guess: float) -> Parameter:
        return Parameter(name, guess, min=0.0, log=True, linear=True)

    def exponent(name: str, guess: float = 0.3) -> Parameter:
        return Parameter(name, guess, min=0.01, max=5.0)

    return FitModel(
        "video",
        video,
        (
            Parameter("E", 0.3, min=0.0, linear=True),
            scale("A", 100.0), exponent("a"), scale("F", 0.3), exponent("f", 0.7), scale("K", 0.3), exponent("k", 0.7),
            scale("B", 10.0), exponent("b"), Parameter("X", 0.0, linear=True),
        ),
        needs="points of three or more sizes, frames, tokens a frame and samples, two of them varied at once",
        gradient=gradient,
        variables=(FRAMES, TOKENS),
        serving=Serving("V", frames="T"),
    )  # fmt: skip
