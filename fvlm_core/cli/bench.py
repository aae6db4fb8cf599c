"""`fvlm bench`: how fast this machine does what a run waits for."""

from __future__ import annotations

from fvlm_core.cli.lazy import LazyGroup, Table

COMMANDS: Table = {
    "train": ("fvlm_core.cli.bench_train", "A training step, beside the bare cost of its matrices."),
    "stream": (
        "fvlm_core.cli.bench_stream",
        "A video without an end: frames a second, the first token, memory.",
    ),
    "data": ("fvlm_core.cli.bench_data", "Reading samples, beside bare loops over the same bytes."),
    "fit": ("fvlm_core.cli.bench_fit", "Fitting a law, beside the published way."),
    "start": ("fvlm_core.cli.bench_start", "How soon fvlm answers, beside a Python that does nothing."),
}

command = LazyGroup("bench", table=COMMANDS, help="How fast this machine does what a run waits for.")
