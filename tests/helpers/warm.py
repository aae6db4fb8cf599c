"""Processes that need not import torch anew: forked from a server that has it, one for all workers of the tests.

What they import is 6 of the 7 CPU seconds that a short command takes. The programs `python` and `fvlm` are as
`sys.executable` and the `fvlm` beside it: they are started, get signals, die and end as processes of their own. What
they start in turn is real. A test of how a process starts (its streams, its surroundings, its imports) starts a real
one; so does one that runs in namespaces of its own.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

import psutil
from filelock import FileLock

LIBRARIES = (
    "torch", "transformers", "pandas", "scipy.stats", "lmfit", "matplotlib.pyplot", "hypothesis", "pytest", "av",
    "torch.utils.data", "transformers.models.llama.modeling_llama", "transformers.models.dinov2.modeling_dinov2",
    "safetensors.torch", "pyarrow", "bokeh.plotting", "jinja2", "torch.distributed.fsdp",
)  # fmt: skip
"""What every command and every process of tests would import anew."""

OURS = (
    "fvlm_core.cli.run", "fvlm_core.cli.fit", "fvlm_core.execution.sequential", "fvlm_core.api.fit",
    *sorted(f"{file.parent.name}.plugin" for file in Path(__file__).parents[2].glob("plugins/*/plugin.py")),
    "fvlm_dinov2.model", "fvlm_foveated.model", "fvlm_smollm2.model", "fvlm_shapes.source",
)  # fmt: skip
"""What of ours is imported once, too, which was a half of what a short command took (.2 of .4 CPU seconds). Nothing of
it is called. A process whose path finds another copy of ours imports that one."""


@cache
def folder() -> Path:
    """Where the programs are; the server is there as long as this process is."""
    session = os.environ.get("PYTEST_XDIST_TESTRUNUID") or f"alone-{os.getpid()}"
    made = Path(tempfile.gettempdir()) / f"fvlm-warm-{os.getuid()}-{session}"
    made.mkdir(exist_ok=True)
    address = made / "socket"
    with FileLock(made / "lock"):
        if not _connected(address):
            address.unlink(missing_ok=True)
            text = Path(__file__).with_name("warm_client.py").read_text()
            for name in ("python", "fvlm"):
                program = made / name
                program.write_text(
                    f"#!{sys.executable} -IS\n" + text.replace('ADDRESS = ""', f"ADDRESS = {str(address)!r}")
                )
                program.chmod(0o755)
            server = subprocess.Popen(
                [
                    sys.executable,
                    *(["-IB"] if os.environ.get("PYTHONDONTWRITEBYTECODE") else ["-I"]),
                    Path(__file__).with_name("warm_server.py"),
                    address,
                    *LIBRARIES,
                    *OURS,
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            while not _connected(address):
                assert server.poll() is None, "the server of warm processes has ended"
                time.sleep(0.02)
    return made


_kept: list[socket.socket] = []
"""The server ends when the last of these is closed."""


def _connected(address: Path) -> bool:
    ours = socket.socket(socket.AF_UNIX)
    try:
        ours.connect(str(address))
    except OSError:
        ours.close()
        return False
    _kept.append(ours)
    return True


def python() -> str:
    """In place of `sys.executable`."""
    return str(folder() / "python")


def below(program: subprocess.Popen[str]) -> list[psutil.Process]:
    """What was forked for a program, and all processes that this has started; nothing if it has ended."""
    record = folder() / str(program.pid)
    while program.poll() is None:  # the server has not forked it in its first milliseconds
        with suppress(FileNotFoundError, psutil.NoSuchProcess):
            own = psutil.Process(int(record.read_text()))
            return [own, *own.children(recursive=True)]
        time.sleep(0.005)
    return []


def start(
    *arguments: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """`fvlm ARGUMENTS`, its output as text, errors among it. env: all of it, this process's unless given."""
    return subprocess.Popen(
        [folder() / "fvlm", *arguments],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def fvlm(
    *arguments: str | Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    seconds: float = 200,
) -> subprocess.CompletedProcess[str]:
    """`fvlm ARGUMENTS`, until it has ended, its output as text.

    env: all of it, this process's unless given; what its PYTHONPATH names comes first. Raises
    `subprocess.TimeoutExpired` after `seconds`.
    """
    return subprocess.run(
        [folder() / "fvlm", *arguments],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
