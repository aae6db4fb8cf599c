"""The contract between the core and its plugins: everything a plugin may import.

Names load on first use, so that a plugin's `plugin.py` and `config.py` can import this package and stay light:
`data`, `specs`, `fit`, `figure` and `tracker` import no torch; `encoder`, `connector` and `llm` do, and `style` imports
matplotlib.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fvlm_registry import Component, hookimpl

if TYPE_CHECKING:
    from fvlm_core.errors import FvlmError, MissingData, MissingWeights, Problem, Problems, UsageError
    from fvlm_core.interfaces.connector import Auxiliary, Connector, VisualTokens
    from fvlm_core.interfaces.data import DataSource, Progress, Sample, Split, Turn, VideoFile
    from fvlm_core.interfaces.encoder import Depth, KeyValue, PatchFeatures, VisionEncoder
    from fvlm_core.interfaces.figure import (
        Found,
        Frontier,
        Jump,
        LawFit,
        LawReport,
        Profile,
        Trend,
        Varied,
    )
    from fvlm_core.interfaces.fit import FitModel, LRCurve, Parameter, Relation
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
    from fvlm_core.interfaces.tracker import TrackedRun, Tracker
    from fvlm_core.pretrained import SEEDED, architecture, is_folder, pretrained_folder
    from fvlm_core.report.figures import style

_HOME = {
    "errors": ("FvlmError", "MissingData", "MissingWeights", "Problem", "Problems", "UsageError"),
    "interfaces.connector": ("Auxiliary", "Connector", "VisualTokens"),
    "interfaces.data": ("DataSource", "Progress", "Sample", "Split", "Turn", "VideoFile"),
    "interfaces.encoder": ("Depth", "KeyValue", "PatchFeatures", "VisionEncoder"),
    "interfaces.figure": ("Found", "Frontier", "Jump", "LawFit", "LawReport", "Profile", "Trend", "Varied"),
    "interfaces.fit": ("FitModel", "LRCurve", "Parameter", "Relation"),
    "interfaces.llm": ("Chat", "EncodedChat", "LLMBackend"),
    "interfaces.specs": (
        *("LLM_WIDTH", "ConnectorSpec", "EncoderSpec", "LLMSpec", "Mode"),
        *("LinearMap", "Look", "TextPass", "VisualPass", "Work"),
    ),
    "interfaces.tracker": ("TrackedRun", "Tracker"),
    "pretrained": ("SEEDED", "architecture", "is_folder", "pretrained_folder"),
    "report.figures": ("style",),
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
    "DataSource",
    "Depth",
    "EncodedChat",
    "EncoderSpec",
    "FitModel",
    "Found",
    "Frontier",
    "FvlmError",
    "Jump",
    "KeyValue",
    "LLMBackend",
    "LLMSpec",
    "LRCurve",
    "LawFit",
    "LawReport",
    "LinearMap",
    "Look",
    "MissingData",
    "MissingWeights",
    "Mode",
    "Parameter",
    "PatchFeatures",
    "Problem",
    "Problems",
    "Profile",
    "Progress",
    "Relation",
    "Sample",
    "Split",
    "TextPass",
    "TrackedRun",
    "Tracker",
    "Trend",
    "Turn",
    "UsageError",
    "Varied",
    "VideoFile",
    "VisionEncoder",
    "VisualPass",
    "VisualTokens",
    "Work",
    "architecture",
    "hookimpl",
    "is_folder",
    "pretrained_folder",
    "style",
]


def __getattr__(name: str) -> Any:
    if name in _MODULE:
        return getattr(import_module(_MODULE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
