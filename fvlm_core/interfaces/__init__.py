"""The contract between the core and its plugins: everything a plugin may import.

Names load on first use, so that a plugin's `plugin.py` and `config.py` can import this package and stay light:
`data`, `specs` and `fit` import no torch; `encoder`, `connector` and `llm` do.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fvlm_registry import Component, hookimpl

if TYPE_CHECKING:
    from fvlm_core.errors import FvlmError, MissingData, MissingWeights, Problem, Problems, UsageError
    from fvlm_core.interfaces.connector import Auxiliary, Connector, VisualTokens
    from fvlm_core.interfaces.data import (
        DataCard,
        DataSource,
        Fit,
        ImageFile,
        Member,
        Progress,
        Role,
        Sample,
        Split,
        StoredFrames,
        Turn,
        VideoFile,
    )
    from fvlm_core.interfaces.encoder import Depth, KeyValue, PatchFeatures, VisionEncoder
    from fvlm_core.interfaces.fit import FitModel, Parameter
    from fvlm_core.interfaces.llm import Chat, EncodedChat, LLMBackend
    from fvlm_core.interfaces.specs import (
        LLM_WIDTH,
        ConnectorSpec,
        EncoderSpec,
        LinearMap,
        LLMSpec,
        Look,
        Mode,
        TextPass,
        VisualPass,
        Work,
    )
    from fvlm_core.pretrained import SEEDED, architecture, is_folder, pretrained_folder

_HOME = {
    "errors": ("FvlmError", "MissingData", "MissingWeights", "Problem", "Problems", "UsageError"),
    "interfaces.connector": ("Auxiliary", "Connector", "VisualTokens"),
    "interfaces.data": (
        *("DataCard", "DataSource", "Fit", "ImageFile", "Member", "Progress"),
        *("Role", "Sample", "Split", "StoredFrames", "Turn", "VideoFile"),
    ),
    "interfaces.encoder": ("Depth", "KeyValue", "PatchFeatures", "VisionEncoder"),
    "interfaces.fit": ("FitModel", "Parameter"),
    "interfaces.llm": ("Chat", "EncodedChat", "LLMBackend"),
    "interfaces.specs": (
        *("LLM_WIDTH", "ConnectorSpec", "EncoderSpec", "LLMSpec", "Mode"),
        *("LinearMap", "Look", "TextPass", "VisualPass", "Work"),
    ),
    "pretrained": ("SEEDED", "architecture", "is_folder", "pretrained_folder"),
}
_MODULE = {name: f"fvlm_core.{module}" for module, names in _HOME.items() for name in names}

__all__ = [
    "LLM_WIDTH",
    "SEEDED",
    "Auxiliary",
    "Chat",
    "Component",
    "Connector",
    "ConnectorSpec",
    "DataCard",
    "DataSource",
    "Depth",
    "EncodedChat",
    "EncoderSpec",
    "Fit",
    "FitModel",
    "FvlmError",
    "ImageFile",
    "KeyValue",
    "LLMBackend",
    "LLMSpec",
    "LinearMap",
    "Look",
    "Member",
    "MissingData",
    "MissingWeights",
    "Mode",
    "Parameter",
    "PatchFeatures",
    "Problem",
    "Problems",
    "Progress",
    "Role",
    "Sample",
    "Split",
    "StoredFrames",
    "TextPass",
    "Turn",
    "UsageError",
    "VideoFile",
    "VisionEncoder",
    "VisualPass",
    "VisualTokens",
    "Work",
    "architecture",
    "hookimpl",
    "is_folder",
    "pretrained_folder",
]


def __getattr__(name: str) -> Any:
    if name in _MODULE:
        return getattr(import_module(_MODULE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
