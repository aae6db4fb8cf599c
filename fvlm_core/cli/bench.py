"""`fvlm bench`: how fast this machine does what a run waits for."""

from __future__ import annotations

from fvlm_core.cli.lazy import LazyGroup, Table

COMMANDS: Table = {
    "data": ("fvlm_core.cli.bench_data", "Reading samples, beside bare loops over the same bytes."),
}

command = LazyGroup("bench", table=COMMANDS, help="How fast this machine does what a run waits for.")
