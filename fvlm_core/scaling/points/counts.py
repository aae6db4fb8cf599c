"""What N and D count: the choices of `--n` and `--d`, and where runs and tables keep each."""

from __future__ import annotations

from typing import Literal

from attrs import frozen

NKind = Literal["total", "trainable", "non-embedding", "llm"]
DKind = Literal["samples", "tokens", "frames", "flops"]


@frozen
class CountKind:
    """key: the name in a run's record (N) or metrics (D), and of a table's column. words: for people."""

    key: str
    words: str


N_KINDS: dict[NKind, CountKind] = {
    "total": CountKind("total_params", "total parameters"),
    "trainable": CountKind("trainable_params", "trainable parameters"),
    "non-embedding": CountKind("non_embedding_params", "parameters without token embeddings"),
    "llm": CountKind("llm_params", "parameters of the language model"),
}

D_KINDS: dict[DKind, CountKind] = {
    "samples": CountKind("samples_seen", "training samples"),
    "tokens": CountKind("tokens_seen", "supervised text tokens"),
    "frames": CountKind("frames_seen", "video frames"),
    "flops": CountKind("flops", "training FLOPs"),
}
