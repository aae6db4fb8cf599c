"""The law of Li et al. (2025), "Inference Optimal VLMs Need Fewer Visual Tokens and More Parameters", arXiv 2411.03312,
equation 2.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fvlm_core.plugin_api import FitModel, Parameter, Serving, Variable
from fvlm_fits.config import VisualTokens

VISUAL = Variable(
    "V",
    "tokens",
    "visual tokens",
    headers=("visual_tokens", "vision_tokens", "image_tokens", "num_visual_tokens"),
)


def build(config: VisualTokens) -> FitModel:
    """The law; guesses are the paper's exponents (.077 and .015)."""
    text = config.text_tokens

    def law(n: Any, V: Any, *, A: Any, a: Any, b: Any, E: Any) -> Any:
        """L = A/N^a * 1/(Q + V)^b + E

        N: parameters of the language model. V: visual tokens it reads, beside Q text tokens that are not cached
        (settings). L: a loss, or the error of benchmarks (the paper). The paper writes A*B for A, which nothing tells
        apart.
        """
        return A * np.exp(-a * np.log(n) - b * np.log(text + V)) + E

    def gradient(n: Any, V: Any, *, A: Any, a: Any, b: Any, E: Any) -> dict[str, Any]:
        ln_n, ln_t = np.log(n), np.log(text + V)
        power = np.exp(-a * ln_n - b * ln_t)
        return {"A": power, "a": -A * power * ln_n, "b": -A * power * ln_t, "E": np.ones_like(power)}

    return FitModel(
        "visual-tokens",
        law,
        (
            Parameter("A", 4.0, min=0.0, log=True, linear=True),
            Parameter("a", 0.077, min=0.001, max=5.0),
            Parameter("b", 0.015, min=0.001, max=5.0),
            Parameter("E", 0.1, min=0.0, linear=True),
        ),
        needs="points of three or more sizes, at three or more numbers of visual tokens",
        gradient=gradient,
        variables=(VISUAL,),
        serving=Serving("V", text=text),
    )
