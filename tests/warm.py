"""`fvlm` as a process of its own that need not import torch anew: forked from a server that has.

What it imports is 4 of the 5 s that a short command takes. A test of how a process starts (its streams, its
surroundings, its imports) starts a real one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from multiprocessing import get_context, reduction, set_start_method
from pathlib import Path
from typing import Any, TextIO

LIBRARIES = (
    "torch", "transformers", "pandas", "scipy.stats", "lmfit", "matplotlib.pyplot", "hypothesis", "pytest", "av",
    "torch.utils.data", "transformers.models.llama.modeling_llama", "transformers.models.dinov2.modeling_dinov2",
    "safetensors.torch", "pyarrow", "bokeh.plotting", "jinja2",
)  # fmt: skip
"""What every command and every process of tests would import anew. Nothing of ours is among it."""


class Started:
    """As `subprocess.Popen` of `fvlm` would be, with its output as text, errors among it."""

    def __init__(self, arguments: tuple[str | Path, ...], cwd: Path | None, env: Mapping[str, str]) -> None:
        reading, writing = os.pipe()
        self._process = _start(arguments, cwd, env, writing, writing)
        os.close(writing)
        self.stdout: TextIO = os.fdopen(reading, encoding="utf-8")
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        """None before it has ended, minus the signal that killed it."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """As `returncode`."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Until it ends. Raises `subprocess.TimeoutExpired`."""
        self._process.join(timeout)
        if self.returncode is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired("fvlm", timeout)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        """What it still says, and its end; killed after `timeout`, which raises `subprocess.TimeoutExpired`."""
        try:
            with tempfile.TemporaryFile("w+") as kept:
                reader = subprocess.Popen(["cat"], stdin=self.stdout, stdout=kept)
                self.wait(timeout)
                reader.wait(timeout)
                kept.seek(0)
                return kept.read(), None
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def send_signal(self, number: int) -> None:
        """To it alone."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


def start(*arguments: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Started:
    """As `subprocess.Popen(["fvlm", *arguments])`. env: all of it, this process's unless given; see `fvlm`."""
    return Started(arguments, cwd, os.environ if env is None else env)


def fvlm(
    *arguments: str | Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    seconds: float = 200,
) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run(["fvlm", *arguments])` with its output as text.

    env: all of it, this process's unless given; what its PYTHONPATH names comes first. Raises
    `subprocess.TimeoutExpired` after `seconds`.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = _start(arguments, cwd, os.environ if env is None else env, out.fileno(), err.fileno())
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(str(arguments), seconds)
        said = []
        for file in (out, err):
            file.seek(0)
            said.append(file.read())
        return subprocess.CompletedProcess(arguments, process.exitcode, *said)


class _Descriptor:
    """A number of an open file that a forked process gets as its own."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> tuple[Any, tuple[Any]]:
        return _received, (reduction.DupFd(self.number),)


def _received(given: Any) -> int:
    return given.detach()


def _start(
    arguments: tuple[str | Path, ...], cwd: Path | None, env: Mapping[str, str], out: int, err: int
) -> Any:
    context = get_context("forkserver")
    context.set_forkserver_preload(list(LIBRARIES))
    where = (str(cwd or Path.cwd()), dict(env), _Descriptor(out), _Descriptor(err))
    process = context.Process(target=_enter, args=([str(argument) for argument in arguments], *where))
    process.start()
    return process


def _enter(argv: list[str], cwd: str, env: dict[str, str], out: int, err: int) -> None:
    os.setsid()
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        setattr(sys, name, os.fdopen(descriptor, "w" if descriptor else "r", encoding="utf-8", closefd=False))
    sys.stdout.reconfigure(write_through=bool(env.get("PYTHONUNBUFFERED")))  # type: ignore[union-attr]
    set_start_method(None, force=True)  # that of the server, by now
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.argv = ["fvlm", *argv]
    sys.path[:0] = [path for path in env.get("PYTHONPATH", "").split(os.pathsep) if path]
    from fvlm_core.cli.main import main

    try:
        code = main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
