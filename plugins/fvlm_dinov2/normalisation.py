"""How frames are normalised for pretrained weights: as the `preprocessor_config.json` beside them says."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any, cast

from fvlm_core.plugin_api import PREPROCESSOR, Problem, Problems

_BICUBIC = 3
"""Pillow's number of the filter that pictures are scaled with here."""


def normalisation(weights: str, said: Mapping[str, Any]) -> dict[str, tuple[float, ...]]:
    """`mean` and `std` of RGB in [0, 1], such that (RGB - mean) / std is what transformers' image processor makes of
    bytes: (byte * rescale_factor - image_mean) / image_std. What the file does not say is left out.

    weights: for messages. said: the file's content. Raises `Problems` that name every key whose value is none, or asks
    for another filter than pictures are scaled with here.
    """
    wrong = [
        Problem(f"{PREPROCESSOR} of {weights} says {json.dumps(said[key])}, expected {expected}", key=key)
        for key, (holds, expected) in _KINDS.items()
        if said.get(key) is not None and not holds(said[key])
    ]
    if wrong:
        raise Problems(wrong)
    mean, std = said.get("image_mean"), said.get("image_std")
    if said.get("do_normalize") is False:
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    factor = 1.0 if said.get("do_rescale") is False else said.get("rescale_factor")
    white = 255 * factor if factor else 1.0  # what a byte of 255 is before it is normalised
    if white != 1.0 and (mean is None or std is None):
        key = "image_std" if mean else "image_mean"
        text = f"missing in {PREPROCESSOR} of {weights}; expected it where white is {white:g} before"
        raise Problems([Problem(text, key=key)])
    given = (("mean", mean), ("std", std))
    return {name: tuple(one / white for one in colours) for name, colours in given if colours is not None}


def _number(value: Any) -> bool:
    return type(value) in (int, float) and isfinite(value)


def _above_0(value: Any) -> bool:
    return _number(value) and value > 0


def _three(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, list) and len(cast("list[Any]", value)) == 3 and all(map(holds, value))
    )


_FLAG = (lambda value: type(value) is bool, "true or false")
_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "image_mean": (_three(_number), "three numbers"),
    "image_std": (_three(_above_0), "three numbers above 0"),
    "rescale_factor": (_above_0, "a number above 0"),
    "do_normalize": _FLAG,
    "do_rescale": _FLAG,
    "resample": (
        lambda value: value == _BICUBIC,
        f"{_BICUBIC} (bicubic): pictures are scaled with it here; take the key out to have that all the same",
    ),
}
"""What the values of the file's keys must be."""
