"""As much of lmms-eval as the model class touches, where it is not installed; a test compares it with the real one."""

from __future__ import annotations

import abc
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest


class lmms(abc.ABC):
    """The base class of models."""

    is_simple = True

    def __init__(self) -> None:
        self._rank = 0
        self._world_size = 1
        self.task_dict: dict[str, Any] = {}

    @property
    def rank(self) -> int:
        return self._rank

    @property
    def world_size(self) -> int:
        return self._world_size

    @abc.abstractmethod
    def loglikelihood(self, requests: Any) -> Any: ...

    @abc.abstractmethod
    def generate_until(self, requests: Any) -> Any: ...

    @abc.abstractmethod
    def generate_until_multi_round(self, requests: Any) -> Any: ...


@dataclass
class GenerationResult:
    """An answer, with what it cost."""

    text: Any
    token_counts: Any = None


@dataclass(frozen=True)
class ModelManifest:
    """A model's name and its classes."""

    model_id: str
    simple_class_path: str | None = None
    chat_class_path: str | None = None
    aliases: tuple[str, ...] = ()


def install(patch: pytest.MonkeyPatch) -> None:
    """Make `import lmms_eval` give this, installed or not, until the patch is undone."""
    held: dict[str, dict[str, Any]] = {
        "lmms_eval": {},
        "lmms_eval.api": {},
        "lmms_eval.api.model": {"lmms": lmms},
        "lmms_eval.api.instance": {"GenerationResult": GenerationResult},
        "lmms_eval.models": {},
        "lmms_eval.models.registry_v2": {"ModelManifest": ModelManifest},
    }
    for name, content in held.items():
        module = ModuleType(name)
        vars(module).update(content)
        patch.setitem(sys.modules, name, module)
    patch.delitem(sys.modules, "fvlm_lmms_eval.model", raising=False)


def requests(
    documents: list[dict[str, Any]], visual: Callable[[Any], Any], *second: Any, text: str = "question"
) -> tuple[dict[str, Any], list[Any]]:
    """What the evaluator hands over for documents of the task "stub": its data, and one request for each document and
    each of `second`, which are settings of generation or answers."""
    asked = [
        SimpleNamespace(args=(document[text], one, visual, number, "stub", "test"), task_name="stub")
        for number, document in enumerate(documents)
        for one in second
    ]
    return {"stub": {"test": documents}}, asked
