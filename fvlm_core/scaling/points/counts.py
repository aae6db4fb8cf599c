"""What N and D count: the choices of `--n` and `--d`, and where runs and tables keep each."""

from __future__ import annotations

from typing import Literal

from attrs import frozen

NKind = Literal["total", "trainable", "non-embedding", "llm"]
DKind = Literal["samples", "tokens", "frames", "flops"]


@frozen
class Kind:
    """key: the name in a run's record (N) or metrics (D), and of a table's column. words: for people."""

    key: str
    words: str


N_KINDS: dict[NKind, Kind] = {
    "total": Kind("total_params", "total parameters"),
    "trainable": Kind("trainable_params", "trainable parameters"),
    "non-embedding": Kind("non_embedding_params", "parameters without token embeddings"),
    "llm": Kind("llm_params", "parameters of the language model"),
}

D_KINDS: dict[DKind, Kind] = {
    "samples": Kind("samples_seen", "training samples"),
    "tokens": Kind("tokens_seen", "supervised text tokens"),
    "frames": Kind("frames_seen", "video frames"),
    "flops": Kind("flops", "training FLOPs"),
}
