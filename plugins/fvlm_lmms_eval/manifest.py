"""What lmms-eval reads when it looks for models: their name, and where the class is."""

from __future__ import annotations

from typing import Any


def manifest() -> Any:
    """The `ModelManifest` of `--model fvlm`. lmms-eval calls this, so that lmms-eval can be imported here."""
    from lmms_eval.models.registry_v2 import ModelManifest  # pyright: ignore[reportMissingImports]

    return ModelManifest("fvlm", simple_class_path="fvlm_lmms_eval.model.Fvlm")
