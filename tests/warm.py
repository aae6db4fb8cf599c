"""`fvlm` as a process of its own that need not import torch anew: forked from a server that has.

What it imports is 4 of the 5 s that a short command takes. A test of how a process starts (its streams, its
surroundings, its imports) or of what kills it starts a real one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from multiprocessing import get_context, set_start_method
from pathlib import Path
from tempfile import TemporaryDirectory

LIBRARIES = (
    "torch", "transformers", "pandas", "scipy.stats", "lmfit", "matplotlib.pyplot", "hypothesis", "pytest", "av",
    "torch.utils.data", "transformers.models.llama.modeling_llama", "transformers.models.dinov2.modeling_dinov2",
    "safetensors.torch", "pyarrow", "bokeh.plotting", "jinja2",
)  # fmt: skip
"""What every command and every process of tests would import anew. Nothing of ours is among it."""


def fvlm(
    *arguments: str | Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    seconds: float = 200,
) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run(["fvlm", *arguments])` with its output as text.

    env: all of it, this process's unless given; what its PYTHONPATH names comes first. Raises `TimeoutError` after
    `seconds`.
    """
    return run(_fvlm, *arguments, cwd=cwd, env=env, seconds=seconds)


def run(
    main: Callable[[], int | None],
    *arguments: str | Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    seconds: float = 200,
) -> subprocess.CompletedProcess[str]:
    """A function of a module in such a process, with `arguments` as `sys.argv[1:]`; it returns the exit code."""
    argv = [str(argument) for argument in arguments]
    context = get_context("forkserver")
    context.set_forkserver_preload(list(LIBRARIES))
    with TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        where = (str(cwd or Path.cwd()), dict(os.environ if env is None else env), str(out), str(err))
        process = context.Process(target=_enter, args=(main, argv, *where))
        process.start()
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise TimeoutError(f"{argv} did not end within {seconds:g} s: {err.read_text()[-2000:]}")
        return subprocess.CompletedProcess(argv, process.exitcode, out.read_text(), err.read_text())


def _fvlm() -> int:
    from fvlm_core.cli.main import main

    return main()


def _enter(
    main: Callable[[], int | None], argv: list[str], cwd: str, env: dict[str, str], out: str, err: str
) -> None:
    os.setsid()
    for number, name in ((1, out), (2, err)):
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
        os.close(file)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        setattr(sys, name, os.fdopen(descriptor, "w" if descriptor else "r", encoding="utf-8", closefd=False))
    set_start_method(None, force=True)  # that of the server, by now
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.argv = ["fvlm", *argv]
    sys.path[:0] = [path for path in env.get("PYTHONPATH", "").split(os.pathsep) if path]
    try:
        code = main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)
