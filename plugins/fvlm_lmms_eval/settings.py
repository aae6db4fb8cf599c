"""What may be written after `--model_args`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from attrs import Attribute, field, frozen
from attrs.validators import ge, gt, optional

from fvlm_core.plugin_api import Checkpoint, Fit, UsageError, environment_path, settings_from

_SHOWN = "--model_args"
_TEXTS = ("run", "runs", "device", "system")
_COUNTS = ("batch_size",)


def _check_device(settings: object, attribute: Attribute[str], value: str) -> None:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", value):
        raise ValueError(f'device: expected "auto", "cpu", "cuda" or "cuda:N", got "{value}"')


@frozen(kw_only=True)
class Settings:
    """run: a run's folder, its id, or "recipe/id"; or a folder of exported weights. runs: where runs are kept.

    checkpoint: the best by validation loss, or the last. mode: one of the connector's, how visual tokens are made; None
    for the mode the model trained in. device: auto is the GPU when there is one, and with several processes each has
    its own. batch_size: how many answers of one question are scored at once; written answers are made one at a time.

    fps, max_frames: which frames of a video are seen. fit: how pictures are made square. still_frames: frames that a
    lone picture makes. system: the system turn. None stands for what the model was shown in training. max_new_tokens:
    longest answer, in tokens, where the task does not say.
    """

    run: str
    runs: Path = field(factory=lambda: environment_path("FVLM_RUNS", "runs"))
    checkpoint: Checkpoint = "best"
    mode: str | None = None
    device: str = field(default="auto", validator=_check_device)
    batch_size: int = field(default=1, validator=ge(1))
    fps: float | None = field(default=None, validator=optional(gt(0)))
    max_frames: int | None = field(default=None, validator=optional(ge(1)))
    fit: Fit | None = None
    still_frames: int | None = field(default=None, validator=optional(ge(1)))
    system: str | None = None
    max_new_tokens: int = field(default=128, validator=ge(1))


def read_settings(arguments: Mapping[str, Any]) -> Settings:
    """The settings in what lmms-eval read after `--model_args`, and its own options. Raises `Problems`: all of them.

    lmms-eval takes whatever looks like a number for one, the id of a run too, and gives its own options as text.
    """
    plain = dict(arguments)
    for name in _TEXTS:
        if type(plain.get(name)) is int:
            plain[name] = str(plain[name])
    for name in _COUNTS:
        if str(plain.get(name, "")).isdecimal():
            plain[name] = int(plain[name])
    return settings_from(plain, Settings, _SHOWN)


def choose_device(chosen: str) -> torch.device:
    """The device that "auto", "cpu", "cuda" or "cuda:N" stands for in this process. Raises `UsageError`."""
    count = torch.cuda.device_count()
    name, _, number = chosen.partition(":")
    if name == "cpu" or (name == "auto" and not count):
        return torch.device("cpu")
    index = int(number or os.environ.get("LOCAL_RANK", 0))
    if index >= count:
        seen = f"{count} GPUs" if count != 1 else "one GPU"
        raise UsageError(
            f'{_SHOWN}: device: "{chosen}" is GPU {index} in this process, and torch sees {seen}; '
            'expected "cpu", or a number below'
        )
    return torch.device("cuda", index)
