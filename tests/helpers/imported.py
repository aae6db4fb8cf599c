"""Which modules a command imports."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache

RECORD_IMPORTS = """
import atexit, json, os, sys
from fvlm_core.cli.main import main
sys.argv = ["fvlm", *sys.argv[1:]]
code = main()
sys.stdout.flush()
print("\\n" + json.dumps(sorted(sys.modules)))
sys.exit(code)
"""


@cache
def modules_of(*arguments: str) -> frozenset[str]:
    """All that `fvlm ARGUMENTS` imports."""
    done = subprocess.run(
        [sys.executable, "-c", RECORD_IMPORTS, *arguments], capture_output=True, text=True, check=True
    )
    return frozenset(json.loads(done.stdout.splitlines()[-1]))
