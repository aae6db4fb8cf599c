"""How long `fvlm` takes to say something, beside a Python that does nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable

from fvlm_core.bench.pairs import Pair, in_pairs
from fvlm_core.bench.processes import run

SAYINGS = ((("--version",), 6.0), (("--help",), 8.0), (("plugins", "list"), 20.0))
"""Commands that answer at once, and how many times as long as `python -c pass` they may take."""


def bench_start(rounds: int, progress: Callable[[str, int, int], None]) -> list[Pair]:
    """Whole processes, in pairs."""
    fvlm = (sys.executable, "-c", "from fvlm_core.cli.main import main; raise SystemExit(main())")
    return [
        in_pairs(
            f"fvlm {' '.join(arguments)}, against python -c pass",
            "s",
            lambda arguments=arguments: run((*fvlm, *arguments))[0],
            lambda: run((sys.executable, "-c", "pass"))[0],
            rounds,
            progress,
            limit=limit,
        )
        for arguments, limit in SAYINGS
    ]
