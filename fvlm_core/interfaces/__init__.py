"""The contract between the core and its plugins: everything a plugin may import.

Names load on first use, so that a plugin's `plugin.py` and `config.py` can import this package and stay light:
`data`, `decoder`, `specs`, `fit`, `figure`, `tracker` and `launcher` import no torch; `encoder`, `connector` and `llm`
do, and `style` imports matplotlib.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fvlm_registry import Component, hookimpl

if TYPE_CHECKING:
    from fvlm_core.byte_chat import ByteChat
    from fvlm_core.data.bad import BadSample
    from fvlm_core.data.kinds import PICTURE_SUFFIXES, VIDEO_SUFFIXES, by_kind, is_picture, is_video
    from fvlm_core.data.members import open_member
    from fvlm_core.data.named import media_keys, unshown
    from fvlm_core.data.regular import (
        NOTES,
        NotData,
        check_data,
        data_handle,
        leads_out,
        open_data,
        read_data,
        unreadable,
    )
    from fvlm_core.encodings import NotText, decoded, fault_of
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
    from fvlm_core.interfaces.decoder import Decoder, PyAVSettings
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
    from fvlm_core.interfaces.launcher import Ended, Job, Launcher, Task
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
    from fvlm_core.interfaces.tracker import TrackedRun, Tracker, numbers
    from fvlm_core.launching.tied import tied
    from fvlm_core.listed import lines, listed
    from fvlm_core.paths import cache_folder, environment_path, user_path
    from fvlm_core.pretrained import (
        ACTIVATION,
        COUNT,
        FLAG,
        POSITIVE,
        PREPROCESSOR,
        SEEDED,
        TABLE,
        Kind,
        architecture,
        check_architecture,
        check_heads,
        check_kinds,
        check_whole,
        is_folder,
        no_weight,
        pretrained_folder,
        read_config,
        read_weights,
    )
    from fvlm_core.report.figures import style
    from fvlm_core.shards.index import KINDS, Index, IndexEntry, Shown, write_index
    from fvlm_core.shards.leaks import Signatures
    from fvlm_core.shards.manifest import read_manifest, wrong_sizes
    from fvlm_core.shards.tar import PICTURES, TEXTS, VIDEOS, BadShard, TarMember, sample_keys, tar_members
    from fvlm_core.sources.chats import chat_of
    from fvlm_core.sources.csv_rows import CSVRows
    from fvlm_core.sources.media import Media, find_media
    from fvlm_core.sources.parquet import Parquet
    from fvlm_core.sources.rows import (
        MAX_ROW,
        JSONArray,
        JSONLines,
        Record,
        Refused,
        Row,
        RowFile,
        string_of,
        text_of,
    )
    from fvlm_core.sources.settings import HeldOutVideos, VideoSettings, missing
    from fvlm_core.sources.table_rows import TableEntry, TableRows, picture_of
    from fvlm_core.sources.ties import tied_rows
    from fvlm_core.sources.video_rows import VideoEntry, VideoRows

_HOME = {
    "byte_chat": ("ByteChat",),
    "data.kinds": ("PICTURE_SUFFIXES", "VIDEO_SUFFIXES", "by_kind", "is_picture", "is_video"),
    "data.members": ("open_member",),
    "data.named": ("media_keys", "unshown"),
    "data.regular": (
        "NOTES",
        "NotData",
        "check_data",
        "data_handle",
        "leads_out",
        "open_data",
        "read_data",
        "unreadable",
    ),
    "listed": ("lines", "listed"),
    "encodings": ("NotText", "decoded", "fault_of"),
    "errors": ("FvlmError", "MissingData", "MissingWeights", "Problem", "Problems", "UsageError"),
    "interfaces.connector": ("Auxiliary", "Connector", "VisualTokens"),
    "interfaces.data": (
        *("DataCard", "DataSource", "Fit", "ImageFile", "Member", "Progress"),
        *("Role", "Sample", "Split", "StoredFrames", "Turn", "VideoFile"),
    ),
    "interfaces.decoder": ("Decoder", "PyAVSettings"),
    "interfaces.encoder": ("Depth", "KeyValue", "PatchFeatures", "VisionEncoder"),
    "interfaces.figure": ("Found", "Frontier", "Jump", "LawFit", "LawReport", "Profile", "Trend", "Varied"),
    "interfaces.fit": ("FitModel", "LRCurve", "Parameter", "Relation"),
    "interfaces.launcher": ("Ended", "Job", "Launcher", "Task"),
    "interfaces.llm": ("Chat", "EncodedChat", "LLMBackend"),
    "interfaces.specs": (
        *("LLM_WIDTH", "ConnectorSpec", "EncoderSpec", "LLMSpec", "Mode"),
        *("LinearMap", "Look", "TextPass", "VisualPass", "Work"),
    ),
    "interfaces.tracker": ("TrackedRun", "Tracker", "numbers"),
    "launching.tied": ("tied",),
    "paths": ("cache_folder", "environment_path", "user_path"),
    "pretrained": (
        *("SEEDED", "architecture", "check_architecture", "check_heads", "check_kinds", "check_whole"),
        *("ACTIVATION", "COUNT", "FLAG", "POSITIVE", "PREPROCESSOR", "TABLE", "Kind"),
        *("is_folder", "no_weight", "pretrained_folder", "read_config", "read_weights"),
    ),
    "report.figures": ("style",),
    "data.bad": ("BadSample",),
    "shards.leaks": ("Signatures",),
    "shards.index": ("KINDS", "Index", "IndexEntry", "Shown", "write_index"),
    "shards.manifest": ("read_manifest", "wrong_sizes"),
    "shards.tar": ("PICTURES", "TEXTS", "VIDEOS", "BadShard", "TarMember", "sample_keys", "tar_members"),
    "sources.chats": ("chat_of",),
    "sources.media": ("Media", "find_media"),
    "sources.parquet": ("Parquet",),
    "sources.csv_rows": ("CSVRows",),
    "sources.rows": (
        *("MAX_ROW", "JSONArray", "JSONLines", "Record", "Refused", "Row", "RowFile"),
        *("string_of", "text_of"),
    ),
    "sources.settings": ("HeldOutVideos", "VideoSettings", "missing"),
    "sources.table_rows": ("TableEntry", "TableRows", "picture_of"),
    "sources.ties": ("tied_rows",),
    "sources.video_rows": ("VideoEntry", "VideoRows"),
}
_MODULE = {name: f"fvlm_core.{module}" for module, names in _HOME.items() for name in names}

__all__ = [
    "ACTIVATION",
    "COUNT",
    "FLAG",
    "KINDS",
    "LLM_WIDTH",
    "MAX_ROW",
    "NOTES",
    "PICTURES",
    "PICTURE_SUFFIXES",
    "POSITIVE",
    "PREPROCESSOR",
    "SEEDED",
    "TABLE",
    "TEXTS",
    "VIDEOS",
    "VIDEO_SUFFIXES",
    "Auxiliary",
    "BadSample",
    "BadShard",
    "ByteChat",
    "CSVRows",
    "Chat",
    "Component",
    "Connector",
    "ConnectorSpec",
    "DataCard",
    "DataSource",
    "Decoder",
    "Depth",
    "EncodedChat",
    "EncoderSpec",
    "Ended",
    "Fit",
    "FitModel",
    "Found",
    "Frontier",
    "FvlmError",
    "HeldOutVideos",
    "ImageFile",
    "Index",
    "IndexEntry",
    "JSONArray",
    "JSONLines",
    "Job",
    "Jump",
    "KeyValue",
    "Kind",
    "LLMBackend",
    "LLMSpec",
    "LRCurve",
    "Launcher",
    "LawFit",
    "LawReport",
    "LinearMap",
    "Look",
    "Media",
    "Member",
    "MissingData",
    "MissingWeights",
    "Mode",
    "NotData",
    "NotText",
    "Parameter",
    "Parquet",
    "PatchFeatures",
    "Problem",
    "Problems",
    "Profile",
    "Progress",
    "PyAVSettings",
    "Record",
    "Refused",
    "Relation",
    "Role",
    "Row",
    "RowFile",
    "Sample",
    "Shown",
    "Signatures",
    "Split",
    "StoredFrames",
    "TableEntry",
    "TableRows",
    "TarMember",
    "Task",
    "TextPass",
    "TrackedRun",
    "Tracker",
    "Trend",
    "Turn",
    "UsageError",
    "Varied",
    "VideoEntry",
    "VideoFile",
    "VideoRows",
    "VideoSettings",
    "VisionEncoder",
    "VisualPass",
    "VisualTokens",
    "Work",
    "architecture",
    "by_kind",
    "cache_folder",
    "chat_of",
    "check_architecture",
    "check_data",
    "check_heads",
    "check_kinds",
    "check_whole",
    "data_handle",
    "decoded",
    "environment_path",
    "fault_of",
    "find_media",
    "hookimpl",
    "is_folder",
    "is_picture",
    "is_video",
    "leads_out",
    "lines",
    "listed",
    "media_keys",
    "missing",
    "no_weight",
    "numbers",
    "open_data",
    "open_member",
    "picture_of",
    "pretrained_folder",
    "read_config",
    "read_data",
    "read_manifest",
    "read_weights",
    "sample_keys",
    "string_of",
    "style",
    "tar_members",
    "text_of",
    "tied",
    "tied_rows",
    "unreadable",
    "unshown",
    "user_path",
    "write_index",
    "wrong_sizes",
]


def __getattr__(name: str) -> Any:
    if name in _MODULE:
        return getattr(import_module(_MODULE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
