"""Where and with what a run was made. Never the whole environment: it may hold secrets."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import fvlm_core
from fvlm_core.utils.versions import version
from fvlm_registry import registry

_PACKAGES = (
    "torch",
    "transformers",
    "timm",
    "av",
    "numpy",
    "safetensors",
    "tokenizers",
    "lmfit",
    "scipy",
    "pandas",
)
_VARIABLES = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "FVLM_PLUGINS", "SLURM_JOB_ID")


def describe_environment() -> dict[str, Any]:
    """Versions, machine, plugins, and the commit of a source checkout: plain values for `environment.json`."""
    return {
        "fvlm": fvlm_core.__version__,
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "plugins": [
            {"name": p.name, "distribution": p.distribution, "version": p.version, "status": p.status}
            for p in registry().plugins
        ],
        "commit": _commit(),
        "variables": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@cache  # of what this process has imported, however its source changes
def _commit() -> str | None:
    source = Path(fvlm_core.__file__).parent.parent
    if not (source / ".git").exists():
        return None
    command = ["git", "-C", str(source), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=5, check=True
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
