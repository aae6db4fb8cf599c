"""A file to frames, by a process of its own, which the system ends when it takes too long or too much."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from typing import Any

import numpy as np

SECONDS = 60
"""Of computing, for one file."""
MEMORY = 2 << 30
"""Bytes of address space, for one file."""


def frames_apart(file: str, size: int, **shown: Any) -> np.ndarray:
    """`read_frames` of the model's folder, by a process of its own. Raises ValueError, also where that ends without an
    answer."""
    command = [sys.executable, __file__, json.dumps({"file": file, "size": size, **shown})]
    try:
        done = subprocess.run(command, capture_output=True, timeout=2 * SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise ValueError(f"decoding it takes more than {2 * SECONDS} s") from None
    if done.returncode == 2:
        raise ValueError(done.stdout.decode())
    if done.returncode:
        name = signal.Signals(-done.returncode).name if done.returncode < 0 else f"code {done.returncode}"
        raise ValueError(
            f"decoding it was ended by {name} (a file gets {SECONDS} s of computing and {MEMORY >> 30} GiB)"
        )
    return np.frombuffer(bytearray(done.stdout), np.uint8).reshape(-1, 3, size, size)


def main(asked: str) -> int:
    """In the child: the frames' bytes on stdout; 2, and the reason there, for a file that cannot be read."""
    from model.inputs_fvlm import read_frames  # pyright: ignore[reportMissingImports]

    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    shown = json.loads(asked)
    try:
        frames = read_frames(**shown)
    except ValueError as error:
        sys.stdout.buffer.write(str(error).removeprefix(f"{shown['file']}: ").encode())
        return 2
    sys.stdout.buffer.write(np.ascontiguousarray(frames).tobytes())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
