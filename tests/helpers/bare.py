"""Environments that hold some of the distributions of this one and no fvlm: what somebody has who is handed a model."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement


def environment(folder: Path, *names: str) -> Path:
    """A new virtual environment with these distributions and what they need, as links; its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    [site] = folder.glob("lib/python*/site-packages")
    for name in _closure(names):
        for entry in {Path(str(file)).parts[0] for file in metadata.distribution(name).files or ()}:
            source = Path(str(metadata.distribution(name).locate_file(entry)))
            if entry not in ("..", "__pycache__") and source.exists() and not (site / entry).exists():
                (site / entry).symlink_to(source.resolve())
    python = folder / "bin" / "python"
    absent = subprocess.run(
        [str(python), "-c", "import fvlm_core"], cwd=folder, capture_output=True, env=plain(), check=False
    )
    assert absent.returncode, "this environment must not hold fvlm"
    return python


def run(python: Path, *arguments: str | Path, cwd: Path) -> str:
    """What a program prints in such an environment. Fails with its stderr."""
    done = subprocess.run(
        [str(python), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=plain(),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def plain() -> dict[str, str]:
    """This environment, without what would let the other one import from here."""
    left_out = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    return {key: value for key, value in os.environ.items() if key not in left_out} | {"HF_HUB_OFFLINE": "1"}


def _closure(names: tuple[str, ...]) -> set[str]:
    """Distributions, and all that these need here."""
    found, waiting = set[str](), [*names]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        try:
            needs = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # not needed on this platform, or with what is here
            continue
        found.add(name)
        parsed = map(Requirement, needs)
        waiting += [one.name for one in parsed if one.marker is None or one.marker.evaluate({"extra": ""})]
    return found
